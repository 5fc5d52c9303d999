//! The grid's own books of memory, beside what the allocator counted.

use super::*;

/// Allocations are counted without their headers.
const OVER_MAX: f64 = 1.12;
const UNDER_MAX: f64 = 0.93;

struct Books {
    before: isize,
    grid: Arc<Grid>,
}

impl Books {
    /// `what` is on disk, and what a flush took meanwhile is given back.
    fn check(&self, what: &str) {
        self.grid.flush().unwrap();
        let held = strait_fuzz::held_bytes() - self.before;
        let stats = self.grid.stats();
        let ratio = stats.memory_bytes as f64 / held as f64;
        assert!(
            (UNDER_MAX..OVER_MAX).contains(&ratio),
            "{what}: {held} bytes are held, the books say {stats:?}"
        );
        let parts = stats.counter_bytes + stats.all_log_bytes + stats.flush_bytes;
        assert_eq!(parts, stats.memory_bytes);
    }

    fn each(&self, count: u32, act: impl Fn(&mut State, &[u8])) {
        let mut state = self.grid.lock();
        for n in 0..count {
            act(&mut state, format!("banner:{n:07}:impressions").as_bytes());
        }
    }
}

#[test]
fn the_books_say_what_counters_and_logs_take() {
    let before = strait_fuzz::held_bytes();
    let books = Books {
        grid: grid("east"),
        before,
    };
    books.each(50_000, |state, key| assert_eq!(state.add(key, 7), Ok(7)));
    books.check("counters that were made");
    books.each(50_000, |state, key| {
        assert!(state.delete(key).unwrap());
    });
    books.check("and deleted");
    books.each(20_000, |state, key| {
        state.add(key, 1).unwrap();
        state.set_deadline(key, now_ms() + 1_000_000).unwrap();
    });
    books.check("made again, to expire");
    books.each(2000, |state, field| {
        state.add_field(b"few", field, 1).unwrap();
        state.add_field(field.split_at(10).0, field, 1).unwrap_or(0);
    });
    books.check("hashes");
}

#[test]
fn the_books_say_what_logs_take() {
    let before = strait_fuzz::held_bytes();
    let books = Books {
        grid: grid("east"),
        before,
    };
    books.each(5000, |state, key| {
        let payload = payload(7);
        let added = state.append(key, NewId::Auto, &payload, (true, None), now_ms());
        assert!(added.unwrap().is_some());
    });
    books.check("many logs");
    for n in 0..50_000 {
        append(&books.grid, "one", n as u8);
    }
    books.check("and a long one");
}

/// What both ends know of what was said is no part of the grid's books.
#[test]
fn the_books_of_a_session_say_what_it_knows() {
    let (east, west) = (grid("east"), grid("west"));
    {
        let mut state = east.lock();
        for n in 0..60_000_u32 {
            state.add(format!("key:{n}").as_bytes(), 1).unwrap();
        }
    }
    let records = flush(&east);
    let (mut sent, mut heard) = (Sent::default(), Heard::default());
    let mut packed = Vec::new();
    for record in &records {
        packed.push(east.pack(&mut sent, record));
    }
    for packed in packed {
        for record in west.unpack(&peer(), &mut heard, packed).unwrap() {
            west.apply(&peer(), record).unwrap();
        }
    }
    let before = strait_fuzz::held_bytes();
    let (sent_bytes, heard_bytes) = (sent.bytes(), heard.bytes());
    drop(sent);
    let sent_held = before - strait_fuzz::held_bytes();
    drop(heard);
    let heard_held = before - sent_held - strait_fuzz::held_bytes();
    for (bytes, held) in [(sent_bytes, sent_held), (heard_bytes, heard_held)] {
        // A list that grew has room for up to twice as much, which nobody has touched.
        assert!(
            bytes as isize <= held && 2 * bytes as isize >= held,
            "{bytes} of {held}"
        );
    }
    assert_eq!(sent_bytes, 60_000 * 12);
    assert_eq!(heard_bytes, 60_000 * 16);
}
