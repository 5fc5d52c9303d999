//! The connection itself, and questions about the server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::glob;
use super::super::parse::Args;
use super::super::reply::Protocol;
use super::table::{self, Command};
use super::{Context, Later, Next, Outcome, fail, integer, unknown_subcommand, wrong_number};

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
    context.session.authenticated = context.server.config.password.is_none();
    context.session.entered.update(|info| info.name.clear());
    context.replies.simple("RESET");
    Ok(Next::Go)
}

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

/// Whether `password` is right for `user`. Takes the same time however wrong it is.
fn is_right(context: &Context<'_>, user: &[u8], password: &[u8]) -> bool {
    let wanted = context.server.config.password.as_ref();
    let right =
        wanted.is_none_or(|wanted| blake3::hash(wanted.as_bytes()) == blake3::hash(password));
    right && user == b"default"
}

pub(super) fn auth(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (user, password) = match args.len() {
        2 if context.server.config.password.is_none() => {
            return fail(
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?",
            );
        }
        2 => (&b"default"[..], args.get(1)),
        3 => (args.get(1), args.get(2)),
        _ => return fail("ERR syntax error"),
    };
    if !is_right(context, user, password) {
        return fail(WRONG_PASSWORD);
    }
    context.session.authenticated = true;
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
            if !is_right(context, args.get(place + 1), args.get(place + 2)) {
                return fail(WRONG_PASSWORD);
            }
            context.session.authenticated = true;
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

fn client_name(name: &[u8]) -> Result<String, super::CommandError> {
    match std::str::from_utf8(name) {
        Ok(name)
            if name.len() <= 1024 && name.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) =>
        {
            Ok(name.to_owned())
        }
        Ok(_) | Err(_) => {
            fail("ERR Client names cannot contain spaces, newlines or special characters.")
        }
    }
}

pub(super) fn client(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let entered = &context.session.entered;
    let two = args.len() == 2;
    let three = args.len() == 3;
    if args.is(1, "ID") && two {
        context.replies.count(entered.id().0);
    } else if args.is(1, "GETNAME") && two {
        match entered.info().filter(|info| !info.name.is_empty()) {
            Some(info) => context.replies.bulk(info.name.as_bytes()),
            None => context.replies.null(),
        }
    } else if args.is(1, "SETNAME") && three {
        let name = client_name(args.get(2))?;
        entered.update(|info| info.name = name);
        context.replies.ok();
    } else if args.is(1, "SETINFO") && args.len() == 4 {
        return set_info(context, args);
    } else if args.is(1, "LIST") {
        let lines = context.server.clients.lines();
        context.replies.verbatim(&lines);
    } else if args.is(1, "INFO") && two {
        let line = entered.info().map_or_else(String::new, |info| info.line());
        context.replies.verbatim(&line);
    } else if (args.is(1, "NO-EVICT") || args.is(1, "NO-TOUCH")) && three {
        if !args.is(2, "ON") && !args.is(2, "OFF") {
            return fail("ERR syntax error");
        }
        context.replies.ok();
    } else {
        return Err(unknown_subcommand(args));
    }
    Ok(Next::Go)
}

fn set_info(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let value = client_name(args.get(3))?;
    if args.is(2, "LIB-NAME") {
        context.session.entered.update(|info| info.lib_name = value);
    } else if args.is(2, "LIB-VER") {
        context
            .session
            .entered
            .update(|info| info.lib_version = value);
    } else {
        let option = String::from_utf8_lossy(args.get(2)).into_owned();
        return fail(format!("ERR Unrecognized option '{option}'"));
    }
    context.replies.ok();
    Ok(Next::Go)
}

pub(super) fn config(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.is(1, "RESETSTAT") && args.len() == 2 {
        context.replies.ok();
        return Ok(Next::Go);
    }
    if !args.is(1, "GET") || args.len() < 3 {
        return Err(unknown_subcommand(args));
    }
    let config = &context.server.config;
    let settings = [
        ("appendonly", "yes".to_owned()),
        ("databases", "1".to_owned()),
        ("maxclients", config.clients_max.to_string()),
        ("maxmemory", context.state.memory_bytes_max().to_string()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("proto-max-bulk-len", (1 << 20).to_string()),
        ("save", String::new()),
    ];
    let asked = |name: &str| {
        args.from(2)
            .any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    let found: Vec<_> = settings
        .into_iter()
        .filter(|(name, _)| asked(name))
        .collect();
    context.replies.map(found.len());
    for (name, value) in found {
        context.replies.bulk(name.as_bytes());
        context.replies.bulk(value.as_bytes());
    }
    Ok(Next::Go)
}

pub(super) fn command(context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() == 1 {
        let all = table::all();
        context.replies.array(all.len());
        all.for_each(|command| describe(context, command));
    } else if args.is(1, "COUNT") && args.len() == 2 {
        context.replies.count(table::all().len() as u64);
    } else if args.is(1, "LIST") && args.len() == 2 {
        let all = table::all();
        context.replies.set(all.len());
        all.for_each(|command| context.replies.bulk(command.name.as_bytes()));
    } else if args.is(1, "INFO") {
        context.replies.array(args.len() - 2);
        for name in args.from(2) {
            match table::find(name) {
                Some(command) => describe(context, command),
                None => context.replies.null(),
            }
        }
    } else if args.is(1, "DOCS") {
        // Clients use these for hints while typing only.
        context.replies.map(0);
    } else {
        return Err(unknown_subcommand(args));
    }
    Ok(Next::Go)
}

fn describe(context: &mut Context<'_>, command: &Command) {
    let replies = &mut *context.replies;
    let (first, last, step) = command.keys;
    replies.array(10);
    replies.bulk(command.name.as_bytes());
    replies.integer(i64::from(command.arity));
    replies.set(command.flags.len());
    command.flags.iter().for_each(|flag| replies.simple(flag));
    for number in [first, last, step] {
        replies.integer(i64::from(number));
    }
    // Categories, tips, key specifications, subcommands.
    replies.set(0);
    (0..3).for_each(|_| replies.array(0));
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

/// A timeout in milliseconds; none: for ever.
pub(super) fn timeout(text: &[u8]) -> Result<Option<Duration>, super::CommandError> {
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
