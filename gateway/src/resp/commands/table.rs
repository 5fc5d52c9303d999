//! The table of commands.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::super::parse::Args;
use super::{
    Context, Outcome, connection, counters, expiry, hashes, keys, logs, read, transaction,
};

/// The Redis whose behaviour is followed.
pub(in crate::resp) const REDIS_VERSION: &str = "7.0.15";

/// One command.
pub(super) struct Command {
    /// In lower case.
    pub(super) name: &'static str,
    /// Arguments, the name included; negative: at least so many.
    pub(super) arity: i32,
    pub(super) flags: &'static [&'static str],
    /// First and last key and the step between them, as `COMMAND` shows it.
    pub(super) keys: (i32, i32, i32),
    /// Allowed before `AUTH`.
    pub(super) before_auth: bool,
    /// Carried out between `MULTI` and `EXEC` too; others are queued there.
    pub(super) in_transaction: bool,
    pub(super) run: fn(&mut Context<'_>, Args<'_>) -> Outcome,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Command {
    /// Whether it may change data.
    pub(super) fn is_write(&self) -> bool {
        self.flags.first() == Some(&"write")
    }

    /// Whether it is refused when memory is full.
    pub(super) fn needs_room(&self) -> bool {
        self.flags.contains(&"denyoom")
    }

    /// Whether so many arguments are right.
    pub(super) fn accepts(&self, args: usize) -> bool {
        let needed = self.arity.unsigned_abs() as usize;
        args == needed || (self.arity < 0 && args > needed)
    }
}

const READ: &[&str] = &["readonly", "fast"];
const SCAN: &[&str] = &["readonly"];
const WRITE: &[&str] = &["write", "denyoom", "fast"];
const EXPIRE: &[&str] = &["write", "fast"];
const DELETE: &[&str] = &["write"];
const OTHER: &[&str] = &["noscript", "loading", "stale", "fast"];

type Run = fn(&mut Context<'_>, Args<'_>) -> Outcome;
type Row = (
    &'static str,
    i32,
    &'static [&'static str],
    (i32, i32, i32),
    Run,
);

const ONE: (i32, i32, i32) = (1, 1, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);
const NONE: (i32, i32, i32) = (0, 0, 0);

const ROWS: &[Row] = &[
    ("auth", -2, OTHER, NONE, connection::auth),
    ("client", -2, OTHER, NONE, connection::client),
    ("command", -1, OTHER, NONE, connection::command),
    ("config", -2, OTHER, NONE, connection::config),
    ("dbsize", 1, READ, NONE, keys::dbsize),
    ("decr", 2, WRITE, ONE, counters::decr),
    ("decrby", 3, WRITE, ONE, counters::decrby),
    ("del", -2, DELETE, ALL, keys::del),
    ("discard", 1, OTHER, NONE, transaction::discard),
    ("echo", 2, OTHER, NONE, connection::echo),
    ("exec", 1, OTHER, NONE, transaction::exec),
    ("exists", -2, READ, ALL, keys::exists),
    ("expire", -3, EXPIRE, ONE, expiry::expire),
    ("expireat", -3, EXPIRE, ONE, expiry::expireat),
    ("expiretime", 2, READ, ONE, expiry::expiretime),
    ("get", 2, READ, ONE, counters::get),
    ("getdel", 2, EXPIRE, ONE, counters::getdel),
    ("getset", 3, WRITE, ONE, counters::getset),
    ("hdel", -3, EXPIRE, ONE, hashes::hdel),
    ("hello", -1, OTHER, NONE, connection::hello),
    ("hexists", 3, READ, ONE, hashes::hexists),
    ("hget", 3, READ, ONE, hashes::hget),
    ("hgetall", 2, SCAN, ONE, hashes::hgetall),
    ("hincrby", 4, WRITE, ONE, hashes::hincrby),
    ("hkeys", 2, SCAN, ONE, hashes::hkeys),
    ("hlen", 2, READ, ONE, hashes::hlen),
    ("hmget", -3, READ, ONE, hashes::hmget),
    ("hscan", -3, SCAN, ONE, hashes::hscan),
    ("hset", -4, WRITE, ONE, hashes::hset),
    ("hvals", 2, SCAN, ONE, hashes::hvals),
    ("incr", 2, WRITE, ONE, counters::incr),
    ("incrby", 3, WRITE, ONE, counters::incrby),
    ("info", -1, OTHER, NONE, connection::info),
    ("keys", 2, SCAN, NONE, keys::keys),
    ("mget", -2, READ, ALL, counters::mget),
    ("mset", -3, WRITE, (1, -1, 2), counters::mset),
    ("multi", 1, OTHER, NONE, transaction::multi),
    ("persist", 2, EXPIRE, ONE, expiry::persist),
    ("pexpire", -3, EXPIRE, ONE, expiry::pexpire),
    ("pexpireat", -3, EXPIRE, ONE, expiry::pexpireat),
    ("pexpiretime", 2, READ, ONE, expiry::pexpiretime),
    ("ping", -1, OTHER, NONE, connection::ping),
    ("pttl", 2, READ, ONE, expiry::pttl),
    ("quit", -1, OTHER, NONE, connection::quit),
    ("reset", 1, OTHER, NONE, connection::reset),
    ("scan", -2, SCAN, NONE, keys::scan),
    ("select", 2, OTHER, NONE, connection::select),
    ("set", -3, WRITE, ONE, counters::set),
    ("setnx", 3, WRITE, ONE, counters::setnx),
    ("strlen", 2, READ, ONE, counters::strlen),
    ("time", 1, OTHER, NONE, connection::time),
    ("touch", -2, READ, ALL, keys::exists),
    ("ttl", 2, READ, ONE, expiry::ttl),
    ("type", 2, READ, ONE, keys::type_of),
    ("unlink", -2, DELETE, ALL, keys::del),
    ("unwatch", 1, OTHER, NONE, transaction::unwatch),
    ("wait", 3, OTHER, NONE, connection::wait),
    ("waitaof", 4, OTHER, NONE, connection::waitaof),
    ("watch", -2, OTHER, ALL, transaction::watch),
    ("xadd", -5, WRITE, ONE, logs::xadd),
    ("xinfo", -2, SCAN, (2, 2, 1), logs::xinfo),
    ("xlen", 2, READ, ONE, logs::xlen),
    ("xrange", -4, SCAN, ONE, logs::xrange),
    ("xread", -4, SCAN, NONE, read::xread),
    ("xrevrange", -4, SCAN, ONE, logs::xrevrange),
    ("xtrim", -4, DELETE, ONE, logs::xtrim),
];

static TABLE: LazyLock<HashMap<&'static [u8], Command>> = LazyLock::new(|| {
    let command = |(name, arity, flags, keys, run): Row| {
        let before_auth = ["auth", "hello", "quit", "reset"].contains(&name);
        let in_transaction = ["multi", "exec", "discard", "quit", "reset", "watch"].contains(&name);
        (
            name.as_bytes(),
            Command {
                name,
                arity,
                flags,
                keys,
                before_auth,
                in_transaction,
                run,
            },
        )
    };
    ROWS.iter().copied().map(command).collect()
});

/// No command's name is longer.
const NAME_BYTES_MAX: usize = 16;

/// The command of that name, in whatever case.
pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    TABLE.get(&*lower)
}

/// All commands, by name.
pub(super) fn all() -> impl ExactSizeIterator<Item = &'static Command> {
    let mut commands: Vec<_> = TABLE.values().collect();
    commands.sort_by_key(|command| command.name);
    commands.into_iter()
}
