//! Hashes: sets of counters under one key.

use super::super::glob;
use super::super::parse::Args;
use super::super::reply::Replies;
use super::keys::{ScanArgs, VISITS_MAX};
use super::{CommandError, Context, Next, Outcome, integer, wrong_number};

pub(super) fn hincrby(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let by = integer(args.get(3))?;
    let value = context.state.add_field(args.get(1), args.get(2), by)?;
    context.replies.integer(value);
    Ok(Next::Go)
}

/// Values are whole numbers, as those of `SET`.
pub(super) fn hset(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if !args.len().is_multiple_of(2) {
        return Err(wrong_number("hset"));
    }
    let places = (2..args.len()).step_by(2);
    let pair = |place| Ok((args.get(place), integer(args.get(place + 1))?));
    // All of them are numbers, or nothing is set.
    let pairs: Vec<_> = places.map(pair).collect::<Result<_, CommandError>>()?;
    let mut new = 0;
    for (field, value) in pairs {
        new += u64::from(context.state.set_field(args.get(1), field, value)?);
    }
    context.replies.count(new);
    Ok(Next::Go)
}

pub(super) fn hget(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match context.state.get_field(args.get(1), args.get(2))? {
        Some(value) => context.replies.bulk_integer(value),
        None => context.replies.null(),
    }
    Ok(Next::Go)
}

pub(super) fn hexists(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let value = context.state.get_field(args.get(1), args.get(2))?;
    context.replies.count(u64::from(value.is_some()));
    Ok(Next::Go)
}

pub(super) fn hdel(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut count = 0;
    for field in args.from(2) {
        count += u64::from(context.state.delete_field(args.get(1), field)?);
    }
    context.replies.count(count);
    Ok(Next::Go)
}

pub(super) fn hkeys(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    each(context, args, |replies, field, _| replies.bulk(field))
}

pub(super) fn hvals(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    each(context, args, |replies, _, value| {
        replies.bulk_integer(value)
    })
}

/// One reply for each field of a hash.
fn each(
    context: &mut Context<'_>,
    args: Args<'_>,
    reply: impl Fn(&mut Replies, &[u8], i64),
) -> Outcome {
    let len = context.state.fields_len(args.get(1))?;
    context.replies.array(len as usize);
    let replies = &mut *context.replies;
    let found = |field: &[u8], value| reply(replies, field, value);
    context.state.fields(args.get(1), 0, u64::MAX, found)?;
    Ok(Next::Go)
}

pub(super) fn hmget(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    context.replies.array(args.len() - 2);
    for field in args.from(2) {
        match context.state.get_field(args.get(1), field)? {
            Some(value) => context.replies.bulk_integer(value),
            None => context.replies.null(),
        }
    }
    Ok(Next::Go)
}

pub(super) fn hgetall(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let len = context.state.fields_len(args.get(1))?;
    context.replies.map(len as usize);
    let replies = &mut *context.replies;
    context
        .state
        .fields(args.get(1), 0, u64::MAX, |field, value| {
            replies.bulk(field);
            replies.bulk_integer(value);
        })?;
    Ok(Next::Go)
}

pub(super) fn hlen(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let len = context.state.fields_len(args.get(1))?;
    context.replies.count(len);
    Ok(Next::Go)
}

pub(super) fn hscan(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let scan = ScanArgs::parse(args, 2, false)?;
    let mut found = Vec::new();
    let visits = scan.count.min(VISITS_MAX);
    let next = context
        .state
        .fields(args.get(1), scan.cursor, visits, |field, value| {
            if scan
                .pattern
                .is_none_or(|pattern| glob::matches(pattern, field))
            {
                found.push((field.to_vec(), value));
            }
        })?;
    context.replies.array(2);
    context
        .replies
        .bulk(next.unwrap_or(0).to_string().as_bytes());
    context.replies.array(found.len() * 2);
    for (field, value) in found {
        context.replies.bulk(&field);
        context.replies.bulk_integer(value);
    }
    Ok(Next::Go)
}
