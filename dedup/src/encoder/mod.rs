//! The sending half of a link: a batch in, its wire form out.

mod align;
mod append;
mod bases;
mod common;
mod common_ends;
mod courses;
mod draft;
mod floor;
mod found;
mod in_flight;
mod level;
mod noise;
mod reach;
mod reverse;
mod scan;
mod streams;
mod tables;

use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use self::align::Aligner;
use self::append::Append;
use self::bases::Bases;
use self::common::Common;
use self::draft::{Draft, lay_out};
use self::floor::Floor;
use self::in_flight::{Flight, InFlight};
pub use self::level::Level;
use self::level::{Leveller, Task};
pub use self::noise::is_noise;
use self::reverse::Reverse;
use self::scan::Scan;
use self::streams::Streams;
pub(crate) use self::tables::TABLES_BYTES;
use self::tables::{Cutting, Tables};
use crate::history::{Gone, HistoryId, Position, View};
use crate::link::Link;
use crate::wire::batch::{self, Head, Identity};
use crate::wire::hello::{Hello, Refused};
use crate::wire::{self, Compressor, body};
use crate::{BatchId, HistoryEvent};

/// What the caller says about a batch.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// Which batch this is; the same again when it is sent again.
    pub id: BatchId,
    /// How urgent, 0 first: a batch never refers to what is in flight in a less urgent lane.
    pub lane: u8,
    /// Refer to nothing: the peer could not resolve what this batch referred to.
    pub literal: bool,
    /// Others wait to be encoded: a small one takes no longer than its share of their time.
    pub hurried: bool,
}

/// A batch ready for the wire.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The wire form.
    pub bytes: Bytes,
    /// What encoding did.
    pub stats: EncodeStats,
}

/// What encoding one batch did, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodeStats {
    /// Bytes of the stream.
    pub raw_bytes: u64,
    /// Bytes that were left after references, before compression.
    pub literal_bytes: u64,
    /// Bytes that became references.
    pub reference_bytes: u64,
    /// Bytes of history that literals were compressed against.
    pub base_bytes: u64,
    /// Bytes of the wire form.
    pub wire_bytes: u64,
    /// The zstd level used; 0 when literals went raw.
    pub level: i32,
}

/// Why a peer's hello was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// It ends early, or holds a value out of range.
    #[error("the peer's history hello is malformed: {0}")]
    Malformed(&'static str),
    /// It speaks a version of the batch format that we don't.
    #[error("the peer speaks batch format {theirs}, we speak {ours}: upgrade the older gateway")]
    Version {
        /// The peer's version.
        theirs: u8,
        /// Our version.
        ours: u8,
    },
}

/// Buffers kept between batches: taking megabytes anew for each costs more than chunking does.
#[derive(Debug, Default)]
struct Scratch {
    /// Bases and literals, at most 4 MiB.
    body: Vec<u8>,
    compressor: Compressor,
}

/// The sending half of a link. Runs on its own thread.
#[derive(Debug)]
pub struct Encoder {
    link: Arc<Link>,
    cutting: Option<Cutting>,
    history: Identity,
    /// The peer is known to have `history`.
    confirmed: bool,
    generation: u64,
    tables: Tables,
    reverse: Reverse,
    aligner: Aligner,
    streams: Streams,
    in_flight: InFlight,
    gone: Gone,
    encoded: u64,
    floor: Floor,
    level: Leveller,
    scratch: Scratch,
}

