//! A watched folder: what appears there and stops changing is shipped.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

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

fn eventually_there(path: &Path, content: &str) {
    eventually(&format!("{} arrives", path.display()), 60, || {
        (fs::read_to_string(path).ok()? == content).then_some(())
    });
}

#[test]
fn what_appears_is_shipped_through_breaks_and_restarts() {
    let (mut east, mut west, cable) = pair_of_sites();
    let folder = tempfile::tempdir().unwrap();
    let far = west.data().join("bulk/dumps");
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
    let far = west.data().join("bulk/dumps");
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
    watch(&mut east, folder.path(), "remove = true");
    let file = folder.path().join("dump");
    fs::write(&file, "rows").unwrap();
    eventually("it is removed here", 60, || (!file.exists()).then_some(()));
    eventually_there(&west.data().join("bulk/dumps/dump"), "rows");
}
