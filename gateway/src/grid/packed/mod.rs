//! Records in the short form that one session of a link sends. What both ends know of what was
//! said before (keys, sums, words) goes as a number, and numbers go under a range coder.
//!
//! None of that outlives the session, or the next exchange of positions: a packed record is turned
//! back into one that stands alone before anything else sees it.

mod counters;
mod entries;

use std::sync::Arc;

use bytes::Bytes;
use strait_dedup::range::{EndsEarly, Model, NumberReader, Writer};

use super::Grid;
use super::keyspace::CounterRef;
use super::merge::TooMany;
use super::record::{Kind, Malformed, kind_of};
use super::stats::COUNTER_BYTES as COUNTER_BYTES_MIN;
use counters::{HeardKeys, SentKeys};

pub(super) use entries::{HeardEntries, SentEntries};

/// Bit of the first byte after the head: what was said before this record does not count.
const STARTS_OVER: u8 = 1;
/// Bit beside it: they start over in the middle of a session. Who could not read something before waits
/// for those that start over with an exchange of positions.
const GOES_ON: u8 = 2;

/// What the peer was told in this session.
#[derive(Debug, Default)]
pub struct Sent {
    keys: SentKeys,
    entries: SentEntries,
}

/// What the peer said in this session; none of what has not begun, or could not be read.
#[derive(Debug, Default)]
pub struct Heard {
    keys: Option<HeardKeys>,
    entries: Option<HeardEntries>,
}

/// Most memory of what the two feeds of a session know of what was said either way, where the grid
/// may take so many bytes.
pub fn known_bytes_max(grid_bytes_max: u64) -> u64 {
    let counters = grid_bytes_max / COUNTER_BYTES_MIN as u64;
    counters * counters::BYTES_EACH
        + counters.min(counters::NUMBERED_MAX as u64) * counters::BYTES_NUMBERED
        + entries::BYTES_MAX
}

impl Sent {
    /// Memory taken.
    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.entries.bytes()
    }
}

impl Heard {
    /// Memory taken.
    pub fn bytes(&self) -> usize {
        self.keys.as_ref().map_or(0, HeardKeys::bytes)
            + self.entries.as_ref().map_or(0, HeardEntries::bytes)
    }
}

/// A record that stands alone, as [`Grid::apply`] takes it.
#[derive(Clone, Debug)]
pub struct Unpacked {
    pub(super) record: Bytes,
    /// Where the counters of its rows are kept here; empty: not known.
    pub(super) places: Arc<[CounterRef]>,
    /// Whether what it says to be complete is believed.
    pub(super) promises: bool,
    /// They are as long as no more names than these have been forgotten.
    pub(super) forgotten: u64,
}

impl Unpacked {
    /// The same record, of which it is not believed that whoever has merged it holds everything up to
    /// somewhere: something before it was not taken.
    pub(crate) fn without_promises(self) -> Self {
        Self {
            promises: false,
            ..self
        }
    }
}

impl From<Bytes> for Unpacked {
    fn from(record: Bytes) -> Self {
        Self {
            record,
            places: Arc::default(),
            promises: true,
            forgotten: 0,
        }
    }
}

/// Why a packed record was not turned back.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The peer's fault. Until its numbers start over nothing that is packed can be read.
    #[error("the peer sent a packed record that cannot be read: {0}")]
    Malformed(&'static str),
    /// It follows one that could not be read.
    #[error("the peer's key numbers are lost")]
    Lost,
    /// It names, by its number, a counter that is forgotten here. As after `Malformed` the numbers must
    /// start over, and nobody is at fault.
    #[error("the peer names a counter by a number that is forgotten here")]
    Forgotten,
    /// Our own fault: too many names. Try again later.
    #[error("no room for more origins or names")]
    Refused,
}

impl From<Malformed> for UnpackError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error.0)
    }
}

impl From<EndsEarly> for UnpackError {
    fn from(_: EndsEarly) -> Self {
        Self::Malformed("numbers that end early")
    }
}

impl From<TooMany> for UnpackError {
    fn from(_: TooMany) -> Self {
        Self::Refused
    }
}

