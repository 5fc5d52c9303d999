//! A watched folder: what appears there and stops changing is shipped.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::fs;
use std::io::Write;
use std::path::Path;

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
    for _ in 0..6 {
        slow.write_all(b"x").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(500));
        let early = fs::read_to_string(far.join("sub/slow"));
        assert!(early.is_err(), "shipped while it was written: {early:?}");
    }
    eventually_there(&far.join("sub/slow"), "xxxxxx");
    assert!(!far.join(".hidden").exists());

    // A link in the folder leads nowhere; names that no path can spell stop nothing.
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
    fs::write(folder.path().join("line\nbreak"), "x").unwrap();
    cable.cut();
    fs::write(folder.path().join("during"), "2").unwrap();
    west.kill();
    west.start();
    cable.heal();
    eventually_there(&far.join("during"), "2");
    assert!(!far.join("link").exists());

    // After a restart what the peer has is not sent again; what changed is.
    east.kill();
    fs::write(folder.path().join("first"), "one").unwrap();
    east.start();
    eventually_there(&far.join("first"), "one");
    let sent = east.status().unwrap()["bulk"]["sent_files"].as_u64();
    assert_eq!(sent, Some(1));
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
