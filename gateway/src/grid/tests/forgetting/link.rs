//! What is on its way between two sites.

use std::collections::VecDeque;

use super::super::*;
use super::site::Site;

/// What goes over a link at once.
#[derive(Default)]
pub(super) struct Batch {
    /// What the sender holds.
    pub(super) positions: Option<Positions>,
    /// A catch-up begins with it.
    pub(super) begins: bool,
    pub(super) said: Vec<Statement>,
    pub(super) records: Vec<Bytes>,
    /// All that is held is told with this, up to there.
    pub(super) whole: Option<(Positions, Vec<Bytes>)>,
    pub(super) caught_up: bool,
}

/// One direction of a link.
#[derive(Default)]
pub(super) struct Way {
    /// What the receiver said it holds, until it is told the rest.
    pub(super) have: Option<Positions>,
    pub(super) shipped: Option<FlushNumber>,
    pub(super) under_way: VecDeque<Batch>,
    pub(super) sent: Sent,
    pub(super) heard: Heard,
    /// The receiver was told all that it lacked.
    pub(super) caught_up: bool,
    /// The receiver did not take something, and takes nothing before a catch-up begins.
    pub(super) in_doubt: bool,
}

/// One direction between two sites.
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) up: bool,
    pub(super) way: Way,
}

/// All flushes after one; none when they are too many.
pub(super) fn flushes_after(grid: &Grid, mut shipped: FlushNumber) -> Option<Vec<Arc<Flushed>>> {
    let mut flushes = Vec::new();
    let durable = *grid.subscribe_flushes().borrow();
    while shipped < durable {
        shipped = shipped.next();
        flushes.push(grid.flushed(Feed::Counters, shipped)?);
    }
    Some(flushes)
}

/// Tells all that somebody at `have` lacks.
pub(super) fn catch_up(from: &Site, way: &mut Way, have: &Positions, batch: &mut Batch) {
    let is_whole = from.grid.has_forgotten_beyond(have);
    let mut scan = match is_whole {
        true => from.grid.scan_whole(),
        false => from.grid.scan_counters(have),
    };
    way.sent = Sent::default();
    while let Some(record) = scan.next(usize::MAX).unwrap() {
        batch.records.push(from.grid.pack(&mut way.sent, &record));
    }
    batch.begins = true;
    batch.whole = is_whole.then(|| scan.forgotten());
    batch.caught_up = true;
    way.shipped = Some(scan.complete_to().0);
}
