//! One reader at a site: keeps pieces of logs as they were read there.

use std::collections::HashMap;
use std::thread::sleep;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use redis::streams::StreamRangeReply;
use redis::{Commands, Connection};

use crate::client::{Stage, Target, parse_id};
use crate::history::{Class, Id, Life, Read};
use crate::state::log_at;

/// Pieces that one reader keeps, and the entries of one.
const READS_MAX: usize = 400;
const LINES_MAX: usize = 300;

pub(crate) struct Reader<'a> {
    stage: &'a Stage,
    target: &'a Target,
    names: &'a [String],
    random: StdRng,
    /// Places in logs at which a piece may begin.
    known: HashMap<(usize, Class), Vec<Id>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(stage: &'a Stage, site: usize, names: &'a [String], random: StdRng) -> Self {
        Self {
            stage,
            target: &stage.targets[site],
            names,
            random,
            known: HashMap::new(),
        }
    }

    /// Reads until the round is over.
    pub(crate) fn run(mut self) -> Vec<Read> {
        let mut reads = Vec::new();
        let mut open: Option<(Connection, Life)> = None;
        while self.stage.goes_on() {
            sleep(Duration::from_millis(self.random.random_range(20..150)));
            open = open.take().filter(|(_, life)| *life == self.target.life());
            open = open.or_else(|| self.target.is_open().then(|| self.target.connect())?);
            let Some((connection, life)) = &mut open else {
                continue;
            };
            match self.read(connection, *life) {
                Some(read) if reads.len() < READS_MAX && !read.lines.is_empty() => reads.push(read),
                Some(_) => {}
                // An error is an honest answer.
                None => open = None,
            }
        }
        reads
    }

    fn read(&mut self, redis: &mut Connection, life: Life) -> Option<Read> {
        let origin = self.random.random_range(0..self.names.len());
        let class = Class::ALL[self.random.random_range(0..Class::ALL.len())];
        let known = self
            .known
            .entry((origin, class))
            .or_insert_with(|| vec![(0, 0)]);
        let after = known[self.random.random_range(0..known.len())];
        let log = log_at(self.names, self.target.index, origin, class);
        let start = format!("({}-{}", after.0, after.1);
        let reply: StreamRangeReply = redis.xrange_count(log, start, "+", LINES_MAX).ok()?;
        let lines: Vec<_> = reply
            .ids
            .iter()
            .map(|entry| (parse_id(&entry.id), entry.get("n").unwrap_or(0)))
            .collect();
        if let Some((last, _)) = lines.last()
            && known.len() < READS_MAX
        {
            known.push(*last);
        }
        Some(Read {
            life,
            at: self.stage.now(),
            origin,
            class,
            after,
            lines,
        })
    }
}
