//! A disk that lost something, and comparisons that find it: nobody is answered with less than there
//! was, and nothing that others do holds a comparison back.

#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

use std::io::Read;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use redis::RedisResult;
use strait_tests::{
    Edit, Site, append_to_journal, edit_journal, eventually, eventually_equal_digests, join,
    pair_of_sites,
};

/// Adds an entry, in a flush of its own.
fn add(site: &Site, n: u64) {
    let mut add = redis::cmd("XADD");
    add.arg("clicks").arg("*").arg("n").arg(format!("<{n}>"));
    let _: String = add.query(&mut site.redis()).unwrap();
    site.settle();
}

/// Numbers of all entries, as far as the site says.
fn entries(site: &Site, key: &str) -> RedisResult<Vec<u64>> {
    let mut range = redis::cmd("XRANGE");
    let read: Vec<(String, Vec<String>)> =
        range.arg(key).arg("-").arg("+").query(&mut site.redis())?;
    let number =
        |(_, fields): (String, Vec<String>)| fields[1].trim_matches(['<', '>']).parse().unwrap();
    Ok(read.into_iter().map(number).collect())
}

fn length(site: &Site) -> RedisResult<u64> {
    redis::cmd("XLEN").arg("clicks").query(&mut site.redis())
}

fn in_step(site: &Site) {
    eventually("the peer has told what it held", 30, || {
        (site.status()?["links"][0]["heard_all"] == true).then_some(())
    });
}

#[test]
fn what_clients_append_after_damage_hides_nothing_that_was_lost() {
    let (mut east, west, _cable) = pair_of_sites();
    [&east, &west].into_iter().for_each(in_step);
    (1..=30).for_each(|n| add(&east, n));
    eventually_equal_digests(&east, &west, 30);
    east.stop();
    // One in the middle, which the next one shows to be missing; and the last ones, which nothing does.
    for n in [10, 28, 29, 30] {
        let flipped = edit_journal(&east.data(), format!("<{n}>").as_bytes(), Edit::FlipBit);
        assert_eq!(flipped, 1);
    }
    west.signal("STOP");
    east.start();
    let log = east.log_text();
    let named = log.matches("journal is damaged").count();
    assert_eq!(named, 4, "each record once: {log}");
    (31..=33).for_each(|n| add(&east, n));
    let lost = entries(&east, "clicks").unwrap_err().to_string();
    assert!(lost.contains("are lost"), "{lost}");
    let uncounted = length(&east).unwrap_err().to_string();
    assert!(uncounted.contains("nobody knows how many"), "{uncounted}");
    assert_eq!(east.metric("strait_grid_log_holes"), 2.0);
    assert_eq!(east.metric("strait_grid_doubted_peers"), 1.0);
    // It is known after a crash, too.
    east.kill();
    east.start();
    assert_eq!(east.metric("strait_grid_log_holes"), 2.0);
    west.signal("CONT");
    eventually("west was compared", 60, || {
        (east.metric("strait_grid_doubted_peers") == 0.0).then_some(())
    });
    assert_eq!(entries(&east, "clicks").unwrap(), Vec::from_iter(1..=33));
    assert_eq!(length(&east).unwrap(), 33);
    assert_eq!(east.metric("strait_grid_log_holes"), 0.0);
    eventually_equal_digests(&east, &west, 30);
    assert_eq!(
        entries(&west, "east.clicks").unwrap(),
        Vec::from_iter(1..=33)
    );
}

/// Both sites compare themselves with the other while a push at east goes on.
fn verify_beside(push: &mut Child, east: &Site, west: &Site) {
    let begun = Instant::now();
    east.must(&["verify", "west"]);
    west.must(&["verify", "east"]);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(push.try_wait().unwrap().is_none(), "the push goes on");
    push.kill().unwrap();
    push.wait().unwrap();
}

#[test]
fn verify_does_not_wait_for_closed_hours() {
    let (mut east, west, _cable) = pair_of_sites();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("random");
    random(&file, 16 << 20);
    east.stop();
    east.configure(
        "[[window]]\nfrom = \"00:00\"\nto = \"24:00\"\nclass = \"bulk\"\nrate = \"closed\"\n",
    );
    east.start();
    [&east, &west].into_iter().for_each(in_step);
    let push = ["push", "--quiet", file.to_str().unwrap(), "west:random"];
    let mut push = east.command(&push).spawn().unwrap();
    verify_beside(&mut push, &east, &west);
}

