//! Records: what the journal holds and what peers are sent. One codec for both, drawn in
//! `docs/WIRE.md`, section "Grid records".

mod decode;
mod encode;
mod log;
mod updates;

pub(super) use super::varint::Malformed;
pub(super) use decode::{PARTS_MAX, deadline, decode_counters, half_epoch};
pub(super) use encode::{CounterRows, Part};
pub(super) use log::{LogHead, LogSection, SectionBuilder, decode_log};
pub(crate) use log::{pack_values, values_of};
pub(super) use updates::{CounterUpdate, CounterUpdates, MoreUpdate, place, site_name, version};

/// First byte of every record.
pub(super) const VERSION: u8 = 2;
const KIND_COUNTERS: u8 = 1;
const KIND_LOG: u8 = 2;
/// These on a link only; see [`packed`](super::packed).
pub(super) const KIND_PACKED_LOG: u8 = 4;
pub(super) const KIND_PACKED_COUNTERS: u8 = 6;
/// This in a journal only; see [`runs`](super::runs).
pub(super) const KIND_RUNS: u8 = 5;
/// Likewise; see [`renew`](super::renew).
const KIND_RENEWED: u8 = 7;
/// And this; see [`doubts`](super::doubts).
pub(super) const KIND_DOUBTS: u8 = 8;
/// Likewise; see [`forget`](super::forget).
pub(super) const KIND_FORGOTTEN: u8 = 9;

/// What a record holds, by its first two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counters,
    Log,
    PackedCounters,
    PackedLog,
    Runs,
    Renewed,
    Doubts,
    Forgotten,
}

/// Makes a record of counters one that says how they stand after `strait renew`: not merged, but put in
/// the place of what was there.
pub(super) fn as_renewed(record: &[u8]) -> bytes::Bytes {
    let mut renewed = record.to_vec();
    if let Some(kind) = renewed.get_mut(1) {
        *kind = KIND_RENEWED;
    }
    renewed.into()
}

/// Reads the head of a record; the rest is what follows.
pub(super) fn kind_of(record: &[u8]) -> Result<(Kind, &[u8]), Malformed> {
    if record.len() > super::RECORD_BYTES_MAX {
        return Err(Malformed("record too long"));
    }
    match record {
        [VERSION, KIND_COUNTERS, rest @ ..] => Ok((Kind::Counters, rest)),
        [VERSION, KIND_LOG, rest @ ..] => Ok((Kind::Log, rest)),
        [VERSION, KIND_PACKED_COUNTERS, rest @ ..] => Ok((Kind::PackedCounters, rest)),
        [VERSION, KIND_PACKED_LOG, rest @ ..] => Ok((Kind::PackedLog, rest)),
        [VERSION, KIND_RUNS, rest @ ..] => Ok((Kind::Runs, rest)),
        [VERSION, KIND_RENEWED, rest @ ..] => Ok((Kind::Renewed, rest)),
        [VERSION, KIND_DOUBTS, rest @ ..] => Ok((Kind::Doubts, rest)),
        [VERSION, KIND_FORGOTTEN, rest @ ..] => Ok((Kind::Forgotten, rest)),
        [VERSION, ..] => Err(Malformed("unknown kind of record")),
        _ => Err(Malformed("unknown version of records")),
    }
}
