//! Pairs of versions, the same for the same seed: a SQL dump, JSON logs, a dump of counters, a tree
//! of sources as tar, and disk pages with a changed index.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// One kind of pair.
pub(super) struct Version {
    pub(super) name: &'static str,
    write: fn(&mut dyn Write, &Pair) -> std::io::Result<()>,
}

/// Which of the two to write, and how large.
struct Pair {
    seed: u64,
    rows: u64,
    new: bool,
}

pub(super) const ALL: [Version; 5] = [
    Version {
        name: "sql-dump",
        write: sql_dump,
    },
    Version {
        name: "json-log",
        write: json_log,
    },
    Version {
        name: "counters",
        write: counters,
    },
    Version {
        name: "source-tree",
        write: source_tree,
    },
    Version {
        name: "pages",
        write: pages,
    },
];

impl Version {
    /// Writes both versions into `dir`.
    pub(super) fn write(
        &self,
        dir: &Path,
        seed: u64,
        scale: f64,
    ) -> anyhow::Result<(PathBuf, PathBuf)> {
        let rows = (400_000.0 * scale) as u64;
        let path = |name: &str| dir.join(format!("{}.{name}", self.name));
        for (name, new) in [("old", false), ("new", true)] {
            let mut out = BufWriter::new(File::create(path(name))?);
            (self.write)(&mut out, &Pair { seed, rows, new })?;
            out.flush()?;
        }
        Ok((path("old"), path("new")))
    }
}

/// Text of `len` bytes: dump, log and sources in equal parts.
pub(super) fn text(len: usize) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(len);
    let kinds = [sql_dump, json_log, source_tree];
    for (n, write) in kinds.into_iter().enumerate() {
        let share = len * (n + 1) / kinds.len() - text.len();
        let mut part = Vec::new();
        // Rows make at least 95 bytes each, of each kind.
        let rows = share as u64 / 95 + 1000;
        write(
            &mut part,
            &Pair {
                seed: 1,
                rows,
                new: false,
            },
        )?;
        anyhow::ensure!(part.len() >= share, "too few rows");
        text.extend_from_slice(&part[..share]);
    }
    Ok(text)
}

/// A JSON log of so many lines.
pub(super) fn log(lines: usize) -> std::io::Result<Vec<u8>> {
    let mut log = Vec::new();
    let pair = Pair {
        seed: 1,
        rows: lines as u64,
        new: false,
    };
    json_log(&mut log, &pair)?;
    Ok(log)
}

/// SplitMix64 (Steele, Lea, Flood, 2014): a stream of numbers for each row, whatever came before.
struct Random(u64);

impl Random {
    fn of(pair: &Pair, kind: u64, row: u64) -> Self {
        let mut random =
            Self(pair.seed ^ kind.rotate_left(32) ^ row.wrapping_mul(0x2545_f491_4f6c_dd1d));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn word(&mut self) -> &'static str {
        const WORDS: [&str; 24] = [
            "order", "invoice", "customer", "delivery", "banner", "pending", "shipped", "refund",
            "north", "harbour", "copper", "winter", "signal", "garden", "bridge", "market",
            "lantern", "river", "engine", "ticket", "window", "paper", "silver", "station",
        ];
        WORDS[self.below(WORDS.len() as u64) as usize]
    }

    fn words(&mut self, count: u64) -> String {
        let words: Vec<&str> = (0..count).map(|_| self.word()).collect();
        words.join(" ")
    }
}

/// One row in a hundred has another price and date, and there are 0.5 % more.
fn sql_dump(out: &mut dyn Write, pair: &Pair) -> std::io::Result<()> {
    let rows = if pair.new {
        pair.rows + pair.rows / 200
    } else {
        pair.rows
    };
    for row in 0..rows {
        let mut random = Random::of(pair, 1, row);
        let customer = random.below(100_000);
        let length = 6 + random.below(12);
        let note = random.words(length);
        let token = random.next();
        let changed = pair.new && Random::of(pair, 2, row).below(100) == 0;
        let mut random = Random::of(pair, if changed { 3 } else { 4 }, row);
        let (day, cents) = (random.below(365), random.below(1_000_000));
        let (month, day) = (day / 31 + 1, day % 28 + 1);
        writeln!(
            out,
            "INSERT INTO orders VALUES ({row},{customer},'2026-{month:02}-{day:02}',{}.{:02},'{note}','{token:016x}');",
            cents / 100,
            cents % 100,
        )?;
    }
    Ok(())
}

/// The newer log has lost its first quarter and gained a third at its end.
fn json_log(out: &mut dyn Write, pair: &Pair) -> std::io::Result<()> {
    let (first, last) = if pair.new {
        (pair.rows / 4, pair.rows * 4 / 3)
    } else {
        (0, pair.rows)
    };
    for line in first..last {
        let mut random = Random::of(pair, 5, line);
        let second = line / 20;
        writeln!(
            out,
            r#"{{"ts":"2026-03-01T{:02}:{:02}:{:02}.{:03}Z","level":"{}","service":"{}","request":"{:016x}","path":"/api/v1/{}/{}","status":{},"ms":{}}}"#,
            second / 3600 % 24,
            second / 60 % 60,
            second % 60,
            random.below(1000),
            if random.below(10) == 0 {
                "warn"
            } else {
                "info"
            },
            random.word(),
            random.next(),
            random.word(),
            random.below(20_000),
            if random.below(20) == 0 { 500 } else { 200 },
            random.below(2000),
        )?;
    }
    Ok(())
}

