//! `OBJECT` and `MEMORY`: how a key is kept.

use super::super::parse::Args;
use super::{CommandError, Context, Next, Outcome, SYNTAX, fail, integer};
use crate::grid::Kind;

pub(super) const OBJECT_HELP: &str = "\
ENCODING <key>
    Return int for a counter, hashtable for a hash of counters, stream for a log.
FREQ <key>
    Return an error: how often keys are read is not tracked.
IDLETIME <key>
    Return an error: when keys were read is not tracked.
REFCOUNT <key>
    Return 1.";

pub(super) const MEMORY_HELP: &str = "\
DOCTOR
    Say where else to look.
STATS
    Return information about the memory usage of the server.
USAGE <key> [SAMPLES <count>]
    Return memory in bytes used by <key> and its value, estimated. Of a hash <count> fields
    are looked at (default: 5, 0 means all); of a log what is in memory is counted.";

/// Fields of a hash that `MEMORY USAGE` looks at unless told otherwise.
const SAMPLES: u64 = 5;
/// And at most: the lock is held meanwhile.
const SAMPLES_MAX: u64 = 1_000_000;

/// What stands behind the key, or the reply that nothing does.
fn kind(context: &mut Context<'_>, args: Args<'_>) -> Option<Kind> {
    let kind = context.state.kind(args.get(2));
    if kind.is_none() {
        context.replies.null();
    }
    kind
}

pub(super) fn encoding(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let Some(kind) = kind(context, args) else {
        return Ok(Next::Go);
    };
    context.replies.bulk(match kind {
        Kind::Counter => b"int",
        Kind::Hash => b"hashtable",
        Kind::Log(_) => b"stream",
    });
    Ok(Next::Go)
}

pub(super) fn refcount(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if kind(context, args).is_some() {
        context.replies.count(1);
    }
    Ok(Next::Go)
}

/// `OBJECT FREQ` and `OBJECT IDLETIME`: nothing is evicted, so nobody counts.
pub(super) fn untracked(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if kind(context, args).is_none() {
        return Ok(Next::Go);
    }
    if args.is(1, "IDLETIME") {
        return fail("ERR idle time is not tracked, as nothing is evicted for it");
    }
    fail(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
         that when switching between policies at runtime LRU and LFU data will take some time to \
         adjust.",
    )
}

pub(super) fn usage(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let samples = samples(args)?;
    match context
        .state
        .bytes_of(args.get(2), samples.min(SAMPLES_MAX))
    {
        Some(bytes) => context.replies.count(bytes),
        None => context.replies.null(),
    }
    Ok(Next::Go)
}

fn samples(args: Args<'_>) -> Result<u64, CommandError> {
    match args.len() {
        3 => Ok(SAMPLES),
        5 if args.is(3, "SAMPLES") => match u64::try_from(integer(args.get(4))?) {
            Ok(0) => Ok(u64::MAX),
            Ok(samples) => Ok(samples),
            Err(_) => Err(SYNTAX),
        },
        _ => Err(SYNTAX),
    }
}

pub(super) fn stats(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let (bytes, keys) = (context.state.bytes() as u64, context.state.visible());
    let figures = [
        ("total.allocated", bytes),
        ("keys.count", keys),
        ("keys.bytes-per-key", bytes.checked_div(keys).unwrap_or(0)),
        ("dataset.bytes", bytes),
    ];
    context.replies.map(figures.len());
    for (name, value) in figures {
        context.replies.bulk(name.as_bytes());
        context.replies.count(value);
    }
    Ok(Next::Go)
}

pub(super) fn doctor(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.verbatim(
        "No doctor here. MEMORY STATS and INFO memory have what data takes, and the metrics when \
         memory will be full (strait_grid_full_seconds).",
    );
    Ok(Next::Go)
}
