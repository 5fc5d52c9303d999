//! The plan of a batch: how literals and references interleave, and what is appended to history.
//!
//! Stored in columns, since numbers of one kind compress well together; it is compressed in one
//! frame with the literals.

use std::ops::Range;

use super::batch::{side_bit, source};
use super::{Malformed, Reader, Source, put_varint, put_zigzag};
use crate::BATCH_BYTES_MAX;
use crate::history::Position;

/// `literal_len` bytes of literals, then a reference. What follows the last run is literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) literal_len: usize,
    pub(crate) source: Source,
}

/// How a batch is put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) runs: Vec<Run>,
    /// Ranges of the batch that are appended to history, in order, disjoint.
    pub(crate) appends: Vec<Range<usize>>,
}

impl Plan {
    pub(crate) fn append_len(&self) -> usize {
        self.appends.iter().map(Range::len).sum()
    }

    /// `start` is where the batch appends: positions are written relative to it.
    pub(crate) fn write(&self, start: Position) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.runs.len() * 6);
        put_varint(&mut out, self.runs.len() as u64);
        for run in &self.runs {
            put_varint(&mut out, run.literal_len as u64);
        }
        for run in &self.runs {
            put_varint(
                &mut out,
                (run.source.extent.len as u64) << 1 | side_bit(run.source.side),
            );
        }
        let mut expected = start;
        for run in &self.runs {
            expected = expected.after(run.literal_len);
            put_zigzag(
                &mut out,
                run.source.extent.at.0.wrapping_sub(expected.0) as i64,
            );
            expected = run.source.extent.end();
        }
        put_varint(&mut out, self.appends.len() as u64);
        let mut after = 0;
        for range in &self.appends {
            put_varint(&mut out, range.start.saturating_sub(after) as u64);
            put_varint(&mut out, range.len() as u64);
            after = range.end;
        }
        out
    }

    /// Reads a plan that puts together `raw_len` bytes with `literal_len` literals.
    pub(crate) fn read(
        bytes: &[u8],
        start: Position,
        raw_len: usize,
        literal_len: usize,
    ) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let runs = read_runs(&mut reader, bytes.len(), start)?;
        let literals: usize = runs.iter().map(|run| run.literal_len).sum();
        let references: usize = runs.iter().map(|run| run.source.extent.len).sum();
        if literals > literal_len || references != raw_len - literal_len {
            return Err(Malformed("a plan of another length than the batch"));
        }
        let appends = read_appends(&mut reader, bytes.len(), raw_len)?;
        if !reader.rest().is_empty() {
            return Err(Malformed("bytes after the plan"));
        }
        Ok(Self { runs, appends })
    }
}

/// Each run takes three bytes at least, so the count is bounded by what is there.
fn read_runs(
    reader: &mut Reader<'_>,
    bytes: usize,
    start: Position,
) -> Result<Vec<Run>, Malformed> {
    let count = reader.bounded(bytes / 3, "more runs than the plan holds")?;
    let mut literal_lens = Vec::with_capacity(count);
    for _ in 0..count {
        literal_lens.push(reader.bounded(BATCH_BYTES_MAX, "a literal longer than a batch")?);
    }
    let mut lens = Vec::with_capacity(count);
    for _ in 0..count {
        lens.push(reader.bounded(BATCH_BYTES_MAX * 2 + 1, "a run longer than a batch")?);
    }
    let mut expected = start;
    let mut runs = Vec::with_capacity(count);
    for (literal_len, len) in literal_lens.into_iter().zip(lens) {
        expected = expected.after(literal_len);
        let at = Position(expected.0.wrapping_add(reader.zigzag()? as u64));
        let source = source(len as u64 & 1, at, len >> 1, start)?;
        expected = source.extent.end();
        runs.push(Run {
            literal_len,
            source,
        });
    }
    Ok(runs)
}

fn read_appends(
    reader: &mut Reader<'_>,
    bytes: usize,
    raw_len: usize,
) -> Result<Vec<Range<usize>>, Malformed> {
    let count = reader.bounded(bytes / 2, "more appends than the plan holds")?;
    let mut appends = Vec::with_capacity(count);
    let mut after = 0;
    for _ in 0..count {
        let begin = after + reader.bounded(raw_len - after, "an append past the batch")?;
        let end = begin + reader.bounded(raw_len - begin, "an append past the batch")?;
        appends.push(begin..end);
        after = end;
    }
    Ok(appends)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::Extent;
    use crate::wire::Side;

    const START: Position = Position(1 << 33);

    prop_compose! {
        fn any_run()(literal_len in 0usize..5000, len in 0usize..60_000, at in 0u64..1 << 32, reverse: bool) -> Run {
            let side = if reverse { Side::Reverse } else { Side::Same };
            Run { literal_len, source: Source { side, extent: Extent { at: Position(at), len } } }
        }
    }

    proptest! {
        #[test]
        fn plans_come_back(runs in prop::collection::vec(any_run(), 0..16), rest in 0usize..9000) {
            let literal_len = rest + runs.iter().map(|r| r.literal_len).sum::<usize>();
            let raw_len = literal_len + runs.iter().map(|r| r.source.extent.len).sum::<usize>();
            let appends = vec![0..raw_len / 3, raw_len / 2..raw_len];
            let plan = Plan { runs, appends };
            let bytes = plan.write(START);
            prop_assert_eq!(Plan::read(&bytes, START, raw_len, literal_len), Ok(plan.clone()));
            prop_assert!(Plan::read(&bytes, START, raw_len + 1, literal_len).is_err());
            prop_assert!(Plan::read(&bytes[..bytes.len() - 1], START, raw_len, literal_len).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(plan) = Plan::read(&bytes, START, 5000, 300) {
                prop_assert!(plan.append_len() <= 5000);
            }
        }
    }
}
