//! A watched folder: what appears there and stops changing is shipped.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use strait_tests::{Site, eventually, pair_of_sites};

/// Watches `dir` from the next start on.
fn watch(site: &mut Site, dir: &Path, more: &str) {
    site.stop();
    site.configure(&format!(
        "[[sync]]\ndir = \"{}\"\nto = \"west:dumps\"\nsettle_s = 1\n{more}\n",
        dir.display()
    ));
    site.start();
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

fn eventually_there(path: &Path, content: &str) {
    eventually(&format!("{} arrives", path.display()), 60, || {
        (fs::read_to_string(path).ok()? == content).then_some(())
    });
}

#[test]
fn what_appears_is_shipped_through_breaks_and_restarts() {
    let (mut east, mut west, cable) = pair_of_sites();
    let folder = tempfile::tempdir().unwrap();
    let far = west.data().join("bulk/east/dumps");
    fs::write(folder.path().join("first"), "1").unwrap();
    watch(&mut east, folder.path(), "");
    eventually_there(&far.join("first"), "1");

    // Written slowly, into a folder of its own; hidden files are not finished.
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join(".hidden"), "x").unwrap();
    let mut slow = fs::File::create(folder.path().join("sub/slow")).unwrap();
    let mut paused = Duration::ZERO;
    for _ in 0..6 {
        let written = Instant::now();
        slow.write_all(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let early = fs::read_to_string(far.join("sub/slow"));
        // A busy machine may have held us up for as long as settles a file.
        paused = paused.max(written.elapsed());
        let settled = paused >= Duration::from_secs(1);
        assert!(
            early.is_err() || settled,
            "shipped while it was written: {early:?}"
        );
    }
    eventually_there(&far.join("sub/slow"), "xxxxxx");
    assert!(!far.join(".hidden").exists());

    // A link that leads out of the folder is left alone, one within it is shipped; names that no path can spell stop nothing.
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
    std::os::unix::fs::symlink("../first", folder.path().join("sub/inner")).unwrap();
    fs::write(folder.path().join("line\nbreak"), "x").unwrap();
    cable.cut();
    fs::write(folder.path().join("during"), "2").unwrap();
    west.kill();
    west.start();
    cable.heal();
    eventually_there(&far.join("during"), "2");
    assert!(!far.join("link").is_symlink());
    let inner = eventually("the link arrives", 20, || {
        fs::read_link(far.join("sub/inner")).ok()
    });
    assert_eq!(inner, Path::new("../first"));

    // After a restart what the peer has is not sent again; what changed is.
    east.kill();
    fs::write(folder.path().join("first"), "one").unwrap();
    east.start();
    eventually_there(&far.join("first"), "one");
    let sent = eventually("the sender hears of it", 20, || {
        let sent = east.status()?["bulk"]["sent_files"].as_u64();
        sent.filter(|sent| *sent > 0)
    });
    assert_eq!(sent, 1);
}

#[test]
fn neither_gateway_survives_and_all_files_arrive() {
    let (mut east, mut west, _cable) = pair_of_sites();
    let folder = tempfile::tempdir().unwrap();
    let far = west.data().join("bulk/east/dumps");
    watch(&mut east, folder.path(), "");
    let names: Vec<_> = (0..200).map(|n| format!("segment-{n:03}")).collect();
    for name in &names {
        // Hardly compressible, so that it takes a while.
        let bytes: Vec<_> = (0..50_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        fs::write(folder.path().join(name), [name.as_bytes(), &bytes].concat()).unwrap();
    }
    let arrived = || fs::read_dir(&far).map_or(0, |names| names.count());
    for (round, so_far) in [1, 60].into_iter().enumerate() {
        eventually("some have arrived", 60, || {
            (arrived() >= so_far).then_some(())
        });
        let dies = if round == 0 { &mut west } else { &mut east };
        dies.kill();
        for file in fs::read_dir(&far).unwrap() {
            let path = file.unwrap().path();
            let sent = fs::read(folder.path().join(path.file_name().unwrap())).unwrap();
            assert!(
                fs::read(&path).unwrap() == sent,
                "{} is whole",
                path.display()
            );
        }
        dies.start();
    }
    eventually("all have arrived", 120, || {
        (arrived() == names.len()).then_some(())
    });
    let waiting = || east.status()?["syncs"][0]["waiting_files"].as_u64();
    eventually("nothing waits any more", 30, || {
        (waiting()? == 0).then_some(())
    });
    let shipped = east.status().unwrap()["syncs"][0]["shipped_files"].as_u64();
    assert!(shipped.unwrap() <= names.len() as u64);
}

#[test]
fn what_is_safe_at_the_peer_can_be_removed() {
    let (mut east, west, _cable) = pair_of_sites();
    let folder = tempfile::tempdir().unwrap();
    // As a gateway leaves it that was killed between shipping and removing.
    let shipped = folder.path().join("shipped");
    fs::write(&shipped, "rows").unwrap();
    fs::create_dir(west.data().join("bulk/east/dumps")).unwrap();
    let there = west.data().join("bulk/east/dumps/shipped");
    fs::copy(&shipped, &there).unwrap();
    set_modified(&there, fs::metadata(&shipped).unwrap().modified().unwrap());
    watch(&mut east, folder.path(), "remove = true");
    eventually("what was shipped before is removed, too", 60, || {
        (!shipped.exists()).then_some(())
    });
    let file = folder.path().join("dump");
    fs::write(&file, "rows").unwrap();
    eventually("it is removed here", 60, || (!file.exists()).then_some(()));
    eventually_there(&west.data().join("bulk/east/dumps/dump"), "rows");
}

#[test]
fn a_file_server_whose_clock_is_behind_loses_nothing() {
    let (mut east, west, _cable) = pair_of_sites();
    let folder = tempfile::tempdir().unwrap();
    let settle = Duration::from_secs(3);
    east.stop();
    east.configure(&format!(
        "[[sync]]\ndir = \"{}\"\nto = \"west:dumps\"\nsettle_s = {}\nremove = true\n",
        folder.path().display(),
        settle.as_secs()
    ));
    east.start();
    let path = folder.path().join("slow");
    let mut slow = fs::File::create(&path).unwrap();
    let mut paused = Duration::ZERO;
    for _ in 0..42 {
        let written = Instant::now();
        slow.write_all(b"x").unwrap();
        // What the clock of the server says.
        slow.set_modified(SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
        std::thread::sleep(Duration::from_millis(200));
        paused = paused.max(written.elapsed());
    }
    drop(slow);
    // A busy machine may have held us up for as long as settles a file.
    if paused < settle {
        eventually("it is removed here", 60, || (!path.exists()).then_some(()));
        let there = fs::read_to_string(west.data().join("bulk/east/dumps/slow")).unwrap();
        assert_eq!(there, "x".repeat(42));
    }
}

#[test]
fn what_keeps_its_length_and_time_is_shipped_again_too() {
    let (mut east, west, _cable) = pair_of_sites();
    let folder = tempfile::tempdir().unwrap();
    watch(&mut east, folder.path(), "");
    let (file, there) = (
        folder.path().join("f"),
        west.data().join("bulk/east/dumps/f"),
    );
    fs::write(&file, "old").unwrap();
    eventually_there(&there, "old");
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "new").unwrap();
    set_modified(&file, time);
    eventually_there(&there, "new");
    for mode in [0o600, 0o640] {
        // The second while nobody looks.
        if mode == 0o640 {
            east.kill();
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        if mode == 0o640 {
            east.start();
        }
        eventually("the mode arrives", 60, || {
            let there = fs::metadata(&there).ok()?.permissions().mode();
            (there & 0o777 == mode).then_some(())
        });
    }
}
