//! Lines of an access log in the combined format with a request id, made with a seed: what
//! repeats in real ones (clients, paths, agents) repeats, what does not (ids, sizes, times) does not.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::Context;
use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::Line;
use super::pair::Pair;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Lines of each run
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// Lines a second
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// Shipment interval, in ms
    #[arg(long, default_value_t = 50)]
    every: u64,
}

const AIM_LIVE: f64 = 40.0;
const AIM_CATCH_UP: f64 = 32.0;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lines: Vec<String> = Lines::new(1).take(arguments.events as usize).collect();
    let bytes: usize = lines.iter().map(String::len).sum();
    println!(
        "{}",
        json!({
            "test": "logs_reference",
            "line_bytes": rounded(bytes, lines.len()),
            "zstd_3_bytes_per_line": zstd(&lines)?.map(|bytes| rounded(bytes, lines.len())),
        })
    );
    live(arguments, &lines)?;
    catch_up(arguments, &lines)
}

fn rounded(bytes: usize, lines: usize) -> f64 {
    (bytes as f64 / lines.max(1) as f64 * 100.0).round() / 100.0
}

fn append(pair: &mut Pair, lines: &[String], rate: u64) -> anyhow::Result<()> {
    pair.load(lines.len() as u64, rate, |client, event| {
        let line = &lines[event as usize];
        client.queue(&[b"XADD", b"access", b"*", b"line", line.as_bytes()]);
    })
}

fn live(arguments: &Arguments, lines: &[String]) -> anyhow::Result<()> {
    let mut pair = Pair::start(arguments.every)?;
    let crossed = pair.measure(|pair| append(pair, lines, arguments.rate))?;
    let test = format!("logs_live_{}ms", arguments.every);
    Line::print(&test, arguments.events, crossed, AIM_LIVE)?;
    pair.finish()
}

fn catch_up(arguments: &Arguments, lines: &[String]) -> anyhow::Result<()> {
    let mut pair = Pair::start(arguments.every)?;
    pair.cut(true);
    append(&mut pair, lines, 0)?;
    let crossed = pair.measure(|pair| {
        pair.cut(false);
        Ok(())
    })?;
    Line::print("logs_catch_up", arguments.events, crossed, AIM_CATCH_UP)?;
    pair.finish()
}

/// `zstd -3` of all lines as one file, if it is installed.
fn zstd(lines: &[String]) -> anyhow::Result<Option<usize>> {
    let spawned = Command::new("zstd")
        .args(["-3", "-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut process) = spawned else {
        return Ok(None);
    };
    let mut input = process.stdin.take().context("no standard input")?;
    let text = lines.join("\n");
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = process.wait_with_output()?;
    writer.join().ok().context("a thread panicked")??;
    Ok(Some(output.stdout.len()))
}

/// An endless log.
struct Lines {
    random: StdRng,
    clients: Vec<String>,
    agents: Vec<String>,
    paths: Vec<String>,
    ms: u64,
}

impl Lines {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut made = |count: usize, make: &mut dyn FnMut(&mut StdRng) -> String| {
            (0..count).map(|_| make(&mut random)).collect::<Vec<_>>()
        };
        let clients = made(4000, &mut |random| {
            let [a, b, c]: [u8; 3] = random.random();
            format!("{}.{a}.{b}.{c}", 11 + c % 180)
        });
        let agents = made(120, &mut |random| {
            let systems = [
                "Windows NT 10.0; Win64; x64",
                "Macintosh; Intel Mac OS X 10_15_7",
                "X11; Linux x86_64",
                "Linux; Android 14; Pixel 8",
            ];
            let system = systems[random.random_range(0..systems.len())];
            let version = random.random_range(90..139);
            format!(
                "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) \
                 Chrome/{version}.0.0.0 Safari/537.36"
            )
        });
        let paths = made(3000, &mut |random| {
            let rooms = [
                "catalogue",
                "basket",
                "account",
                "search",
                "static/img",
                "api/v2/stock",
            ];
            let room = rooms[random.random_range(0..rooms.len())];
            format!("/{room}/item-{:05}", random.random_range(0..100_000))
        });
        Self {
            random,
            clients,
            agents,
            paths,
            ms: 0,
        }
    }

    /// One of `list`, the first more often.
    fn pick<'a>(random: &mut StdRng, list: &'a [String]) -> &'a str {
        let rank = random.random::<f64>().powi(3) * list.len() as f64;
        &list[rank as usize]
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let random = &mut self.random;
        self.ms += u64::from(random.random_range(0..3_u8) == 0);
        let (seconds, status) = (self.ms / 1000, random.random_range(0..100_u8));
        let status = match status {
            0..=88 => 200,
            89..=94 => 304,
            95..=98 => 404,
            _ => 500,
        };
        let client = Self::pick(random, &self.clients).to_owned();
        let path = Self::pick(random, &self.paths).to_owned();
        let referrer = Self::pick(random, &self.paths).to_owned();
        let agent = Self::pick(random, &self.agents);
        Some(format!(
            "{client} - - [21/Nov/2026:10:{:02}:{:02} +0000] \"GET {path} HTTP/1.1\" {status} {} \
             \"https://shop.example{referrer}\" \"{agent}\" {:012x} {}ms",
            seconds / 60 % 60,
            seconds % 60,
            random.random_range(200..60_000_u32),
            random.random::<u64>() >> 16,
            (random.random::<f64>().powi(4) * 900.0) as u64 + 1,
        ))
    }
}
