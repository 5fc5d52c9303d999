//! Records of counters: a key that was mentioned before goes as its number, a sum as the difference
//! to the one said before. Drawn in `docs/WIRE.md`, section "Packed counters".
//!
//! Both ends number keys in the order of their first mention and keep, by number, the sum that
//! was said last.

mod pack;
mod read;
mod unpack;

use strait_dedup::range::{Model, Symbols};

use super::Signed;

pub(super) use pack::SentKeys;
pub(super) use unpack::HeardKeys;

/// Keys that one session numbers, each way: 12 bytes each at the sender, 20 at the receiver.
/// Those that come later go by name each time.
pub(super) const NUMBERED_MAX: usize = 16 << 20;
/// Memory that each counter takes at both ends together, and that each with a number takes.
pub(super) const BYTES_EACH: u64 = 4;
pub(super) const BYTES_NUMBERED: u64 = 8 + 16;

/// What a row's only component nearly always has in common with the row before: all that one flush
/// wrote has. Then one bit says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Common {
    /// Place of a site · 2 + (1: clients see the counter).
    presence: u64,
    hlc: u64,
    /// Place of the last component's origin.
    origin: u64,
    version: u64,
}

/// The statistics of each kind of number in one record.
#[derive(Debug, Default)]
struct Models {
    gap: Model,
    shared: Model,
    tail: Model,
    middle: Model,
    field: Model,
    alike: Symbols<2>,
    presence: Model,
    clock: Signed,
    count: Model,
    origin: Model,
    version: Signed,
    sum: Signed,
    clearings: Model,
    half_epoch: Signed,
    cleared: Signed,
    deadline: Model,
}
