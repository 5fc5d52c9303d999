//! Names, whatever stands behind them.

use super::super::glob;
use super::super::number::parse_u64;
use super::super::parse::Args;
use super::{CommandError, Context, Next, Outcome, SYNTAX, fail, integer};
use crate::grid::Kind;

/// Places that one `SCAN` looks at, whatever its `COUNT`: the lock is held meanwhile.
pub(super) const VISITS_MAX: u64 = 10_000;

/// Names that `KEYS` looks at, for the same reason; it answers an error where there are more.
const KEYS_VISITS_MAX: u64 = 1_000_000;

/// How often `RANDOMKEY` tries its luck, and how many places it looks at each time.
const DRAWS_MAX: u32 = 100;
const DRAW_VISITS: u64 = 16;

pub(super) fn del(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut count = 0;
    for key in args.from(1) {
        count += u64::from(context.state.delete(key)?);
    }
    context.replies.count(count);
    Ok(Next::Go)
}

pub(super) fn exists(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let count = args
        .from(1)
        .filter(|key| context.state.kind(key).is_some())
        .count();
    context.replies.count(count as u64);
    Ok(Next::Go)
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "string",
        Kind::Hash => "hash",
        Kind::Log(_) => "stream",
    }
}

pub(super) fn type_of(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let kind = context.state.kind(args.get(1));
    context.replies.simple(kind.map_or("none", name_of));
    Ok(Next::Go)
}

pub(super) fn dbsize(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let keys = context.state.visible();
    context.replies.count(keys);
    Ok(Next::Go)
}

/// Arguments of `SCAN` and `HSCAN`.
pub(super) struct ScanArgs<'a> {
    pub(super) cursor: u64,
    pub(super) pattern: Option<&'a [u8]>,
    pub(super) count: u64,
    kind: Option<&'a [u8]>,
}

impl<'a> ScanArgs<'a> {
    /// Reads the cursor at `place` and the options after it.
    pub(super) fn parse(
        args: Args<'a>,
        place: usize,
        with_type: bool,
    ) -> Result<Self, CommandError> {
        let Some(cursor) = parse_u64(args.get(place)) else {
            return fail("ERR invalid cursor");
        };
        let mut scan = Self {
            cursor,
            pattern: None,
            count: 10,
            kind: None,
        };
        let mut place = place + 1;
        while place < args.len() {
            let value = args.get(place + 1);
            let has_value = place + 1 < args.len();
            if args.is(place, "COUNT") && has_value {
                let count = integer(value)?;
                scan.count = u64::try_from(count)
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or(SYNTAX)?;
            } else if args.is(place, "MATCH") && has_value {
                scan.pattern = (value != b"*").then_some(value);
            } else if args.is(place, "TYPE") && has_value && with_type {
                scan.kind = Some(value);
            } else {
                return Err(SYNTAX);
            }
            place += 2;
        }
        Ok(scan)
    }
}

pub(super) fn scan(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let scan = ScanArgs::parse(args, 1, true)?;
    let mut found = Vec::new();
    let next = context
        .state
        .scan(scan.cursor, scan.count.min(VISITS_MAX), |key, kind| {
            let right_kind = scan
                .kind
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(name_of(kind).as_bytes()));
            if right_kind
                && scan
                    .pattern
                    .is_none_or(|pattern| glob::matches(pattern, key))
            {
                found.push(key.to_vec());
            }
        });
    context.replies.array(2);
    context
        .replies
        .bulk(next.unwrap_or(0).to_string().as_bytes());
    context.replies.array(found.len());
    for key in found {
        context.replies.bulk(&key);
    }
    Ok(Next::Go)
}

/// Looks from where chance points, and from the start where nearly all names are gone.
pub(super) fn randomkey(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let places = context.state.places();
    let mut found = None;
    for _ in 0..DRAWS_MAX {
        let from = rand::random_range(0..places.max(1));
        context.state.scan(from, DRAW_VISITS, |key, _| {
            found.get_or_insert_with(|| key.to_vec());
        });
        if found.is_some() {
            break;
        }
    }
    let mut from = Some(0);
    while let Some(at) = from.filter(|at| found.is_none() && *at < KEYS_VISITS_MAX) {
        from = context.state.scan(at, VISITS_MAX, |key, _| {
            found.get_or_insert_with(|| key.to_vec());
        });
    }
    match found {
        Some(key) => context.replies.bulk(&key),
        None => context.replies.null(),
    }
    Ok(Next::Go)
}

/// `KEYS pattern`: for people who look around.
pub(super) fn keys(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let pattern = args.get(1);
    let mut found = Vec::new();
    let more = context.state.scan(0, KEYS_VISITS_MAX, |key, _| {
        if pattern == b"*" || glob::matches(pattern, key) {
            found.push(key.to_vec());
        }
    });
    if more.is_some() {
        return fail("ERR there are too many keys for KEYS, which holds up everybody: use SCAN");
    }
    context.replies.array(found.len());
    for key in found {
        context.replies.bulk(&key);
    }
    Ok(Next::Go)
}
