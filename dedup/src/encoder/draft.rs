//! A batch laid out, before it is compressed.

use std::ops::Range;

use super::bases::Bases;
use super::found::Match;
use crate::history::{Extent, Position, View};
use crate::wire::plan::{Plan, Run};
use crate::wire::{Side, Source};

/// A batch before it is compressed.
pub(super) struct Draft<'a> {
    pub(super) start: Position,
    pub(super) plan: Plan,
    pub(super) named: Vec<Source>,
    /// The bases, then all literals.
    pub(super) body: &'a [u8],
    pub(super) prefix_len: usize,
    /// History that the batch refers to, as a view names it.
    pub(super) sources: Vec<Extent>,
}

impl<'a> Draft<'a> {
    pub(super) fn literals(&self) -> &'a [u8] {
        &self.body[self.prefix_len..]
    }
}

/// Appends what of a batch no run covers.
fn put_literals(out: &mut Vec<u8>, raw: &[u8], runs: &[Run]) {
    let mut at = 0;
    for run in runs {
        out.extend_from_slice(&raw[at..at + run.literal_len]);
        at += run.literal_len + run.source.extent.len;
    }
    out.extend_from_slice(&raw[at..]);
}

/// Makes the plan and reads the bases into `body`, leaving out those that can't be read.
pub(super) fn lay_out<'a>(
    view: View<'_>,
    start: Position,
    raw: &'a [u8],
    body: &'a mut Vec<u8>,
    matches: &[Match],
    appends: Vec<Range<usize>>,
    bases: Bases,
) -> Draft<'a> {
    let mut sources: Vec<Extent> = matches.iter().map(|found| found.extent).collect();
    let mut plan = Plan {
        runs: runs(matches, bases.derived),
        appends,
    };
    body.clear();
    let derived = plan.derived_bases();
    if derived.iter().any(|base| view.read(*base, body).is_err()) {
        body.clear();
        for run in &mut plan.runs {
            run.based = false;
        }
    } else {
        sources.extend(derived);
    }
    let mut named = Vec::with_capacity(bases.named.len());
    for extent in bases.named {
        let before = body.len();
        match view.read(extent, body) {
            Ok(()) => {
                named.push(source(extent));
                sources.push(extent);
            }
            Err(_) => body.truncate(before),
        }
    }
    let prefix_len = body.len();
    let body = if prefix_len == 0 && plan.runs.is_empty() {
        raw
    } else {
        put_literals(body, raw, &plan.runs);
        body
    };
    Draft {
        start,
        plan,
        named,
        body,
        prefix_len,
        sources,
    }
}

fn runs(matches: &[Match], derived: Vec<bool>) -> Vec<Run> {
    let mut after = 0;
    let derived = derived.into_iter().chain(std::iter::repeat(false));
    let run = |(found, based): (&Match, bool)| {
        let literal_len = found.begin - after;
        after = found.end();
        Run {
            literal_len,
            source: source(found.extent),
            based,
        }
    };
    matches.iter().zip(derived).map(run).collect()
}

/// A view's range as the wire names it.
fn source(extent: Extent) -> Source {
    match extent.at.in_received() {
        None => Source {
            side: Side::Same,
            extent,
        },
        Some(at) => Source {
            side: Side::Reverse,
            extent: Extent { at, ..extent },
        },
    }
}
