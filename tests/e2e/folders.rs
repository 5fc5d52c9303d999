//! Folders there and back, and a push that its gateways do not survive.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use strait_tests::{eventually, pair_of_sites};

/// Every file below `root`: path and content.
fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap();
                files.insert(name.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn a_folder_goes_there_and_back() {
    let (east, west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("site");
    for number in 0..300 {
        let inner = folder.join(format!("part-{}", number % 7));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join(format!("f{number}")), vec![b'x'; number * 100]).unwrap();
    }
    let script = folder.join("part-0/f7");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o750)).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5000);
    let file = File::options().append(true).open(&script).unwrap();
    file.set_modified(long_ago).unwrap();
    symlink("../part-2/f2", folder.join("part-1/link")).unwrap();
    symlink("part-3", folder.join("latest")).unwrap();
    let longest = "n".repeat(255);
    std::fs::write(folder.join(&longest), "x").unwrap();
    std::fs::create_dir_all(folder.join("empty/inner")).unwrap();
    std::fs::set_permissions(
        folder.join("empty"),
        std::fs::Permissions::from_mode(0o3700),
    )
    .unwrap();
    for inner in ["empty", "part-3", ""] {
        File::open(folder.join(inner))
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
    }
    let sent = tree(&folder);
    let named = folder.to_str().unwrap();
    let push = east.must(&["push", "--json", named, "west:hosts"]);
    let reports = String::from_utf8(push.stdout).unwrap();
    assert_eq!(reports.lines().count(), 301);
    for report in reports.lines() {
        let report: serde_json::Value = serde_json::from_str(report).unwrap();
        assert!(report["bytes"].is_u64() && report["blake3"].is_string());
    }
    assert!(tree(&west.data().join("bulk/east/hosts/site")) == sent);

    east.must(&["verify", named, "west:hosts"]);
    let back = home.path().join("back");
    east.must(&["pull", "west:hosts/site/", back.to_str().unwrap()]);
    assert!(tree(&back) == sent);
    for there in [&west.data().join("bulk/east/hosts/site"), &back] {
        let meta = std::fs::metadata(there.join("part-0/f7")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o750);
        assert_eq!(meta.modified().unwrap(), long_ago);
        let leads = |link: &str| std::fs::read_link(there.join(link)).unwrap();
        assert_eq!(leads("part-1/link"), Path::new("../part-2/f2"));
        assert_eq!(leads("latest"), Path::new("part-3"));
        assert!(there.join("empty/inner").is_dir());
        let empty = std::fs::metadata(there.join("empty")).unwrap();
        assert_eq!(empty.permissions().mode() & 0o7777, 0o3700);
        for inner in ["empty", "part-3", ""] {
            let meta = std::fs::metadata(there.join(inner)).unwrap();
            assert_eq!(meta.modified().unwrap(), long_ago, "{inner}");
        }
    }

    // Another pull replaces links, and writes through none: whatever the peer says.
    let outside = tempfile::tempdir().unwrap();
    let fooled = west.data().join("bulk/east/hosts/site/latest");
    std::fs::remove_file(&fooled).unwrap();
    std::fs::create_dir(&fooled).unwrap();
    std::fs::write(fooled.join("f"), "x").unwrap();
    std::fs::remove_file(back.join("latest")).unwrap();
    symlink(outside.path(), back.join("latest")).unwrap();
    symlink(
        "/etc/passwd",
        west.data().join("bulk/east/hosts/site/passwd"),
    )
    .unwrap();
    let pull = east.strait(&["pull", "west:hosts/site/", back.to_str().unwrap()]);
    assert_eq!(pull.status.code(), Some(200));
    let complaint = String::from_utf8(pull.stderr).unwrap();
    assert!(complaint.contains("3 of 305 not fetched"), "{complaint}");
    assert!(complaint.contains("leads out"), "{complaint}");
    assert_eq!(tree(outside.path()).len(), 0);
    assert!(!back.join("passwd").exists());

    std::fs::write(
        west.data().join("bulk/east/hosts/site/part-0/f7"),
        "changed",
    )
    .unwrap();
    east.must(&["rm", "west:hosts/site/part-1/f8"]);
    let verify = east.strait(&["verify", named, "west:hosts"]);
    assert_eq!(verify.status.code(), Some(1));
    let complaint = String::from_utf8(verify.stderr).unwrap();
    assert!(complaint.contains("part-0/f7: differs"), "{complaint}");
    assert!(complaint.contains("part-1/f8: no such file"), "{complaint}");
    assert!(
        complaint.contains("site/latest: that is a folder"),
        "{complaint}"
    );
    assert!(complaint.contains("3 of 303"), "{complaint}");
}

