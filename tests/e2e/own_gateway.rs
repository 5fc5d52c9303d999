//! Commands of one data directory while the gateway of another one listens on its ports.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

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
