//! Records of counters in the short form that one session of a link sends: a key that was
//! mentioned before goes as its number, a sum as the difference to the one said before, and all
//! numbers under a range coder. Drawn in `docs/WIRE.md`, section "Packed counters".
//!
//! Both ends number keys in the order of their first mention and keep, by number, the sum that
//! was said last. None of that outlives the session, or the next exchange of positions: a packed
//! record is turned back into one that stands alone before anything else sees it.

mod pack;
mod read;
mod unpack;

use strait_dedup::range::{EndsEarly, Model, NumberReader, Writer};

pub use pack::SentKeys;
pub use unpack::{HeardKeys, UnpackError};

/// Keys that one session numbers, each way: 12 bytes each at the sender, 16 at the receiver.
/// Those that come later go by name each time.
const NUMBERED_MAX: usize = 16 << 20;
/// Bit of the first byte after the head: the numbers start over before this record.
const STARTS_OVER: u8 = 1;

/// The statistics of each kind of number in one record.
#[derive(Debug, Default)]
struct Models {
    gap: Model,
    shared: Model,
    tail: Model,
    middle: Model,
    field: Model,
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
