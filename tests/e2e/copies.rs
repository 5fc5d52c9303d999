//! A data directory that was copied, and both copies run: a peer notices, one of them is refused, and
//! after `strait renew` what both have counted adds up.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::path::Path;
use std::process::Command;

use redis::Commands;
use strait_tests::{Site, eventually};

/// Copies a data directory as an administrator does.
fn copy(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// The copy of a site with ports of its own.
fn copy_of(site: &Site) -> Site {
    let copied = Site::new(&site.name);
    copy(&site.data(), &copied.data());
    let ports = [
        (site.link, copied.link),
        (site.grid, copied.grid),
        (site.http, copied.http),
    ];
    for (old, new) in ports {
        copied.change_config(&format!(":{}", old.port()), &format!(":{}", new.port()));
    }
    copied
}

fn value(site: &Site, key: &str) -> i64 {
    let value: Option<i64> = site.redis().get(key).unwrap();
    value.unwrap_or(0)
}

fn add(site: &Site, key: &str, times: usize) {
    for _ in 0..times {
        let () = site.redis().incr(key, 1).unwrap();
    }
    site.settle();
}

fn linked(site: &Site) {
    eventually("the link is up", 30, || {
        (site.link_status()?["phase"] == "replicating").then_some(())
    });
}

fn refused(site: &Site) {
    eventually("the copy is told that it is one", 30, || {
        let words = site.link_status()?["refused_as_copy"].as_str()?.to_owned();
        words.contains("this one is a copy").then_some(())
    });
}

/// The gateway's metric of its only link.
fn of_link(site: &Site, metric: &str) -> f64 {
    site.metric(metric)
}

#[test]
fn the_second_of_two_copies_is_refused_and_what_both_count_adds_up_once_it_is_renewed() {
    let mut west = Site::new("west");
    let mut east = Site::new("east");
    east.pair_with(&west, Some(west.link));
    west.pair_with(&east, None);
    west.start();
    east.start();
    linked(&east);
    add(&east, "hits", 3);
    add(&east, "kept", 1);
    eventually("west has it", 30, || {
        (value(&west, "hits") == 3).then_some(())
    });
    let mut copied = copy_of(&east);

    // Both live: whoever is linked stays, and loses nothing.
    copied.start_serving();
    refused(&copied);
    add(&east, "hits", 5);
    add(&copied, "hits", 5);
    add(&copied, "only", 5);
    let () = copied.redis().set("kept", 40).unwrap();
    add(&copied, "kept", 2);
    eventually("west has what was counted at east", 30, || {
        (value(&west, "hits") == 8).then_some(())
    });
    assert_eq!(of_link(&east, "strait_link_up"), 1.0);
    assert_eq!(of_link(&copied, "strait_link_refused_as_copy"), 1.0);
    assert!(of_link(&west, "strait_link_copies_total") >= 1.0);
    let (code, said) = strait_tests::get(copied.http, "/readyz").unwrap();
    assert_eq!(code, 503, "{said}");
    assert!(said.contains("refuses this gateway as a copy"), "{said}");
    let told = "the peer's gateway runs twice";
    assert!(west.log_text().contains(told), "{}", west.log_text());
    let told = "the peer refuses this gateway as a copy";
    assert!(copied.log_text().contains(told), "{}", copied.log_text());
    // Nobody but its own disk confirms what it takes.
    let held: usize = redis::cmd("WAIT")
        .arg(1)
        .arg(300)
        .query(&mut copied.redis())
        .unwrap();
    assert_eq!(held, 0);
    // It is as refused after another start.
    copied.kill();
    copied.start_serving();
    refused(&copied);
    add(&copied, "hits", 1);
    copied.stop();
    let said = copied.must(&["renew"]).stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("in 3 counters"), "{said}");

    // Both are of one site still, and take turns.
    copied.start();
    for site in [&east, &copied, &west] {
        eventually("both branches count", 60, || {
            let values = ["hits", "only", "kept"].map(|key| value(site, key));
            (values == [3 + 5 + 6, 5, 42]).then_some(())
        });
    }
    // One after the other, as it should be.
    copied.stop();
    add(&east, "hits", 1);
    eventually("west follows east", 30, || {
        (value(&west, "hits") == 15).then_some(())
    });
    east.stop();
    copied.start();
    linked(&copied);
    eventually("the copy follows west", 30, || {
        (value(&copied, "hits") == 15).then_some(())
    });
    let verified = copied.strait(&["verify", "west"]);
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
}

#[test]
fn a_gateway_that_was_killed_is_no_copy_of_the_one_after_it() {
    let mut west = Site::new("west");
    let mut east = Site::new("east");
    east.pair_with(&west, Some(west.link));
    west.pair_with(&east, None);
    west.start();
    east.start();
    linked(&east);
    for round in 1..=4 {
        east.kill();
        east.start();
        linked(&east);
        add(&east, "hits", 1);
        eventually("west has it", 30, || {
            (value(&west, "hits") == round).then_some(())
        });
    }
    assert_eq!(of_link(&west, "strait_link_copies_total"), 0.0);
    assert_eq!(of_link(&east, "strait_link_refused_as_copy"), 0.0);
}
