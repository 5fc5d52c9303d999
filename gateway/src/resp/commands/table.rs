//! The table of commands.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::super::parse::Args;
use super::super::slowlog::Timed;
use super::super::users::KeyAccess;
use super::categories::{self, Categories, Category};
use super::{
    Context, Outcome, acl, clients, connection, counters, expiry, hashes, help, inspect, keys,
    listing, logs, read, settings, slow, transaction, unknown_subcommand,
};
use crate::grid::Feed;

/// The Redis whose behaviour is followed.
pub(in crate::resp) const REDIS_VERSION: &str = "7.0.15";

/// One command, or one of those that it consists of: `CLIENT LIST` is `client|list`.
pub(super) struct Command {
    /// In lower case.
    pub(super) name: &'static str,
    /// Its place among all.
    pub(super) number: u16,
    /// Arguments, the name included; negative: at least so many.
    pub(super) arity: i32,
    pub(super) flags: &'static [&'static str],
    /// First and last key and the step between them, as `COMMAND` shows it.
    pub(super) keys: (i32, i32, i32),
    /// What it does to them. `SET` with `GET` reads, too.
    pub(super) access: KeyAccess,
    pub(super) categories: Categories,
    /// Allowed before `AUTH`, and to every user.
    pub(super) before_auth: bool,
    /// Carried out between `MULTI` and `EXEC` too; others are queued there.
    pub(super) in_transaction: bool,
    /// For the slow log.
    pub(super) timed: Timed,
    /// What it consists of, by name.
    pub(super) parts: Vec<Self>,
    /// What `HELP` says of those.
    pub(super) help: &'static str,
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

    /// What it may add to, for which it is refused when memory is full.
    pub(super) fn needs_room(&self) -> Option<Feed> {
        let feed = match self.name {
            "xadd" => Feed::Logs,
            _ => Feed::Counters,
        };
        self.flags.contains(&"denyoom").then_some(feed)
    }

    /// Whether it may look at data, or change it.
    pub(super) fn is_about_data(&self) -> bool {
        self.is_write() || self.flags.first() == Some(&"readonly")
    }

    /// Whether so many arguments are right.
    pub(super) fn accepts(&self, args: usize) -> bool {
        let needed = self.arity.unsigned_abs() as usize;
        args == needed || (self.arity < 0 && args > needed)
    }

    /// The one of its parts that `word` names, in whatever case.
    pub(super) fn part(&self, word: &[u8]) -> Option<&Self> {
        let names = |part: &&Self| {
            let own = part.name.split_once('|').map_or("", |(_, own)| own);
            word.eq_ignore_ascii_case(own.as_bytes())
        };
        self.parts.iter().find(names)
    }
}

