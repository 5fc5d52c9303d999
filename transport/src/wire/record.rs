//! What a TLS connection over TCP carries: records of several lanes in turn. Drawn in
//! `docs/WIRE.md`, section "Over TCP".

use super::Malformed;
use crate::class::Class;

/// With its header a record fills at most one record of TLS.
pub(crate) const RECORD_BYTES_MAX: usize = (16 << 10) - HEADER_BYTES;
pub(crate) const HEADER_BYTES: usize = 3;

/// What a record belongs to. The order is the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The connection's end: a code and a reason.
    Goodbye,
    /// Is anybody there? Eight bytes to be sent back.
    Ping,
    /// Those bytes.
    Pong,
    /// The byte stream of Hello and messages.
    Messages,
    /// The byte stream of a class's frames.
    Frames(Class),
}

impl Lane {
    fn code(self) -> u8 {
        match self {
            Self::Messages => 0,
            Self::Frames(class) => 1 + class.index() as u8,
            Self::Ping => 16,
            Self::Pong => 17,
            Self::Goodbye => 18,
        }
    }

    fn from_code(code: u8) -> Result<Self, Malformed> {
        match code {
            0 => Ok(Self::Messages),
            1..=3 => Class::from_index(usize::from(code - 1))
                .map(Self::Frames)
                .ok_or(Malformed("lane of a record")),
            16 => Ok(Self::Ping),
            17 => Ok(Self::Pong),
            18 => Ok(Self::Goodbye),
            _ => Err(Malformed("lane of a record")),
        }
    }
}

/// The header of a record of `len` bytes, at most [`RECORD_BYTES_MAX`].
pub(crate) fn header(lane: Lane, len: usize) -> [u8; HEADER_BYTES] {
    debug_assert!(len <= RECORD_BYTES_MAX);
    let [low, high] = (len as u16).to_le_bytes();
    [lane.code(), low, high]
}

/// Reads a header: the lane, and how many bytes follow.
pub(crate) fn parse(header: [u8; HEADER_BYTES]) -> Result<(Lane, usize), Malformed> {
    let [lane, low, high] = header;
    let len = usize::from(u16::from_le_bytes([low, high]));
    let lane = Lane::from_code(lane)?;
    let fits = match lane {
        Lane::Ping | Lane::Pong => len == 8,
        Lane::Goodbye => (1..=256).contains(&len),
        Lane::Messages | Lane::Frames(_) => (1..=RECORD_BYTES_MAX).contains(&len),
    };
    match fits {
        true => Ok((lane, len)),
        false => Err(Malformed("length of a record")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_refused_or_comes_back_the_same() {
        let mut good = 0;
        for n in 0..1u32 << 24 {
            let [lane, low, high, _] = n.to_le_bytes();
            if let Ok((parsed, len)) = parse([lane, low, high]) {
                assert_eq!(header(parsed, len), [lane, low, high]);
                good += 1;
            }
        }
        assert_eq!(good, 4 * RECORD_BYTES_MAX + 2 + 256);
    }
}
