//! Commands of one data directory while the gateway of another one listens on its ports.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::process::Stdio;

use redis::Commands;
use strait_tests::Site;

/// Takes over the ports of `other`.
fn move_in(site: &mut Site, other: &Site) {
    let ports = [
        (site.link, other.link),
        (site.grid, other.grid),
        (site.http, other.http),
    ];
    for (mine, theirs) in ports {
        site.change_config(&format!(":{}", mine.port()), &format!(":{}", theirs.port()));
    }
    [site.link, site.grid, site.http] = [other.link, other.grid, other.http];
}

#[test]
fn no_command_acts_on_the_gateway_of_another_directory() {
    let mut stag = Site::new("stag");
    stag.pair_with(&Site::new("peer"), None);
    stag.start();
    let () = stag.redis().set("visits", 7).unwrap();
    stag.stop();
    // The next start takes a snapshot at once where there is none.
    std::fs::remove_dir_all(stag.data().join("snapshots")).unwrap();
    stag.start();
    strait_tests::eventually("a snapshot has the counter", 20, || {
        let listed = stag.must(&["snapshots"]).stdout;
        let listed = String::from_utf8(listed).unwrap();
        listed.contains(" 1 counters").then_some(())
    });
    let at = "2100-01-01T00:00:00Z";
    let replay = ["replay", "--at", at, "--yes"];
    stag.must(&replay);
    stag.stop();

    let mut doe = Site::new("doe");
    move_in(&mut doe, &stag);
    doe.start();
    let () = doe.redis().set("visits", 1000).unwrap();
    let () = doe.redis().set("orders", 3).unwrap();
    for command in [
        &["status"][..],
        &["status", "--json"],
        &["verify", "peer"],
        &["replay", "--from", "peer"],
        &replay,
        &["reload"],
    ] {
        let output = stag.strait(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("no gateway runs on"), "{command:?}: {said}");
        assert!(output.stdout.is_empty(), "{command:?}");
    }
    let held: [Option<i64>; 2] = ["visits", "orders"].map(|key| doe.redis().get(key).unwrap());
    assert_eq!(held, [Some(1000), Some(3)], "doe's counters are untouched");
    let own = String::from_utf8(doe.must(&["status", "--json"]).stdout).unwrap();
    assert!(own.contains("\"site\":\"doe\""), "{own}");
}

#[test]
fn commands_about_files_end_when_their_gateway_hangs() {
    let mut east = Site::new("east");
    east.pair_with(&Site::new("west"), None);
    east.start();
    east.freeze();
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (folder.path().join("file"), folder.path().join("copy"));
    std::fs::write(&file, "text").unwrap();
    let (file, copy) = (file.to_str().unwrap(), copy.to_str().unwrap());
    let commands = [
        (&["push", file, "west:f"][..], 1),
        (&["pull", "west:f", copy], 200),
        (&["ls", "west:"], 200),
        (&["rm", "west:f"], 1),
        (&["status"], 1),
    ];
    let going = commands.map(|(command, status)| {
        let mut strait = east.command(command);
        strait.stdin(Stdio::null()).stdout(Stdio::null());
        let going = strait.stderr(Stdio::piped()).spawn().unwrap();
        (command, status, going)
    });
    for (command, status, going) in going {
        let output = going.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{command:?}: {said}");
        assert!(said.contains("it hangs"), "{command:?}: {said}");
    }
    east.signal("CONT");
    east.must(&["status"]);
}
