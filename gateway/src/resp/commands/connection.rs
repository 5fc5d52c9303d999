//! The connection itself, and questions about the server.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::door::AUTH_WITHIN;
use super::super::parse::Args;
use super::super::reply::Protocol;
use super::clients::client_name;
use super::table;
use super::{CommandError, Context, Later, Next, Outcome, fail, integer, wrong_number};

pub(super) fn ping(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match args.len() {
        1 => context.replies.simple("PONG"),
        2 => context.replies.bulk(args.get(1)),
        _ => return Err(wrong_number("ping")),
    }
    Ok(Next::Go)
}

pub(super) fn echo(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    context.replies.bulk(args.get(1));
    Ok(Next::Go)
}

pub(super) fn quit(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.ok();
    Ok(Next::Close)
}

pub(super) fn select(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if integer(args.get(1))? != 0 {
        return fail("ERR DB index is out of range");
    }
    context.replies.ok();
    Ok(Next::Go)
}

fn set_protocol(context: &mut Context<'_>, protocol: Protocol) {
    context.replies.protocol = protocol;
    let resp = if protocol == Protocol::Resp3 { 3 } else { 2 };
    context.session.entered.update(|info| info.resp = resp);
}

pub(super) fn reset(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.session.queue = None;
    context.session.watch = None;
    set_protocol(context, Protocol::Resp2);
    if context.session.authenticated {
        // Whoever has not given the password yet gets no more time for it.
        context.session.auth_by = Instant::now() + AUTH_WITHIN;
    }
    if !context.session.entered.address().is_own() {
        let user = context.server.access.users().default_user();
        let is_open = user.is_open();
        context.session.set_user(user, is_open);
    }
    let (user, authenticated) = (context.session.user.clone(), context.session.authenticated);
    context.session.entered.update(|info| {
        info.name.clear();
        info.user = user;
        info.owes_password = !authenticated;
    });
    context.replies.simple("RESET");
    Ok(Next::Go)
}

/// Authenticates the client, if `password` is right for `user`. That takes the same time however
/// wrong it is.
fn authenticate(
    context: &mut Context<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let entered = &context.session.entered;
    let (address, door) = (entered.address(), &entered.clients().door);
    if let Err(wait) = door.check_attempts(address) {
        let seconds = wait.as_secs() + 1;
        return fail(format!(
            "ERR too many wrong passwords from this address: try again in {seconds} s"
        ));
    }
    let Some(user) = context.server.access.users().let_in(user, password) else {
        door.wrong_password(address);
        return fail("WRONGPASS invalid username-password pair or user is disabled.");
    };
    entered.update(|info| {
        info.owes_password = false;
        info.user = user.clone();
    });
    context.session.set_user(user, true);
    Ok(())
}

pub(super) fn auth(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (user, password) = match args.len() {
        2 if context.server.access.users().default_user().needs_none => {
            return fail(
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?",
            );
        }
        2 => (&b"default"[..], args.get(1)),
        3 => (args.get(1), args.get(2)),
        _ => return fail("ERR syntax error"),
    };
    authenticate(context, user, password)?;
    context.replies.ok();
    Ok(Next::Go)
}

/// `HELLO [2 | 3 [AUTH user password] [SETNAME name]]`.
pub(super) fn hello(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let protocol = match (args.len(), super::parse_i64(args.get(1))) {
        (1, _) => context.replies.protocol,
        (_, Some(2)) => Protocol::Resp2,
        (_, Some(3)) => Protocol::Resp3,
        (_, Some(_)) => return fail("NOPROTO unsupported protocol version"),
        (_, None) => return fail("ERR Protocol version is not an integer or out of range"),
    };
    let (mut place, mut name) = (2, None);
    while place < args.len() {
        let more = args.len() - place - 1;
        if args.is(place, "AUTH") && more >= 2 {
            authenticate(context, args.get(place + 1), args.get(place + 2))?;
            place += 3;
        } else if args.is(place, "SETNAME") && more >= 1 {
            name = Some(client_name(args.get(place + 1))?);
            place += 2;
        } else {
            let option = String::from_utf8_lossy(args.get(place)).into_owned();
            return fail(format!("ERR Syntax error in HELLO option '{option}'"));
        }
    }
    if !context.session.authenticated {
        return fail(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        );
    }
    if let Some(name) = name {
        context.session.entered.update(|info| info.name = name);
    }
    set_protocol(context, protocol);
    greet(context);
    Ok(Next::Go)
}

fn greet(context: &mut Context<'_>) {
    let id = context.session.entered.id();
    let replies = &mut *context.replies;
    replies.map(7);
    // Clients choose what they send by name and version.
    let texts = [("server", "redis"), ("version", table::REDIS_VERSION)];
    for (key, value) in texts {
        replies.bulk(key.as_bytes());
        replies.bulk(value.as_bytes());
    }
    replies.bulk(b"proto");
    replies.integer(if replies.protocol == Protocol::Resp3 {
        3
    } else {
        2
    });
    replies.bulk(b"id");
    replies.count(id.0);
    for (key, value) in [("mode", "standalone"), ("role", "master")] {
        replies.bulk(key.as_bytes());
        replies.bulk(value.as_bytes());
    }
    replies.bulk(b"modules");
    replies.array(0);
}

pub(super) fn info(_context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let words = args
        .from(1)
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
    Ok(Next::Later(Later::Info(words.collect())))
}

/// Seconds since 1970 and microseconds of the second now.
pub(super) fn time(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    context.replies.array(2);
    for number in [now.as_secs(), u64::from(now.subsec_micros())] {
        context.replies.bulk(number.to_string().as_bytes());
    }
    Ok(Next::Go)
}

/// Every site is a master, and peers are no replicas.
pub(super) fn role(context: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    context.replies.array(3);
    context.replies.bulk(b"master");
    context.replies.count(0);
    context.replies.array(0);
    Ok(Next::Go)
}

/// A timeout in milliseconds; none: for ever.
pub(super) fn timeout(text: &[u8]) -> Result<Option<Duration>, CommandError> {
    match super::parse_i64(text) {
        None => fail("ERR timeout is not an integer or out of range"),
        Some(..0) => fail("ERR timeout is negative"),
        Some(0) => Ok(None),
        // A year is as good as longer, and cannot overflow a clock.
        Some(ms) => Ok(Some(Duration::from_millis((ms as u64).min(31_536_000_000)))),
    }
}

/// `WAIT numsites timeout`.
pub(super) fn wait(_context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let sites = usize::try_from(integer(args.get(1))?.max(0)).unwrap_or(usize::MAX);
    let timeout = timeout(args.get(2))?;
    Ok(Next::Later(Later::Wait {
        sites,
        timeout,
        local: false,
    }))
}

/// `WAITAOF numlocal numsites timeout`, of Redis 7.2: also waits for this site's own disk.
pub(super) fn waitaof(_context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let local = integer(args.get(1))?;
    if !(0..=1).contains(&local) {
        return fail("ERR value is out of range, must be between 0 and 1");
    }
    let sites = usize::try_from(integer(args.get(2))?.max(0)).unwrap_or(usize::MAX);
    let timeout = timeout(args.get(3))?;
    Ok(Next::Later(Later::Wait {
        sites,
        timeout,
        local: true,
    }))
}
