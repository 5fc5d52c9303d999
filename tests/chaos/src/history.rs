//! What clients tried and were told, and what was done to the gateways meanwhile.

use std::collections::HashMap;
use std::time::Duration;

/// Time since the round began.
pub type Moment = Duration;
/// The id of a log's entry.
pub type Id = (u64, u64);

/// How durable a confirmed write is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Memory,
    Disk,
    Remote,
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Memory, Self::Disk, Self::Remote];

    /// As `grid.durability` has it; keys of the class begin with it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Remote => "remote",
        }
    }

    /// The log into which clients of this class write.
    pub fn log(self) -> String {
        format!("{}:log", self.name())
    }
}

/// A gateway process of a site: the how manyth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Life {
    pub site: usize,
    pub number: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A counter, or `key field` of a hash, grows.
    Add { key: String, amount: i64 },
    /// An entry of the log of its class: number `n` of all in the round.
    Line { n: u64 },
}

/// The gateway's yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    pub at: Moment,
    /// Of a line.
    pub id: Option<Id>,
}

/// A write that a client sent.
#[derive(Clone, Debug)]
pub struct Write {
    pub life: Life,
    pub class: Class,
    pub effect: Effect,
    /// `None`: it was refused, or nobody knows what became of it.
    pub confirmed: Option<Confirmed>,
}

/// `WAIT` or `WAITAOF` said that all writes confirmed by then are as durable as that.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    pub life: Life,
    /// When it was asked.
    pub at: Moment,
    pub class: Class,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM.
    Stopped,
    /// SIGKILL, or the machine's power was cut.
    Killed,
    /// Killed, and then bits of its files were flipped.
    Flipped,
    /// Killed, and its directory is gone.
    Burnt,
}

#[derive(Clone, Copy, Debug)]
pub struct Death {
    pub life: Life,
    pub at: Moment,
    pub how: End,
}

/// Part of a log as a reader saw it: all entries behind `after`, up to the last of `lines`.
#[derive(Clone, Debug)]
pub struct Read {
    /// Where it was read.
    pub life: Life,
    /// When the answer came.
    pub at: Moment,
    /// The site to which the log belongs.
    pub origin: usize,
    pub class: Class,
    pub after: Id,
    pub lines: Vec<(Id, u64)>,
}

/// A counter that one client alone sets, deletes and adds to; what it may be in the end.
#[derive(Clone, Debug)]
pub struct Register {
    pub key: String,
    pub possible: Vec<i64>,
}

/// A push that exited with 0.
#[derive(Clone, Debug)]
pub struct Pushed {
    pub from: usize,
    pub to: usize,
    pub name: String,
    pub bytes: Vec<u8>,
    /// When it was begun.
    pub at: Moment,
}

/// All of a round.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Names of the sites.
    pub sites: Vec<String>,
    /// Of one client each, in the order in which they were sent.
    pub clients: Vec<Vec<Write>>,
    pub settled: Vec<Settled>,
    pub deaths: Vec<Death>,
    pub reads: Vec<Read>,
    pub registers: Vec<Register>,
    pub pushed: Vec<Pushed>,
    /// What clients saw at once to be wrong.
    pub wrong: Vec<String>,
    /// What a kill may take of `memory` writes.
    pub window: Duration,
}

impl History {
    /// Everything that was written.
    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.clients.iter().flatten()
    }

    /// Decides for each write whether it must have survived.
    pub fn promises(&self) -> Promises<'_> {
        let mut last_heard = HashMap::new();
        for write in self.writes() {
            if let Some(confirmed) = write.confirmed {
                let last = last_heard.entry(write.life).or_insert(confirmed.at);
                *last = confirmed.at.max(*last);
            }
        }
        let mut settled = HashMap::new();
        for one in &self.settled {
            let last = settled.entry((one.life, one.class)).or_insert(one.at);
            *last = one.at.max(*last);
        }
        Promises {
            history: self,
            last_heard,
            settled,
        }
    }
}

#[derive(Debug)]
pub struct Promises<'a> {
    history: &'a History,
    /// When the last write of a life was confirmed.
    last_heard: HashMap<Life, Moment>,
    /// When `WAIT` or `WAITAOF` last held in a life.
    settled: HashMap<(Life, Class), Moment>,
}

impl Promises<'_> {
    /// Whether the write was confirmed in a way that all that happened since leaves intact.
    pub fn holds(&self, write: &Write) -> bool {
        let Some(confirmed) = write.confirmed else {
            return false;
        };
        let mut class = write.class;
        let deaths = self.history.deaths.iter();
        let later = deaths.filter(|death| {
            death.life.site == write.life.site && death.life.number >= write.life.number
        });
        for death in later {
            class = class.max(self.raised(write, confirmed.at, death.life));
            let window = death.life == write.life && self.in_window(death.life, confirmed.at);
            let survives = match death.how {
                End::Stopped => true,
                End::Killed => class > Class::Memory || !window,
                End::Flipped | End::Burnt => class == Class::Remote,
            };
            if !survives {
                return false;
            }
            class = class.max(Class::Disk);
        }
        true
    }

    /// Whether a kill at the end of that life may take what was confirmed from memory then.
    fn in_window(&self, life: Life, at: Moment) -> bool {
        let last = self.last_heard.get(&life).copied().unwrap_or_default();
        at + self.history.window > last
    }

    /// What `WAIT` and `WAITAOF` made of a write until the end of a life.
    fn raised(&self, write: &Write, at: Moment, until: Life) -> Class {
        let heard = |class| {
            let lives = write.life.number..=until.number;
            let mut lives = lives.map(|number| Life { number, ..until });
            lives.any(|life| {
                self.settled
                    .get(&(life, class))
                    .is_some_and(|asked| *asked >= at)
            })
        };
        if heard(Class::Remote) {
            Class::Remote
        } else if heard(Class::Disk) {
            Class::Disk
        } else {
            Class::Memory
        }
    }
}
