//! Records in the form of a link: what comes out at the far end is what went in.

use super::*;

/// One direction of a session.
#[derive(Default)]
struct Direction {
    sent: Sent,
    heard: Heard,
}

impl Direction {
    fn carry(&mut self, from: &Grid, to: &Grid, records: Vec<Bytes>) -> usize {
        let mut bytes = 0;
        for record in records {
            let packed = from.pack(&mut self.sent, &record);
            bytes += packed.len();
            for record in to.unpack(&peer(), &mut self.heard, packed).unwrap() {
                to.apply(&peer(), record).unwrap();
            }
        }
        bytes
    }

    /// The peer tells its positions, and is sent all that it lacks.
    fn catch_up(&mut self, from: &Arc<Grid>, to: &Arc<Grid>) {
        self.sent = Sent::default();
        let have = positions(to);
        let mut scan = from.scan_counters(&have);
        while let Some(record) = scan.next(usize::MAX).unwrap() {
            self.carry(from, to, vec![record]);
        }
        for (log, _) in from.logs() {
            let mut held = have.log(&log);
            while let Some((record, reached)) = from.log_after(&log, held, 300) {
                self.carry(from, to, vec![record]);
                held = reached;
            }
        }
        // The scan's own flush holds what it left out.
        for number in scan.complete_to().0.0 + 1..=from.subscribe_flushes().borrow().0 {
            self.carry(from, to, flushed(from, FlushNumber(number)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Two sites exchange flushes, packed; now and then one falls behind and is caught up.
    #[test]
    fn sites_that_exchange_packed_records_converge(
        steps in proptest::collection::vec((any::<bool>(), 0..12_u8, step()), 1..80),
    ) {
        let sites = [grid("east"), grid("west")];
        let mut ways = [Direction::default(), Direction::default()];
        for (at_east, event, step) in &steps {
            let here = usize::from(!at_east);
            let (from, to) = (&sites[here], &sites[1 - here]);
            let records = run(from, step);
            if *event == 0 {
                ways[here].catch_up(from, to);
            } else {
                ways[here].carry(from, to, records);
            }
        }
        for here in [0, 1, 0] {
            let (from, to) = (&sites[here], &sites[1 - here]);
            from.flush().unwrap();
            ways[here].catch_up(from, to);
        }
        to_disk(&sites);
        prop_assert_eq!(sites[0].digest(), sites[1].digest());
    }

    #[test]
    fn damaged_packed_records_are_survived(
        steps in proptest::collection::vec(step(), 1..40),
        flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut: usize,
    ) {
        let (east, west) = (grid("east"), grid("west"));
        let mut way = Direction::default();
        for step in &steps {
            let records = run(&east, step);
            way.carry(&east, &west, records);
        }
        east.lock().set(b"end", 1, SetIf::Always, false).unwrap();
        let record = flush(&east).pop().unwrap();
        let mut packed = east.pack(&mut way.sent, &record).to_vec();
        for (place, flip) in flips {
            let place = place % packed.len();
            packed[place] ^= flip;
        }
        packed.truncate(packed.len() - cut % 3);
        // Whatever it says: no panic, and no more memory than a record may take.
        if let Ok(records) = west.unpack(&peer(), &mut way.heard, packed.into()) {
            prop_assert!(records.iter().all(|one| one.record.len() <= RECORD_BYTES_MAX));
        }
    }
}

fn to_disk(sites: &[Arc<Grid>]) {
    for site in sites {
        site.flush().unwrap();
    }
}

#[test]
fn after_a_record_that_cannot_be_read_numbers_must_start_over() {
    let (east, west) = (grid("east"), grid("west"));
    let mut way = Direction::default();
    let write = || {
        east.lock().add(b"hits", 1).unwrap();
        flush(&east)
    };
    way.carry(&east, &west, write());
    let damaged = east.pack(&mut way.sent, &write()[0]).slice(..20);
    let read = west.unpack(&peer(), &mut way.heard, damaged);
    assert!(matches!(read, Err(UnpackError::Malformed(_))), "{read:?}");
    let next = east.pack(&mut way.sent, &write()[0]);
    let read = west.unpack(&peer(), &mut way.heard, next);
    assert!(matches!(read, Err(UnpackError::Lost)), "{read:?}");
    way.catch_up(&east, &west);
    way.carry(&east, &west, write());
    to_disk(&[east.clone(), west.clone()]);
    assert_eq!(east.digest(), west.digest());
    assert_eq!(west.lock().get(b"hits"), Ok(Some(4)));
}

#[test]
fn keys_that_were_mentioned_cost_little() {
    let (east, west) = (grid("east"), grid("west"));
    let mut way = Direction::default();
    let write = |step: u64| {
        for key in (0..20_000_u64).step_by(step as usize) {
            let name = format!("banner:{:07}:impressions", key * 7919 % 9_999_991);
            east.lock().add(name.as_bytes(), 1_000_000_007).unwrap();
        }
        flush(&east)
    };
    let first = way.carry(&east, &west, write(1));
    assert!(
        first < 20_000 * 12,
        "{first} bytes for 20,000 first mentions"
    );
    let again = way.carry(&east, &west, write(5));
    assert!(again < 4000 * 6, "{again} bytes for 4,000 of them");
}

/// Entries of one log as one record for each flush.
fn append(site: &Grid, entries: impl IntoIterator<Item = Vec<u8>>) -> Vec<Bytes> {
    for payload in entries {
        let id = NewId::Auto;
        let added = site
            .lock()
            .append(b"access", id, &payload, (true, None), 1000);
        added.unwrap().unwrap();
    }
    flush(site)
}

fn line(text: &str) -> Vec<u8> {
    pack_values([&b"line"[..], text.as_bytes()].into_iter())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Entries of few forms and words, and of any bytes.
    #[test]
    fn entries_come_out_as_they_went_in(
        flushes in proptest::collection::vec(
            proptest::collection::vec(
                prop_oneof![
                    "[ab]{1,2} [0-9]{1,20} \"(x|y|[a-z]{60,70})\"( 1[0-9]{3})?".prop_map(|text| line(&text)),
                    any::<(Vec<u8>, Vec<u8>)>().prop_map(|(field, value)| {
                        pack_values([&field[..], &value].into_iter())
                    }),
                ],
                1..20,
            ),
            1..8,
        ),
    ) {
        let (east, west) = (grid("east"), grid("west"));
        let mut way = Direction::default();
        for entries in flushes {
            let records = append(&east, entries);
            way.carry(&east, &west, records);
        }
        to_disk(&[east.clone(), west.clone()]);
        prop_assert_eq!(east.digest(), west.digest());
    }
}

#[test]
fn entries_of_a_form_that_was_mentioned_cost_what_is_new_in_them() {
    let (east, west) = (grid("east"), grid("west"));
    let mut way = Direction::default();
    let mut write = |from: u64| {
        let lines = (from..from + 2000).map(|n| {
            let (client, path) = (n * 7919 % 50, n * 104_729 % 200);
            line(&format!(
                "10.0.0.{client} - - [21/Nov/2026:10:00:00 +0000] \"GET /item-{path:05} HTTP/1.1\" \
                 200 512 \"-\" \"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0\""
            ))
        });
        way.carry(&east, &west, append(&east, lines))
    };
    write(0);
    let bytes = write(2000);
    assert!(bytes < 2000 * 4, "{bytes} bytes for 2000 lines");
}

#[test]
fn more_forms_and_words_than_have_numbers_are_carried() {
    let (east, west) = (grid("east"), grid("west"));
    let mut way = Direction::default();
    for round in 0..3 {
        // Each twice in a row, so that it gets a number.
        let lines = (0..40_000_u32).map(|n| {
            let n = n / 2;
            let form = format!("{n:010b}").replace('0', " ").replace('1', ";");
            line(&format!(
                "w{round}x{n}{}z v{n}y{round}",
                &form[..9.min(form.len())]
            ))
        });
        let records = append(&east, lines);
        way.carry(&east, &west, records);
    }
    to_disk(&[east.clone(), west.clone()]);
    assert_eq!(east.digest(), west.digest());
}