#[test]
fn verify_does_not_wait_behind_a_push_that_fills_the_link() {
    let (mut east, mut west) = (Site::new("east"), Site::new("west"));
    let _cable = join(&east, &west);
    // Of the peer, the last section.
    east.configure("rate = \"8Mbit/s\"\n");
    east.start();
    west.start();
    [&east, &west].into_iter().for_each(in_step);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("random");
    // A minute of the link.
    random(&file, 64 << 20);
    let push = ["push", "--quiet", file.to_str().unwrap(), "west:random"];
    let mut push = east.command(&push).spawn().unwrap();
    eventually("files are on their way", 30, || {
        let link = east.link_status()?;
        (link["udp_sent_bytes"].as_u64()? > 1 << 20).then_some(())
    });
    verify_beside(&mut push, &east, &west);
}

fn random(path: &Path, bytes: usize) {
    let mut random = vec![0; bytes];
    let mut source = std::fs::File::open("/dev/urandom").unwrap();
    source.read_exact(&mut random).unwrap();
    std::fs::write(path, random).unwrap();
}

#[test]
fn what_a_peer_refuses_for_ever_is_not_on_its_way() {
    let (east, mut west, _cable) = pair_of_sites();
    [&east, &west].into_iter().for_each(in_step);
    let incarnation = east.status().unwrap()["gateway"]["incarnation"]
        .as_str()
        .unwrap()
        .to_owned();
    west.stop();
    // A version of east that east cannot have written: it takes that from nobody.
    let incarnation = u64::from_str_radix(&incarnation, 16).unwrap();
    append_to_journal(&west.data(), &forged("east", incarnation, 1 << 58));
    west.start();
    [&east, &west].into_iter().for_each(in_step);
    let verify = east.strait(&["verify", "west"]);
    let said = String::from_utf8_lossy(&verify.stdout);
    assert_eq!(verify.status.code(), Some(1), "{said}");
    assert!(said.contains("differs: range"), "{said}");
    assert!(!said.contains("nothing was lost"), "{said}");
    assert_eq!(east.metric("strait_compare_ranges_stuck"), 1.0);
    let verify = west.strait(&["verify", "east"]);
    let said = String::from_utf8_lossy(&verify.stdout);
    assert!(
        said.contains("forged:key"),
        "it is named where it is known: {said}"
    );
}

/// A record of one counter: docs/WIRE.md, "Grid records".
fn forged(site: &str, incarnation: u64, version: u64) -> Vec<u8> {
    let varint = |mut value: u64| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    let named = |bytes: &[u8]| [varint(bytes.len() as u64), bytes.to_vec()].concat();
    let key = b"forged:key";
    let columns = [
        varint(0),
        varint(key.len() as u64),
        varint(0),
        key.to_vec(),
        varint(1),
        varint(2 << 20),
        varint(2),
        varint(0),
        varint(2 * version),
        varint(14),
        Vec::new(),
    ];
    let mut record = vec![2, 1, 1];
    record.extend(named(site.as_bytes()));
    record.extend([1, 0]);
    record.extend(incarnation.to_le_bytes());
    record.extend([0, 1]);
    columns
        .iter()
        .for_each(|column| record.extend(named(column)));
    record
}

#[test]
fn a_log_that_a_peer_cannot_be_sent_is_told_by_verify() {
    let (mut east, west, cable) = pair_of_sites();
    [&east, &west].into_iter().for_each(in_step);
    cable.cut();
    (1..=9).for_each(|n| add(&east, n));
    east.kill();
    let flipped = edit_journal(&east.data(), b"<5>", Edit::FlipBit);
    assert_eq!(flipped, 1);
    cable.heal();
    east.start();
    [&east, &west].into_iter().for_each(in_step);
    eventually("west has what is before the hole", 30, || {
        entries(&west, "east.clicks")
            .ok()
            .filter(|held| *held == [1, 2, 3, 4])
    });
    let verify = east.strait(&["verify", "west"]);
    assert_eq!(verify.status.code(), Some(1));
    let said = String::from_utf8_lossy(&verify.stdout);
    assert!(said.contains("cannot be sent all"), "{said}");
    // Whoever gives it up can.
    let mut trim = redis::cmd("XTRIM");
    let first: Vec<(String, Vec<String>)> = redis::cmd("XREVRANGE")
        .arg("clicks")
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(4)
        .query(&mut east.redis())
        .unwrap();
    let () = trim
        .arg("clicks")
        .arg("MINID")
        .arg(&first[3].0)
        .query(&mut east.redis())
        .unwrap();
    eventually_equal_digests(&east, &west, 30);
    east.must(&["verify", "west"]);
}
