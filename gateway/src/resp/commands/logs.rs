//! Logs: what Redis calls streams.

use super::super::number::parse_u64;
use super::super::parse::Args;
use super::super::reply::Replies;
use super::{
    CommandError, Context, DiskRead, NOT_INTEGER, Next, Outcome, SYNTAX, fail, integer,
    wrong_number,
};
use crate::grid::{
    Absent, EntryId, Grid, IdRange, Keep, Log, LogId, NewId, ReadAhead, State, Trim, values_of,
};

/// Without a `LIMIT`, one `~` trims at most so many entries, as in Redis (100 nodes of 100).
const ROUGH_LIMIT: u64 = 10_000;

/// While nobody knows how many entries are lost.
const UNCOUNTED: &str = "ERR entries of the log are lost, and nobody knows how many: they were damaged on \
     disk, and come back from a peer that has them";
const INVALID_ID: &str = "ERR Invalid stream ID specified as stream command argument";

/// Reads `<ms>` or `<ms>-<seq>`; without `<seq>`, that is `seq`.
pub(super) fn parse_id(text: &[u8], seq: u64) -> Result<EntryId, CommandError> {
    let dash = text.iter().position(|byte| *byte == b'-');
    let id = match dash {
        None => parse_u64(text).map(|ms| EntryId { ms, seq }),
        Some(dash) => parse_u64(&text[..dash])
            .zip(parse_u64(&text[dash + 1..]))
            .map(|(ms, seq)| EntryId { ms, seq }),
    };
    match id {
        Some(id) => Ok(id),
        None => fail(INVALID_ID),
    }
}

/// Reads one end of an interval: an id, `-`, `+`, or `(` and an id. Whether it is excluded.
fn parse_end(text: &[u8], seq: u64) -> Result<(EntryId, bool), CommandError> {
    match text {
        b"-" => Ok((EntryId::MIN, false)),
        b"+" => Ok((EntryId::MAX, false)),
        [b'(', id @ ..] if !id.is_empty() => Ok((parse_id(id, seq)?, true)),
        id => Ok((parse_id(id, seq)?, false)),
    }
}

/// Options that `XADD` and `XTRIM` share.
#[derive(Default)]
struct Options {
    trim: Option<Trim>,
    limit: Option<u64>,
    no_make: bool,
    /// The place of the new entry's id.
    id_at: usize,
}

impl Options {
    fn parse(args: Args<'_>, adding: bool) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut place = 2;
        while place < args.len() {
            let more = args.len() - place - 1;
            if adding && args.get(place) == b"*" {
                break;
            } else if (args.is(place, "MAXLEN") || args.is(place, "MINID")) && more > 0 {
                place = options.strategy(args, place)?;
            } else if args.is(place, "LIMIT") && more > 0 {
                let limit = integer(args.get(place + 1))?;
                let Ok(limit) = u64::try_from(limit) else {
                    return fail("ERR The LIMIT argument must be >= 0.");
                };
                options.limit = Some(limit);
                place += 2;
            } else if adding && args.is(place, "NOMKSTREAM") {
                options.no_make = true;
                place += 1;
            } else if adding {
                break;
            } else {
                return Err(SYNTAX);
            }
        }
        options.id_at = place;
        options.check(adding)
    }

    /// Reads `MAXLEN` or `MINID` at `place`; the place after it.
    fn strategy(&mut self, args: Args<'_>, place: usize) -> Result<usize, CommandError> {
        if self.trim.is_some() {
            return fail(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            );
        }
        let sign = args.get(place + 1);
        let signed = args.len() > place + 2 && (sign == b"~" || sign == b"=");
        let value = args.get(place + 1 + usize::from(signed));
        let keep = if args.is(place, "MINID") {
            Keep::From(parse_id(value, 0)?)
        } else {
            match u64::try_from(integer(value)?) {
                Ok(newest) => Keep::Newest(newest),
                Err(_) => return fail("ERR The MAXLEN argument must be >= 0."),
            }
        };
        self.trim = Some(Trim {
            keep,
            roughly: signed && sign == b"~",
            limit: None,
        });
        Ok(place + 2 + usize::from(signed))
    }

    fn check(mut self, adding: bool) -> Result<Self, CommandError> {
        match (&mut self.trim, self.limit) {
            (None, Some(_)) => fail(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ),
            (None, None) if !adding => {
                fail("ERR syntax error, XTRIM must be called with a trimming strategy")
            }
            (Some(trim), Some(_)) if !trim.roughly => {
                fail("ERR syntax error, LIMIT cannot be used without the special ~ option")
            }
            (Some(trim), limit) => {
                let limit = limit.unwrap_or(ROUGH_LIMIT);
                trim.limit = (trim.roughly && limit > 0).then_some(limit);
                Ok(self)
            }
            (None, None) => Ok(self),
        }
    }
}

