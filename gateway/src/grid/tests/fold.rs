//! Flushes that ship together.

use super::*;

fn flushes(grid: &Grid, feed: Feed) -> Vec<Arc<Flushed>> {
    let last = grid.subscribe_flushes().borrow().0;
    let kept = (1..=last).map(|number| grid.flushed(feed, FlushNumber(number)).unwrap());
    kept.collect()
}

fn records(flushes: &[Arc<Flushed>]) -> impl Iterator<Item = Bytes> {
    flushes.iter().flat_map(|flushed| flushed.records.clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Folded or one by one: the same at the other end.
    #[test]
    fn flushes_say_folded_what_they_say_one_by_one(
        before in 0..30_usize,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let (east, whole, folded) = (grid("east"), grid("west"), grid("west"));
        for (place, step) in steps.iter().enumerate() {
            run(&east, step);
            if place == before {
                // Somewhere in between the peer was up to date.
                east.flush().unwrap();
                for feed in Feed::ALL {
                    for record in records(&flushes(&east, feed)) {
                        folded.apply(&peer(), record).unwrap();
                    }
                }
            }
        }
        east.flush().unwrap();
        let all = flushes(&east, Feed::Counters);
        for record in records(&all) {
            whole.apply(&peer(), record).unwrap();
        }
        for record in east.fold(&all) {
            folded.apply(&peer(), record).unwrap();
        }
        for record in records(&flushes(&east, Feed::Logs)) {
            whole.apply(&peer(), record.clone()).unwrap();
            folded.apply(&peer(), record.clone()).unwrap();
        }
        whole.flush().unwrap();
        folded.flush().unwrap();
        prop_assert_eq!(whole.digest(), folded.digest());
        prop_assert_eq!(positions(&whole), positions(&folded));
    }
}

#[test]
fn flushes_that_waited_cost_no_more_than_one_by_one() {
    let east = grid("east");
    let mut random = 1_u64;
    for _ in 0..100 {
        for _ in 0..200 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let key = (random >> 33) % 10_000;
            east.lock().add(format!("{key:05}").as_bytes(), 1).unwrap();
        }
        // As the clock of a real flush does, it goes on.
        std::thread::sleep(Duration::from_millis(2));
        east.flush().unwrap();
    }
    let all = flushes(&east, Feed::Counters);
    let packed = |records: Vec<Bytes>| -> usize {
        let mut sent = Sent::default();
        records
            .iter()
            .map(|record| east.pack(&mut sent, record).len())
            .sum()
    };
    let one_by_one = records(&all).collect();
    let (alone, together) = (packed(one_by_one), packed(east.fold(&all)));
    assert!(together < alone, "{together} bytes together, {alone} alone");
}

#[test]
fn a_hot_counter_costs_one_row_however_many_flushes_ship_together() {
    let east = grid("east");
    for _ in 0..100 {
        east.lock().add(b"hot", 1).unwrap();
        east.flush().unwrap();
    }
    let all = flushes(&east, Feed::Counters);
    let bytes: usize = east.fold(&all).iter().map(Bytes::len).sum();
    let alone = all[0].records[0].len();
    assert!(
        bytes < alone + 8,
        "{bytes} bytes for 100 flushes, {alone} for one"
    );
}
