//! What the literals of a batch are compressed against.

use super::found::{Match, Novel};
use super::streams::Tail;
use std::ops::Range;

use crate::history::{Extent, Position, View};
use crate::wire::plan::between;

/// Most bytes of bases for each byte of literals (rule H9).
const BASES_PER_LITERAL: usize = 2;
/// Bytes of bases that even the smallest batch may have.
const BASE_BYTES_FREE: usize = 64 << 10;
/// Bytes of the stream's tail that even the smallest batch may have: more costs more time to enter in
/// zstd's tables than it saves on the wire, for that time goes to a harder level.
const TAIL_BYTES_MIN: usize = 16 << 10;
/// Most bytes of bases of a batch, within what the wire allows.
const BASE_BYTES_MAX: usize = 3 << 20;
/// Most ranges of a batch, within what the wire allows.
const BASES_MAX: usize = 1000;
/// Naming a base costs about five bytes: shorter literals don't get one.
const NAMED_LITERAL_MIN: usize = 48;
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
    /// Most bytes of it.
    pub(crate) reach: usize,
    pub(crate) view: View<'a>,
    pub(crate) horizon: &'a dyn Fn(Position) -> Position,
}

/// The bases of a batch.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    /// For each match, whether the history between the one before and it is a base.
    pub(crate) derived: Vec<bool>,
    /// The others, which the batch names.
    pub(crate) named: Vec<Extent>,
}

impl Choice<'_> {
    pub(crate) fn run(&self, literal_len: usize) -> Bases {
        let mut left = (literal_len * BASES_PER_LITERAL + BASE_BYTES_FREE).min(BASE_BYTES_MAX);
        let mut bases = Bases {
            derived: vec![false; self.matches.len()],
            named: Vec::new(),
        };
        if literal_len == 0 {
            return bases;
        }
        let mut before: Option<&Match> = None;
        for (n, next) in self.matches.iter().map(Some).chain([None]).enumerate() {
            let literal =
                before.map_or(0, Match::end)..next.map_or(self.raw_len, |next| next.begin);
            if !literal.is_empty() && self.derive(literal.len(), before, next, &mut left) {
                bases.derived[n] = true;
            } else if literal.len() >= NAMED_LITERAL_MIN {
                let ends = [
                    before.map(|found| found.extent.end()),
                    next.map(|found| found.extent.at),
                ];
                self.beside(literal.len(), ends, &mut left, &mut bases.named);
                self.guessed(literal, ends, &mut left, &mut bases.named);
            }
            before = next;
        }
        let room = left.min(literal_len.max(TAIL_BYTES_MIN)).min(self.reach);
        // The stream's own tail goes last: nearest to the literals, cheapest to point at.
        let tail = self.tail.newest(room).into_iter();
        let tail = tail
            .filter_map(|extent| self.clip(extent))
            .collect::<Vec<_>>();
        let named = subtract(merge(bases.named), &tail).into_iter().chain(tail);
        bases.named = named.take(BASES_MAX).collect();
        bases
    }

    /// Whether the history between two matches is the base of the literals between them: an edit.
    fn derive(
        &self,
        len: usize,
        before: Option<&Match>,
        next: Option<&Match>,
        left: &mut usize,
    ) -> bool {
        let (Some(before), Some(next)) = (before, next) else {
            return false;
        };
        if before.extent.at.in_received().is_some() || next.extent.at.in_received().is_some() {
            return false;
        }
        let Some(base) = between(before.extent, next.extent) else {
            return false;
        };
        let edit = before.extent.end() <= next.extent.at && base.len <= len * GAP_RATIO_MAX + 4096;
        if !edit || base.len > *left || self.clip(base) != Some(base) {
            return false;
        }
        *left -= base.len;
        true
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

    /// The history next to what stands before and after a literal.
    fn beside(
        &self,
        len: usize,
        [after, before]: [Option<Position>; 2],
        left: &mut usize,
        bases: &mut Vec<Extent>,
    ) {
        let reach = len + slack(len);
        if let Some(at) = after {
            self.add(at.before(64), at.after(reach), left, bases);
        }
        if let Some(at) = before {
            self.add(at.before(reach), at.after(64), left, bases);
        }
    }

    /// What of the extent is held and may be referred to.
    fn clip(&self, extent: Extent) -> Option<Extent> {
        let at = extent.at.max(self.view.oldest(extent.at));
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
