//! One client of a site: writes in one class of durability and keeps what it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use redis::{Commands, Connection, RedisResult};

use crate::free;
use crate::history::{Class, Confirmed, Effect, Id, Life, Moment, Register, Settled, Write};
use crate::register::Registers;

/// A reply that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long `WAIT` and `WAITAOF` wait, in milliseconds.
const WAIT_MS: u64 = 1000;
/// What was wrong is kept up to that many times a client.
const WRONG_MAX: usize = 20;

/// A site, as its clients know it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) index: usize,
    pub(crate) grid: SocketAddr,
    /// The number of the gateway process that runs, or ran last.
    pub(crate) life: AtomicU32,
    /// Whether clients may come.
    pub(crate) open: AtomicBool,
    /// Whether it holds all that it ever confirmed; not so after damage until that is mended.
    pub(crate) whole: AtomicBool,
    /// How often its files were damaged or lost.
    pub(crate) losses: AtomicU32,
}

impl Target {
    pub(crate) fn life(&self) -> Life {
        Life {
            site: self.index,
            number: self.life.load(Ordering::SeqCst),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// A connection, and the life to which it belongs.
    pub(crate) fn connect(&self) -> Option<(Connection, Life)> {
        let life = self.life();
        let client = redis::Client::open(format!("redis://{}/", self.grid)).ok()?;
        let connection = client.get_connection_with_timeout(PATIENCE).ok()?;
        connection.set_read_timeout(Some(PATIENCE)).ok()?;
        connection.set_write_timeout(Some(PATIENCE)).ok()?;
        (self.life() == life && self.is_open()).then_some((connection, life))
    }
}

/// What all threads of a round share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) targets: Vec<Target>,
    pub(crate) begun: Instant,
    pub(crate) gate: RwLock<()>,
    pub(crate) stop: AtomicBool,
    pub(crate) line_bytes_max: u64,
}

impl Stage {
    pub(crate) fn now(&self) -> Moment {
        self.begun.elapsed()
    }

    /// Leave for one command.
    fn turn(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// No client acts while this is held.
    pub(crate) fn silence(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }
}

/// What a client's counter may show next.
#[derive(Clone, Copy, Debug)]
struct Expected {
    low: i64,
    high: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) writes: Vec<Write>,
    pub(crate) settled: Vec<Settled>,
    pub(crate) registers: Vec<Register>,
    pub(crate) wrong: Vec<String>,
}

pub(crate) struct Client<'a> {
    stage: &'a Stage,
    target: &'a Target,
    class: Class,
    index: u64,
    random: StdRng,
    expected: Option<Expected>,
    /// Sum of what this life was sent and did not confirm.
    pending: i64,
    /// Losses of the site that it knows of.
    losses: u32,
    lines: u64,
    registers: Registers,
    told: Told,
}

impl<'a> Client<'a> {
    pub(crate) fn new(stage: &'a Stage, site: usize, class: Class, random: StdRng) -> Self {
        let index = (site * Class::ALL.len()) as u64 + class as u64;
        Self {
            stage,
            target: &stage.targets[site],
            class,
            index,
            random,
            expected: None,
            pending: 0,
            losses: 0,
            lines: 0,
            registers: Registers::new(site),
            told: Told::default(),
        }
    }

    /// Writes until the round is over.
    pub(crate) fn run(mut self) -> Told {
        let mut open: Option<(Connection, Life)> = None;
        let mut life = None;
        while self.stage.goes_on() {
            let turn = self.stage.turn();
            open = open.take().filter(|(_, life)| *life == self.target.life());
            open = open.or_else(|| self.target.is_open().then(|| self.target.connect())?);
            let Some((connection, now)) = &mut open else {
                drop(turn);
                sleep(Duration::from_millis(30));
                continue;
            };
            if life.replace(*now) != Some(*now) {
                self.begins_anew();
            }
            let now = *now;
            let done = self.act(connection, now);
            drop(turn);
            if done.is_err() {
                open = None;
                sleep(Duration::from_millis(50));
            }
            let pause = self.random.random_range(1..6);
            sleep(Duration::from_millis(pause));
        }
        if self.class == Class::Remote {
            self.told.registers = self.registers.end();
        }
        self.told
    }

    /// Another process: what was sent to the one before will not be carried out any more.
    fn begins_anew(&mut self) {
        self.pending = 0;
        let losses = self.target.losses.load(Ordering::SeqCst);
        let known = std::mem::replace(&mut self.losses, losses);
        if self.class == Class::Memory || losses != known {
            self.expected = None;
        }
    }

