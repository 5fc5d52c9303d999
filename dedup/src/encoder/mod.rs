//! The sending half of a link: a batch in, its wire form out.

mod align;
mod append;
mod bases;
mod courses;
mod floor;
mod in_flight;
mod level;
mod scan;
mod streams;

use std::mem;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use self::align::Aligner;
use self::append::Append;
use self::bases::{Bases, Choice};
use self::floor::Floor;
use self::in_flight::{Flight, InFlight};
pub use self::level::Level;
use self::level::Leveller;
use self::scan::Scan;
use self::streams::Streams;
use crate::BatchId;
use crate::chunker::{Chunker, ChunkerKey};
use crate::history::{Extent, HistoryId, Index, Ledger, Position, Threads};
use crate::link::Link;
use crate::similarity::{Sampler, Similar};
use crate::wire::batch::{self, Head, Identity};
use crate::wire::hello::{Held, Hello, Refused};
use crate::wire::plan::{Plan, Run};
use crate::wire::{self, Side, Source, body};

/// What the caller says about a batch.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// Which batch this is; the same again when it is sent again.
    pub id: BatchId,
    /// How urgent, 0 first: a batch never refers to what is in flight in a less urgent lane.
    pub lane: u8,
    /// Refer to nothing: the peer could not resolve what this batch referred to.
    pub literal: bool,
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