fn new_id(text: &[u8]) -> Result<NewId, CommandError> {
    if text == b"*" {
        return Ok(NewId::Auto);
    }
    if let Some(ms) = text.strip_suffix(b"-*") {
        return match parse_u64(ms) {
            Some(ms) => Ok(NewId::AutoSeq(ms)),
            None => fail(INVALID_ID),
        };
    }
    match parse_id(text, 0)? {
        EntryId::MIN => fail("ERR The ID specified in XADD must be greater than 0-0"),
        id => Ok(NewId::Explicit(id)),
    }
}

pub(super) fn xadd(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let options = Options::parse(args, true)?;
    let first = options.id_at + 1;
    // An id that cannot be read is reported before fields that are missing.
    let id = new_id_or_missing(args, options.id_at)?;
    let values = args.len().saturating_sub(first);
    if values < 2 || !values.is_multiple_of(2) {
        return Err(wrong_number("xadd"));
    }
    let payload = crate::grid::pack_values(args.from(first));
    let how = (!options.no_make, options.trim);
    match context
        .state
        .append(args.get(1), id, &payload, how, context.now_ms)?
    {
        Some(id) => context.replies.id(id),
        None => context.replies.null(),
    }
    Ok(Next::Go)
}

fn new_id_or_missing(args: Args<'_>, place: usize) -> Result<NewId, CommandError> {
    if place >= args.len() {
        return Err(wrong_number("xadd"));
    }
    new_id(args.get(place))
}

pub(super) fn xtrim(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let Some(trim) = Options::parse(args, false)?.trim else {
        return Err(SYNTAX);
    };
    let gone = context.state.trim(args.get(1), trim)?;
    context.replies.count(gone);
    Ok(Next::Go)
}

/// The block on disk that the `XADD` or `XTRIM` would have to look into, when the log has `more`
/// entries.
pub(super) fn trim_needs(state: &State, args: Args<'_>, more: u64) -> Option<(LogId, Absent)> {
    let trim = Options::parse(args, args.is(0, "XADD")).ok()?.trim?;
    state.trim_needs(args.get(1), trim, more)
}

pub(super) fn xlen(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let log = context.state.find_log(args.get(1))?;
    let log = log.map(|id| context.state.log(id));
    if log.is_some_and(Log::is_uncounted) {
        return fail(UNCOUNTED);
    }
    context.replies.count(log.map_or(0, Log::len));
    Ok(Next::Go)
}

/// Writes one entry: its id, and its fields and values.
fn entry(replies: &mut Replies, id: EntryId, payload: &[u8]) {
    replies.array(2);
    replies.id(id);
    let (count, values) = values_of(payload);
    replies.array(count);
    values.for_each(|value| replies.bulk(value));
}

/// Writes the entries that `read` hands out, at most `count` if that is given. `read` ends when
/// it is told false.
fn write_entries<E>(
    replies: &mut Replies,
    count: Option<usize>,
    read: impl FnOnce(&mut dyn FnMut(EntryId, &[u8]) -> bool) -> Result<(), E>,
) -> Result<(), E> {
    let mut outcome = Ok(());
    replies.array_of(|replies| {
        let mut written = 0;
        outcome = read(&mut |id, payload| {
            entry(replies, id, payload);
            written += 1;
            !replies.has_overflowed() && count.is_none_or(|count| written < count)
        });
        written
    });
    outcome
}

/// Writes entries that are in memory, or were read ahead, at most `count`; nothing is written if one
/// is not: the error is the block that it is in.
pub(super) fn entries(
    replies: &mut Replies,
    (state, ahead): (&State, &ReadAhead),
    (log, range): (LogId, IdRange),
    count: Option<usize>,
) -> Result<(), Absent> {
    let before = replies.bytes.len();
    let written = write_entries(replies, count, |found| {
        state.read_log(log, range, ahead, found)
    });
    if written.is_err() {
        replies.bytes.truncate(before);
    }
    written
}

/// Writes entries wherever they are, at most `count`. May wait for the disk.
pub(super) fn entries_on_disk(
    grid: &Grid,
    replies: &mut Replies,
    (log, range): (LogId, IdRange),
    count: Option<usize>,
) -> Result<(), CommandError> {
    let written = write_entries(replies, count, |found| grid.read_log(log, range, found));
    Ok(written?)
}

pub(super) fn xrange(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    range(context, args, false)
}

pub(super) fn xrevrange(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    range(context, args, true)
}

