//! When keys expire.

use super::super::parse::Args;
use super::{CommandError, Context, Next, Outcome, fail, integer};

/// A time as a command gives it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    milliseconds: bool,
    absolute: bool,
}

impl Time {
    /// The time in milliseconds since 1970; none beyond what Redis takes.
    pub(super) fn resolve(self, value: i64, now_ms: u64) -> Option<i64> {
        let unit = if self.milliseconds { 1 } else { 1000 };
        let base = if self.absolute {
            0
        } else {
            i64::try_from(now_ms).ok()?
        };
        value.checked_mul(unit)?.checked_add(base)
    }

    /// Reads the time that `command` is given for a key's deadline: it must be more than 0.
    pub(super) fn deadline(
        self,
        command: &str,
        text: &[u8],
        now_ms: u64,
    ) -> Result<u64, CommandError> {
        let value = Some(integer(text)?).filter(|value| *value > 0);
        match value.and_then(|value| self.resolve(value, now_ms)) {
            Some(at_ms) => Ok(at_ms as u64),
            None => invalid_time(command),
        }
    }
}

fn invalid_time<T>(command: &str) -> Result<T, CommandError> {
    fail(format!("ERR invalid expire time in '{command}' command"))
}

/// Under which condition a deadline is set.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for (place, word) in args.from(3).enumerate() {
            let flag = [
                ("NX", &mut conditions.nx),
                ("XX", &mut conditions.xx),
                ("GT", &mut conditions.gt),
                ("LT", &mut conditions.lt),
            ]
            .into_iter()
            .find_map(|(name, flag)| args.is(place + 3, name).then_some(flag));
            match flag {
                Some(flag) => *flag = true,
                None => {
                    let word = String::from_utf8_lossy(word).into_owned();
                    return fail(format!("ERR Unsupported option {word}"));
                }
            }
        }
        if conditions.nx && (conditions.xx || conditions.gt || conditions.lt) {
            return fail("ERR NX and XX, GT or LT options at the same time are not compatible");
        }
        if conditions.gt && conditions.lt {
            return fail("ERR GT and LT options at the same time are not compatible");
        }
        Ok(conditions)
    }

    /// Whether a deadline may replace `known`, which is none if the key does not expire.
    fn allow(self, at_ms: i64, known: Option<i64>) -> bool {
        match known {
            None => !self.xx && !self.gt,
            Some(known) => !self.nx && (!self.gt || at_ms > known) && (!self.lt || at_ms < known),
        }
    }
}

fn set(context: &mut Context<'_>, args: Args<'_>, name: &str, time: Time) -> Outcome {
    let conditions = Conditions::parse(args)?;
    let value = integer(args.get(2))?;
    let Some(at_ms) = time.resolve(value, context.now_ms) else {
        return invalid_time(name);
    };
    let key = args.get(1);
    let known = context.state.deadline(key);
    let allowed = known.is_some_and(|known| {
        let known = i64::try_from(known).ok().filter(|known| *known != 0);
        conditions.allow(at_ms, known)
    });
    if allowed {
        // 0 would mean never: whatever is as old has passed in any case.
        let at_ms = u64::try_from(at_ms).unwrap_or(0).max(1);
        context.state.set_deadline(key, at_ms)?;
    }
    context.replies.count(u64::from(allowed));
    Ok(Next::Go)
}

pub(super) const SECONDS: Time = Time {
    milliseconds: false,
    absolute: false,
};
pub(super) const MILLISECONDS: Time = Time {
    milliseconds: true,
    absolute: false,
};
const AT_SECOND: Time = Time {
    milliseconds: false,
    absolute: true,
};
const AT_MILLISECOND: Time = Time {
    milliseconds: true,
    absolute: true,
};

pub(super) fn expire(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set(context, args, "expire", SECONDS)
}

pub(super) fn pexpire(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set(context, args, "pexpire", MILLISECONDS)
}

pub(super) fn expireat(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set(context, args, "expireat", AT_SECOND)
}

pub(super) fn pexpireat(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set(context, args, "pexpireat", AT_MILLISECOND)
}

/// The option of `SET` at `place`, if it is one that takes a time.
pub(super) fn option_of_set(args: Args<'_>, place: usize) -> Option<Time> {
    [
        ("EX", SECONDS),
        ("PX", MILLISECONDS),
        ("EXAT", AT_SECOND),
        ("PXAT", AT_MILLISECOND),
    ]
    .into_iter()
    .find_map(|(name, time)| args.is(place, name).then_some(time))
}

/// Answers −2 without a key, −1 without a deadline, or what `show` makes of it.
fn get(context: &mut Context<'_>, args: Args<'_>, show: impl Fn(u64, u64) -> u64) -> Outcome {
    match context.state.deadline(args.get(1)) {
        None => context.replies.integer(-2),
        Some(0) => context.replies.integer(-1),
        Some(at_ms) => context.replies.count(show(at_ms, context.now_ms)),
    }
    Ok(Next::Go)
}

/// Rounded as Redis does.
fn seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1000
}

pub(super) fn ttl(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    get(context, args, |at, now| seconds(at.saturating_sub(now)))
}

pub(super) fn pttl(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    get(context, args, u64::saturating_sub)
}

pub(super) fn expiretime(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    get(context, args, |at, _| seconds(at))
}

pub(super) fn pexpiretime(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    get(context, args, |at, _| at)
}

pub(super) fn persist(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let expires = context
        .state
        .deadline(args.get(1))
        .is_some_and(|at| at != 0);
    if expires {
        context.state.set_deadline(args.get(1), 0)?;
    }
    context.replies.count(u64::from(expires));
    Ok(Next::Go)
}
