//! Counters under keys of their own.

use super::super::parse::Args;
use super::{
    CommandError, Context, Next, Outcome, SYNTAX, expiry, fail, integer, whole, wrong_number,
};
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

/// `GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]`.
pub(super) fn getex(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let time = match args.len() {
        2 => None,
        3 if args.is(2, "PERSIST") => None,
        4 => Some(expiry::option_of_set(args, 2).ok_or(SYNTAX)?),
        _ => return Err(SYNTAX),
    };
    let key = args.get(1);
    let value = context.state.get(key)?;
    if value.is_some() {
        match time {
            Some(time) => {
                let at_ms = time.deadline("getex", args.get(3), context.now_ms)?;
                context.state.set_deadline(key, at_ms)?;
            }
            None if args.len() == 3 => context.state.set_deadline(key, 0)?,
            None => {}
        }
    }
    value_or_null(context, value)
}

pub(super) fn setex(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set_for(context, args, ("setex", expiry::SECONDS))
}

pub(super) fn psetex(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set_for(context, args, ("psetex", expiry::MILLISECONDS))
}

/// `SETEX key time value`.
fn set_for(
    context: &mut Context<'_>,
    args: Args<'_>,
    (name, time): (&str, expiry::Time),
) -> Outcome {
    let at_ms = time.deadline(name, args.get(2), context.now_ms)?;
    let (key, value) = (args.get(1), whole(args.get(3))?);
    context.state.set(key, value, SetIf::Always, false)?;
    context.state.set_deadline(key, at_ms)?;
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn setnx(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let value = whole(args.get(2))?;
    let outcome = context
        .state
        .set(args.get(1), value, SetIf::Absent, false)?;
    context.replies.count(u64::from(outcome.done));
    Ok(Next::Go)
}

/// What `SET key value GET` does, by its older name.
pub(super) fn getset(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, value) = (args.get(1), whole(args.get(2))?);
    let outcome = context.state.set(key, value, SetIf::Always, true)?;
    context.state.set_deadline(key, 0)?;
    value_or_null(context, outcome.old)
}

/// `MSET key value [key value …]`: all of them, or none where one is no integer or no counter.
pub(super) fn mset(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(wrong_number("mset"));
    }
    set_all(context, args)?;
    context.replies.ok();
    Ok(Next::Go)
}

/// `MSETNX key value [key value …]`: likewise, and none where one of the keys is there.
pub(super) fn msetnx(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(wrong_number("msetnx"));
    }
    let mut keys = args.from(1).step_by(2);
    let free = keys.all(|key| context.state.kind(key).is_none());
    if free {
        set_all(context, args)?;
    }
    context.replies.count(u64::from(free));
    Ok(Next::Go)
}

fn set_all(context: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let pairs = || args.from(1).step_by(2).zip(args.from(2).step_by(2));
    for (key, value) in pairs() {
        context.state.get(key)?;
        whole(value)?;
    }
    for (key, value) in pairs() {
        context
            .state
            .set(key, whole(value)?, SetIf::Always, false)?;
        context.state.set_deadline(key, 0)?;
    }
    Ok(())
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
        Some((option, value)) => Expiry::At(option.deadline("set", value, context.now_ms)?),
    };
    let value = whole(args.get(2))?;
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
