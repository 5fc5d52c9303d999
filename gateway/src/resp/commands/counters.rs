//! Counters under keys of their own.

use super::super::parse::Args;
use super::{Context, NOT_INTEGER, Next, Outcome, SYNTAX, fail, integer};
use crate::grid::SetIf;

fn add(context: &mut Context<'_>, args: Args<'_>, by: i64) -> Outcome {
    let value = context.state.add(args.get(1), by)?;
    context.replies.integer(value);
    Ok(Next::Go)
}

pub(super) fn incr(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    add(context, args, 1)
}

pub(super) fn decr(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    add(context, args, -1)
}

pub(super) fn incrby(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    add(context, args, integer(args.get(2))?)
}

pub(super) fn decrby(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match integer(args.get(2))?.checked_neg() {
        Some(by) => add(context, args, by),
        None => fail("ERR decrement would overflow"),
    }
}

pub(super) fn get(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match context.state.get(args.get(1))? {
        Some(value) => context.replies.bulk_integer(value),
        None => context.replies.null(),
    }
    Ok(Next::Go)
}

pub(super) fn mget(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    context.replies.array(args.len() - 1);
    for key in args.from(1) {
        match context.state.get(key) {
            Ok(Some(value)) => context.replies.bulk_integer(value),
            // As in Redis, a key of another kind is as good as none here.
            Ok(None) | Err(_) => context.replies.null(),
        }
    }
    Ok(Next::Go)
}

/// `SET key value [NX | XX] [GET]`. There are no other values than integers, and no expiry.
pub(super) fn set(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (mut when, mut get) = (SetIf::Always, false);
    for place in 3..args.len() {
        if args.is(place, "NX") && when != SetIf::Present {
            when = SetIf::Absent;
        } else if args.is(place, "XX") && when != SetIf::Absent {
            when = SetIf::Present;
        } else if args.is(place, "GET") {
            get = true;
        } else {
            return Err(SYNTAX);
        }
    }
    let value = super::parse_i64(args.get(2)).ok_or(NOT_INTEGER)?;
    let outcome = context.state.set(args.get(1), value, when, get)?;
    match (get, outcome.old) {
        (true, Some(old)) => context.replies.bulk_integer(old),
        (false, _) if outcome.done => context.replies.ok(),
        (true, None) | (false, _) => context.replies.null(),
    }
    Ok(Next::Go)
}