/// The sending half of a link. Runs on its own thread.
#[derive(Debug)]
pub struct Encoder {
    link: Arc<Link>,
    cutting: Option<Cutting>,
    history: Identity,
    /// The peer is known to have `history`.
    confirmed: bool,
    generation: u64,
    index: Index,
    threads: Threads,
    similar: Similar,
    aligner: Aligner,
    streams: Streams,
    in_flight: InFlight,
    encoded: u64,
    floor: Floor,
    level: Leveller,
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
            index: Index::default(),
            threads: Threads::default(),
            similar: Similar::default(),
            aligner: Aligner::default(),
            streams: Streams::default(),
            in_flight: InFlight::default(),
            encoded: 0,
            floor: Floor::default(),
            level: Leveller::default(),
        };
        encoder.recover();
        encoder
    }

    /// Rebuilds the tables from what the disk knows.
    fn recover(&mut self) {
        let link = self.link.clone();
        let mut ledger = link.sent();
        let (chunks, uncut) = ledger.recovered();
        if chunks.is_empty() && uncut.is_empty() {
            return;
        }
        let Cutting { chunker, sampler } = self
            .cutting
            .get_or_insert_with(|| Cutting::new(link.settle_key()));
        for chunk in chunks {
            self.index.insert(chunk.fingerprint, chunk.extent);
            if let Some(features) = chunk.features {
                self.similar.insert(features, chunk.extent.at);
            }
        }
        for extent in uncut {
            let mut raw = Vec::new();
            if ledger.read(extent, &mut raw).is_ok() {
                let (index, threads, similar) =
                    (&mut self.index, &mut self.threads, &mut self.similar);
                let raw = raw.as_slice();
                Append {
                    raw,
                    chunker,
                    ledger: &mut ledger,
                    index,
                    threads,
                    sampler,
                    similar,
                }
                .enter_again(extent.at);
            }
        }
    }

    /// Encodes one batch of at most [`BATCH_BYTES_MAX`](crate::BATCH_BYTES_MAX) bytes, which then
    /// is in flight. One that is in flight already goes out again as literals.
    ///
    /// Never fails: history that can't be read costs bytes on the wire.
    pub fn encode(&mut self, options: EncodeOptions, raw: &[u8]) -> Encoded {
        self.make_room();
        let EncodeOptions { id, lane, literal } = options;
        let lost = self.in_flight.remove(id);
        let mut stream = self.streams.take(id.stream, id.seq);
        let link = self.link.clone();
        let mut ledger = link.sent();
        let Cutting { chunker, sampler } = self
            .cutting
            .get_or_insert_with(|| Cutting::new(link.settle_key()));
        let scan = Scan {
            raw,
            lane,
            chunker,
            ledger: &ledger,
            index: &self.index,
            threads: &self.threads,
            sampler,
            similar: &self.similar,
            in_flight: &self.in_flight,
            literal: literal || lost.is_some(),
        };
        let found = scan.run(
            &mut self.aligner,
            mem::take(&mut stream.courses),
            stream.open.take(),
        );
        let tail = ledger.tail();
        let horizon = |at| self.in_flight.horizon(lane, at, tail);
        let literal_len = raw.len() - found.matches.iter().map(|m| m.extent.len).sum::<usize>();
        let oldest = ledger.oldest();
        let bases = if scan.literal {
            Bases::default()
        } else {
            Choice {
                matches: &found.matches,
                raw_len: raw.len(),
                novel: &found.novel,
                tail: &stream.tail,
                oldest,
                horizon: &horizon,
            }
            .run(literal_len)
        };
        let (start, appends) = match lost {
            Some(lost) => {
                self.index_forget(&lost);
                (lost.start, lost.appends)
            }
            None => {
                let start = ledger.tail();
                let appends = append::ranges(&found);
                let (index, threads) = (&mut self.index, &mut self.threads);
                let similar = &mut self.similar;
                stream.open = Append {
                    raw,
                    chunker,
                    ledger: &mut ledger,
                    index,
                    threads,
                    sampler,
                    similar,
                }
                .run(&found, &appends);
                stream.tail.push(Extent {
                    at: start,
                    len: ledger.tail().since(start),
                });
                (start, appends)
            }
        };
        let (plan, named, prefix) = lay_out(&ledger, &found.matches, appends, bases);
        drop(ledger);
        stream.courses = found.courses;
        self.streams.put(id.stream, stream);
        self.finish(
            options,
            raw,
            Draft {
                start,
                plan,
                named,
                prefix,
                literal_len,
            },
        )
    }

    /// The peer could not resolve this batch: nothing refers to what it referred to again.
    fn index_forget(&mut self, lost: &Flight) {
        for source in &lost.sources {
            self.index.forget(*source);
        }
        self.streams.clear();
    }

    fn finish(&mut self, options: EncodeOptions, raw: &[u8], draft: Draft) -> Encoded {
        let level = self.level.choose(draft.literal_len, draft.prefix.len());
        let plan_bytes = draft.plan.write(draft.start);
        let literals = draft.literals(raw);
        let compressed = body::compress(&literals, &draft.prefix, level);
        let floor = self.floor.announced(self.in_flight.earliest());
        let head = Head {
            compressed: compressed.is_some(),
            generation: self.generation,
            identity: (!self.confirmed).then_some(self.history),
            floor: self.floor.to_announce(floor),
            start: draft.start,
            raw_len: raw.len(),
            plan_len: plan_bytes.len(),
            literal_len: draft.literal_len,
            bases: if compressed.is_some() {
                draft.named.clone()
            } else {
                Vec::new()
            },
        };
        let digest = batch::digest(&head, &plan_bytes, raw);
        let body = compressed.as_ref().unwrap_or(&literals);
        let wire = batch::seal(&head, &digest, &plan_bytes, body);
        let stats = EncodeStats {
            raw_bytes: raw.len() as u64,
            literal_bytes: draft.literal_len as u64,
            reference_bytes: (raw.len() - draft.literal_len) as u64,
            base_bytes: draft.prefix.len() as u64,
            wire_bytes: wire.len() as u64,
            level: if compressed.is_some() { level } else { 0 },
        };
        let sources = draft.sources();
        let flight = Flight {
            lane: options.lane,
            order: self.encoded,
            start: draft.start,
            appends: draft.plan.appends,
            sources,
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
        if let Some(floor) = self
            .floor
            .raise(&ledger, self.link.history_bytes_max(), self.encoded)
        {
            ledger.evict_below(floor);
            self.index.retain(floor, ledger.tail());
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
        match self.common(hello.held, &ledger) {
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
        self.index.retain(ledger.oldest(), ledger.tail());
        self.streams.roll_back(ledger.oldest(), ledger.tail());
        self.floor.restart(hello.capacity_bytes, ledger.oldest());
        Ok(())
    }

    /// What we and the receiver have in common.
    fn common(&self, held: Option<Held>, ledger: &Ledger) -> Common {
        let Identity { id, epoch, fork } = self.history;
        let kept = |tail: Position| tail >= ledger.oldest() && tail <= ledger.tail();
        let some = |tail: Position| tail > Position(0) && kept(tail);
        match held {
            Some(held) if held.id != id => Common::Nothing,
            Some(held) if held.epoch == epoch && kept(held.tail) => Common::Up(held.tail),
            // We lost our newest bytes: positions past our tail are assigned anew.
            Some(Held {
                epoch: theirs,
                oldest,
                tail,
                ..
            }) if theirs == epoch
                && tail > ledger.tail()
                && oldest <= ledger.tail()
                && some(ledger.tail()) =>
            {
                Common::Fork(ledger.tail())
            }
            // It has not yet heard of our fork.
            Some(held)
                if Some(held.epoch) == epoch.checked_sub(1) && held.tail >= fork && some(fork) =>
            {
                Common::ForkAgain
            }
            Some(_) | None => Common::Nothing,
        }
    }

    /// The rate at which the link drains, for [`Level::Adaptive`]; `None` when nothing is queued.
    pub fn handle_drain(&mut self, bytes_per_s: Option<f64>) {
        self.level.handle_drain(bytes_per_s);
    }

    /// Sets how hard to compress.
    pub fn set_level(&mut self, level: Level) {
        self.level.set(level);
    }
}

/// How far our history and the receiver's are the same.
enum Common {
    /// The receiver holds ours up to here.
    Up(Position),
    /// The receiver holds ours whole, up to here, and more that we lost.
    Fork(Position),
    /// The receiver holds what our history forked from.
    ForkAgain,
    Nothing,
}

/// What follows from the deployment's key.
#[derive(Debug)]
struct Cutting {
    chunker: Chunker,
    sampler: Sampler,
}

impl Cutting {
    fn new(key: ChunkerKey) -> Self {
        Self {
            chunker: Chunker::new(key),
            sampler: Sampler::new(key),
        }
    }
}

/// A batch before it is compressed.
struct Draft {
    start: Position,
    plan: Plan,
    named: Vec<Source>,
    prefix: Vec<u8>,
    literal_len: usize,
}

impl Draft {
    fn literals(&self, raw: &[u8]) -> Vec<u8> {
        let mut literals = Vec::with_capacity(self.literal_len);
        let mut at = 0;
        for run in &self.plan.runs {
            literals.extend_from_slice(&raw[at..at + run.literal_len]);
            at += run.literal_len + run.source.extent.len;
        }
        literals.extend_from_slice(&raw[at..]);
        literals
    }

    /// History that the batch refers to.
    fn sources(&self) -> Vec<Extent> {
        let runs = self.plan.runs.iter().map(|run| run.source.extent);
        let named = self.named.iter().map(|base| base.extent);
        runs.chain(self.plan.derived_bases()).chain(named).collect()
    }
}

/// Makes the plan and reads the bases, leaving out those that can't be read.
fn lay_out(
    ledger: &Ledger,
    matches: &[scan::Match],
    appends: Vec<Range<usize>>,
    bases: Bases,
) -> (Plan, Vec<Source>, Vec<u8>) {
    let mut after = 0;
    let runs = matches
        .iter()
        .zip(bases.derived.into_iter().chain(std::iter::repeat(false)));
    let runs = runs.map(|(found, based)| {
        let literal_len = found.begin - after;
        after = found.end();
        let source = Source {
            side: Side::Same,
            extent: found.extent,
        };
        Run {
            literal_len,
            source,
            based,
        }
    });
    let mut plan = Plan {
        runs: runs.collect(),
        appends,
    };
    let mut prefix = Vec::new();
    if plan
        .derived_bases()
        .into_iter()
        .any(|base| ledger.read(base, &mut prefix).is_err())
    {
        prefix.clear();
        for run in &mut plan.runs {
            run.based = false;
        }
    }
    let mut named = Vec::with_capacity(bases.named.len());
    for extent in bases.named {
        let before = prefix.len();
        match ledger.read(extent, &mut prefix) {
            Ok(()) => named.push(Source {
                side: Side::Same,
                extent,
            }),
            Err(_) => prefix.truncate(before),
        }
    }
    (plan, named, prefix)
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
