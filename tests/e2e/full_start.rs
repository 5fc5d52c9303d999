//! A start on a disk that takes nothing: after kill -9, with logs on disk and an unfinished write.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use redis::Commands;
use strait_tests::{Site, SmallDisk, eventually, newest_journal};

const LINES: usize = 12_000;
const PAGE_BYTES: u64 = 4096;
/// Longer than a page: an index that names it does not fit where the file before it ends.
const NAME_BYTES: usize = 5000;
/// More than a start asks for.
const PAGES_MAX: u64 = 6;

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn copy(from: &Path, to: &Path) {
    let from = from.join(".");
    let copied = Command::new("cp").arg("-a").args([&from, to]).status();
    assert!(copied.unwrap().success(), "{} is copied", from.display());
}

/// A site with a counter and a log, most of it on disk, whose gateway was killed while it wrote to
/// its journal; and a copy of its data directory.
fn killed() -> (Site, tempfile::TempDir) {
    let mut site = Site::new("east");
    site.change_config("on_full = \"refuse\"", "on_full = \"spill\"");
    site.change_config("memory_bytes_max = \"1GiB\"", "memory_bytes_max = \"6MiB\"");
    site.change_config(
        "logs_memory_bytes_max = \"512MiB\"",
        "logs_memory_bytes_max = \"1MiB\"",
    );
    site.start();
    let mut redis = site.redis();
    let () = redis.incr("hits", 7).unwrap();
    let (line, name) = ("x".repeat(200), "x".repeat(NAME_BYTES));
    for first in (0..LINES).step_by(500) {
        let mut pipe = redis::pipe();
        for n in first..first + 500 {
            pipe.xadd(
                &name,
                format!("{}-0", n + 1),
                &[("line", format!("{n} {line}"))],
            )
            .ignore();
        }
        let () = pipe.query(&mut redis).unwrap();
    }
    eventually("older lines go to the disk", 60, || {
        (site.metric("strait_grid_log_bytes") < 1.5 * 1048576.0).then_some(())
    });
    site.settle();
    site.kill();
    // The beginning of a record that never came to its end.
    let mut journal = File::options()
        .append(true)
        .open(newest_journal(&site.data()))
        .unwrap();
    journal.write_all(b"SgR1\x40\x00\x00\x00").unwrap();
    let kept = tempfile::tempdir().unwrap();
    copy(&site.data(), kept.path());
    (site, kept)
}

/// Puts the data directory back as it was, on a disk that has `pages` left.
fn restore(site: &Site, kept: &Path, pages: u64) {
    for entry in fs::read_dir(site.data()).unwrap() {
        let path = entry.unwrap().path();
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
        removed.unwrap();
    }
    copy(kept, &site.data());
    let filler = site.data().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; PAGE_BYTES as usize]).is_ok() {}
    let len = file.metadata().unwrap().len();
    file.set_len(len - len % PAGE_BYTES - pages * PAGE_BYTES)
        .unwrap();
}

fn log(site: &Site) -> PathBuf {
    site.data().with_file_name("start.log")
}

/// Starts the gateway and looks whether all is there.
fn starts(site: &Site) -> (Running, String) {
    let log = log(site);
    let mut command = site.command(&["run"]);
    let mut running = Running(
        command
            .stderr(File::create(&log).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let said = || fs::read_to_string(&log).unwrap();
    let client = redis::Client::open(format!("redis://{}/", site.grid)).unwrap();
    let mut redis = eventually("it answers", 60, || {
        let ended = running.0.try_wait().unwrap();
        assert!(ended.is_none(), "{ended:?}: {}", said());
        client.get_connection().ok()
    });
    let hits: i64 = redis.get("hits").unwrap();
    let lines: usize = redis.xlen("x".repeat(NAME_BYTES)).unwrap();
    assert_eq!((hits, lines), (7, LINES), "{}", said());
    for damage in ["damaged", "put aside"] {
        assert!(!said().contains(damage), "{}", said());
    }
    (running, said())
}

#[test]
fn a_start_needs_neither_room_nor_a_disk_that_can_be_written() {
    let (site, kept) = killed();
    let Some(disk) = SmallDisk::over(&site.data(), "48m") else {
        return;
    };
    let cold_without_index = "has no index";
    for pages in 0..=PAGES_MAX {
        restore(&site, kept.path(), pages);
        let (running, said) = starts(&site);
        if pages == 0 {
            assert!(said.contains(cold_without_index), "{said}");
        }
        drop(running);
        // Nor does the next one.
        drop(starts(&site));
    }
    restore(&site, kept.path(), 0);
    disk.remount("ro");
    let (_running, said) = starts(&site);
    assert!(
        said.contains("keeps an unfinished write at its end"),
        "{said}"
    );
    let refused: redis::RedisResult<()> = eventually("writes are refused", 30, || {
        let written = site.redis().incr("more", 1);
        written.is_err().then_some(written)
    });
    assert!(refused.unwrap_err().to_string().contains("MISCONF"));
    // As soon as the disk can be written, they are taken.
    disk.remount("rw");
    disk.grow("256m");
    let () = eventually("writes are taken", 60, || site.redis().incr("more", 1).ok());
    eventually("commands reach it", 30, || {
        // No such peer, but somebody who says so.
        let asked = site.strait(&["ls", "nowhere:", "--wait", "0"]);
        let said = String::from_utf8_lossy(&asked.stderr).into_owned();
        said.contains("no such site").then_some(())
    });
}

#[test]
fn a_start_needs_no_new_files_either() {
    let (site, kept) = killed();
    let Some(disk) = SmallDisk::over(&site.data(), "256m") else {
        return;
    };
    restore(&site, kept.path(), 1000);
    // What else a start makes.
    drop(fs::remove_dir_all(site.data().join("history")));
    let listed = Command::new("find").arg(site.data()).output().unwrap();
    let files = listed.stdout.split(|byte| *byte == b'\n').count() - 1;
    disk.remount(&format!("nr_inodes={files}"));
    drop(starts(&site));
    drop(starts(&site));
}
