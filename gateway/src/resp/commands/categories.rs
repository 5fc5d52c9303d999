//! Categories of commands, and how commands access keys, as Redis 7.0 has them.

use std::fmt;

use super::super::users::KeyAccess;

/// All of them, in Redis's order. Some hold no command that is here.
const ALL: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Commands by category, beside those that follow from flags. A family's name stands for none of its
/// parts.
const MEMBERS: &[(&str, &str)] = &[
    (
        "keyspace",
        "dbsize del exists expire expireat expiretime keys persist pexpire pexpireat pexpiretime pttl \
         randomkey scan touch ttl type unlink object|encoding object|freq object|help \
         object|idletime object|refcount",
    ),
    (
        "hash",
        "hdel hexists hget hgetall hincrby hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen \
         hvals",
    ),
    (
        "string",
        "decr decrby get getdel getex getset incr incrby mget mset msetnx psetex set setex setnx strlen",
    ),
    (
        "stream",
        "xadd xinfo|consumers xinfo|groups xinfo|help xinfo|stream xlen xrange xread xrevrange xtrim",
    ),
    (
        "fast",
        "auth dbsize decr decrby discard echo exists expire expireat expiretime get getdel getex getset \
         hdel hello hexists hget hincrby hlen hmget hmset hset hsetnx hstrlen incr incrby mget multi \
         persist pexpire pexpireat pexpiretime ping pttl quit reset role select setnx strlen time touch \
         ttl type unlink unwatch watch xadd xlen",
    ),
    ("admin", "role"),
    ("dangerous", "info keys role"),
    (
        "connection",
        "auth command echo hello ping quit reset select wait waitaof client|getname client|help client|id \
         client|info client|kill client|list client|no-evict client|no-touch client|pause client|reply \
         client|setinfo client|setname client|unpause command|count command|docs command|getkeys \
         command|help command|info command|list",
    ),
    ("transaction", "discard exec multi unwatch watch"),
];

/// Commands that write a key and show what it held.
const READ_TOO: &str = "decr decrby getdel getex getset hincrby incr incrby";
/// Commands that show nothing of what a key holds but that it is there, its type or its length.
const LOOK_ONLY: &str = "exists hexists hlen hstrlen memory|usage object|encoding object|freq \
                         object|idletime object|refcount strlen touch type watch xlen";

fn names(list: &str, name: &str) -> bool {
    list.split(' ').any(|listed| listed == name)
}

/// One category.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::resp) struct Category(usize);

impl fmt::Debug for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Category {
    pub(super) fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..ALL.len()).map(Self)
    }

    /// In whatever case, without its `@`.
    pub(in crate::resp) fn named(name: &[u8]) -> Option<Self> {
        let is_it = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        ALL.iter().position(|known| is_it(known)).map(Self)
    }

    pub(in crate::resp) fn name(self) -> &'static str {
        ALL[self.0]
    }
}

/// The categories of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Categories(u32);

impl Categories {
    pub(super) fn of(name: &str, flags: &[&str]) -> Self {
        let listed = |category: &str| {
            let mut members = MEMBERS.iter().filter(|(known, _)| *known == category);
            members.any(|(_, list)| names(list, name))
        };
        let is_in = |category: &str| match category {
            "read" => flags.contains(&"readonly"),
            "write" | "blocking" => flags.contains(&category),
            "admin" | "dangerous" => flags.contains(&"admin") || listed(category),
            "slow" => !listed("fast"),
            _ => listed(category),
        };
        let bits = ALL
            .iter()
            .enumerate()
            .filter(|(_, category)| is_in(category));
        Self(bits.fold(0, |all, (bit, _)| all | 1 << bit))
    }

    pub(super) fn has(self, category: Category) -> bool {
        self.0 & 1 << category.0 != 0
    }

    pub(super) fn each(self) -> impl Iterator<Item = Category> {
        Category::all().filter(move |category| self.has(*category))
    }
}

/// How a command accesses its keys.
pub(super) fn access(name: &str, flags: &[&str]) -> KeyAccess {
    let writes = flags.contains(&"write");
    KeyAccess {
        read: names(READ_TOO, name) || (!writes && !names(LOOK_ONLY, name)),
        write: writes,
    }
}
