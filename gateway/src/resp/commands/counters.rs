//! Counters under keys of their own.

use super::super::parse::Args;
use super::{Context, NOT_INTEGER, Next, Outcome, SYNTAX, expiry, fail, integer, wrong_number};
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
    let value = context.state.get(args.get(1))?;
    value_or_null(context, value)
}

/// Digits of the value, and its sign.
pub(super) fn strlen(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let value = context.state.get(args.get(1))?;
    let length = value.map_or(0, |value| value.to_string().len());
    context.replies.count(length as u64);
    Ok(Next::Go)
}

fn value_or_null(context: &mut Context<'_>, value: Option<i64>) -> Outcome {
    match value {
        Some(value) => context.replies.bulk_integer(value),
        None => context.replies.null(),
    }
    Ok(Next::Go)
}

pub(super) fn getdel(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let value = context.state.get(args.get(1))?;
    if value.is_some() {
        context.state.delete(args.get(1))?;
    }
    value_or_null(context, value)
}

pub(super) fn setnx(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let value = integer(args.get(2))?;
    let outcome = context
        .state
        .set(args.get(1), value, SetIf::Absent, false)?;
    context.replies.count(u64::from(outcome.done));
    Ok(Next::Go)
}

/// What `SET key value GET` does, by its older name.
pub(super) fn getset(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, value) = (args.get(1), integer(args.get(2))?);
    let outcome = context.state.set(key, value, SetIf::Always, true)?;
    context.state.set_deadline(key, 0)?;
    value_or_null(context, outcome.old)
}

/// `MSET key value [key value …]`: all of them, or none where one is no integer or no counter.
pub(super) fn mset(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(wrong_number("mset"));
    }
    let pairs = || args.from(1).step_by(2).zip(args.from(2).step_by(2));
    for (key, value) in pairs() {
        context.state.get(key)?;
        integer(value)?;
    }
    for (key, value) in pairs() {
        context
            .state
            .set(key, integer(value)?, SetIf::Always, false)?;
        context.state.set_deadline(key, 0)?;
    }
    context.replies.ok();
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

/// What becomes of a key's deadline when it is set.
enum Expiry {
    Drop,
    Keep,
    At(u64),
}

/// `SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`. There are no other
/// values than integers.
pub(super) fn set(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (mut when, mut get) = (SetIf::Always, false);
    let (mut time, mut keep_ttl) = (None, false);
    let mut place = 3;
    while place < args.len() {
        if args.is(place, "NX") && when != SetIf::Present {
            when = SetIf::Absent;
        } else if args.is(place, "XX") && when != SetIf::Absent {
            when = SetIf::Present;
        } else if args.is(place, "GET") {
            get = true;
        } else if args.is(place, "KEEPTTL") && time.is_none() {
            keep_ttl = true;
        } else if let Some(option) = expiry::option_of_set(args, place)
            && place + 1 < args.len()
            && !keep_ttl
            && time.is_none()
        {
            place += 1;
            time = Some((option, args.get(place)));
        } else {
            return Err(SYNTAX);
        }
        place += 1;
    }
    let expiry = match time {
        None if keep_ttl => Expiry::Keep,
        None => Expiry::Drop,
        Some((option, value)) => {
            let at_ms = Some(integer(value)?).filter(|value| *value > 0);
            match at_ms.and_then(|value| option.resolve(value, context.now_ms)) {
                Some(at_ms) => Expiry::At(at_ms as u64),
                None => return expiry::invalid_time("set"),
            }
        }
    };
    let value = super::parse_i64(args.get(2)).ok_or(NOT_INTEGER)?;
    let key = args.get(1);
    let outcome = context.state.set(key, value, when, get)?;
    match expiry {
        Expiry::Drop if outcome.done => context.state.set_deadline(key, 0)?,
        Expiry::At(at_ms) if outcome.done => context.state.set_deadline(key, at_ms)?,
        Expiry::Drop | Expiry::At(_) | Expiry::Keep => {}
    }
    match (get, outcome.old) {
        (true, Some(old)) => context.replies.bulk_integer(old),
        (false, _) if outcome.done => context.replies.ok(),
        (true, None) | (false, _) => context.replies.null(),
    }
    Ok(Next::Go)
}
