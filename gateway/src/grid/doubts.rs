//! Own logs of which a damaged disk may have lost the last entries.
//!
//! A record of a log names the entry before its first, so what is missing between two records shows. What
//! was lost after the last record of a log does not, once a client has appended to it. So after a start
//! that put something aside each own log is in doubt: the ids between its last entry and the first one
//! that a client appends then are noted as a possible hole, and reading across it is an error. The doubt
//! ends when every configured peer was compared: entries of ours that are lost here are at one of them, or
//! nowhere. The journal says all of this, as a start may come in between.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use strait_transport::SiteName;

use super::blocks::Span;
use super::record::{KIND_DOUBTS, Malformed, VERSION};
use super::state::{LogId, State};
use super::varint::{Reader, put, put_bytes};
use super::{EntryId, Grid, Log, LogName, NAME_BYTES_MAX, RECORD_BYTES_MAX};

/// Possible holes of one log that are noted: one for each start in doubt. Then the oldest one is dropped.
const SPANS_MAX: usize = 256;
/// Peers that are waited for, at most: as many as a configuration may have, and more.
const PEERS_MAX: usize = 1024;
/// Longest description of a log in a record.
const ITEM_BYTES_MAX: usize = NAME_BYTES_MAX + 64 + SPANS_MAX * 40;

/// What is in doubt, and until when.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// Peers that were not compared since; none: nothing is in doubt.
    waiting: BTreeSet<SiteName>,
    logs: BTreeMap<LogName, Doubted>,
    /// What the journal does not say yet.
    news: News,
}

/// What is in doubt of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Doubted {
    /// Between these ids entries may be lost; between some there is no room for any.
    spans: Vec<Span>,
    /// A client has appended to it since the last start in doubt: nothing is lost after that.
    is_certain: bool,
}

/// What the journal does not say yet.
#[derive(Debug, Default)]
enum News {
    #[default]
    None,
    /// Of these logs.
    Of(BTreeSet<LogName>),
    All,
}

impl Doubts {
    /// A start: with `is_damaged` all own logs are in doubt until all of `peers` were compared. A site that
    /// is no peer any more is not waited for. Whether anything is in doubt.
    pub(super) fn begin(&mut self, peers: &BTreeSet<SiteName>, is_damaged: bool) -> bool {
        let was_open = self.is_open();
        if is_damaged {
            self.waiting.clone_from(peers);
            self.logs
                .values_mut()
                .for_each(|log| log.is_certain = false);
            self.news = News::All;
        }
        self.waiting.retain(|peer| peers.contains(peer));
        if was_open && !self.is_open() {
            self.end();
        }
        self.is_open()
    }

    /// What was noted of `span` did not happen.
    fn undo(&mut self, log: &LogName, span: Span) {
        if let Some(doubted) = self.logs.get_mut(log) {
            doubted.spans.retain(|known| *known != span);
            doubted.is_certain = false;
        }
    }

    fn end(&mut self) {
        self.logs.clear();
        self.news = News::All;
    }

    /// Whether anything is in doubt.
    pub(super) fn is_open(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Peers that are still to be compared.
    pub(super) fn waiting(&self) -> &BTreeSet<SiteName> {
        &self.waiting
    }

    /// `peer` was compared; whether that ends all doubt.
    fn compared(&mut self, peer: &SiteName) -> bool {
        if !self.waiting.remove(peer) {
            return false;
        }
        self.news = News::All;
        if self.waiting.is_empty() {
            self.end();
        }
        self.waiting.is_empty()
    }

    /// A client appends the entry after `span` to an own log; whether the ids of `span` are in doubt.
    pub(super) fn append(&mut self, log: &LogName, span: Span) -> bool {
        if self.waiting.is_empty() || self.logs.get(log).is_some_and(|log| log.is_certain) {
            return false;
        }
        let doubted = self.logs.entry(log.clone()).or_default();
        doubted.is_certain = true;
        doubted.add(span);
        match &mut self.news {
            News::All => {}
            News::Of(logs) => drop(logs.insert(log.clone())),
            news @ News::None => *news = News::Of(BTreeSet::from([log.clone()])),
        }
        span.after < span.to
    }

    /// Possible holes of all logs, as they were noted.
    fn spans(&self) -> Vec<(LogName, Span)> {
        let logs = self.logs.iter();
        let spans = logs.flat_map(|(name, log)| log.spans.iter().map(|span| (name.clone(), *span)));
        spans.collect()
    }

    /// The records for the journal, if that does not say all of it yet.
    pub(super) fn take_news(&mut self) -> Vec<Bytes> {
        match std::mem::take(&mut self.news) {
            News::None => Vec::new(),
            News::All => self.records(),
            News::Of(logs) => {
                let logs = logs.iter().filter_map(|log| self.logs.get_key_value(log));
                self.encode(logs, false)
            }
        }
    }

    /// All of it, for a journal that begins; none if there is nothing to say.
    pub(super) fn records(&self) -> Vec<Bytes> {
        self.encode(self.logs.iter(), true)
    }

    fn encode<'a>(
        &self,
        logs: impl Iterator<Item = (&'a LogName, &'a Doubted)>,
        is_all: bool,
    ) -> Vec<Bytes> {
        let mut records = Vec::new();
        let mut record = self.begin_record(is_all);
        for (name, log) in logs {
            if record.len() + ITEM_BYTES_MAX > RECORD_BYTES_MAX {
                let full = std::mem::replace(&mut record, self.begin_record(false));
                records.push(full.into());
            }
            name.put(&mut record);
            log.put(&mut record);
        }
        records.push(record.into());
        records
    }

