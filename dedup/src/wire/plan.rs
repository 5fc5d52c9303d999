//! The plan of a batch: how literals and references interleave, what literals are compressed against
//! besides, and what is appended to history.

use std::ops::Range;

use super::batch::{side_bit, source};
use super::{Malformed, Side, Source};
use crate::BATCH_BYTES_MAX;
use crate::history::{Extent, Position};
use crate::range::{Model, NumberReader, Writer};

/// Most runs in a batch: each is worth its while, so 32 bytes at least but for the last.
pub(crate) const RUNS_MAX: usize = BATCH_BYTES_MAX / 8;
/// Literals with less than this between them are appended as one with what is between, so that the
/// next version finds them in one piece.
const JOIN_BYTES: usize = 1 << 10;
/// Bytes that a derived base reaches into either run beside it.
const MARGIN_BYTES: usize = 64;

/// `literal_len` bytes of literals, then a reference. What follows the last run is literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) literal_len: usize,
    pub(crate) source: Source,
    /// The literals before it have the history between the run before and this one as a base.
    pub(crate) based: bool,
}

/// How a batch is put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) runs: Vec<Run>,
    /// Ranges of the batch that are appended to history, in order, disjoint.
    pub(crate) appends: Vec<Range<usize>>,
}

/// The kinds of number in a plan, each with its own statistics.
#[derive(Default)]
struct Models {
    count: Model,
    literal_len: Model,
    len: Model,
    side: Model,
    way: Model,
    step: Model,
    based: Model,
    skip: Model,
    append: Model,
}

impl Plan {
    /// The bases that follow from the runs alone.
    pub(crate) fn derived_bases(&self) -> Vec<Extent> {
        let mut bases: Vec<Extent> = Vec::new();
        let same = |pair: &&[Run]| pair.iter().all(|run| run.source.side == Side::Same);
        for pair in self
            .runs
            .windows(2)
            .filter(same)
            .filter(|pair| pair[1].based)
        {
            let Some(base) = between(pair[0].source.extent, pair[1].source.extent) else {
                continue;
            };
            match bases.last_mut() {
                Some(last) if base.at >= last.at && base.at <= last.end() => {
                    last.len = base.end().max(last.end()).since(last.at);
                }
                Some(_) | None => bases.push(base),
            }
        }
        bases
    }

    /// What a batch appends unless it says otherwise: its literals, joined where they are dense.
    fn usual_appends(&self, raw_len: usize) -> Vec<Range<usize>> {
        let mut appends = Vec::new();
        let mut at = 0;
        for run in &self.runs {
            join(&mut appends, at..at + run.literal_len);
            at += run.literal_len + run.source.extent.len;
        }
        join(&mut appends, at..raw_len);
        appends
    }

    /// `start` is where the batch of `raw_len` bytes appends: positions are written relative to it.
    pub(crate) fn write(&self, start: Position, raw_len: usize) -> Vec<u8> {
        let (mut out, mut models) = (Writer::new(), Models::default());
        out.number(&mut models.count, self.runs.len() as u64);
        let mut course = Predictor::new(start);
        for run in &self.runs {
            let Source { side, extent } = run.source;
            out.number(&mut models.literal_len, run.literal_len as u64);
            out.number(&mut models.len, extent.len as u64);
            out.number(&mut models.side, side_bit(side));
            let (way, step) = course.closest(run.literal_len, extent.at);
            out.number(&mut models.way, way as u64);
            out.number(&mut models.step, step);
            out.number(&mut models.based, u64::from(run.based));
            course.take(run.literal_len, extent);
        }
        if self.appends == self.usual_appends(raw_len) {
            out.number(&mut models.count, 0);
            return out.finish();
        }
        out.number(&mut models.count, self.appends.len() as u64 + 1);
        let mut after = 0;
        for range in &self.appends {
            out.number(&mut models.skip, range.start.saturating_sub(after) as u64);
            out.number(&mut models.append, range.len() as u64);
            after = range.end;
        }
        out.finish()
    }

    /// Reads a plan that puts together `raw_len` bytes with `literal_len` literals.
    pub(crate) fn read(
        bytes: &[u8],
        start: Position,
        raw_len: usize,
        literal_len: usize,
    ) -> Result<Self, Malformed> {
        let (mut reader, mut models) = (NumberReader::new(bytes), Models::default());
        let runs = read_runs(&mut reader, &mut models, start, raw_len)?;
        let literals: usize = runs.iter().map(|run| run.literal_len).sum();
        let references: usize = runs.iter().map(|run| run.source.extent.len).sum();
        if literals > literal_len || references != raw_len - literal_len {
            return Err(Malformed("a plan of another length than the batch"));
        }
        let mut plan = Self {
            runs,
            appends: Vec::new(),
        };
        plan.appends = match read_appends(&mut reader, &mut models, raw_len)? {
            Some(appends) => appends,
            None => plan.usual_appends(raw_len),
        };
        Ok(plan)
    }
}

/// Adds a range to those before it, joined with the last if they are close.
pub(crate) fn join(ranges: &mut Vec<Range<usize>>, next: Range<usize>) {
    if next.is_empty() {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.end + JOIN_BYTES >= next.start => last.end = next.end,
        Some(_) | None => ranges.push(next),
    }
}

/// Ways to foretell a run's position.
const WAYS: usize = 3;

/// Foretells where a run lies: most go on where the one before it ended, an edit later; a run that
/// comes back from a detour goes on where the one before that ended, or where the detour leads to.
struct Predictor {
    /// End of the last run.
    last: Position,
    /// End of the run before it, and how much of the batch has been since.
    earlier: Position,
    since: usize,
}

