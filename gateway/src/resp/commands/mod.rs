//! Commands: what there is, and how one is found and checked before it runs.

mod absent;
mod acl;
mod categories;
mod clients;
mod connection;
mod counters;
mod disk;
mod expiry;
mod hashes;
mod help;
mod inspect;
mod keys;
mod listing;
mod logs;
mod permit;
mod read;
mod settings;
mod slow;
mod table;
mod transaction;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use categories::Category;
pub(super) use disk::DiskRead;
pub(super) use read::{BlockingRead, Tried};
pub(super) use table::{REDIS_VERSION, count, name_of, numbers_in, numbers_of};

use super::access::Access;
use super::client::Entered;
use super::door::AUTH_WITHIN;
use super::durability::Durability;
use super::number::parse_i64;
use super::parse::Args;
use super::reply::Replies;
use super::server::Shared;
use super::users::{self, User};
use crate::grid::{Absent, ColdError, Feed, LogId, OpError, ReadAhead, State, Watch};
use table::Command;
use transaction::Queue;

/// Everything that a command may touch. The grid's lock is held.
pub(super) struct Context<'a> {
    pub(super) server: &'a Shared,
    pub(super) state: &'a mut State,
    pub(super) session: &'a mut Session,
    pub(super) replies: &'a mut Replies,
    pub(super) now_ms: u64,
}

/// What the server remembers of a client between commands.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) entered: Entered,
    pub(super) authenticated: bool,
    /// Whose rights it has: once it has authenticated, as who.
    pub(super) user: Arc<User>,
    /// It has authenticated, and its user may do everything.
    may_all: bool,
    /// The state of all users that `user` was taken from.
    pub(super) users_version: u64,
    /// Until then it must have.
    pub(super) auth_by: Instant,
    /// What the writes whose replies are not sent yet have been promised.
    pub(super) promised: Durability,
    /// The feeds that they changed.
    pub(super) promised_of: &'static [Feed],
    /// By [`Feed`]: it has waited for room in memory, and in vain: no need to try again until there is
    /// some.
    pub(super) waited: [bool; 2],
    /// The command found last: pipelines repeat themselves.
    last: Option<&'static Command>,
    /// What a transaction that is about to begin will read from the disk.
    pub(super) ahead: ReadAhead,
    /// Between `MULTI` and `EXEC`.
    queue: Option<Box<Queue>>,
    /// Since the first `WATCH`, until `EXEC`; and the bytes of the names watched.
    watch: Option<(Watch, usize)>,
}

impl Session {
    /// A client that comes in now: as the default user, if that needs no password.
    pub(super) fn new(entered: Entered, admitted: &Access) -> Self {
        let users_version = admitted.users_version();
        let (user, authenticated) = match entered.address().is_own() {
            true => (users::all_rights(), true),
            false => {
                let user = admitted.users().default_user();
                let is_open = user.is_open();
                (user, is_open)
            }
        };
        Self {
            entered,
            authenticated,
            may_all: authenticated && user.has_all_rights(),
            user,
            users_version,
            auth_by: Instant::now() + AUTH_WITHIN,
            promised: Durability::Memory,
            promised_of: &[],
            waited: [false; 2],
            last: None,
            ahead: ReadAhead::default(),
            queue: None,
            watch: None,
        }
    }

    /// Takes over what has become of its user; false if that is gone.
    pub(super) fn renew_user(&mut self, admitted: &Access) -> bool {
        let version = admitted.users_version();
        if version == self.users_version || self.entered.address().is_own() {
            return true;
        }
        self.users_version = version;
        let users = admitted.users();
        let user = users.find(self.user.name().as_bytes());
        if let Some(user) = user {
            self.set_user(user.clone(), self.authenticated);
        }
        user.is_some()
    }

    fn set_user(&mut self, user: Arc<User>, authenticated: bool) {
        self.authenticated = authenticated;
        self.may_all = authenticated && user.has_all_rights();
        self.user = user;
    }

    /// Memory that its transaction takes until `EXEC`.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queue.as_deref().map_or(0, Queue::bytes)
    }

    /// Number of the command that was found last.
    pub(super) fn last_command(&self) -> u16 {
        self.last.map_or(0, |command| command.number)
    }
}

/// What follows a command.
#[derive(Debug)]
pub(super) enum Next {
    Go,
    Close,
    Later(Later),
    /// Nothing was done: the command is to be run again when there is room in memory for this, and no
    /// `CLIENT PAUSE` is on.
    Full(Option<Feed>),
    /// Nothing was done: the command is to be run again when this block is in memory.
    Thaw(LogId, Absent),
    /// Nothing was done: the command is to be run again when this block was read ahead.
    ReadAhead(LogId, Absent),
}

