//! Sites that exchange records come to hold the same.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Counters' records may come in any order and twice; logs' records in order, also twice.
    #[test]
    fn sites_that_exchange_records_converge(
        steps in proptest::collection::vec((any::<bool>(), step()), 1..60),
        order in any::<u64>(),
    ) {
        let (east, west) = (grid("east"), grid("west"));
        let mut under_way: [Vec<Bytes>; 2] = [Vec::new(), Vec::new()];
        let mut random = order | 1;
        for (at_east, step) in &steps {
            let (here, there) = if *at_east { (&east, &west) } else { (&west, &east) };
            let queue = &mut under_way[usize::from(*at_east)];
            queue.extend(run(here, step));
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if random >> 62 == 0 && !queue.is_empty() {
                let place = (random >> 32) as usize % queue.len();
                let record = queue[place].clone();
                if !is_log(&record) {
                    there.apply(&peer(), record).unwrap();
                }
            }
        }
        // In the second round both see what the other's deadlines said.
        for _ in 0..2 {
            for grid in [&east, &west] {
                grid.lock().expire_some(5);
            }
            for (place, (here, there)) in [(&west, &east), (&east, &west)].into_iter().enumerate() {
                let mut queue = std::mem::take(&mut under_way[place]);
                queue.extend(flush(here));
                let logs: Vec<_> = queue.iter().filter(|r| is_log(r)).cloned().collect();
                let counters = queue.iter().rev().filter(|r| !is_log(r)).cloned();
                for record in counters.chain(logs.clone()).chain(logs) {
                    there.apply(&peer(), record).unwrap();
                }
            }
        }
        for grid in [&east, &west] {
            grid.flush().unwrap();
        }
        prop_assert_eq!(east.digest(), west.digest());
        // What clients see of counters is the same too.
        for key in 0..4_u8 {
            prop_assert_eq!(east.lock().get(&[b'k', key]).ok().flatten(), west.lock().get(&[b'k', key]).ok().flatten());
        }
    }

    /// A scan at any moment, with writes going on, leaves out nothing.
    #[test]
    fn a_site_that_was_away_catches_up(
        steps in proptest::collection::vec((any::<bool>(), step()), 1..60),
        catch_ups in proptest::collection::vec(0..60_usize, 0..4),
    ) {
        let (east, west) = (grid("east"), grid("west"));
        for (place, (at_east, step)) in steps.iter().enumerate() {
            run(if *at_east { &east } else { &west }, step);
            if catch_ups.contains(&place) {
                catch_up(&east, &west);
                catch_up(&west, &east);
            }
        }
        east.flush().unwrap();
        west.flush().unwrap();
        catch_up(&east, &west);
        catch_up(&west, &east);
        // The last scans may have left out what they found dirty.
        prop_assert_eq!(east.digest(), west.digest());
    }
}

#[test]
fn a_gap_in_a_log_is_refused_and_says_where_to_go_on() {
    let (east, west) = (grid("east"), grid("west"));
    append(&east, "clicks", 1);
    let first = flush(&east);
    append(&east, "clicks", 2);
    let second = flush(&east);
    let record = second.iter().find(|record| is_log(record)).unwrap();
    let Err(ApplyError::Gap { log, have }) = west.apply(&peer(), record.clone()) else {
        panic!("the gap went unseen");
    };
    assert_eq!(have, LogPosition::default());
    while let Some((record, reached)) = east.log_after(&log, have, usize::MAX) {
        west.apply(&peer(), record).unwrap();
        if reached == positions(&east).log(&log) {
            break;
        }
    }
    for record in first.iter().chain(&second) {
        west.apply(&peer(), record.clone()).unwrap();
    }
    west.flush().unwrap();
    assert_eq!(east.digest(), west.digest());
    assert_eq!(west.stats().applied_gaps_total, 1);
    assert_eq!(
        west.lock()
            .kind(b"east.clicks")
            .map(|kind| matches!(kind, Kind::Log(_))),
        Some(true)
    );
    let refused = west
        .lock()
        .append(b"east.clicks", NewId::Auto, &payload(1), (true, None), 1);
    assert_eq!(refused, Err(OpError::OthersLog("east".to_owned())));
    let refused = west
        .lock()
        .append(b"east.other", NewId::Auto, &payload(1), (true, None), 1);
    assert_eq!(refused, Err(OpError::OthersName("east".to_owned())));
}