// As Redis has them, but for `fast`: here that is whatever takes no longer for more data.
const READ: &[&str] = &["readonly", "fast"];
const SCAN: &[&str] = &["readonly"];
const WAIT_READ: &[&str] = &["readonly", "blocking", "movablekeys"];
const WRITE: &[&str] = &["write", "denyoom", "fast"];
const WRITE_MANY: &[&str] = &["write", "denyoom"];
const EXPIRE: &[&str] = &["write", "fast"];
const DELETE: &[&str] = &["write"];
const OTHER: &[&str] = &["noscript", "loading", "stale", "fast"];
const PLAIN: &[&str] = &["loading", "stale"];
const ASK: &[&str] = &["noscript", "loading", "stale"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
const EXEC: &[&str] = &["noscript", "loading", "stale", "skip_slowlog"];
const PARTS: &[&str] = &[];

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
const PAIRS: (i32, i32, i32) = (1, -1, 2);
const NONE: (i32, i32, i32) = (0, 0, 0);
/// Behind a subcommand's name.
const NEXT: (i32, i32, i32) = (2, 2, 1);

const ROWS: &[Row] = &[
    ("acl", -2, PARTS, NONE, unknown_subcommand),
    ("auth", -2, OTHER, NONE, connection::auth),
    ("client", -2, PARTS, NONE, unknown_subcommand),
    ("command", -1, PLAIN, NONE, listing::all),
    ("config", -2, PARTS, NONE, unknown_subcommand),
    ("dbsize", 1, READ, NONE, keys::dbsize),
    ("decr", 2, WRITE, ONE, counters::decr),
    ("decrby", 3, WRITE, ONE, counters::decrby),
    ("del", -2, DELETE, ALL, keys::del),
    ("discard", 1, OTHER, NONE, transaction::discard),
    ("echo", 2, OTHER, NONE, connection::echo),
    ("exec", 1, EXEC, NONE, transaction::exec),
    ("exists", -2, READ, ALL, keys::exists),
    ("expire", -3, EXPIRE, ONE, expiry::expire),
    ("expireat", -3, EXPIRE, ONE, expiry::expireat),
    ("expiretime", 2, READ, ONE, expiry::expiretime),
    ("get", 2, READ, ONE, counters::get),
    ("getdel", 2, EXPIRE, ONE, counters::getdel),
    ("getex", -2, EXPIRE, ONE, counters::getex),
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
    ("hmset", -4, WRITE, ONE, hashes::hmset),
    ("hrandfield", -2, SCAN, ONE, hashes::hrandfield),
    ("hscan", -3, SCAN, ONE, hashes::hscan),
    ("hset", -4, WRITE, ONE, hashes::hset),
    ("hsetnx", 4, WRITE, ONE, hashes::hsetnx),
    ("hstrlen", 3, READ, ONE, hashes::hstrlen),
    ("hvals", 2, SCAN, ONE, hashes::hvals),
    ("incr", 2, WRITE, ONE, counters::incr),
    ("incrby", 3, WRITE, ONE, counters::incrby),
    ("info", -1, OTHER, NONE, connection::info),
    ("keys", 2, SCAN, NONE, keys::keys),
    ("latency", -2, PARTS, NONE, unknown_subcommand),
    ("memory", -2, PARTS, NONE, unknown_subcommand),
    ("mget", -2, READ, ALL, counters::mget),
    ("mset", -3, WRITE_MANY, PAIRS, counters::mset),
    ("msetnx", -3, WRITE_MANY, PAIRS, counters::msetnx),
    ("multi", 1, OTHER, NONE, transaction::multi),
    ("object", -2, PARTS, NONE, unknown_subcommand),
    ("persist", 2, EXPIRE, ONE, expiry::persist),
    ("pexpire", -3, EXPIRE, ONE, expiry::pexpire),
    ("pexpireat", -3, EXPIRE, ONE, expiry::pexpireat),
    ("pexpiretime", 2, READ, ONE, expiry::pexpiretime),
    ("ping", -1, OTHER, NONE, connection::ping),
    ("psetex", 4, WRITE, ONE, counters::psetex),
    ("pttl", 2, READ, ONE, expiry::pttl),
    ("quit", -1, OTHER, NONE, connection::quit),
    ("randomkey", 1, SCAN, NONE, keys::randomkey),
    ("reset", 1, OTHER, NONE, connection::reset),
    ("role", 1, OTHER, NONE, connection::role),
    ("scan", -2, SCAN, NONE, keys::scan),
    ("select", 2, OTHER, NONE, connection::select),
    ("set", -3, WRITE, ONE, counters::set),
    ("setex", 4, WRITE, ONE, counters::setex),
    ("setnx", 3, WRITE, ONE, counters::setnx),
    ("slowlog", -2, PARTS, NONE, unknown_subcommand),
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
    ("xinfo", -2, PARTS, NONE, unknown_subcommand),
    ("xlen", 2, READ, ONE, logs::xlen),
    ("xrange", -4, SCAN, ONE, logs::xrange),
    ("xread", -4, WAIT_READ, NONE, read::xread),
    ("xrevrange", -4, SCAN, ONE, logs::xrevrange),
    ("xtrim", -4, DELETE, ONE, logs::xtrim),
];

/// Commands that consist of others: their parts, and what `HELP` says of them.
const FAMILIES: &[(&str, &[Row], &str)] = &[
    ("acl", ACL, acl::HELP),
    ("client", CLIENT, clients::HELP),
    ("command", COMMAND, listing::HELP),
    ("config", CONFIG, settings::HELP),
    ("latency", LATENCY, slow::LATENCY_HELP),
    ("memory", MEMORY, inspect::MEMORY_HELP),
    ("object", OBJECT, inspect::OBJECT_HELP),
    ("slowlog", SLOWLOG, slow::SLOWLOG_HELP),
    ("xinfo", XINFO, logs::XINFO_HELP),
];

const ACL: &[Row] = &[
    ("acl|cat", -2, ASK, NONE, acl::cat),
    ("acl|deluser", -3, ADMIN, NONE, acl::read_only),
    ("acl|dryrun", -4, ADMIN, NONE, acl::dryrun),
    ("acl|genpass", -2, ASK, NONE, acl::genpass),
    ("acl|getuser", 3, ADMIN, NONE, acl::getuser),
    ("acl|help", 2, PLAIN, NONE, help::help),
    ("acl|list", 2, ADMIN, NONE, acl::list),
    ("acl|load", 2, ADMIN, NONE, acl::read_only),
    ("acl|log", -2, ADMIN, NONE, acl::log),
    ("acl|save", 2, ADMIN, NONE, acl::read_only),
    ("acl|setuser", -3, ADMIN, NONE, acl::read_only),
    ("acl|users", 2, ADMIN, NONE, acl::users),
    ("acl|whoami", 2, ASK, NONE, acl::whoami),
];

const CLIENT: &[Row] = &[
    ("client|getname", 2, OTHER, NONE, clients::getname),
    ("client|help", 2, PLAIN, NONE, help::help),
    ("client|id", 2, OTHER, NONE, clients::id),
    ("client|info", 2, OTHER, NONE, clients::info),
    ("client|kill", -3, ADMIN, NONE, clients::kill),
    ("client|list", -2, ADMIN, NONE, clients::list),
    ("client|no-evict", 3, ADMIN, NONE, clients::switch),
    ("client|no-touch", 3, OTHER, NONE, clients::switch),
    ("client|pause", -3, ADMIN, NONE, clients::pause),
    ("client|reply", 3, OTHER, NONE, clients::reply),
    ("client|setinfo", 4, OTHER, NONE, clients::setinfo),
    ("client|setname", 3, OTHER, NONE, clients::setname),
    ("client|unpause", 2, ADMIN, NONE, clients::unpause),
];

const COMMAND: &[Row] = &[
    ("command|count", 2, PLAIN, NONE, listing::count),
    ("command|docs", -2, PLAIN, NONE, listing::docs),
    ("command|getkeys", -4, PLAIN, NONE, listing::getkeys),
    ("command|help", 2, PLAIN, NONE, help::help),
    ("command|info", -2, PLAIN, NONE, listing::info),
    ("command|list", -2, PLAIN, NONE, listing::list),
];

const CONFIG: &[Row] = &[
    ("config|get", -3, ADMIN, NONE, settings::get),
    ("config|help", 2, PLAIN, NONE, help::help),
    ("config|resetstat", 2, ADMIN, NONE, settings::resetstat),
    ("config|rewrite", 2, ADMIN, NONE, settings::rewrite),
    ("config|set", -4, ADMIN, NONE, settings::set),
];

const LATENCY: &[Row] = &[
    ("latency|doctor", 2, ADMIN, NONE, slow::doctor),
    ("latency|help", 2, PLAIN, NONE, help::help),
    ("latency|histogram", -2, ADMIN, NONE, slow::histogram),
    ("latency|history", 3, ADMIN, NONE, slow::samples),
    ("latency|latest", 2, ADMIN, NONE, slow::samples),
    ("latency|reset", -2, ADMIN, NONE, slow::forget_samples),
];

const MEMORY: &[Row] = &[
    ("memory|doctor", 2, PARTS, NONE, inspect::doctor),
    ("memory|help", 2, PLAIN, NONE, help::help),
    ("memory|stats", 2, PARTS, NONE, inspect::stats),
    ("memory|usage", -3, SCAN, NEXT, inspect::usage),
];

const OBJECT: &[Row] = &[
    ("object|encoding", 3, SCAN, NEXT, inspect::encoding),
    ("object|freq", 3, SCAN, NEXT, inspect::untracked),
    ("object|help", 2, PLAIN, NONE, help::help),
    ("object|idletime", 3, SCAN, NEXT, inspect::untracked),
    ("object|refcount", 3, SCAN, NEXT, inspect::refcount),
];

const SLOWLOG: &[Row] = &[
    ("slowlog|get", -2, ADMIN, NONE, slow::get),
    ("slowlog|help", 2, PLAIN, NONE, help::help),
    ("slowlog|len", 2, ADMIN, NONE, slow::len),
    ("slowlog|reset", 2, ADMIN, NONE, slow::reset),
];

const XINFO: &[Row] = &[
    ("xinfo|consumers", 4, SCAN, NEXT, logs::xinfo_consumers),
    ("xinfo|groups", 3, SCAN, NEXT, logs::xinfo_groups),
    ("xinfo|help", 2, PLAIN, NONE, help::help),
    ("xinfo|stream", -3, SCAN, NEXT, logs::xinfo_stream),
];

/// All commands, by name.
static TABLE: LazyLock<Vec<Command>> = LazyLock::new(|| {
    let mut numbers = 0..;
    let mut command = |(name, arity, flags, keys, run): Row| Command {
        name,
        number: numbers.next().unwrap_or_default(),
        arity,
        flags,
        keys,
        access: categories::access(name, flags),
        categories: Categories::of(name, flags),
        before_auth: ["auth", "hello", "quit", "reset"].contains(&name),
        in_transaction: ["multi", "exec", "discard", "quit", "reset", "watch"].contains(&name),
        timed: match flags.contains(&"fast") {
            true => Timed::IfLow,
            false if flags.contains(&"skip_slowlog") => Timed::Never,
            false => Timed::Always,
        },
        run,
        parts: Vec::new(),
        help: "",
    };
    let mut commands: Vec<_> = ROWS.iter().copied().map(&mut command).collect();
    for (name, rows, help) in FAMILIES {
        let family = commands.iter_mut().find(|command| command.name == *name);
        if let Some(family) = family {
            family.parts = rows.iter().copied().map(&mut command).collect();
            family.help = help;
        }
    }
    commands
});

static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Command>> = LazyLock::new(|| {
    let named = |command: &'static Command| (command.name.as_bytes(), command);
    TABLE.iter().map(named).collect()
});

/// No command's name is longer.
const NAME_BYTES_MAX: usize = 16;

/// The command of that name, in whatever case.
pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

/// All commands, by name; their parts are in them.
pub(super) fn all() -> &'static [Command] {
    &TABLE
}