impl Grid {
    /// The form in which `record` goes to a peer that was sent all that `sent` knows of, and in
    /// the same order. Not for tokio's threads.
    pub fn pack(&self, sent: &mut Sent, record: &Bytes) -> Bytes {
        let packed = match kind_of(record) {
            Ok((Kind::Counters, body)) => self.pack_counters(&mut sent.keys, body),
            Ok((Kind::Log, body)) => sent.entries.pack(body),
            Ok((
                Kind::PackedCounters
                | Kind::PackedLog
                | Kind::Runs
                | Kind::Renewed
                | Kind::Doubts
                | Kind::Forgotten,
                _,
            ))
            | Err(_) => None,
        };
        // One of ours is never unreadable; the peer would refuse it by name.
        packed.unwrap_or_else(|| record.clone())
    }

    /// The records, each of which stands alone, that a peer has sent as `packed`, after all that
    /// `heard` knows of. What is not packed comes back as it is. Not for tokio's threads.
    ///
    /// # Errors
    /// [`UnpackError`]; after `Malformed` everything is until the peer starts over.
    pub fn unpack(&self, heard: &mut Heard, packed: Bytes) -> Result<Vec<Unpacked>, UnpackError> {
        let (kind, body) = kind_of(&packed)?;
        let read = match kind {
            Kind::Counters
            | Kind::Log
            | Kind::Runs
            | Kind::Renewed
            | Kind::Doubts
            | Kind::Forgotten => {
                return Ok(vec![packed.into()]);
            }
            Kind::PackedCounters => self.unpack_counters(&mut heard.keys, body),
            Kind::PackedLog => {
                entries::unpack(&mut heard.entries, body).map(|log| vec![log.into()])
            }
        };
        if let Err(UnpackError::Malformed(_) | UnpackError::Forgotten) = read {
            *heard = Heard::default();
        }
        read
    }
}

/// A record of a log in the short form after those that `sent` knows of; as it is if it has none.
pub(super) fn pack_log(sent: &mut SentEntries, record: &Bytes) -> Bytes {
    let packed = match kind_of(record) {
        Ok((Kind::Log, body)) => sent.pack(body),
        Ok(_) | Err(_) => None,
    };
    packed.unwrap_or_else(|| record.clone())
}

/// Reads what [`pack_log`] wrote, after all that `heard` knows of.
pub(super) fn unpack_log(
    heard: &mut Option<HeardEntries>,
    packed: Bytes,
) -> Result<Bytes, Malformed> {
    match kind_of(&packed)? {
        (Kind::PackedLog, body) => entries::unpack(heard, body).map_err(|error| match error {
            UnpackError::Malformed(what) => Malformed(what),
            UnpackError::Lost | UnpackError::Forgotten | UnpackError::Refused => {
                Malformed("what it follows is missing")
            }
        }),
        (Kind::Log, _) => Ok(packed),
        (
            Kind::Counters
            | Kind::PackedCounters
            | Kind::Runs
            | Kind::Renewed
            | Kind::Doubts
            | Kind::Forgotten,
            _,
        ) => Err(Malformed("it is no record of a log")),
    }
}

/// What was heard before a record with these `flags`.
fn begun<T: Default>(heard: &mut Option<T>, flags: u8) -> Result<&mut T, UnpackError> {
    let is_lost = heard.is_none() && flags & GOES_ON != 0;
    if flags & STARTS_OVER != 0 && !is_lost {
        *heard = Some(T::default());
    }
    heard.as_mut().ok_or(UnpackError::Lost)
}

/// The statistics of signed differences.
#[derive(Debug, Default)]
struct Signed {
    sign: Model,
    magnitude: Model,
}

impl Signed {
    fn put(&mut self, out: &mut Writer, value: i64) {
        out.number(&mut self.sign, u64::from(value < 0));
        // Of a negative number the complement: both fit 63 bits.
        out.number(
            &mut self.magnitude,
            (if value < 0 { !value } else { value }) as u64,
        );
    }

    fn read(&mut self, reader: &mut NumberReader<'_>) -> Result<i64, EndsEarly> {
        let negative = reader.number(&mut self.sign)? == 1;
        let magnitude = reader.number(&mut self.magnitude)? as i64;
        Ok(if negative { !magnitude } else { magnitude })
    }
}