#[test]
fn names_of_different_kinds_at_two_sites_converge() {
    let (east, west) = (grid("east"), grid("west"));
    east.lock().add(b"x", 1).unwrap();
    west.lock().add_field(b"x", b"f", 2).unwrap();
    append(&west, "x2", 1);
    east.lock().add(b"west.x2", 1).unwrap();
    for _ in 0..2 {
        east.flush().unwrap();
        west.flush().unwrap();
        catch_up(&east, &west);
        catch_up(&west, &east);
    }
    assert_eq!(east.digest(), west.digest());
    for grid in [&east, &west] {
        assert_eq!(grid.lock().kind(b"x"), Some(Kind::Counter));
        assert_eq!(grid.lock().get_field(b"x", b"f"), Err(OpError::WrongType));
    }
    assert_eq!(east.lock().kind(b"west.x2"), Some(Kind::Counter));
    // Deleting the counter brings the hash to light, at both.
    east.lock().delete(b"x").unwrap();
    east.flush().unwrap();
    catch_up(&east, &west);
    assert_eq!(
        west.lock().kind(b"x"),
        None,
        "DEL takes everything behind the name"
    );
}

#[test]
fn what_a_lost_disk_held_comes_back_from_a_peer_and_is_named() {
    let (east, west) = (grid("east"), grid("west"));
    for _ in 0..3 {
        east.lock().add(b"hits", 5).unwrap();
        append(&east, "clicks", 1);
        east.flush().unwrap();
    }
    catch_up(&east, &west);
    // The same data directory, its journal gone.
    let east = grid("east");
    catch_up(&west, &east);
    assert_eq!(east.lock().get(b"hits"), Ok(Some(15)));
    assert!(east.stats().own_from_peers_total > 0);
    // And it goes on from there: what it writes next is newer than all that peers hold.
    east.lock().add(b"hits", 1).unwrap();
    assert!(append(&east, "clicks", 2) > EntryId::MIN);
    east.flush().unwrap();
    catch_up(&east, &west);
    catch_up(&west, &east);
    assert_eq!(west.lock().get(b"hits"), Ok(Some(16)));
    assert_eq!(east.digest(), west.digest());
    assert_eq!(west.stats().own_from_peers_total, 0);
}

/// The counter, which is 7, is 8 at both in the end.
fn count_while_catching_up(east: &Arc<Grid>, west: &Grid) {
    // Not on disk yet when the scan comes by, and in the flush after it.
    east.lock().add(b"hits", 1).unwrap();
    let mut scan = east.scan_counters(&positions(west));
    while let Some(record) = scan.next(usize::MAX).unwrap() {
        west.apply(&peer(), record).unwrap();
    }
    for record in flushed(east, scan.complete_to().0.next()) {
        west.apply(&peer(), record).unwrap();
    }
    assert_eq!(west.lock().get(b"hits"), Ok(Some(8)));
    assert_eq!(east.digest(), west.digest());
}

#[test]
fn what_was_cleared_is_told_though_the_counter_changes_while_a_peer_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let east = config("east", Some(dir.path().to_owned()));
    let (east, west) = (Arc::new(Grid::open(east).unwrap().0), grid("west"));
    west.lock().add(b"hits", 5).unwrap();
    west.flush().unwrap();
    catch_up(&west, &east);
    let set = east.lock().set(b"hits", 7, SetIf::Always, false);
    assert!(set.unwrap().done);
    east.flush().unwrap();
    count_while_catching_up(&east, &west);
    // The journal is rewritten by the same scan.
    east.begin_rewrite_now();
    east.lock().add(b"hits", 1).unwrap();
    for _ in 0..3 {
        east.flush().unwrap();
    }
    let (east, _) = Grid::open(config("east", Some(dir.path().to_owned()))).unwrap();
    assert_eq!(east.lock().get(b"hits"), Ok(Some(9)));
}

