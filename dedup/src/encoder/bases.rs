//! What the literals of a batch are compressed against.

use super::scan::{Match, Novel};
use super::streams::Tail;
use std::ops::Range;

use crate::history::{Extent, Position};

/// Most bytes of bases for each byte of literals (rule H9).
const BASES_PER_LITERAL: usize = 2;
/// Bytes of bases that even the smallest batch may have.
const BASE_BYTES_FREE: usize = 64 << 10;
/// Most bytes of bases of a batch, within what the wire allows.
const BASE_BYTES_MAX: usize = 3 << 20;
/// Most ranges of a batch, within what the wire allows.
const BASES_MAX: usize = 1000;
/// A gap in the old bytes that is this many times larger than in the new is not one edit.
const GAP_RATIO_MAX: usize = 4;

/// Bytes beyond the literal's own length on either side, for what was inserted or deleted.
fn slack(len: usize) -> usize {
    len / 8 + 256
}

/// Chooses bases for the literals between `matches`.
pub(crate) struct Choice<'a> {
    pub(crate) matches: &'a [Match],
    pub(crate) raw_len: usize,
    pub(crate) novel: &'a [Novel],
    pub(crate) tail: &'a Tail,
    pub(crate) oldest: Position,
    pub(crate) horizon: &'a dyn Fn(Position) -> Position,
}

impl Choice<'_> {
    pub(crate) fn run(&self, literal_len: usize) -> Vec<Extent> {
        let mut left = (literal_len * BASES_PER_LITERAL + BASE_BYTES_FREE).min(BASE_BYTES_MAX);
        let mut bases = Vec::new();
        if literal_len == 0 {
            return bases;
        }
        let mut before: Option<(usize, Position)> = None;
        let ends = self.matches.iter().map(Some).chain([None]);
        for next in ends {
            let begin = before.map_or(0, |(begin, _)| begin);
            let end = next.map_or(self.raw_len, |next| next.begin);
            if end > begin {
                let from = before.map(|(_, at)| at);
                let to = next.map(|next| next.extent.at);
                self.around(end - begin, from, to, &mut left, &mut bases);
                self.guessed(begin..end, [from, to], &mut left, &mut bases);
            }
            before = next.map(|next| (next.end(), next.extent.end()));
        }
        let bases = merge(bases);
        let room = left.min(literal_len.max(BASE_BYTES_FREE));
        // The stream's own tail goes last: nearest to the literals, cheapest to point at.
        let tail = self.tail.newest(room);
        let tail = tail
            .into_iter()
            .filter_map(|extent| self.clip(extent))
            .collect::<Vec<_>>();
        subtract(bases, &tail)
            .into_iter()
            .chain(tail)
            .take(BASES_MAX)
            .collect()
    }

    /// Where the literal would stand by the course most trusted, if its neighbours left that.
    fn guessed(
        &self,
        literal: Range<usize>,
        neighbours: [Option<Position>; 2],
        left: &mut usize,
        bases: &mut Vec<Extent>,
    ) {
        let next = self
            .novel
            .partition_point(|novel| novel.range.start < literal.start);
        let novel = self
            .novel
            .get(next)
            .filter(|novel| novel.range.start < literal.end);
        let Some(guess) = novel.and_then(|novel| novel.guess) else {
            return;
        };
        let reach = literal.len() + slack(literal.len());
        let near = |at: Position| guess.0.abs_diff(at.0) <= reach as u64;
        if !neighbours.into_iter().flatten().any(near) {
            self.add(
                guess.before(slack(literal.len())),
                guess.after(reach),
                left,
                bases,
            );
        }
    }

    fn add(&self, at: Position, end: Position, left: &mut usize, bases: &mut Vec<Extent>) {
        let extent = Extent {
            at,
            len: end.since(at).min(*left),
        };
        let Some(extent) = self.clip(extent) else {
            return;
        };
        if bases
            .iter()
            .rev()
            .take(4)
            .any(|base| base.at <= extent.at && base.end() >= extent.end())
        {
            return;
        }
        *left -= extent.len;
        bases.push(extent);
    }

    /// The history between what stands before and after a literal, or next to either.
    fn around(
        &self,
        len: usize,
        after: Option<Position>,
        before: Option<Position>,
        left: &mut usize,
        bases: &mut Vec<Extent>,
    ) {
        let reach = len + slack(len);
        let mut add = |at: Position, end: Position| {
            let extent = Extent {
                at,
                len: end.since(at).min(*left),
            };
            if let Some(extent) = self.clip(extent) {
                *left -= extent.len;
                bases.push(extent);
            }
        };
        match (after, before) {
            (Some(from), Some(to)) if from < to && to.since(from) <= len * GAP_RATIO_MAX + 4096 => {
                add(from.before(64), to.after(64));
            }
            (from, to) => {
                if let Some(from) = from {
                    add(from.before(64), from.after(reach));
                }
                if let Some(to) = to {
                    add(to.before(reach), to.after(64));
                }
            }
        }
    }

    /// What of the extent is held and may be referred to.
    fn clip(&self, extent: Extent) -> Option<Extent> {
        let at = extent.at.max(self.oldest);
        let end = extent.end().min((self.horizon)(at));
        (end > at).then(|| Extent {
            at,
            len: end.since(at),
        })
    }
}

/// Joins ranges that touch, keeping the order of first use.
fn merge(bases: Vec<Extent>) -> Vec<Extent> {
    let mut merged: Vec<Extent> = Vec::with_capacity(bases.len());
    for base in bases {
        match merged.last_mut() {
            Some(last) if base.at >= last.at && base.at <= last.end() => {
                let end = last.end().max(base.end());
                last.len = end.since(last.at);
            }
            Some(_) | None => merged.push(base),
        }
    }
    merged
}

/// Drops the bases that lie within `others`.
fn subtract(bases: Vec<Extent>, others: &[Extent]) -> Vec<Extent> {
    let within = |base: &Extent, other: &Extent| base.at >= other.at && base.end() <= other.end();
    bases
        .into_iter()
        .filter(|base| !others.iter().any(|other| within(base, other)))
        .collect()
}