fn range(context: &mut Context<'_>, args: Args<'_>, newest_first: bool) -> Outcome {
    let (start, end) = if newest_first { (3, 2) } else { (2, 3) };
    let start = match parse_end(args.get(start), 0)? {
        (id, false) => Some(id),
        (id, true) => id.next(),
    };
    let Some(start) = start else {
        return fail("ERR invalid start ID for the interval");
    };
    let end = match parse_end(args.get(end), u64::MAX)? {
        (id, false) => Some(id),
        (id, true) => id.previous(),
    };
    let Some(end) = end else {
        return fail("ERR invalid end ID for the interval");
    };
    let count = parse_count(args)?;
    let Some(id) = context.state.find_log(args.get(1))? else {
        context.replies.array(0);
        return Ok(Next::Go);
    };
    let range = IdRange {
        start,
        end,
        newest_first,
    };
    if count == Some(0) {
        context.replies.null_array();
        return Ok(Next::Go);
    }
    let held = (&*context.state, &context.session.ahead);
    match entries(context.replies, held, (id, range), count) {
        Ok(()) => Ok(Next::Go),
        Err(absent) => DiskRead::later((id, absent), move |grid, replies| {
            entries_on_disk(grid, replies, (id, range), count)
        }),
    }
}

fn parse_count(args: Args<'_>) -> Result<Option<usize>, CommandError> {
    let (mut count, mut place) = (None, 4);
    while place < args.len() {
        if !args.is(place, "COUNT") || place + 1 >= args.len() {
            return Err(SYNTAX);
        }
        let value = integer(args.get(place + 1))?.max(0);
        count = Some(usize::try_from(value).map_err(|_| NOT_INTEGER)?);
        place += 2;
    }
    Ok(count)
}

pub(super) const XINFO_HELP: &str = "\
CONSUMERS <key> <groupname>
    Return an error: there are no groups.
GROUPS <key>
    Return an empty array: there are no groups.
STREAM <key>
    Show information about the stream.";

fn existing_log(context: &Context<'_>, args: Args<'_>) -> Result<LogId, CommandError> {
    match context.state.find_log(args.get(2))? {
        Some(id) => Ok(id),
        None => fail("ERR no such key"),
    }
}

pub(super) fn xinfo_groups(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    existing_log(context, args)?;
    context.replies.array(0);
    Ok(Next::Go)
}

pub(super) fn xinfo_consumers(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    existing_log(context, args)?;
    let [key, group] = [2, 3].map(|place| String::from_utf8_lossy(args.get(place)));
    fail(format!(
        "NOGROUP No such consumer group '{group}' for key name '{key}'"
    ))
}

/// `XINFO STREAM key`.
pub(super) fn xinfo_stream(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let id = existing_log(context, args)?;
    if args.is(3, "FULL") {
        return fail("ERR XINFO STREAM FULL is not supported: XINFO STREAM and XRANGE");
    }
    if args.len() > 3 {
        return fail(
            "ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.",
        );
    }
    if context.state.log(id).is_uncounted() {
        return fail(UNCOUNTED);
    }
    let (state, ahead) = (&*context.state, &context.session.ahead);
    let read = ends(|range, found| state.read_log(id, range, ahead, found));
    match read {
        Ok(ends) => {
            describe(context.replies, state.log(id), &ends);
            Ok(Next::Go)
        }
        Err(absent) => DiskRead::later((id, absent), move |grid, replies| {
            let ends = ends(|range, found| grid.read_log(id, range, found))?;
            describe(replies, grid.lock().log(id), &ends);
            Ok(())
        }),
    }
}

/// The first entry of a log and the last.
type Ends = [Option<(EntryId, Vec<u8>)>; 2];

/// Both, as `read` hands out those of a range.
fn ends<E>(
    read: impl Fn(IdRange, &mut dyn FnMut(EntryId, &[u8]) -> bool) -> Result<(), E>,
) -> Result<Ends, E> {
    let end = |range| {
        let mut end = None;
        let read = read(range, &mut |id, payload| {
            end = Some((id, payload.to_vec()));
            false
        });
        read.map(|()| end)
    };
    Ok([end(IdRange::ALL)?, end(IdRange::ALL.back())?])
}

fn describe(replies: &mut Replies, log: &Log, [first, last]: &Ends) {
    let position = log.position();
    replies.map(10);
    let counts = [
        ("length", log.len()),
        ("radix-tree-keys", 1),
        ("radix-tree-nodes", 2),
    ];
    for (name, value) in counts {
        replies.bulk(name.as_bytes());
        replies.count(value);
    }
    replies.bulk(b"last-generated-id");
    replies.id(position.last);
    replies.bulk(b"max-deleted-entry-id");
    // Only single deletions count here, and there are none.
    replies.id(EntryId::MIN);
    replies.bulk(b"entries-added");
    replies.count(log.added());
    replies.bulk(b"recorded-first-entry-id");
    replies.id(first.as_ref().map_or(EntryId::MIN, |(id, _)| *id));
    replies.bulk(b"groups");
    replies.count(0);
    for (name, found) in [("first-entry", first), ("last-entry", last)] {
        replies.bulk(name.as_bytes());
        match found {
            Some((id, payload)) => entry(replies, *id, payload),
            None => replies.null(),
        }
    }
}