    fn act(&mut self, redis: &mut Connection, life: Life) -> RedisResult<()> {
        let whole = self.target.whole.load(Ordering::SeqCst);
        if !whole {
            self.expected = None;
        }
        match self.random.random_range(0..100) {
            0..35 => self.add_to_own(redis, life),
            35..50 => {
                let key = format!(
                    "{}:shared:{}",
                    self.class.name(),
                    self.random.random_range(0..3)
                );
                let amount = self.random.random_range(1..10);
                let done = redis.incr::<_, _, i64>(&key, amount);
                self.note(life, Effect::Add { key, amount }, done.map(|_| None))
            }
            50..60 => {
                let key = format!("{}:hash", self.class.name());
                let field = format!("f{}", self.random.random_range(0..8));
                let amount = self.random.random_range(1..10);
                let done = redis.hincr::<_, _, _, i64>(&key, &field, amount);
                let key = format!("{key} {field}");
                self.note(life, Effect::Add { key, amount }, done.map(|_| None))
            }
            60..90 => self.append(redis, life),
            90..92 => self.wait(redis, life, Class::Remote),
            92..94 => self.wait(redis, life, Class::Disk),
            94..97 => free::act(redis, &mut self.random),
            _ if whole && self.class == Class::Remote => {
                self.registers
                    .act(redis, &mut self.random, &mut self.told.wrong)
            }
            _ => free::act(redis, &mut self.random),
        }
    }

    /// A counter that no other client touches: each reply can be foretold.
    fn add_to_own(&mut self, redis: &mut Connection, life: Life) -> RedisResult<()> {
        let key = format!("{}:own:{}", self.class.name(), self.target.index);
        let amount = self.random.random_range(1..10);
        let done: RedisResult<i64> = redis.incr(&key, amount);
        match &done {
            Ok(value) => {
                if let Some(Expected { low, high }) = self.expected
                    && !(low + amount..=high + amount).contains(value)
                    && self.target.whole.load(Ordering::SeqCst)
                {
                    self.complain(format!(
                        "{key} at {life:?}: {low} to {high} plus {amount} gave {value}"
                    ));
                }
                self.expected = Some(Expected {
                    low: *value,
                    high: value + self.pending,
                });
            }
            Err(_) => {
                self.pending += amount;
                if let Some(expected) = &mut self.expected {
                    expected.high += amount;
                }
            }
        }
        self.note(life, Effect::Add { key, amount }, done.map(|_| None))
    }

    fn append(&mut self, redis: &mut Connection, life: Life) -> RedisResult<()> {
        self.lines += 1;
        let n = self.index << 32 | self.lines;
        let text = text_of(n, self.stage.line_bytes_max);
        let fields = [("n", n.to_string()), ("text", text)];
        let id: RedisResult<String> = redis.xadd(self.class.log(), "*", &fields);
        let id = id.map(|id| Some(parse_id(&id)));
        self.note(life, Effect::Line { n }, id)
    }

    fn wait(&mut self, redis: &mut Connection, life: Life, class: Class) -> RedisResult<()> {
        let at = self.stage.now();
        let holds = match class {
            Class::Remote => redis::cmd("WAIT").arg(1).arg(WAIT_MS).query::<i64>(redis)? >= 1,
            Class::Memory | Class::Disk => {
                let mut wait = redis::cmd("WAITAOF");
                let held: Vec<i64> = wait.arg(&[1, 0, WAIT_MS]).query(redis)?;
                held.first() == Some(&1)
            }
        };
        if holds {
            self.told.settled.push(Settled { life, at, class });
        }
        Ok(())
    }

    fn note(
        &mut self,
        life: Life,
        effect: Effect,
        done: RedisResult<Option<Id>>,
    ) -> RedisResult<()> {
        let at = self.stage.now();
        let confirmed = done.as_ref().ok().map(|id| Confirmed { at, id: *id });
        self.told.writes.push(Write {
            life,
            class: self.class,
            effect,
            confirmed,
        });
        done.map(drop)
    }

    fn complain(&mut self, wrong: String) {
        if self.told.wrong.len() < WRONG_MAX {
            self.told.wrong.push(wrong);
        }
    }
}

/// What the line of that number says: nothing else may stand there.
pub(crate) fn text_of(n: u64, bytes_max: u64) -> String {
    let mut bits = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = bits % bytes_max.div_ceil(8);
    let mut text = String::new();
    for _ in 0..=words {
        bits = bits
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:08x}", bits >> 32));
    }
    text
}

/// An id as a gateway says it; one that makes no sense is the lowest.
pub(crate) fn parse_id(text: &str) -> Id {
    let parts = text.split_once('-');
    let id = parts.and_then(|(ms, seq)| Some((ms.parse().ok()?, seq.parse().ok()?)));
    id.unwrap_or_default()
}
