//! Up to where a peer holds our logs, as far as we keep trimmed entries for it.

use std::time::{Duration, Instant};

use crate::grid::{EntryId, FlushNumber, LogName};

/// How often what the peer holds is noted, so that trimmed entries may be forgotten.
const FLOOR_EVERY: Duration = Duration::from_secs(1);

/// Logs, and the ids up to which a peer holds them.
pub(super) type Held = Vec<(LogName, EntryId)>;

/// What the peer will hold of our logs once it has acknowledged a flush. At most one note is open.
#[derive(Debug, Default)]
pub(super) struct Floor {
    next: Option<(FlushNumber, Held)>,
    /// The last flush that the peer acknowledged.
    acked: Option<FlushNumber>,
    taken: Option<Instant>,
    /// A flush was shipped after the last note was taken.
    is_stale: bool,
}

impl Floor {
    /// The peer was sent more of our flushes.
    pub(super) fn shipped(&mut self) {
        self.is_stale = true;
    }

    /// When the next note is to be taken; none while one is open, or nothing happened since the last.
    pub(super) fn due(&self) -> Option<Instant> {
        let is_due = self.is_stale && self.next.is_none();
        is_due.then(|| self.taken.map_or_else(Instant::now, |at| at + FLOOR_EVERY))
    }

    /// Takes the note that the peer holds `held` once it has acknowledged `flush`. Returns `held` where it
    /// has done so.
    pub(super) fn take(&mut self, flush: FlushNumber, held: Held, now: Instant) -> Option<Held> {
        self.taken = Some(now);
        // What is to come is shipped after this, and makes the note stale again.
        self.is_stale = false;
        if held.is_empty() {
            return None;
        }
        self.next = Some((flush, held));
        self.of_acked()
    }

    /// The peer durably holds everything up to `flush`. Returns what the open note says, where it waited
    /// for that.
    pub(super) fn acked(&mut self, flush: FlushNumber) -> Option<Held> {
        self.acked = self.acked.max(Some(flush));
        self.of_acked()
    }

    fn of_acked(&mut self) -> Option<Held> {
        let acked = self.acked?;
        let noted = self.next.take_if(|(flush, _)| *flush <= acked);
        noted.map(|(_, held)| held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(ms: u64) -> Held {
        let log = LogName {
            site: "east".parse().unwrap(),
            name: (*b"clicks").into(),
        };
        vec![(log, EntryId { ms, seq: 0 })]
    }

    /// The last flush of a burst is acknowledged before the next note is due: the note is taken all the
    /// same, and counts at once.
    #[test]
    fn a_note_is_taken_after_the_last_flush_of_all() {
        let (mut floor, start) = (Floor::default(), Instant::now());
        floor.shipped();
        assert!(floor.due().is_some_and(|due| due <= Instant::now()));
        assert_eq!(floor.take(FlushNumber(1), held(1), start), None);
        assert_eq!(floor.due(), None, "one note at a time");
        assert_eq!(floor.acked(FlushNumber(1)), Some(held(1)));

        floor.shipped();
        assert_eq!(floor.acked(FlushNumber(2)), None);
        let due = floor.due().unwrap();
        assert_eq!(due, start + FLOOR_EVERY);
        assert_eq!(floor.take(FlushNumber(2), held(2), due), Some(held(2)));
        assert_eq!(floor.due(), None, "nothing happened since");
    }

    #[test]
    fn a_note_waits_for_its_flush() {
        let mut floor = Floor::default();
        floor.shipped();
        let noted = floor.take(FlushNumber(3), held(3), Instant::now());
        assert_eq!((noted, floor.acked(FlushNumber(2))), (None, None));
        assert_eq!(floor.acked(FlushNumber(3)), Some(held(3)));
    }
}
