//! Keys that every client of every site adds to, sets, deletes and lets expire, and logs that are
//! trimmed. Nobody can foretell what they come to: the sites have to agree on it.

use rand::RngExt;
use rand::rngs::StdRng;
use redis::{Commands, Connection, RedisResult};

/// So few that clients meet at each, and that one which was deleted soon comes again.
const KEYS: u32 = 24;
const LINES_MAX: u32 = 50;

/// One command.
pub(crate) fn act(redis: &mut Connection, random: &mut StdRng) -> RedisResult<()> {
    let key = format!("free:{}", random.random_range(0..KEYS));
    let hash = format!("free:hash:{}", random.random_range(0..4));
    let field = format!("f{}", random.random_range(0..4));
    let amount: i64 = random.random_range(-9..10);
    let soon_ms: i64 = random.random_range(1..3000);
    match random.random_range(0..10) {
        0..2 => redis.incr(key, amount),
        2 => redis.set(key, amount),
        3 => redis.del(key),
        4 => redis.pexpire(key, soon_ms),
        5 => redis.pset_ex(key, amount, soon_ms.unsigned_abs()),
        6 => redis.hincr(hash, field, amount),
        7 => redis.hdel(hash, field),
        8 => redis.del(hash),
        _ => {
            let mut add = redis::cmd("XADD");
            add.arg("free:log").arg("MAXLEN").arg("~").arg(LINES_MAX);
            add.arg("*")
                .arg("n")
                .arg(amount)
                .query::<String>(redis)
                .map(drop)
        }
    }
}
