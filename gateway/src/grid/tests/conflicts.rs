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
