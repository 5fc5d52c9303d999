//! The receiving half of a link: the wire form in, the batch out.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::HistoryEvent;
use crate::history::{Absent, Position};
use crate::link::Link;
use crate::wire::batch::{self, DIGEST_BYTES, Head, Identity};
use crate::wire::hello::{Held, Hello};
use crate::wire::plan::Plan;
use crate::wire::{self, Malformed, Reader, Side, Source, body};

/// A batch that appends further than this past the contiguous tail is refused: far more than any
/// sender has in flight.
const AHEAD_BYTES_MAX: usize = 1 << 30;

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoding {
    /// The stream's bytes, proved by their digest.
    Ready(Bytes),
    /// It refers to a batch still in flight, or there is no memory to keep what it appends so far
    /// ahead: decode it again after another one.
    Waiting,
    /// It refers to what we no longer hold: ask for it as literals.
    Missing,
}

/// Why a batch was refused: always the peer's fault, or the wire's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It ends early, or holds a value out of range.
    #[error("malformed batch: {0}")]
    Malformed(&'static str),
    /// It is of a version of the format that we don't speak.
    #[error("batch of format {theirs}, we speak {ours}: upgrade the older gateway", ours = wire::VERSION)]
    Version {
        /// The batch's version.
        theirs: u8,
    },
    /// It was encoded before our last hello.
    #[error("batch of connection {theirs} on connection {ours}")]
    Stale {
        /// The hello that the batch answers.
        theirs: u64,
        /// Our last hello.
        ours: u64,
    },
    /// It belongs to a history that we were never told of.
    #[error("batch of an unknown history")]
    UnknownHistory,
    /// Its compressed part does not decompress to what it declares.
    #[error("damaged batch: its compressed part does not decompress")]
    Compressed,
    /// It rebuilds to other bytes than were sent.
    #[error("damaged batch: its digest does not match")]
    Digest,
    /// It appends far past what we hold, or over it.
    #[error("batch appends at {at}, our history ends at {tail}")]
    Position {
        /// Where it appends.
        at: u64,
        /// Our contiguous tail.
        tail: u64,
    },
}

impl From<Malformed> for DecodeError {
    fn from(Malformed(what): Malformed) -> Self {
        Self::Malformed(what)
    }
}

/// The receiving half of a link. Runs on its own thread.
#[derive(Debug)]
pub struct Decoder {
    link: Arc<Link>,
    generation: u64,
}

/// How a batch's history stands to the one we hold.
#[derive(Clone, Copy, Debug)]
enum Standing {
    Same,
    /// A new one, of which we hold what is below the fork.
    New(Identity),
}

impl Standing {
    /// Whether what ends at `end` may be read from the history we hold.
    fn holds(self, end: Position) -> bool {
        match self {
            Self::Same => true,
            Self::New(identity) => end <= identity.fork,
        }
    }
}

/// Why a batch can't be rebuilt from what we hold.
enum Unresolved {
    Absent(Absent),
    Refused(DecodeError),
}

impl From<Absent> for Unresolved {
    fn from(absent: Absent) -> Self {
        Self::Absent(absent)
    }
}

impl From<Malformed> for Unresolved {
    fn from(malformed: Malformed) -> Self {
        Self::Refused(malformed.into())
    }
}

