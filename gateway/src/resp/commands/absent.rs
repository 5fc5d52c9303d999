//! Commands of Redis that are left out on purpose, and why.

/// Names in lower case, and what is said of them.
const ABSENT: &[(&[&str], &str)] = &[
    (
        &["incrbyfloat", "hincrbyfloat"],
        "counters are whole numbers, as sums of fractions depend on their order",
    ),
    (
        &[
            "append",
            "getrange",
            "setrange",
            "substr",
            "lcs",
            "setbit",
            "getbit",
            "bitcount",
            "bitfield",
            "bitfield_ro",
            "bitop",
            "bitpos",
            "pfadd",
            "pfcount",
            "pfmerge",
            "pfdebug",
            "pfselftest",
        ],
        "values are whole numbers, no strings of bytes",
    ),
    (
        &["xdel", "xsetid"],
        "logs only grow at their end: XTRIM takes away what is old",
    ),
    (
        &[
            "xack",
            "xautoclaim",
            "xclaim",
            "xgroup",
            "xpending",
            "xreadgroup",
        ],
        "there are no consumer groups: a reader keeps its own position, for XREAD",
    ),
    (
        &["rename", "renamenx", "copy", "move"],
        "other sites go on counting under the old name",
    ),
    (&["swapdb"], "there is one database"),
    (
        &["flushall", "flushdb"],
        "nobody empties all sites by a slip: SCAN and DEL",
    ),
    (
        &["dump", "restore", "restore-asking", "migrate"],
        "see 'strait export' and 'strait replay'",
    ),
    (
        &["save", "bgsave", "bgrewriteaof", "lastsave"],
        "all is in the journal; 'strait snapshots' lists what is kept besides",
    ),
    (
        &[
            "replicaof",
            "slaveof",
            "sync",
            "psync",
            "replconf",
            "failover",
        ],
        "sites are joined by 'strait pair', and each is a master",
    ),
    (
        &["shutdown"],
        "the gateway is stopped by its service manager, with SIGTERM",
    ),
    (
        &["monitor"],
        "it would slow down everybody: see SLOWLOG and the metrics",
    ),
    (
        &[
            "subscribe",
            "unsubscribe",
            "psubscribe",
            "punsubscribe",
            "ssubscribe",
            "sunsubscribe",
            "publish",
            "spublish",
            "pubsub",
        ],
        "there are no channels: XADD and XREAD BLOCK",
    ),
    (
        &[
            "eval",
            "eval_ro",
            "evalsha",
            "evalsha_ro",
            "fcall",
            "fcall_ro",
            "function",
            "script",
        ],
        "there are no scripts: MULTI, WATCH and EXEC",
    ),
    (&["module", "debug", "lolwut"], "it is Redis's own"),
    (
        &[
            "blmove",
            "blmpop",
            "blpop",
            "brpop",
            "brpoplpush",
            "lindex",
            "linsert",
            "llen",
            "lmove",
            "lmpop",
            "lpop",
            "lpos",
            "lpush",
            "lpushx",
            "lrange",
            "lrem",
            "lset",
            "ltrim",
            "rpop",
            "rpoplpush",
            "rpush",
            "rpushx",
            "sort",
            "sort_ro",
        ],
        "there are counters, hashes of them and logs, no lists",
    ),
    (
        &[
            "sadd",
            "scard",
            "sdiff",
            "sdiffstore",
            "sinter",
            "sintercard",
            "sinterstore",
            "sismember",
            "smembers",
            "smismember",
            "smove",
            "spop",
            "srandmember",
            "srem",
            "sscan",
            "sunion",
            "sunionstore",
        ],
        "there are counters, hashes of them and logs, no sets",
    ),
    (
        &[
            "bzmpop",
            "bzpopmax",
            "bzpopmin",
            "geoadd",
            "geodist",
            "geohash",
            "geopos",
            "georadius",
            "georadius_ro",
            "georadiusbymember",
            "georadiusbymember_ro",
            "geosearch",
            "geosearchstore",
            "zadd",
            "zcard",
            "zcount",
            "zdiff",
            "zdiffstore",
            "zincrby",
            "zinter",
            "zintercard",
            "zinterstore",
            "zlexcount",
            "zmpop",
            "zmscore",
            "zpopmax",
            "zpopmin",
            "zrandmember",
            "zrange",
            "zrangebylex",
            "zrangebyscore",
            "zrangestore",
            "zrank",
            "zrem",
            "zremrangebylex",
            "zremrangebyrank",
            "zremrangebyscore",
            "zrevrange",
            "zrevrangebylex",
            "zrevrangebyscore",
            "zrevrank",
            "zscan",
            "zscore",
            "zunion",
            "zunionstore",
        ],
        "there are counters, hashes of them and logs, no sorted sets",
    ),
    (
        &["cluster", "asking", "readonly", "readwrite"],
        "this is no cluster of Redis: every site holds everything",
    ),
];

/// Why the command of that name, in whatever case, is left out; none if it is none of Redis's.
pub(super) fn why(name: &[u8]) -> Option<&'static str> {
    let is_it = |absent: &&str| name.eq_ignore_ascii_case(absent.as_bytes());
    let found = ABSENT.iter().find(|(names, _)| names.iter().any(is_it));
    found.map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_left_out() {
        assert_eq!(why(b"XDel"), why(b"xdel"));
        assert_eq!(why(b"nosuch"), None);
        for name in ABSENT.iter().flat_map(|(names, _)| names.iter()) {
            assert!(
                super::super::table::find(name.as_bytes()).is_none(),
                "{name}"
            );
        }
    }
}
