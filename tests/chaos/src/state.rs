//! What a site holds in the end.

use std::collections::BTreeMap;

use redis::streams::StreamRangeReply;
use redis::{Commands, Connection, RedisResult};

use crate::client::{parse_id, text_of};
use crate::history::{Class, Effect, History, Id};

const PAGE: usize = 500;

/// An entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub id: Id,
    pub n: u64,
    /// Whether its text is the one that was sent.
    pub intact: bool,
}

/// Counters and logs at one site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// By key, or `key field`.
    pub counters: BTreeMap<String, i64>,
    /// By origin and class.
    pub logs: BTreeMap<(usize, &'static str), Vec<Line>>,
}

/// The name of a log at a site.
pub fn log_at(names: &[String], site: usize, origin: usize, class: Class) -> String {
    if site == origin {
        class.log()
    } else {
        format!("{}.{}", names[origin], class.log())
    }
}

impl State {
    /// Reads all that the history speaks of.
    pub fn read(
        redis: &mut Connection,
        site: usize,
        history: &History,
        line_bytes_max: u64,
    ) -> RedisResult<Self> {
        let mut state = Self::default();
        for key in keys(history) {
            let value: Option<i64> = match key.split_once(' ') {
                Some((key, field)) => redis.hget(key, field)?,
                None => redis.get(&key)?,
            };
            state.counters.insert(key, value.unwrap_or(0));
        }
        for origin in 0..history.sites.len() {
            for class in Class::ALL {
                let log = log_at(&history.sites, site, origin, class);
                let lines = lines(redis, &log, line_bytes_max)?;
                state.logs.insert((origin, class.name()), lines);
            }
        }
        Ok(state)
    }
}

fn keys(history: &History) -> Vec<String> {
    let added = history.writes().filter_map(|write| match &write.effect {
        Effect::Add { key, .. } => Some(key.clone()),
        Effect::Line { .. } => None,
    });
    let registers = history
        .registers
        .iter()
        .map(|register| register.key.clone());
    let mut keys: Vec<_> = added.chain(registers).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn lines(redis: &mut Connection, log: &str, line_bytes_max: u64) -> RedisResult<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::new();
    loop {
        let start = match lines.last() {
            Some(Line { id: (ms, seq), .. }) => format!("({ms}-{seq}"),
            None => "-".to_owned(),
        };
        let page: StreamRangeReply = redis.xrange_count(log, start, "+", PAGE)?;
        if page.ids.is_empty() {
            return Ok(lines);
        }
        lines.extend(page.ids.iter().map(|entry| {
            let n = entry.get("n").unwrap_or(0);
            let text: Option<String> = entry.get("text");
            Line {
                id: parse_id(&entry.id),
                n,
                intact: text.is_some_and(|text| text == text_of(n, line_bytes_max)),
            }
        }));
    }
}