#[test]
fn what_is_there_unchanged_is_not_sent_again() {
    let (east, west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("release");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..600 {
        std::fs::write(folder.join(format!("f{number}")), "old").unwrap();
    }
    symlink("f1", folder.join("link")).unwrap();
    let named = folder.to_str().unwrap();
    let push = |more: &[&str]| {
        let push = east.must(&[&["push", named, "west:"], more].concat());
        let sent = east.status().unwrap()["bulk"]["sent_files"].as_u64();
        (sent.unwrap(), String::from_utf8(push.stderr).unwrap())
    };
    assert_eq!(push(&[]).0, 600);
    let (sent, said) = push(&[]);
    assert_eq!(sent, 600, "nothing is sent: {said}");
    assert!(said.contains("600 unchanged"), "{said}");

    // Another length; another mode; the same of both and an older time.
    let far = west.data().join("bulk/east/release");
    std::fs::write(folder.join("f7"), "newer").unwrap();
    std::fs::set_permissions(folder.join("f8"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let mtime = |name: &str| {
        std::fs::metadata(folder.join(name))
            .unwrap()
            .modified()
            .unwrap()
    };
    let file = File::options()
        .append(true)
        .open(folder.join("f9"))
        .unwrap();
    file.set_modified(mtime("f9") - Duration::from_nanos(1))
        .unwrap();
    std::fs::remove_file(folder.join("link")).unwrap();
    symlink("f2", folder.join("link")).unwrap();
    assert_eq!(push(&[]).0, 603);
    assert_eq!(std::fs::read_to_string(far.join("f7")).unwrap(), "newer");
    let mode = std::fs::metadata(far.join("f8"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        std::fs::read_link(far.join("link")).unwrap(),
        Path::new("f2")
    );

    // What only its bytes tell apart is found by them.
    let before = mtime("f5");
    std::fs::write(folder.join("f5"), "new").unwrap();
    let file = File::options()
        .append(true)
        .open(folder.join("f5"))
        .unwrap();
    file.set_modified(before).unwrap();
    assert_eq!(push(&[]).0, 603);
    assert_eq!(push(&["--checksum"]).0, 604);
    assert_eq!(std::fs::read_to_string(far.join("f5")).unwrap(), "new");

    // With --no-replace only bytes count.
    assert_eq!(push(&["--no-replace"]).0, 604);
    std::fs::write(far.join("f6"), "another").unwrap();
    let refused = east.strait(&["push", "--no-replace", named, "west:"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("f6: another file is there"), "{said}");
    assert!(said.contains("1 of 601 not sent"), "{said}");
}

#[test]
fn names_at_the_far_site_may_be_patterns() {
    let (east, west, _cable) = pair_of_sites();
    let far = west.data().join("bulk/east/dumps");
    std::fs::create_dir_all(far.join("old.sql")).unwrap();
    for name in ["a.sql", "b.sql", "b.log", "old.sql/c"] {
        std::fs::write(far.join(name), name).unwrap();
    }
    let ls = east.must(&["ls", "west:dumps/b.*"]);
    let listed = String::from_utf8(ls.stdout).unwrap();
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let home = tempfile::tempdir().unwrap();
    let here = home.path().to_str().unwrap();
    east.must(&["pull", "west:dumps/*.sql", here]);
    let pulled: Vec<_> = tree(home.path()).into_keys().collect();
    assert_eq!(pulled, ["a.sql", "b.sql", "old.sql/c"]);
    let rm = east.strait(&["rm", "west:dumps/*.sql", "west:dumps/none*"]);
    assert_eq!(rm.status.code(), Some(1));
    let said = String::from_utf8(rm.stderr).unwrap();
    assert!(said.contains("nothing there matches"), "{said}");
    let left: Vec<_> = tree(&far).into_keys().collect();
    assert_eq!(left, ["b.log", "old.sql/c"], "a folder goes only with -r");
}

/// `STRAIT_SMALL_FILES=10000` for more of them.
#[test]
fn many_small_files_go_in_few_round_trips() {
    let count = std::env::var("STRAIT_SMALL_FILES").map_or(1500, |n| n.parse().unwrap());
    let (east, west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("small");
    for number in 0..count {
        let inner = folder.join(format!("{:02}", number % 50));
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join(number.to_string()), format!("file {number}")).unwrap();
    }
    east.must(&["push", folder.to_str().unwrap(), "west:"]);
    assert!(tree(&west.data().join("bulk/east/small")) == tree(&folder));
    let not_empty = east.strait(&["rm", "west:small"]);
    assert!(!not_empty.status.success());
    east.must(&["rm", "-r", "west:small"]);
    assert!(!west.data().join("bulk/east/small").exists());
}

#[test]
fn what_is_no_plain_file_is_named_and_the_rest_goes_on() {
    let (east, west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("odd");
    std::fs::create_dir(&folder).unwrap();
    for name in ["plain", "line\nbreak", "..."] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    symlink("/etc/hostname", folder.join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(folder.join("pipe"))
        .status();
    assert!(pipe.unwrap().success());
    let push = east.strait(&["push", folder.to_str().unwrap(), "west:"]);
    let said = String::from_utf8(push.stderr).unwrap();
    assert_eq!(
        push.status.code(),
        Some(1),
        "one name cannot be sent: {said}"
    );
    for odd in ["link", "socket", "pipe", "control character"] {
        assert!(said.contains(odd), "{odd} is named: {said}");
    }
    let arrived: Vec<_> = tree(&west.data().join("bulk/east/odd"))
        .into_keys()
        .collect();
    assert_eq!(arrived, ["...", "plain"]);
}

#[test]
fn a_push_survives_the_death_of_either_gateway() {
    let (mut east, mut west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("dump");
    let mut out = BufWriter::new(File::create(&file).unwrap());
    for line in 0..30_000_000u32 {
        // Hardly compressible, so that it takes a while.
        out.write_all(&line.wrapping_mul(2_654_435_761).to_le_bytes())
            .unwrap();
    }
    out.into_inner().unwrap();
    let push = ["push", file.to_str().unwrap(), "west:dump"];
    let partials = west.data().join("bulk/.strait-partial");
    let kept = || {
        let names = std::fs::read_dir(&partials).unwrap();
        names
            .map(|name| name.unwrap().metadata().map_or(0, |meta| meta.len()))
            .sum::<u64>()
    };
    for round in 0..2 {
        let mut going = east.command(&push).spawn().unwrap();
        let so_far = eventually("enough has arrived to go on from", 60, || {
            Some(kept()).filter(|kept| *kept >= (round + 1) * (24 << 20))
        });
        let dies = if round == 0 { &mut west } else { &mut east };
        dies.kill();
        dies.start();
        assert!(!going.wait().unwrap().success(), "it was interrupted");
        assert!(
            !west.data().join("bulk/east/dump").exists(),
            "no half file has the name"
        );
        assert!(kept() >= so_far.min(24 << 20), "what arrived is kept");
    }
    east.must(&push);
    let arrived = std::fs::read(west.data().join("bulk/east/dump")).unwrap();
    assert!(arrived == std::fs::read(&file).unwrap());
    assert_eq!(kept(), 0, "nothing is left over");
}

#[test]
fn a_pull_that_a_gateway_does_not_survive_leaves_nothing() {
    let (mut east, mut west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let far = west.data().join("bulk/east/dump");
    // Hardly compressible, and at 20 Mbit/s it takes a while.
    let bytes: Vec<_> = (0..2_000_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(&far, &bytes).unwrap();
    let copy = home.path().join("copy");
    std::fs::write(&copy, "what was there").unwrap();
    let pull = [
        "pull",
        "--bwlimit",
        "20Mbit/s",
        "west:dump",
        copy.to_str().unwrap(),
    ];
    for round in 0..2 {
        let mut going = east.command(&pull).spawn().unwrap();
        eventually("it is under way", 60, || {
            let status = if round == 0 {
                east.status()?
            } else {
                west.status()?
            };
            let [receiving, sending] =
                ["receiving", "sending"].map(|way| status["bulk"][way].as_u64());
            (receiving? + sending? > 0).then_some(())
        });
        let dies = if round == 0 { &mut west } else { &mut east };
        dies.kill();
        dies.start();
        assert!(!going.wait().unwrap().success(), "it was interrupted");
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), "what was there");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }
    east.must(&["pull", "west:dump", copy.to_str().unwrap()]);
    assert!(std::fs::read(&copy).unwrap() == bytes);
}

/// `STRAIT_AWAY_S=180` for minutes.
#[test]
fn what_was_under_way_goes_on_when_the_peer_is_back() {
    let away_s = std::env::var("STRAIT_AWAY_S").map_or(3, |s| s.parse().unwrap());
    let (mut east, west, cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let watched = home.path().join("watched");
    std::fs::create_dir(&watched).unwrap();
    east.stop();
    east.configure(&format!(
        "[[sync]]\ndir = \"{}\"\nto = \"west:synced\"\nsettle_s = 0\n",
        watched.display()
    ));
    east.start();
    let file = home.path().join("dump");
    let bytes: Vec<_> = (0..3_000_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    std::fs::write(&file, &bytes).unwrap();
    let file = file.to_str().unwrap();
    let push = [
        "push",
        "--bwlimit",
        "20Mbit/s",
        "--wait",
        "600",
        file,
        "west:dump",
    ];
    let mut going = east.command(&push).spawn().unwrap();
    let kept = || {
        let names = std::fs::read_dir(west.data().join("bulk/.strait-partial")).unwrap();
        names
            .filter(|name| name.as_ref().unwrap().file_name() != ".apart")
            .count()
    };
    eventually("it is under way", 60, || (kept() > 0).then_some(()));
    cable.cut();
    std::fs::write(watched.join("meanwhile"), "1").unwrap();
    std::thread::sleep(Duration::from_secs(away_s));
    assert!(going.try_wait().unwrap().is_none(), "it waits");
    cable.heal();
    assert!(going.wait().unwrap().success(), "the same push goes on");
    assert!(std::fs::read(west.data().join("bulk/east/dump")).unwrap() == bytes);
    eventually("what appeared meanwhile arrives", 60, || {
        std::fs::read(west.data().join("bulk/east/synced/meanwhile")).ok()
    });
}