/// All commands and their parts.
pub(super) fn each() -> impl Iterator<Item = &'static Command> {
    let with_parts = |command: &'static Command| std::iter::once(command).chain(&command.parts);
    all().iter().flat_map(with_parts)
}

/// How many there are, parts included.
pub(in crate::resp) fn count() -> usize {
    each().count()
}

/// The command that a name like `get` or `client|list` stands for.
pub(super) fn named(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|byte| *byte == b'|') {
        Some(bar) => find(&name[..bar])?.part(&name[bar + 1..]),
        None => find(name),
    }
}

/// The number of the command of that name, and those of its parts.
pub(in crate::resp) fn numbers_of(name: &str) -> Option<Vec<u16>> {
    named(name.as_bytes()).map(|command| with_parts(command).collect())
}

/// Numbers of the commands in a category.
pub(in crate::resp) fn numbers_in(category: Category) -> Vec<u16> {
    let members = each().filter(|command| command.categories.has(category));
    members.flat_map(with_parts).collect()
}

fn with_parts(command: &Command) -> impl Iterator<Item = u16> {
    let parts = command.parts.iter().map(|part| part.number);
    std::iter::once(command.number).chain(parts)
}

/// The name of the command with that number.
pub(in crate::resp) fn name_of(number: u16) -> Option<&'static str> {
    let mut each = each();
    each.find(|command| command.number == number)
        .map(|command| command.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_and_every_part_explained() {
        assert!(TABLE.is_sorted_by_key(|command| command.name));
        for command in all() {
            let found = find(command.name.to_ascii_uppercase().as_bytes());
            assert_eq!(found.map(|found| found.name), Some(command.name));
            assert_eq!(name_of(command.number), Some(command.name));
            for part in &command.parts {
                let (family, own) = part.name.split_once('|').unwrap();
                assert_eq!(family, command.name);
                assert_eq!(name_of(part.number), Some(part.name));
                let explained = command
                    .help
                    .lines()
                    .any(|line| line.split_whitespace().next() == Some(&own.to_ascii_uppercase()));
                assert!(explained || own == "help", "{}", part.name);
            }
        }
        let families = all().iter().filter(|command| !command.parts.is_empty());
        assert_eq!(families.count(), FAMILIES.len());
    }
}