/// The part of a command that must not hold the lock.
#[derive(Debug)]
pub(super) enum Later {
    Info(Vec<String>),
    Wait {
        sites: usize,
        timeout: Option<Duration>,
        /// Whether to say too if this site's disk holds it (`WAITAOF`).
        local: bool,
    },
    Read(BlockingRead),
    /// A command that only reads, and has to go to the disk for it.
    OnDisk(DiskRead),
}

/// A command's error reply.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct CommandError(Cow<'static, str>);

impl From<OpError> for CommandError {
    fn from(error: OpError) -> Self {
        Self(error.to_string().into())
    }
}

impl From<ColdError> for CommandError {
    fn from(error: ColdError) -> Self {
        Self(format!("ERR {error}").into())
    }
}

/// What a command gives: its replies are written already, unless it failed.
type Outcome = Result<Next, CommandError>;

const SYNTAX: CommandError = CommandError(Cow::Borrowed("ERR syntax error"));
const NOT_INTEGER: CommandError =
    CommandError(Cow::Borrowed("ERR value is not an integer or out of range"));

fn fail<T>(text: impl Into<Cow<'static, str>>) -> Result<T, CommandError> {
    Err(CommandError(text.into()))
}

fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_i64(text).ok_or(NOT_INTEGER)
}

/// The value of a counter that a client sets: here Redis takes any text, so this says more.
fn whole(text: &[u8]) -> Result<i64, CommandError> {
    const WHY: CommandError = CommandError(Cow::Borrowed(
        "ERR value is not an integer or out of range: strait holds counters and logs, no texts",
    ));
    parse_i64(text).ok_or(WHY)
}

/// Names of all commands and their parts, and how many words each takes at least.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = (&'static str, usize)> {
    table::each().map(|command| (command.name, command.arity.unsigned_abs() as usize))
}

/// Whether Redis has a command of that name which is left out here.
pub(super) fn is_absent(name: &str) -> bool {
    absent::why(name.as_bytes()).is_some()
}

/// Carries out one command, or queues it.
pub(super) fn run(context: &mut Context<'_>, args: Args<'_>) -> Next {
    if args.len() == 0 {
        return Next::Go;
    }
    if is_http(args.get(0)) {
        let entered = &context.session.entered;
        entered.clients().door.spoke_http(entered.address());
        return Next::Close;
    }
    let found = find(context.session, args).and_then(|command| {
        permit::check(context.session, command, args)?;
        Ok(command)
    });
    let queue = context.session.queue.as_deref_mut();
    let command = match (found, queue) {
        (Ok(command), Some(queue)) if !command.in_transaction => {
            queue.push(command, args, context.replies);
            return Next::Go;
        }
        (Ok(command), _) => command,
        (Err(error), queue) => {
            queue.map(Queue::spoil);
            context.replies.error(&error.to_string());
            return Next::Go;
        }
    };
    let full = must_wait(context, command);
    if full.is_some() || is_paused(context, command) {
        return Next::Full(full);
    }
    let before = context.replies.bytes.len();
    let next = carry_out(context, command, args);
    match context.state.take_wanted() {
        // What a transaction did before stays done: it got an error for this.
        Some((log, absent)) if command.name != "exec" => {
            context.replies.bytes.truncate(before);
            Next::Thaw(log, absent)
        }
        Some(_) | None => next,
    }
}

/// Whether a request begins with a word of HTTP. A browser lets any web page send one here, with
/// commands in its body: none of those is carried out, as in Redis.
fn is_http(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"post") || word.eq_ignore_ascii_case(b"host:")
}

fn carry_out(context: &mut Context<'_>, command: &Command, args: Args<'_>) -> Next {
    if !context.server.config.durability.is_memory_only() && command.is_write() {
        promise(context, command, args);
    }
    let before = context.replies.bytes.len();
    let began = context.server.slowlog.begin(command.timed, args.len());
    let ran = check_room(context, command).and_then(|()| (command.run)(context, args));
    if let Some(began) = began {
        match command.name {
            "auth" | "hello" => note_if_slow(context, began, Args::REDACTED_AUTH),
            _ => note_if_slow(context, began, args),
        }
    }
    let next = ran.unwrap_or_else(|error| {
        // Whatever the command had begun to reply.
        context.replies.bytes.truncate(before);
        context.replies.error(&error.to_string());
        Next::Go
    });
    context.replies.end(before);
    next
}