impl Decoder {
    pub(crate) fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            generation: 0,
        }
    }

    /// What we hold, for the peer's encoder: to be called at each new connection, after every
    /// batch of the old one was decoded or dropped. At most 1 KiB.
    ///
    /// Forgets what arrived ahead of a gap, and makes every batch encoded before stale.
    pub fn hello(&mut self) -> Vec<u8> {
        self.generation += 1;
        let (key, key_settled) = self.link.key();
        let mut ledger = self.link.received();
        let tail = ledger.tail();
        ledger.truncate(tail);
        ledger.flush();
        let oldest = ledger.oldest();
        let held = ledger.identity().map(|(id, epoch)| Held {
            id,
            epoch,
            oldest,
            tail,
        });
        let capacity_bytes = ledger.bytes_max();
        Hello {
            generation: self.generation,
            key,
            key_settled,
            capacity_bytes,
            held,
        }
        .write()
    }

    /// Decodes one batch. On success it has been appended to history; on any other outcome
    /// nothing has changed.
    ///
    /// # Errors
    /// The batch is not what an encoder of ours writes, or was damaged on the way.
    pub fn decode(&mut self, wire: &[u8]) -> Result<Decoding, DecodeError> {
        let mut reader = Reader::new(wire);
        let theirs = reader.byte()?;
        if theirs != wire::VERSION {
            return Err(DecodeError::Version { theirs });
        }
        let digest: [u8; DIGEST_BYTES] = reader.array()?;
        let head = Head::read(&mut reader)?;
        let standing = self.check(&head)?;
        match self.rebuild(&head, &digest, reader.rest(), standing) {
            Ok((raw, plan)) => match self.keep(&head, &plan, &raw, standing)? {
                true => Ok(Decoding::Ready(raw.into())),
                false => Ok(Decoding::Waiting),
            },
            Err(Unresolved::Absent(Absent::InFlight)) => Ok(Decoding::Waiting),
            Err(Unresolved::Absent(Absent::Evicted)) => Ok(Decoding::Missing),
            Err(Unresolved::Refused(error)) => Err(error),
        }
    }

    /// What befell the history of what we receive: to be asked for after each batch, and logged.
    pub fn poll_event(&mut self) -> Option<HistoryEvent> {
        self.link.received().poll_event()
    }

    /// How the batch's history stands to the one we hold.
    fn check(&self, head: &Head) -> Result<Standing, DecodeError> {
        if head.generation != self.generation {
            return Err(DecodeError::Stale {
                theirs: head.generation,
                ours: self.generation,
            });
        }
        let ledger = self.link.received();
        let standing = match (head.identity, ledger.identity()) {
            (None, None) => return Err(DecodeError::UnknownHistory),
            (None, Some(_)) => Standing::Same,
            (Some(named), Some(held)) if (named.id, named.epoch) == held => Standing::Same,
            (Some(named), held) => {
                let parent = held == named.epoch.checked_sub(1).map(|epoch| (named.id, epoch));
                let kept = named.fork >= ledger.oldest() && named.fork <= ledger.tail();
                let fork = if parent && kept {
                    named.fork
                } else {
                    Position(0)
                };
                Standing::New(Identity { fork, ..named })
            }
        };
        let tail = match standing {
            Standing::Same => ledger.tail(),
            Standing::New(identity) => identity.fork,
        };
        if head.start.since(tail) > AHEAD_BYTES_MAX {
            return Err(DecodeError::Position {
                at: head.start.0,
                tail: tail.0,
            });
        }
        Ok(standing)
    }

    fn rebuild(
        &self,
        head: &Head,
        digest: &[u8; DIGEST_BYTES],
        body: &[u8],
        standing: Standing,
    ) -> Result<(Vec<u8>, Plan), Unresolved> {
        let (plan_bytes, body) = body
            .split_at_checked(head.plan_len)
            .ok_or(Malformed("a plan cut short"))?;
        let plan = Plan::read(plan_bytes, head.start, head.raw_len, head.literal_len)?;
        let literals = if head.compressed {
            let prefix = self.prefix(head, &plan, standing)?;
            let decompressed = body::decompress(body, &prefix, head.literal_len);
            decompressed
                .map(Cow::Owned)
                .ok_or_else(|| mismatch(!prefix.is_empty(), DecodeError::Compressed))?
        } else {
            Cow::Borrowed(body)
        };
        if literals.len() != head.literal_len {
            return Err(Malformed("literals of another length than declared").into());
        }
        let raw = self.put_together(&plan, literals, head.raw_len, standing)?;
        if batch::digest(head, plan_bytes, &raw) != *digest {
            let refers = !head.bases.is_empty() || !plan.runs.is_empty();
            return Err(mismatch(refers, DecodeError::Digest));
        }
        Ok((raw, plan))
    }

    /// What the literals are compressed against: what follows from the runs, then what is named.
    fn prefix(&self, head: &Head, plan: &Plan, standing: Standing) -> Result<Vec<u8>, Unresolved> {
        let derived = plan.derived_bases().into_iter();
        let derived = derived.map(|extent| Source {
            side: Side::Same,
            extent,
        });
        let mut prefix = Vec::new();
        for base in derived.chain(head.bases.iter().copied()) {
            if prefix.len().saturating_add(base.extent.len) > batch::BASE_BYTES_MAX {
                return Err(Malformed("too many bytes of bases").into());
            }
            self.read(base, standing, &mut prefix)?;
        }
        Ok(prefix)
    }

    fn put_together(
        &self,
        plan: &Plan,
        literals: Cow<'_, [u8]>,
        raw_len: usize,
        standing: Standing,
    ) -> Result<Vec<u8>, Unresolved> {
        if plan.runs.is_empty() {
            return Ok(literals.into_owned());
        }
        let mut raw = Vec::with_capacity(raw_len);
        let mut rest = &*literals;
        for run in &plan.runs {
            let (now, after) = rest
                .split_at_checked(run.literal_len)
                .ok_or(Malformed("literals end early"))?;
            raw.extend_from_slice(now);
            rest = after;
            self.read(run.source, standing, &mut raw)?;
        }
        raw.extend_from_slice(rest);
        Ok(raw)
    }

    fn read(&self, source: Source, standing: Standing, out: &mut Vec<u8>) -> Result<(), Absent> {
        match source.side {
            Side::Same if !standing.holds(source.extent.end()) => Err(Absent::InFlight),
            Side::Same => self.link.received().read(source.extent, out),
            // What we sent is confirmed before it is referred to: if it is not here, it is gone.
            Side::Reverse => self
                .link
                .sent()
                .read(source.extent, out)
                .map_err(|_| Absent::Evicted),
        }
    }

    /// Appends what the batch says, now that it is proved. False when there is no memory to keep it
    /// until the gap before it closes.
    fn keep(
        &mut self,
        head: &Head,
        plan: &Plan,
        raw: &[u8],
        standing: Standing,
    ) -> Result<bool, DecodeError> {
        let range = |range: &Range<usize>| raw.get(range.clone()).unwrap_or_default();
        let appended = match plan.appends.as_slice() {
            [all] => Cow::Borrowed(range(all)),
            ranges => Cow::Owned(ranges.iter().map(range).collect::<Vec<_>>().concat()),
        };
        let mut ledger = self.link.received();
        match standing {
            Standing::Same if ledger.is_too_far_ahead(head.start, appended.len()) => {
                return Ok(false);
            }
            Standing::Same => {}
            Standing::New(Identity {
                id,
                epoch,
                fork: Position(0),
            }) => ledger.reset(id, epoch),
            Standing::New(Identity { epoch, fork, .. }) => ledger.fork(epoch, fork),
        }
        let tail = ledger.tail();
        ledger
            .insert(head.start, &appended)
            .map_err(|_| DecodeError::Position {
                at: head.start.0,
                tail: tail.0,
            })?;
        if let Some(floor) = head.floor {
            ledger.evict_below(floor);
        }
        ledger.shrink();
        Ok(true)
    }
}

/// Bytes of history may be at fault as well as the wire: literals settle it (rule H5).
fn mismatch(refers: bool, otherwise: DecodeError) -> Unresolved {
    if refers {
        Unresolved::Absent(Absent::Evicted)
    } else {
        Unresolved::Refused(otherwise)
    }
}

#[cfg(test)]
mod tests;