#[test]
fn what_was_cleared_before_a_restart_is_told_though_the_counter_changes_while_a_peer_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("east", Some(dir.path().to_owned()));
    let (east, west) = (Grid::open(config.clone()).unwrap().0, grid("west"));
    east.lock().add(b"hits", 5).unwrap();
    east.flush().unwrap();
    catch_up(&Arc::new(east), &west);
    let (east, _) = Grid::open(config.clone()).unwrap();
    let set = east.lock().set(b"hits", 7, SetIf::Always, false);
    assert!(set.unwrap().done);
    east.flush().unwrap();
    drop(east);
    let east = Arc::new(Grid::open(config).unwrap().0);
    count_while_catching_up(&east, &west);
}

#[test]
fn what_is_known_is_neither_written_nor_passed_on_again() {
    let (east, west) = (grid("east"), grid("west"));
    let mut records = Vec::new();
    for _ in 0..2 {
        east.lock().add(b"hits", 1).unwrap();
        append(&east, "clicks", 1);
        records.push(flush(&east));
    }
    let told = |record: &Bytes| {
        let applied = west.apply(&peer(), record.clone());
        applied.unwrap();
        !flush(&west).is_empty() || *west.subscribe_flushes().borrow() != FlushNumber(0)
    };
    assert!(records.iter().flatten().all(told));
    let before = *west.subscribe_flushes().borrow();
    for record in records.iter().flatten() {
        told(record);
    }
    assert_eq!(*west.subscribe_flushes().borrow(), before);
}

#[test]
fn a_scan_that_leaves_a_counter_out_promises_nothing_of_it_and_the_flush_after_says_all_of_it() {
    let (north, east, west) = (grid("north"), grid("east"), grid("west"));
    north.lock().add(b"hits", 5).unwrap();
    north.flush().unwrap();
    catch_up(&north, &east);
    catch_up(&north, &west);
    let set = north.lock().set(b"hits", 7, SetIf::Always, false);
    assert!(set.unwrap().done);
    let set = north.flush().unwrap();
    // Not on disk yet when the scan comes by.
    north.lock().add(b"hits", 1).unwrap();
    let mut scan = north.scan_counters(&positions(&east));
    while let Some(record) = scan.next(usize::MAX).unwrap() {
        east.apply(&peer(), record).unwrap();
    }
    east.flush().unwrap();
    assert!(positions(&east).watermark(&north.origin()) < set);
    // West hears of it through east alone: first all that east holds, then what it passes on.
    catch_up(&east, &west);
    for record in &flushed(&north, scan.complete_to().0.next()) {
        east.apply(&peer(), record.clone()).unwrap();
        west.apply(&peer(), record.clone()).unwrap();
    }
    for site in [&east, &west] {
        assert_eq!(site.lock().get(b"hits"), Ok(Some(8)));
        assert_eq!(site.digest(), north.digest());
    }
}

#[test]
fn a_key_that_was_due_counts_again_when_a_later_deadline_comes() {
    let (east, west) = (grid("east"), grid("west"));
    let tell = || {
        for record in flush(&east) {
            west.apply(&peer(), record).unwrap();
        }
    };
    // By its own clock the key is due at west before it gets there.
    west.lock().expire_some(2000);
    east.lock().add_field(b"h", b"f", 1).unwrap();
    east.lock().set_deadline(b"h", 1000).unwrap();
    tell();
    assert_eq!(west.lock().kind(b"h"), None);
    assert_eq!(west.lock().visible(), 0);
    east.lock().set_deadline(b"h", 5000).unwrap();
    tell();
    assert_eq!(west.lock().kind(b"h"), Some(Kind::Hash));
    assert_eq!(west.lock().visible(), 1);
    while west.lock().expire_some(6000) {}
    assert_eq!(west.lock().visible(), 0);
}
