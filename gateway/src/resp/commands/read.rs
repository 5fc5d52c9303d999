//! `XREAD`, which may wait for what is not there yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::super::parse::Args;
use super::super::reply::{Protocol, Replies};
use super::connection::timeout;
use super::logs::{entries, entries_on_disk, parse_id};
use super::{
    CommandError, Context, DiskRead, Later, Next, Outcome, SYNTAX, Session, fail, integer, permit,
};
use crate::grid::{EntryId, Grid, IdRange, LogId, ReadAhead, State};

/// An `XREAD`: which logs, each after which entry, and how long it waits for one.
#[derive(Clone, Debug)]
pub(in crate::resp) struct BlockingRead {
    logs: Vec<(Vec<u8>, EntryId)>,
    count: Option<usize>,
    /// None: for ever.
    pub(in crate::resp) timeout: Option<Duration>,
}

impl BlockingRead {
    /// Whether the client's user may still read all of the logs.
    pub(in crate::resp) fn check(&self, session: &Session) -> Result<(), CommandError> {
        let keys = self.logs.iter().map(|(key, _)| &key[..]);
        permit::check_keys(session, "xread", keys)
    }

    /// Writes the reply if one of the logs has something new.
    pub(in crate::resp) fn try_read(
        &self,
        state: &State,
        ahead: &ReadAhead,
        replies: &mut Replies,
    ) -> Result<Tried, CommandError> {
        let (ready, before) = (self.ready(state)?, replies.bytes.len());
        if ready.is_empty() {
            return Ok(Tried::Nothing);
        }
        replies.map_or_pairs(ready.len());
        for (key, id, range) in ready {
            begin_log(replies, key);
            if let Err(absent) = entries(replies, (state, ahead), (id, range), self.count) {
                replies.bytes.truncate(before);
                let read = self.clone();
                let read = move |grid: &Grid, replies: &mut Replies| read.on_disk(grid, replies);
                return Ok(Tried::OnDisk(DiskRead::new((id, absent), read)));
            }
        }
        replies.end(before);
        Ok(Tried::Read)
    }

    /// The logs that have something new, and what.
    fn ready(&self, state: &State) -> Result<Vec<Ready<'_>>, CommandError> {
        let mut ready = Vec::new();
        for (key, after) in &self.logs {
            let Some(id) = state.find_log(key)? else {
                continue;
            };
            let range = after.next().map(IdRange::from);
            let range = range.filter(|range| state.log(id).read(*range).next().is_some());
            ready.extend(range.map(|range| (&key[..], id, range)));
        }
        Ok(ready)
    }

    /// Writes the reply with what is on disk. What was trimmed meanwhile is left out.
    fn on_disk(&self, grid: &Grid, replies: &mut Replies) -> Result<(), CommandError> {
        let ready = self.ready(&grid.lock())?;
        if ready.is_empty() {
            replies.null_array();
            return Ok(());
        }
        replies.map_or_pairs(ready.len());
        for (key, id, range) in ready {
            begin_log(replies, key);
            entries_on_disk(grid, replies, (id, range), self.count)?;
        }
        Ok(())
    }

    /// Has `woken` notified when one of the logs gets an entry.
    pub(in crate::resp) fn register(
        &self,
        state: &mut State,
        woken: &Arc<Notify>,
    ) -> Result<(), CommandError> {
        for (key, _) in &self.logs {
            state.wait_for_entry(key, woken)?;
        }
        Ok(())
    }
}

/// A log by its key, and what of it is new.
type Ready<'a> = (&'a [u8], LogId, IdRange);

/// What has become of an `XREAD`.
#[derive(Debug)]
pub(in crate::resp) enum Tried {
    /// There is nothing new.
    Nothing,
    Read,
    /// It has to be read from the disk.
    OnDisk(DiskRead),
}

fn begin_log(replies: &mut Replies, key: &[u8]) {
    if replies.protocol == Protocol::Resp2 {
        replies.array(2);
    }
    replies.bulk(key);
}

/// `XREAD [COUNT count] [BLOCK ms] STREAMS key… id…`.
pub(super) fn xread(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (mut count, mut block, mut place) = (None, None, 1);
    let first = loop {
        let more = args.len().saturating_sub(place + 1);
        if more == 0 {
            return Err(SYNTAX);
        }
        if args.is(place, "BLOCK") {
            block = Some(timeout(args.get(place + 1))?);
        } else if args.is(place, "COUNT") {
            let value = integer(args.get(place + 1))?;
            count = usize::try_from(value).ok().filter(|count| *count > 0);
        } else if args.is(place, "STREAMS") {
            break place + 1;
        } else if args.is(place, "GROUP") {
            return fail(
                "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
            );
        } else {
            return Err(SYNTAX);
        }
        place += 2;
    };
    let logs = positions(context.state, args, first)?;
    let read = BlockingRead {
        logs,
        count,
        timeout: block.flatten(),
    };
    match read.try_read(context.state, &context.session.ahead, context.replies)? {
        Tried::Read => return Ok(Next::Go),
        Tried::OnDisk(read) => return Ok(Next::Later(Later::OnDisk(read))),
        Tried::Nothing => {}
    }
    if block.is_some() {
        return Ok(Next::Later(Later::Read(read)));
    }
    context.replies.null_array();
    Ok(Next::Go)
}

/// The keys from place `first` on, each with the id that stands as far behind it as all keys do.
fn positions(
    state: &State,
    args: Args<'_>,
    first: usize,
) -> Result<Vec<(Vec<u8>, EntryId)>, CommandError> {
    let given = args.len() - first;
    if !given.is_multiple_of(2) {
        return fail(
            "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be \
             specified.",
        );
    }
    let pairs = args
        .from(first)
        .zip(args.from(first + given / 2))
        .take(given / 2);
    let mut logs = Vec::with_capacity(given / 2);
    for (key, id) in pairs {
        let log = state.find_log(key)?;
        let after = match id {
            b"$" => log.map_or(EntryId::MIN, |id| state.log(id).position().last),
            b">" => {
                return fail(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP \
                     <group> <consumer> option.",
                );
            }
            id => parse_id(id, 0)?,
        };
        logs.push((key.to_vec(), after));
    }
    Ok(logs)
}