impl Predictor {
    fn new(start: Position) -> Self {
        Self {
            last: start,
            earlier: start,
            since: 0,
        }
    }

    fn ways(&self, literal_len: usize) -> [Position; WAYS] {
        let on = self.last.after(literal_len);
        [
            on,
            self.earlier.after(self.since + literal_len),
            self.earlier,
        ]
    }

    /// The way that foretells `at` best, and by how much it is wrong, folded.
    fn closest(&self, literal_len: usize, at: Position) -> (usize, u64) {
        let wrong = self.ways(literal_len).map(|way| {
            let step = at.0.wrapping_sub(way.0) as i64;
            ((step << 1) ^ (step >> 63)) as u64
        });
        let best = (0..WAYS).min_by_key(|&way| wrong[way]).unwrap_or(0);
        (best, wrong[best])
    }

    fn at(&self, literal_len: usize, way: usize, step: u64) -> Position {
        let step = (step >> 1) as i64 ^ -((step & 1) as i64);
        let ways = self.ways(literal_len);
        Position(
            ways.get(way)
                .unwrap_or(&self.last)
                .0
                .wrapping_add(step as u64),
        )
    }

    fn take(&mut self, literal_len: usize, run: Extent) {
        // A run that goes on from the last leaves the earlier one where it is.
        if run.at.0.abs_diff(self.last.0) <= NEAR_BYTES {
            self.since += literal_len + run.len;
        } else {
            (self.earlier, self.since) = (self.last, literal_len + run.len);
        }
        self.last = run.end();
    }
}

/// A run this close to the end of the last is on the same course.
const NEAR_BYTES: u64 = 16 << 10;

/// The history between two runs, and a little of either.
pub(crate) fn between(before: Extent, after: Extent) -> Option<Extent> {
    let at = before.end().before(MARGIN_BYTES.min(before.len));
    let end = after.at.after(MARGIN_BYTES.min(after.len));
    (end > at).then(|| Extent {
        at,
        len: end.since(at),
    })
}

fn read_runs(
    reader: &mut NumberReader<'_>,
    models: &mut Models,
    start: Position,
    raw_len: usize,
) -> Result<Vec<Run>, Malformed> {
    let count = bounded(reader.number(&mut models.count)?, RUNS_MAX, "too many runs")?;
    let mut runs = Vec::new();
    let (mut course, mut left) = (Predictor::new(start), raw_len);
    for _ in 0..count {
        let long = "a run longer than the batch";
        let literal_len = bounded(reader.number(&mut models.literal_len)?, left, long)?;
        left -= literal_len;
        let len = bounded(reader.number(&mut models.len)?, left, long)?;
        left -= len;
        let side = reader.number(&mut models.side)?;
        let way = bounded(reader.number(&mut models.way)?, WAYS - 1, "an unknown way")?;
        let step = reader.number(&mut models.step)?;
        let at = course.at(literal_len, way, step);
        let based = reader.number(&mut models.based)? != 0;
        let source = source(side, at, len, start)?;
        course.take(literal_len, source.extent);
        runs.push(Run {
            literal_len,
            source,
            based: based && source.side == Side::Same,
        });
    }
    Ok(runs)
}

/// `None` where they are the usual ones.
fn read_appends(
    reader: &mut NumberReader<'_>,
    models: &mut Models,
    raw_len: usize,
) -> Result<Option<Vec<Range<usize>>>, Malformed> {
    let number = reader.number(&mut models.count)?;
    let Some(count) = number.checked_sub(1) else {
        return Ok(None);
    };
    let count = bounded(count, RUNS_MAX, "too many appends")?;
    let mut appends = Vec::new();
    let mut after = 0;
    for _ in 0..count {
        let past = "an append past the batch";
        let begin = after + bounded(reader.number(&mut models.skip)?, raw_len - after, past)?;
        let end = begin + bounded(reader.number(&mut models.append)?, raw_len - begin, past)?;
        appends.push(begin..end);
        after = end;
    }
    Ok(Some(appends))
}

fn bounded(number: u64, max: usize, what: &'static str) -> Result<usize, Malformed> {
    usize::try_from(number)
        .ok()
        .filter(|number| *number <= max)
        .ok_or(Malformed(what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Position = Position(1 << 33);

    prop_compose! {
        fn any_run()(literal_len in 0usize..5000, len in 0usize..60_000, at in 0u64..1 << 32, reverse: bool, based: bool) -> Run {
            let side = if reverse { Side::Reverse } else { Side::Same };
            let source = Source { side, extent: Extent { at: Position(at), len } };
            Run { literal_len, source, based: based && !reverse }
        }
    }

    proptest! {
        #[test]
        fn plans_come_back(runs in prop::collection::vec(any_run(), 0..16), rest in 0usize..9000, explicit: bool) {
            let literal_len = rest + runs.iter().map(|r| r.literal_len).sum::<usize>();
            let raw_len = literal_len + runs.iter().map(|r| r.source.extent.len).sum::<usize>();
            let mut plan = Plan { runs, appends: Vec::new() };
            plan.appends = match explicit {
                true => vec![0..raw_len / 3, raw_len / 2..raw_len],
                false => plan.usual_appends(raw_len),
            };
            let bytes = plan.write(START, raw_len);
            prop_assert_eq!(Plan::read(&bytes, START, raw_len, literal_len), Ok(plan));
            prop_assert!(Plan::read(&bytes, START, raw_len + 1, literal_len).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(plan) = Plan::read(&bytes, START, 5000, 300) {
                prop_assert!(plan.appends.iter().map(Range::len).sum::<usize>() <= 5000);
            }
        }
    }
}
