//! `SLOWLOG`, and `LATENCY`, which records nothing here.

use super::super::parse::Args;
use super::{Context, Next, Outcome, fail};

pub(super) const SLOWLOG_HELP: &str = "\
GET [<count>]
    Return top <count> entries from the slowlog (default: 10, -1 mean all).
    Entries are made of:
    id, timestamp, time in microseconds, arguments array, client IP and port,
    client name
LEN
    Return the length of the slowlog.
RESET
    Reset the slowlog.";

pub(super) const LATENCY_HELP: &str = "\
DOCTOR
    Say where else to look: no latencies are recorded here.
HISTOGRAM [COMMAND ...]
    Return an empty map.
HISTORY <event>
    Return an empty array.
LATEST
    Return an empty array.
RESET [<event> ...]
    Return 0.";

/// Commands that `SLOWLOG GET` shows unless told otherwise.
const SHOWN: usize = 10;

pub(super) fn get(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let count = match (args.len(), super::parse_i64(args.get(2))) {
        (2, _) => SHOWN,
        (3, Some(-1)) => usize::MAX,
        (3, Some(count)) if count >= 0 => usize::try_from(count).unwrap_or(usize::MAX),
        (3, _) => return fail("ERR count should be greater than or equal to -1"),
        _ => {
            return fail(
                "ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.",
            );
        }
    };
    let slow = context.server.slowlog.newest(count);
    let replies = &mut *context.replies;
    replies.array(slow.len());
    for command in slow {
        replies.array(6);
        replies.count(command.id);
        replies.count(command.at_s);
        replies.count(u64::try_from(command.took.as_micros()).unwrap_or(u64::MAX));
        replies.array(command.args.len());
        command.args.iter().for_each(|arg| replies.bulk(arg));
        replies.bulk(command.address.to_string().as_bytes());
        replies.bulk(command.name.as_bytes());
    }
    Ok(Next::Go)
}

pub(super) fn len(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.count(context.server.slowlog.len() as u64);
    Ok(Next::Go)
}

pub(super) fn reset(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.server.slowlog.clear();
    context.replies.ok();
    Ok(Next::Go)
}

/// As Redis where nobody has switched its latency monitor on.
pub(super) fn samples(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.array(0);
    Ok(Next::Go)
}

pub(super) fn forget_samples(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.count(0);
    Ok(Next::Go)
}

pub(super) fn histogram(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.map(0);
    Ok(Next::Go)
}

pub(super) fn doctor(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.verbatim(
        "No latencies are recorded here. SLOWLOG GET has the commands that took long, and the \
         metrics how long flushes to the disk take (strait_grid_flush_last_seconds).",
    );
    Ok(Next::Go)
}
