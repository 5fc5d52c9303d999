//! Peers that tell what cannot be: another sum of a version that is known, entries from the past.

use super::*;

#[test]
fn another_sum_of_a_known_version_is_counted_and_the_origin_puts_it_right() {
    let (east, west) = (grid("east"), grid("west"));
    // Two gateways that claim to be one: a data directory that was copied.
    let twin = grid("east");
    east.lock().add(b"hits", 5).unwrap();
    twin.lock().add(b"hits", 9).unwrap();
    let (right, wrong) = (flush(&east), flush(&twin));
    for record in wrong.iter().chain(&right) {
        west.apply(&peer(), record.clone()).unwrap();
    }
    assert_eq!(west.stats().conflicts_total, 1);
    assert_eq!(
        west.lock().get(b"hits"),
        Ok(Some(9)),
        "one of the two, everywhere the same"
    );
    // The origin hears of it and says what it holds, under a newer version.
    for record in wrong {
        east.apply(&peer(), record).unwrap();
    }
    assert_eq!(east.stats().conflicts_total, 1);
    for record in flush(&east) {
        west.apply(&peer(), record).unwrap();
    }
    west.flush().unwrap();
    assert_eq!(west.lock().get(b"hits"), Ok(Some(5)));
    assert_eq!(east.digest(), west.digest());
}

#[test]
fn entries_from_the_past_change_nothing() {
    let (east, west) = (grid("east"), grid("west"));
    let twin = grid("east");
    append(&twin, "clicks", 9);
    let past = flush(&twin);
    std::thread::sleep(Duration::from_millis(2));
    append(&east, "clicks", 1);
    for record in flush(&east).into_iter().chain(past) {
        west.apply(&peer(), record).unwrap();
    }
    west.flush().unwrap();
    assert_eq!(west.stats().entries, 1);
    let state = west.lock();
    let Some(Kind::Log(id)) = state.kind(b"east.clicks") else {
        panic!("no log");
    };
    let range = state.log(id).range(EntryId::MIN, EntryId::MAX);
    let entries: Vec<_> = range.map(Result::unwrap).collect();
    assert_eq!(entries[0].1, payload(1));
}

#[test]
fn of_a_peers_positions_only_what_is_known_here_is_kept() {
    let (east, west) = (grid("east"), grid("west"));
    for (site, log) in [(&east, "both"), (&west, "west's alone")] {
        append(site, log, 1);
    }
    east.lock().add(b"hits", 1).unwrap();
    for record in flush(&east) {
        west.apply(&peer(), record).unwrap();
    }
    west.lock().add(b"hits", 1).unwrap();
    west.flush().unwrap();
    let theirs = positions(&west);
    assert_eq!((theirs.watermarks.len(), theirs.logs.len()), (2, 2));
    let kept = east.known_of(theirs.clone());
    assert_eq!((kept.watermarks.len(), kept.logs.len()), (1, 1));
    assert_eq!(
        kept.watermark(&east.origin()),
        theirs.watermark(&east.origin())
    );
}

#[test]
fn what_a_peer_acknowledged_before_its_disk_was_lost_counts_no_longer() {
    let (east, west, site) = (grid("east"), grid("west"), "west".parse().unwrap());
    east.lock().add(b"hits", 1).unwrap();
    let records = flush(&east);
    let epoch = *east.subscribe().borrow();
    east.set_peer_acked(&site, Feed::Counters, epoch);
    let acked = || {
        east.acked()
            .borrow()
            .get(&site)
            .map_or(Epoch(0), |acked| acked.epoch(Feed::Counters))
    };
    for record in records {
        west.apply(&peer(), record).unwrap();
    }
    west.flush().unwrap();
    east.set_peer_holds(&site, Feed::Counters, &positions(&west));
    assert_eq!(acked(), epoch, "a new session alone changes nothing");
    east.set_peer_holds(&site, Feed::Counters, &positions(&grid("west")));
    assert_eq!(acked(), Epoch::default());
}

#[test]
fn sites_whose_clocks_are_at_the_end_of_time_already_go_on_together() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (east, _) = Grid::open(config.clone()).unwrap();
    let west = grid("west");
    for site in [&east, &*west] {
        site.lock().clock.observe(clock::HLC_MAX);
    }
    west.lock().add(b"hits", 1).unwrap();
    for record in flush(&west) {
        east.apply(&peer(), record).unwrap();
    }
    east.lock().add(b"hits", 1).unwrap();
    for record in flush(&east) {
        west.apply(&peer(), record).unwrap();
    }
    assert_eq!(west.lock().get(b"hits"), Ok(Some(2)));
    drop(east);
    let (east, recovery) = Grid::open(config).unwrap();
    assert!(recovery.quarantined.is_empty(), "{recovery}");
    assert_eq!(east.lock().get(b"hits"), Ok(Some(2)));
}

#[test]
fn what_a_peer_changes_spoils_a_watch() {
    let (east, west) = (grid("east"), grid("west"));
    let (hits, other) = (Watch::default(), Watch::default());
    west.lock().watch(b"hits", &hits);
    west.lock().watch(b"other", &other);
    east.lock().add(b"hits", 1).unwrap();
    for record in flush(&east) {
        west.apply(&peer(), record).unwrap();
    }
    assert!(hits.is_spoilt() && !other.is_spoilt());
}