/// Keys in the order of a hash table, values as RDB encodes them; skewed increments.
fn counters(out: &mut dyn Write, pair: &Pair) -> std::io::Result<()> {
    let keys = pair.rows * 2;
    let mut added = vec![0u32; keys as usize];
    if pair.new {
        for n in 0..pair.rows / 2 {
            let mut random = Random::of(pair, 6, n);
            // The product of three even draws is skewed towards the small.
            let draw = random.below(keys) as u128
                * random.below(keys) as u128
                * random.below(keys) as u128;
            added[(draw / (u128::from(keys) * u128::from(keys))) as usize] += 1;
        }
    }
    out.write_all(b"REDIS0011")?;
    for slot in 0..keys {
        let key = slot.wrapping_mul(0x9e37_79b1) % keys;
        let name = format!("banner:{key}:impressions");
        let mut random = Random::of(pair, 7, key);
        let bound = if random.below(10) < 7 {
            1000
        } else {
            1_000_000
        };
        let value = random.below(bound) as u32 + added[key as usize];
        out.write_all(&[0, name.len() as u8])?;
        out.write_all(name.as_bytes())?;
        match value {
            0..=127 => out.write_all(&[0xc0, value as u8])?,
            128..=32_767 => {
                out.write_all(&[0xc1])?;
                out.write_all(&(value as u16).to_le_bytes())?;
            }
            32_768.. => {
                out.write_all(&[0xc2])?;
                out.write_all(&value.to_le_bytes())?;
            }
        }
    }
    Ok(())
}

/// Files of 1 to 20 KiB under ustar headers: some edited, some gone, some new, one moved directory.
fn source_tree(out: &mut dyn Write, pair: &Pair) -> std::io::Result<()> {
    for file in 0..pair.rows / 160 {
        let mut random = Random::of(pair, 8, file);
        let fate = random.below(100);
        if pair.new && fate == 0 || !pair.new && fate == 1 {
            continue;
        }
        let text = source_file(&mut random, pair.new && (2..12).contains(&fate));
        let moved = pair.new && file % 40 == 7;
        let dir = if moved { "moved" } else { "src" };
        let name = format!("{dir}/module_{}/file_{file}.py", file / 20);
        out.write_all(&tar_header(&name, text.len()))?;
        out.write_all(text.as_bytes())?;
        out.write_all(&vec![0; text.len().next_multiple_of(512) - text.len()])?;
    }
    out.write_all(&[0; 1024])
}

fn source_file(random: &mut Random, edited: bool) -> String {
    let lines = 30 + random.below(500);
    let edit = random.below(lines);
    let mut text = String::from("# Licensed under the terms that the LICENCE file states.\n\n");
    for line in 0..lines {
        let (first, second, third) = (random.word(), random.word(), random.below(1000));
        if edited && line == edit {
            text.push_str("    # an edit stands here\n");
        }
        text.push_str(&format!(
            "    self.{first}_{second} = make_{second}({third}, {first}=None)\n"
        ));
    }
    text
}

/// A ustar header (POSIX.1-1988).
fn tar_header(name: &str, len: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{len:011o}\0").as_bytes());
    put(136, b"00000000000\0        0");
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Pages of 4 KiB: rows in the order of their keys; one in a hundred has another value.
fn pages(out: &mut dyn Write, pair: &Pair) -> std::io::Result<()> {
    const ROWS_PER_PAGE: u64 = 40;
    for page in 0..pair.rows / ROWS_PER_PAGE {
        let mut bytes = vec![0; 4096];
        let mut at = 4096;
        for slot in 0..ROWS_PER_PAGE {
            let row = page * ROWS_PER_PAGE + slot;
            let changed = pair.new && Random::of(pair, 9, row).below(100) == 0;
            let mut random = Random::of(pair, if changed { 10 } else { 11 }, row);
            let value = random.next();
            let words = random.words(6);
            let cell = [
                &row.to_be_bytes()[..],
                &value.to_be_bytes()[..],
                words.as_bytes(),
            ]
            .concat();
            at -= cell.len();
            bytes[at..at + cell.len()].copy_from_slice(&cell);
            let pointer = 8 + slot as usize * 2;
            bytes[pointer..pointer + 2].copy_from_slice(&(at as u16).to_be_bytes());
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_pair_and_versions_differ() {
        for version in &ALL {
            let write = |seed, new| {
                let mut out = Vec::new();
                (version.write)(
                    &mut out,
                    &Pair {
                        seed,
                        rows: 2000,
                        new,
                    },
                )
                .unwrap();
                out
            };
            assert!(write(1, false) == write(1, false), "{}", version.name);
            assert!(write(1, false) != write(1, true), "{}", version.name);
            assert!(write(1, true) != write(2, true), "{}", version.name);
        }
    }
}