    fn begin_record(&self, is_all: bool) -> Vec<u8> {
        let mut record = vec![VERSION, KIND_DOUBTS, u8::from(is_all)];
        put(&mut record, self.waiting.len() as u64);
        for peer in &self.waiting {
            put_bytes(&mut record, peer.as_ref().as_bytes());
        }
        record
    }

    /// Takes what [`Self::records`] wrote. What came last counts.
    pub(super) fn read(&mut self, body: &[u8]) -> Result<(), Malformed> {
        let mut reader = Reader::new(body);
        let is_all = reader.byte()? != 0;
        let mut waiting = BTreeSet::new();
        for _ in 0..reader.bounded(PEERS_MAX)? {
            let name = std::str::from_utf8(reader.bytes()?);
            let name = name.ok().and_then(|name| name.parse().ok());
            waiting.insert(name.ok_or(Malformed("not the name of a site"))?);
        }
        let mut logs = BTreeMap::new();
        while !reader.is_empty() {
            let name = LogName::read(&mut reader)?;
            logs.insert(name, Doubted::read(&mut reader)?);
        }
        if is_all {
            self.logs.clear();
        }
        self.logs.extend(logs);
        self.waiting = waiting;
        Ok(())
    }
}

impl Doubted {
    fn add(&mut self, span: Span) {
        if self.spans.len() == SPANS_MAX {
            self.spans.remove(0);
        }
        self.spans.push(span);
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_certain));
        put(out, self.spans.len() as u64);
        for span in &self.spans {
            span.after.put(out);
            span.to.put(out);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let is_certain = reader.byte()? != 0;
        let mut spans = Vec::new();
        for _ in 0..reader.bounded(SPANS_MAX)? {
            let (after, to) = (EntryId::read(reader)?, EntryId::read(reader)?);
            spans.push(Span { after, to });
        }
        Ok(Self { spans, is_certain })
    }
}

impl State {
    /// A start: notes the possible holes that the journal names, and with `is_damaged` doubts all own
    /// logs.
    pub(super) fn begin_doubts(&mut self, peers: &BTreeSet<SiteName>, is_damaged: bool) {
        for (name, span) in self.doubts.spans() {
            let position = self.log_position(&name);
            match self.log_ids.get(&name).copied() {
                Some(id) if position.last > span.to => {
                    if position.trimmed_to < span.to {
                        self.rehouse_log(id, |log| log.doubt(span));
                    }
                }
                // The entry that a client appended did not come to the disk.
                Some(_) | None => self.doubts.undo(&name, span),
            }
        }
        if !self.doubts.begin(peers, is_damaged) {
            self.trust_all();
        }
    }

    /// Nothing is in doubt any more.
    fn trust_all(&mut self) {
        for place in 0..self.logs.len() {
            if self.logs[place].lost() > 0 {
                self.rehouse_log(LogId(place), Log::trust);
            }
        }
    }

    /// A client is about to append `id` to an own log: what may be lost before it is noted.
    pub(super) fn doubt_before(&mut self, log: LogId, id: EntryId) {
        if !self.doubts.is_open() {
            return;
        }
        let (name, after) = {
            let log = self.log(log);
            (log.name.clone(), log.position().last)
        };
        let to = id.previous().unwrap_or_default();
        let span = Span { after, to };
        if self.doubts.append(&name, span) {
            self.rehouse_log(log, |log| log.doubt(span));
        }
    }
}

impl Grid {
    /// Whether `peer` is to be compared because our disk may have lost what it holds.
    pub fn is_doubtful(&self, peer: &SiteName) -> bool {
        self.lock().doubts.waiting().contains(peer)
    }

    /// Where entries of own logs may be lost that clients would see: between which ids, oldest first.
    pub fn doubts(&self) -> Vec<(LogName, Span)> {
        self.holes_where(|log, hole| hole.is_doubtful && hole.last > log.position().trimmed_to)
    }

    /// Up to where what is here of `log` after `after` is all that there is, as far as anybody knows.
    pub fn doubtless_to(&self, log: &LogName, after: EntryId) -> EntryId {
        let state = self.lock();
        let Some(id) = state.log_ids.get(log) else {
            return EntryId::MAX;
        };
        let seen = Span { after, ..Span::ALL };
        let mut holes = state.log(*id).holes_in(seen).into_iter();
        let doubt = holes.find(|hole| hole.is_doubtful);
        doubt.map_or(EntryId::MAX, |hole| {
            hole.first.previous().unwrap_or_default().max(after)
        })
    }

    /// `peer` was compared, and told all that it holds of what is in doubt.
    pub fn settle_doubts(&self, peer: &SiteName) {
        let mut state = self.lock();
        if state.doubts.compared(peer) {
            state.trust_all();
        }
        drop(state);
        self.flush_soon();
    }
}