fn note_if_slow(context: &mut Context<'_>, began: Instant, args: Args<'_>) {
    let (slowlog, took) = (&context.server.slowlog, began.elapsed());
    if slowlog.is_slow(took)
        && let Some(client) = context.session.entered.info()
    {
        let who = (client.address, client.name);
        slowlog.add(context.now_ms / 1000, took, args, who);
    }
}

/// Whether a command is to wait until a `CLIENT PAUSE` is over. A transaction does so as a whole.
fn is_paused(context: &Context<'_>, command: &Command) -> bool {
    let pause = &context.server.pause;
    if !pause.is_on(context.now_ms) {
        return false;
    }
    let waits = |command: &Command| match pause.writes_only() {
        true => command.is_write(),
        false => command.is_about_data(),
    };
    match &context.session.queue {
        Some(queue) if command.name == "exec" => queue.has(waits),
        Some(_) | None => waits(command),
    }
}

/// For what a command is to wait until there is room in memory: a transaction does so as a whole,
/// before it begins, and who has waited in vain does so no more until there is some.
fn must_wait(context: &mut Context<'_>, command: &Command) -> Option<Feed> {
    let needed = match &context.session.queue {
        Some(queue) if command.name == "exec" => queue.needs_room(),
        Some(_) | None => command.needs_room(),
    };
    let feed = needed.filter(|_| context.server.config.block.is_some())?;
    let has_room = context.state.check_room(feed).is_ok();
    let waited = &mut context.session.waited[feed as usize];
    *waited &= !has_room;
    (!has_room && !*waited).then_some(feed)
}

/// Tells who has waited for room in vain.
fn check_room(context: &Context<'_>, command: &Command) -> Result<(), CommandError> {
    let Some(patience) = context.server.config.block else {
        return Ok(());
    };
    let waited = |feed: &Feed| context.session.waited[*feed as usize];
    let checked = command.needs_room().filter(waited);
    let checked = checked.map_or(Ok(()), |feed| context.state.check_room(feed));
    checked.or_else(|error| {
        let (error, seconds) = (error.to_string(), patience.as_secs());
        fail(format!(
            "{}: no room in {seconds} s",
            error.trim_end_matches('.')
        ))
    })
}

/// Notes what the keys of a write are promised; the strongest counts for the whole pipeline.
fn promise(context: &mut Context<'_>, command: &Command, args: Args<'_>) {
    let rules = &context.server.config.durability;
    let keys = if command.keys.1 == 1 {
        1
    } else {
        args.len() - 1
    };
    let keys = args
        .from(1)
        .take(keys)
        .step_by(command.keys.2.unsigned_abs().max(1) as usize);
    let promised = keys.map(|key| rules.of(key)).max();
    context.session.promised = context.session.promised.max(promised.unwrap_or_default());
}

fn find(session: &mut Session, args: Args<'_>) -> Result<&'static Command, CommandError> {
    let name = args.get(0);
    let command = match session.last {
        Some(last) if name.eq_ignore_ascii_case(last.name.as_bytes()) => last,
        Some(_) | None => match table::find(name) {
            Some(command) => command,
            None => return Err(unknown(args)),
        },
    };
    session.last = Some(command);
    let command = match command.parts.is_empty() || args.len() == 1 {
        true => command,
        false => command
            .part(args.get(1))
            .ok_or_else(|| no_such_part(args))?,
    };
    if command.accepts(args.len()) {
        Ok(command)
    } else {
        Err(wrong_number(command.name))
    }
}

fn wrong_number(name: &str) -> CommandError {
    CommandError(format!("ERR wrong number of arguments for '{name}' command").into())
}

fn unknown(args: Args<'_>) -> CommandError {
    let quoted =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).into_owned();
    if let Some(why) = absent::why(args.get(0)) {
        let name = quoted(args.get(0));
        return CommandError(format!("ERR unknown command '{name}': {why}").into());
    }
    let mut list = String::new();
    for arg in args.from(1) {
        if list.len() >= 128 {
            break;
        }
        list += &format!("'{}' ", quoted(arg));
    }
    let name = quoted(args.get(0));
    CommandError(format!("ERR unknown command '{name}', with args beginning with: {list}").into())
}

/// What a command that consists of others does by itself.
fn unknown_subcommand(_context: &mut Context<'_>, args: Args<'_>) -> Outcome {
    Err(no_such_part(args))
}

fn no_such_part(args: Args<'_>) -> CommandError {
    let subcommand = args.get(1);
    let subcommand = String::from_utf8_lossy(&subcommand[..subcommand.len().min(128)]);
    let command = args.get(0).to_ascii_uppercase();
    let command = String::from_utf8_lossy(&command);
    CommandError(format!("ERR unknown subcommand '{subcommand}'. Try {command} HELP.").into())
}
