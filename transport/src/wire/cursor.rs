//! Reading and writing of integers: little-endian base 128, shortest form only.

/// Foreign bytes that break the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Why bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// All well so far, but there must be more.
    Incomplete,
    /// No continuation can make this right.
    Malformed(Malformed),
}

impl From<Malformed> for ParseError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl ParseError {
    /// For texts that are known to be whole.
    pub(crate) fn of_whole(self, what: &'static str) -> Malformed {
        match self {
            Self::Incomplete => Malformed(what),
            Self::Malformed(malformed) => malformed,
        }
    }
}

/// Reads from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], ParseError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(ParseError::Incomplete)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(ParseError::Incomplete)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, ParseError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, ParseError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits || (byte == 0 && shift > 0) {
                return Err(Malformed("integer").into());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("integer").into())
    }

    /// A length that may not exceed `max`.
    pub(crate) fn len(&mut self, max: usize, what: &'static str) -> Result<usize, ParseError> {
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed(what))?;
        if len > max {
            return Err(Malformed(what).into());
        }
        Ok(len)
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] writes.
pub(crate) const fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_survive(value in any::<u64>(), shift in 0..64u32) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len(), varint_len(value));
            prop_assert_eq!(Cursor::new(&bytes).varint(), Ok(value));
            let cut = &bytes[..bytes.len() - 1];
            prop_assert_eq!(Cursor::new(cut).varint(), Err(ParseError::Incomplete));
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..16)) {
            let mut cursor = Cursor::new(&bytes);
            while cursor.varint().is_ok() {}
        }
    }

    #[test]
    fn longer_forms_are_refused() {
        assert!(matches!(
            Cursor::new(&[0x80, 0]).varint(),
            Err(ParseError::Malformed(_))
        ));
        let mut too_large = [0xff; 10];
        too_large[9] = 2;
        assert!(matches!(
            Cursor::new(&too_large).varint(),
            Err(ParseError::Malformed(_))
        ));
    }
}
