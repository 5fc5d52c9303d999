//! Files pushed, listed and pulled.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use strait_tests::{Site, eventually, pair_of_sites};

/// Packs source trees of this machine (the crates that the build used) until
/// there are `bytes` of them: real files, whatever machine this is.
fn real_files(into: &Path, bytes: u64) -> PathBuf {
    let archive = into.join("tree.bin");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&archive).unwrap());
    let mut left = bytes;
    let mut folders = vec![cargo_home().join("registry/src"), PathBuf::from("/usr/lib")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.insert(0, entry.path());
            } else if kind.is_file() && left > 0 {
                let content = std::fs::read(entry.path()).unwrap_or_default();
                let taken = content.len().min(left as usize);
                out.write_all(&content[..taken]).unwrap();
                left -= taken as u64;
            }
        }
        if left == 0 {
            break;
        }
    }
    assert_eq!(left, 0, "this machine has enough files");
    out.flush().unwrap();
    archive
}

fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"),
        PathBuf::from,
    )
}

/// Retries while the link comes up.
fn push_when_up(site: &Site, file: &Path, target: &str) {
    eventually("the push succeeds", 60, || {
        let output = site.strait(&["push", file.to_str().unwrap(), target]);
        output.status.success().then_some(())
    });
}

#[test]
fn a_hundred_megabytes_arrive_identical_and_cost_little_again() {
    let (east, west, _cable) = pair_of_sites();
    let folder = tempfile::tempdir().unwrap();
    let file = real_files(folder.path(), 100 << 20);
    push_when_up(&east, &file, "west:backups/tree.bin");
    let arrived = std::fs::read(west.data().join("bulk/east/backups/tree.bin")).unwrap();
    let sent = std::fs::read(&file).unwrap();
    assert!(arrived == sent, "the far file is identical");

    let listed = east.must(&["ls", "west:backups"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("tree.bin"), "ls shows it: {listed}");

    let copy = folder.path().join("copy.bin");
    east.must(&["pull", "west:backups/tree.bin", copy.to_str().unwrap()]);
    assert!(
        std::fs::read(&copy).unwrap() == sent,
        "the pull is identical"
    );
}

#[test]
fn standard_input_can_be_pushed() {
    let (east, west, _cable) = pair_of_sites();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small");
    std::fs::write(&file, "x").unwrap();
    push_when_up(&east, &file, "west:ready");

    let mut push = east
        .command(&["push", "-", "west:dump.sql"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "insert into clicks values (1, 2, 3);\n".repeat(100_000);
    push.stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = push.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let arrived = std::fs::read_to_string(west.data().join("bulk/east/dump.sql")).unwrap();
    assert!(arrived == text);
}

#[test]
fn paths_stay_inside_the_bulk_folder() {
    let (east, west, _cable) = pair_of_sites();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small");
    std::fs::write(&file, "x").unwrap();
    push_when_up(&east, &file, "west:ready");
    std::os::unix::fs::symlink(folder.path(), west.data().join("bulk/east/escape")).unwrap();

    for path in [
        "../outside",
        "/etc/outside",
        "a/../../outside",
        "a\nb",
        "escape/outside",
    ] {
        let output = east.strait(&["push", file.to_str().unwrap(), &format!("west:{path}")]);
        assert!(!output.status.success(), "{path:?} must be refused");
        assert!(!output.stderr.is_empty(), "{path:?} gets an explanation");
    }
    for path in ["../strait.toml", "missing", "escape/small"] {
        let target = folder.path().join("pulled");
        let output = east.strait(&["pull", &format!("west:{path}"), target.to_str().unwrap()]);
        assert!(!output.status.success(), "{path:?} must be refused");
        assert!(!target.exists(), "nothing half-written");
    }
    assert!(!folder.path().join("outside").exists());
    assert!(!west.data().join("outside").exists());
    push_when_up(&east, &file, "west:still-works");
}

#[test]
fn a_full_folder_refuses_a_file_and_takes_the_next() {
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    east.pair_with(&west, Some(west.link));
    west.pair_with(&east, None);
    let config = std::fs::read_to_string(west.config()).unwrap();
    let capped = config.replace("\nbytes_max = \"1TiB\"", "\nbytes_max = \"1MiB\"");
    assert_ne!(config, capped);
    std::fs::write(west.config(), capped).unwrap();
    east.start();
    west.start();

    let folder = tempfile::tempdir().unwrap();
    let (large, small) = (folder.path().join("large"), folder.path().join("small"));
    std::fs::write(&large, vec![7; 3 << 20]).unwrap();
    std::fs::write(&small, "x").unwrap();
    push_when_up(&east, &small, "west:before");

    let refused = east.strait(&["push", large.to_str().unwrap(), "west:large"]);
    assert!(!refused.status.success());
    let reason = String::from_utf8(refused.stderr).unwrap();
    assert!(reason.contains("bytes_max"), "says which limit: {reason}");
    let kept: Vec<_> = std::fs::read_dir(west.data().join("bulk/east"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(kept, ["before"], "nothing half-written");
    east.must(&["push", small.to_str().unwrap(), "west:after"]);
}

#[test]
fn a_window_holds_files_back_and_counters_pass() {
    let (mut east, west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("random");
    let write_random = || {
        let mut bytes = vec![0; 256 << 10];
        let mut source = std::fs::File::open("/dev/urandom").unwrap();
        source.read_exact(&mut bytes).unwrap();
        std::fs::write(&file, bytes).unwrap();
    };
    write_random();
    let push = ["push", "--quiet", file.to_str().unwrap(), "west:random"];
    let there = west.data().join("bulk/east/random");
    east.stop();
    // From midnight to midnight.
    east.configure(
        "[[window]]\nfrom = \"00:00\"\nto = \"24:00\"\nclass = \"bulk\"\nrate = \"closed\"\n",
    );
    east.start();
    let mut waits = east.command(&push).spawn().unwrap();
    let mut ask = redis::cmd("INCR");
    ask.arg("n").exec(&mut east.redis()).unwrap();
    eventually("the counter arrives", 30, || {
        let n: Option<u64> = redis::cmd("GET").arg("n").query(&mut west.redis()).unwrap();
        n
    });
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!there.exists() && waits.try_wait().unwrap().is_none());
    east.stop();
    assert!(!waits.wait().unwrap().success());
    east.change_config("rate = \"closed\"", "rate = \"1Mbit/s\"");
    east.start();
    let began = std::time::Instant::now();
    for _ in 0..2 {
        // Other bytes each time, or the second would cost nothing.
        write_random();
        east.must(&push);
    }
    // The second waits until the first has had its 2.1 s.
    assert!(began.elapsed().as_secs_f64() > 2.0);
    assert!(std::fs::read(&there).unwrap() == std::fs::read(&file).unwrap());
}

#[test]
fn a_limit_is_on_what_the_link_carries() {
    let (east, west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("random");
    let mut bytes = vec![0; 250_000];
    let mut source = std::fs::File::open("/dev/urandom").unwrap();
    source.read_exact(&mut bytes).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    let timed = |arguments: &[&str]| {
        let began = std::time::Instant::now();
        east.must(arguments);
        began.elapsed().as_secs_f64()
    };
    let file = file.to_str().unwrap();
    // Two seconds' worth; the last piece need not have had its time.
    let first = timed(&["push", "--bwlimit", "1Mbit/s", file, "west:random"]);
    assert!(first > 1.5, "{first} s");
    // What is a reference costs nothing: 80 s' worth of bytes.
    let many = home.path().join("many");
    std::fs::write(&many, bytes.repeat(40)).unwrap();
    let many = many.to_str().unwrap();
    let again = timed(&["push", "--bwlimit", "1Mbit/s", many, "west:many"]);
    assert!(again < 40.0, "{again} s");

    source.read_exact(&mut bytes).unwrap();
    std::fs::write(west.data().join("bulk/east/theirs"), &bytes).unwrap();
    let copy = home.path().join("copy");
    let copy = copy.to_str().unwrap();
    let pulled = timed(&["pull", "--bwlimit", "1Mbit/s", "west:theirs", copy]);
    assert!(pulled > 1.5, "{pulled} s");
    assert!(std::fs::read(copy).unwrap() == bytes);
}

#[test]
fn what_the_source_has_lost_comes_back_out_of_its_history() {
    let (mut east, west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let archive = real_files(home.path(), 8 << 20);
    let sent = std::fs::read(&archive).unwrap();
    east.must(&["push", archive.to_str().unwrap(), "west:archive"]);
    std::fs::remove_file(&archive).unwrap();
    // What it sent is on its disk.
    east.kill();
    east.start();
    let crossed = || west.link_status()?["ledger"]["wire_bytes"].as_u64();
    let before = crossed().unwrap();
    east.must(&["pull", "west:archive", archive.to_str().unwrap()]);
    assert!(std::fs::read(&archive).unwrap() == sent);
    let wire_bytes = crossed().unwrap() - before;
    assert!(wire_bytes < sent.len() as u64 / 50, "{wire_bytes} bytes");
}

#[test]
fn what_is_not_there_is_told_from_what_nobody_could_say() {
    let (mut east, mut west, cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("small");
    std::fs::write(&file, "x").unwrap();
    east.must(&["push", file.to_str().unwrap(), "west:d/small"]);
    let copy = home.path().join("copy");
    let status = |site: &Site, args: &[&str]| site.strait(args).status.code();
    let pull = [
        "pull",
        "--wait",
        "1",
        "west:d/small",
        copy.to_str().unwrap(),
    ];
    let with = |from| pull.map(|word| if word == pull[3] { from } else { word });
    for absent in ["west:d/none", "west:none/small", "west:none/", "west:d/n*"] {
        assert_eq!(status(&east, &with(absent)), Some(1), "{absent}");
    }
    assert_eq!(status(&east, &["ls", "west:none"]), Some(1));
    // To learn that is no failed transfer, and nothing to warn of.
    for site in [&east, &west] {
        assert_eq!(site.metric("strait_bulk_failed_total") as u64, 0);
        assert!(
            !site.log_text().contains("asked for"),
            "{}",
            site.log_text()
        );
    }
    let unanswered = 200;
    for wrong in [
        &with("west:d/")[..],
        &with("north:d/small")[..],
        &with("west:../small")[..],
        &["pull", "west:d/small"][..],
        &["pul", "west:d/small", "copy"][..],
        &["pull", "west:d/small", "/nonexistent/copy"][..],
    ] {
        // A folder is pulled to a folder: here stands a file.
        std::fs::write(&copy, "in the way").unwrap();
        assert_eq!(status(&east, wrong), Some(unanswered), "{wrong:?}");
    }
    assert_eq!(status(&east, &["push", "west:d/small"]), Some(2));
    assert_eq!(status(&east, &["pull", "--help"]), Some(0));

    // The link is down and nobody knows, then it is known.
    cable.cut();
    let began = std::time::Instant::now();
    for _ in 0..2 {
        assert_eq!(status(&east, &pull), Some(unanswered));
    }
    let listed = status(&east, &["ls", "--wait", "1", "west:d"]);
    assert_eq!(listed, Some(unanswered));
    let waited = began.elapsed().as_secs();
    assert!(waited < 120, "--wait holds: {waited} s");
    west.kill();
    assert_eq!(status(&east, &pull), Some(unanswered));
    east.stop();
    assert_eq!(status(&east, &pull), Some(unanswered));
    let push = ["push", file.to_str().unwrap(), "west:d/small"];
    assert_eq!(
        status(&east, &push),
        Some(1),
        "a push tells no more than that"
    );
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), "in the way");
}

#[test]
fn two_archivers_under_one_name_do_not_both_succeed() {
    let (east, west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let files = ["one", "two"].map(|name| home.path().join(name));
    for (byte, file) in files.iter().enumerate() {
        std::fs::write(file, vec![byte as u8; 1 << 20]).unwrap();
    }
    east.must(&["ls", "west:"]);
    for round in 0..6 {
        let name = format!("west:wal/{round}");
        let both = |files: [&PathBuf; 2]| {
            let pushes = files.map(|file| {
                let push = [
                    "push",
                    "--quiet",
                    "--no-replace",
                    file.to_str().unwrap(),
                    &name,
                ];
                east.command(&push).stderr(Stdio::null()).spawn().unwrap()
            });
            pushes.map(|mut push| push.wait().unwrap().code())
        };
        let codes = both([&files[0], &files[1]]);
        let won = codes.iter().position(|code| *code == Some(0)).unwrap();
        assert_eq!(codes[1 - won], Some(1), "{codes:?}");
        let there = std::fs::read(west.data().join("bulk/east/wal").join(round.to_string()));
        assert!(there.unwrap() == std::fs::read(&files[won]).unwrap());
        // The same file twice is what PostgreSQL asks to be success.
        assert_eq!(both([&files[won], &files[won]]), [Some(0); 2]);
    }
}