impl Encoder {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        let (id, epoch) = {
            let mut ledger = link.sent();
            if ledger.identity().is_none() {
                ledger.reset(HistoryId::random(), 0);
            }
            ledger.identity().unwrap_or((HistoryId([0; 16]), 0))
        };
        let chunks_max = link.share().chunks_max;
        let mut encoder = Self {
            link,
            cutting: None,
            history: Identity {
                id,
                epoch,
                fork: Position(0),
            },
            confirmed: false,
            generation: 0,
            tables: Tables::with_room(chunks_max),
            reverse: Reverse::with_room(chunks_max),
            aligner: Aligner::default(),
            streams: Streams::default(),
            in_flight: InFlight::default(),
            gone: Gone::default(),
            encoded: 0,
            floor: Floor::default(),
            level: Leveller::default(),
            scratch: Scratch::default(),
        };
        encoder.recover();
        encoder.note_figures();
        encoder
    }

    /// What the store shows of this link.
    fn note_figures(&self) {
        let indexes = [&self.tables.index, self.reverse.index()];
        let bytes: u64 = indexes.iter().map(|index| index.bytes()).sum();
        let untouched = indexes.iter().map(|index| index.untouched_bytes()).sum();
        self.link.note_tables(TABLES_BYTES + bytes, untouched);
        self.link.note_chunks(self.tables.index.len());
        let Scratch { body, compressor } = &self.scratch;
        self.link.note_codec(body.capacity() + compressor.bytes());
    }

    /// Rebuilds the tables from what the disk knows.
    fn recover(&mut self) {
        let link = self.link.clone();
        self.reverse.recover(&link.received());
        let mut ledger = link.sent();
        if ledger.tail() == ledger.oldest() {
            return;
        }
        let cutting = self
            .cutting
            .get_or_insert_with(|| Cutting::new(link.settle_key()));
        let uncut = ledger.visit_chunks(|chunk| self.tables.enter(chunk));
        for extent in uncut {
            let mut raw = Vec::new();
            if ledger.read(extent, &mut raw).is_ok() {
                let tables = &mut self.tables;
                let mut append = Append {
                    raw: &raw,
                    cutting,
                    ledger: &mut ledger,
                    tables,
                };
                append.enter_again(extent.at);
            }
        }
    }

    /// Encodes one batch of at most [`BATCH_BYTES_MAX`](crate::BATCH_BYTES_MAX) bytes, which then
    /// is in flight. One that is in flight already goes out again as literals.
    ///
    /// Never fails: history that can't be read costs bytes on the wire.
    pub fn encode(&mut self, options: EncodeOptions, raw: &[u8]) -> Encoded {
        self.make_room();
        let lost = self.in_flight.remove(options.id);
        let literal = options.literal || lost.is_some();
        let mut stream = self.streams.take(options.id.stream, options.id.seq);
        let link = self.link.clone();
        let mut sent = link.sent();
        let mut received = link.received();
        let cutting = self
            .cutting
            .get_or_insert_with(|| Cutting::new(link.settle_key()));
        self.reverse.catch_up(&mut received, cutting);
        let scan = Scan {
            raw,
            lane: options.lane,
            cutting,
            view: View {
                sent: &sent,
                received: &received,
                gone: &self.gone,
            },
            reverse: &self.reverse,
            tables: &self.tables,
            in_flight: &self.in_flight,
            literal,
        };
        let found = scan.run(
            &mut self.aligner,
            mem::take(&mut stream.courses),
            stream.open.take(),
        );
        let noise = found.is_noise(raw);
        let bases = if literal || noise {
            Bases::default()
        } else {
            scan.choose_bases(&found, &stream.tail, stream.reach.bytes())
        };
        let start = lost.as_ref().map_or(sent.tail(), |lost| lost.start);
        let appends = match &lost {
            Some(lost) => lost.appends.clone(),
            None => {
                let tables = &mut self.tables;
                let mut append = Append {
                    raw,
                    cutting,
                    ledger: &mut sent,
                    tables,
                };
                append.batch(&found, &mut stream)
            }
        };
        let view = View {
            sent: &sent,
            received: &received,
            gone: &self.gone,
        };
        let mut scratch = mem::take(&mut self.scratch);
        let body = &mut scratch.body;
        let draft = lay_out(view, start, raw, body, &found.matches, appends, bases);
        drop((sent, received));
        stream.courses = found.courses;
        // The peer could not resolve what the batch referred to: nothing refers to it again.
        for source in lost.into_iter().flat_map(|lost| lost.sources) {
            self.gone.insert(source);
        }
        let compressor = &mut scratch.compressor;
        if !noise {
            stream.reach.settle(&draft, compressor);
        }
        let compressor = (!noise).then_some(compressor);
        let encoded = self.finish(options, raw, draft, compressor);
        stream.reach.met(encoded.stats);
        self.streams.put(options.id.stream, stream);
        self.scratch = scratch;
        self.note_figures();
        encoded
    }

    /// Compresses the literals, or leaves them as they are without a compressor, and seals the batch.
    fn finish(
        &mut self,
        options: EncodeOptions,
        raw: &[u8],
        draft: Draft<'_>,
        compressor: Option<&mut Compressor>,
    ) -> Encoded {
        let task = Task {
            raw: raw.len(),
            literals: draft.literals().len(),
            prefix: draft.prefix_len,
            hurried: options.hurried,
        };
        let level = self.level.choose(task);
        let plan_bytes = draft.plan.write(draft.start, raw.len());
        let compressed = compressor
            .and_then(|compressor| body::compress(compressor, draft.body, draft.prefix_len, level));
        let floor = self.floor.announced(self.in_flight.earliest());
        let head = Head {
            compressed: compressed.is_some(),
            generation: self.generation,
            identity: (!self.confirmed).then_some(self.history),
            floor: self.floor.to_announce(floor),
            start: draft.start,
            raw_len: raw.len(),
            plan_len: plan_bytes.len(),
            literal_len: draft.literals().len(),
            bases: if compressed.is_some() {
                draft.named.clone()
            } else {
                Vec::new()
            },
        };
        let digest = batch::digest(&head, &plan_bytes, raw);
        let body = compressed.unwrap_or(draft.literals());
        let wire = batch::seal(&head, &digest, &plan_bytes, body);
        let stats = EncodeStats {
            raw_bytes: raw.len() as u64,
            literal_bytes: head.literal_len as u64,
            reference_bytes: (raw.len() - head.literal_len) as u64,
            base_bytes: draft.prefix_len as u64,
            wire_bytes: wire.len() as u64,
            level: if compressed.is_some() { level } else { 0 },
        };
        let flight = Flight {
            lane: options.lane,
            order: self.encoded,
            start: draft.start,
            appends: draft.plan.appends,
            sources: draft.sources,
            floor,
        };
        self.encoded += 1;
        self.in_flight.insert(options.id, flight);
        Encoded {
            bytes: wire.into(),
            stats,
        }
    }

    /// Stops referring to the oldest history when it outgrows what either end may keep.
    fn make_room(&mut self) {
        let mut ledger = self.link.sent();
        if let Some(floor) = self.floor.raise(&ledger, self.encoded) {
            ledger.evict_below(floor);
            self.tables.retain(floor, ledger.tail());
            self.gone.evict_below(floor);
        }
    }

    /// The peer holds this batch and what it appended to history.
    pub fn handle_acked(&mut self, id: BatchId) {
        if let Some(flight) = self.in_flight.remove(id) {
            self.confirmed = true;
            self.floor.confirm(flight.floor);
        }
    }

    /// The peer decoder's hello, at each new connection: rolls back to the tail it confirms. All
    /// that was in flight is forgotten and must be encoded again.
    ///
    /// # Errors
    /// The hello is malformed or of another version; nothing has changed.
    pub fn handle_hello(&mut self, hello: &[u8]) -> Result<(), HelloError> {
        let hello = Hello::read(hello)?;
        self.link.meet_key(hello.key, hello.key_settled);
        self.generation = hello.generation;
        self.in_flight.clear();
        let link = self.link.clone();
        let mut ledger = link.sent();
        match Common::between(&self.history, hello.held, &ledger) {
            Common::Up(tail) => {
                ledger.truncate(tail);
                self.confirmed = true;
            }
            Common::Fork(tail) => {
                let epoch = self.history.epoch + 1;
                ledger.fork(epoch, tail);
                self.history = Identity {
                    epoch,
                    fork: tail,
                    ..self.history
                };
                self.confirmed = false;
            }
            Common::ForkAgain => {
                ledger.truncate(self.history.fork);
                self.confirmed = false;
            }
            Common::Nothing => {
                let id = HistoryId::random();
                ledger.reset(id, 0);
                self.history = Identity {
                    id,
                    epoch: 0,
                    fork: Position(0),
                };
                self.confirmed = false;
            }
        }
        if let Some(held) = hello.held.filter(|_| ledger.tail() > Position(0)) {
            ledger.evict_below(held.oldest);
        }
        self.tables.retain(ledger.oldest(), ledger.tail());
        self.streams.roll_back(ledger.oldest(), ledger.tail());
        self.gone.retain(ledger.oldest(), ledger.tail());
        self.floor.restart(hello.capacity_bytes, ledger.oldest());
        Ok(())
    }

    /// The rate at which the link drains, for [`Level::Adaptive`]; `None` when nothing is queued.
    pub fn handle_drain(&mut self, bytes_per_s: Option<f64>) {
        self.level.handle_drain(bytes_per_s);
    }

    /// What befell the history of what we send: to be asked for after each batch, and logged.
    pub fn poll_event(&mut self) -> Option<HistoryEvent> {
        self.link.sent().poll_event()
    }

    /// Sets how hard to compress.
    pub fn set_level(&mut self, level: Level) {
        self.level.set(level);
    }
}

impl From<Refused> for HelloError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed(wire::Malformed(what)) => Self::Malformed(what),
            Refused::Version(theirs) => Self::Version {
                theirs,
                ours: wire::VERSION,
            },
        }
    }
}
