//! Recent flushes, kept so that a peer that is up to date is fed without a scan.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::state::State;
use super::{Epoch, FlushNumber, Relayed};

const FLUSHES_MAX: usize = 1024;
/// Of one feed; and never more than a sixteenth of the memory there is.
const BYTES_MAX: usize = 16 << 20;

/// What peers are fed with. Each feed goes at its own pace, so that no counter waits behind a backlog
/// of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Feed {
    Counters,
    Logs,
}

impl Feed {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Counters, Self::Logs];

    /// As status and metrics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Logs => "logs",
        }
    }
}

/// All that one flush made durable for one feed, as records for peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Its number.
    pub number: FlushNumber,
    /// Everything of ours up to here is durable with it.
    pub epoch: Epoch,
    /// What is ours: changed counters, where the last record says that everything up to `epoch` is
    /// held; or new entries and trims of our logs. None where nothing of the feed changed.
    pub records: Vec<Bytes>,
    /// What came from peers, in the order of its arrival. See [`Grid::relay`](super::Grid::relay).
    pub relayed: Vec<Relayed>,
}

impl Flushed {
    /// All records, others' too.
    pub fn all(&self) -> impl Iterator<Item = &Bytes> {
        let relayed = self.relayed.iter().map(|relayed| &relayed.record);
        self.records.iter().chain(relayed)
    }

    fn bytes(&self) -> usize {
        self.all().map(Bytes::len).sum()
    }
}

/// The last flushes of one feed, one after the other.
#[derive(Debug, Default)]
pub(super) struct Recent {
    flushes: VecDeque<Arc<Flushed>>,
    bytes: usize,
}

impl Recent {
    /// Adds the newest flush and forgets the oldest ones, and the newest only where it would take an
    /// eighth of all memory: nothing would be written any more that could push it out.
    fn remember(&mut self, flushed: Flushed, memory_bytes_max: usize) {
        self.bytes += flushed.bytes();
        self.flushes.push_back(Arc::new(flushed));
        while self.flushes.len() > FLUSHES_MAX
            || (self.bytes > BYTES_MAX.min(memory_bytes_max / 16) && self.flushes.len() > 1)
            || (self.bytes > memory_bytes_max / 8)
        {
            if let Some(old) = self.flushes.pop_front() {
                self.bytes -= old.bytes();
            }
        }
    }

    fn recall(&self, number: FlushNumber) -> Option<Arc<Flushed>> {
        let first = self.flushes.front()?.number;
        let place = usize::try_from(number.0.checked_sub(first.0)?).ok()?;
        let flushed = self.flushes.get(place);
        flushed.filter(|flushed| flushed.number == number).cloned()
    }
}

impl State {
    /// Keeps a flush for peers: what changed of our counters and logs, and what came from others.
    pub(super) fn remember(
        &mut self,
        epoch: Epoch,
        (counters, logs): (Vec<Bytes>, Vec<Bytes>),
        relayed: Vec<Relayed>,
    ) {
        let number = self.flush_number.next();
        let (of_logs, of_counters) = relayed.into_iter().partition(Relayed::is_log);
        let feeds = [(counters, of_counters), (logs, of_logs)];
        for (recent, (records, relayed)) in self.recent.iter_mut().zip(feeds) {
            let flushed = Flushed {
                number,
                epoch,
                records,
                relayed,
            };
            recent.remember(flushed, self.memory_bytes_max);
        }
        self.flush_number = number;
    }

    /// Bytes of all that is kept.
    pub(super) fn recent_bytes(&self) -> usize {
        self.recent.iter().map(|recent| recent.bytes).sum()
    }

    /// Forgets all of them, and one more that never was: whoever follows has to catch up.
    pub(super) fn forget_recent(&mut self) {
        self.recent = Default::default();
        self.flush_number = self.flush_number.next();
    }

    /// One of the recent flushes.
    pub(super) fn recall(&self, feed: Feed, number: FlushNumber) -> Option<Arc<Flushed>> {
        self.recent[feed as usize].recall(number)
    }
}
