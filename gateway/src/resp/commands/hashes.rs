//! Hashes: sets of counters under one key.

use std::collections::HashMap;

use super::super::glob;
use super::super::parse::Args;
use super::super::reply::{Protocol, Replies};
use super::keys::{ScanArgs, VISITS_MAX};
use super::{CommandError, Context, Next, Outcome, SYNTAX, fail, integer, whole, wrong_number};

/// Fields that one `HRANDFIELD` draws at most, with those that come again.
const DRAWN_MAX: usize = 1 << 20;

pub(super) fn hincrby(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let by = integer(args.get(3))?;
    let value = context.state.add_field(args.get(1), args.get(2), by)?;
    context.replies.integer(value);
    Ok(Next::Go)
}

/// Values are whole numbers, as those of `SET`.
pub(super) fn hset(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let new = set_fields(context, args, "hset")?;
    context.replies.count(new);
    Ok(Next::Go)
}

/// What `HSET` does, by its older name.
pub(super) fn hmset(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set_fields(context, args, "hmset")?;
    context.replies.ok();
    Ok(Next::Go)
}

fn set_fields(context: &mut Context<'_>, args: Args<'_>, name: &str) -> Result<u64, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(wrong_number(name));
    }
    let places = (2..args.len()).step_by(2);
    let pair = |place| Ok((args.get(place), whole(args.get(place + 1))?));
    // All of them are numbers, or nothing is set.
    let pairs: Vec<_> = places.map(pair).collect::<Result<_, CommandError>>()?;
    let mut new = 0;
    for (field, value) in pairs {
        new += u64::from(context.state.set_field(args.get(1), field, value)?);
    }
    Ok(new)
}

pub(super) fn hsetnx(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, field, value) = (args.get(1), args.get(2), whole(args.get(3))?);
    let free = context.state.get_field(key, field)?.is_none();
    if free {
        context.state.set_field(key, field, value)?;
    }
    context.replies.count(u64::from(free));
    Ok(Next::Go)
}

/// Digits of the value, and its sign.
pub(super) fn hstrlen(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let value = context.state.get_field(args.get(1), args.get(2))?;
    let length = value.map_or(0, |value| value.to_string().len());
    context.replies.count(length as u64);
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

/// `HRANDFIELD key [count [WITHVALUES]]`: with a count less than 0, the same field may come again.
pub(super) fn hrandfield(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() > 4 || (args.len() == 4 && !args.is(3, "WITHVALUES")) {
        return Err(SYNTAX);
    }
    let count = match args.len() {
        2 => 1,
        _ => integer(args.get(2))?,
    };
    let len = context.state.fields_len(args.get(1))? as usize;
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let drawn: Vec<usize> = match (len, count) {
        (0, _) | (_, 0) => Vec::new(),
        (_, ..0) if wanted > DRAWN_MAX => return fail("ERR value is out of range"),
        (_, ..0) => (0..wanted).map(|_| rand::random_range(0..len)).collect(),
        _ => rand::seq::index::sample(&mut rand::rng(), len, wanted.min(len)).into_vec(),
    };
    let mut fields: HashMap<usize, _> = drawn.iter().map(|place| (*place, None)).collect();
    let mut place = 0;
    context
        .state
        .fields(args.get(1), 0, u64::MAX, |field, value| {
            if let Some(found) = fields.get_mut(&place) {
                *found = Some((field.to_vec(), value));
            }
            place += 1;
        })?;
    let found: Vec<_> = drawn
        .iter()
        .filter_map(|place| fields[place].as_ref())
        .collect();
    write_drawn(context.replies, &found, args.len());
    Ok(Next::Go)
}

fn write_drawn(replies: &mut Replies, found: &[&(Vec<u8>, i64)], args: usize) {
    match (args, found) {
        (2, []) => replies.null(),
        (2, [(field, _), ..]) => replies.bulk(field),
        (3, found) => {
            replies.array(found.len());
            found.iter().for_each(|(field, _)| replies.bulk(field));
        }
        (_, found) => {
            let in_pairs = replies.protocol == Protocol::Resp3;
            replies.array(if in_pairs {
                found.len()
            } else {
                found.len() * 2
            });
            for (field, value) in found {
                if in_pairs {
                    replies.array(2);
                }
                replies.bulk(field);
                replies.bulk_integer(*value);
            }
        }
    }
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
