//! Sizes and rates as people write them: `256MiB`, `100Mbit/s`.

use std::fmt;
use std::str::FromStr;

/// A text is no quantity of the kind that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}")]
pub struct ParseQuantityError {
    text: String,
    kind: &'static str,
}

type Units = &'static [(&'static str, u64)];

/// Largest first within a family, so that printing finds the largest that divides.
const SIZES: Units = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

const RATES: Units = &[
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1_000),
    ("bit/s", 1),
];

/// A number of bytes, written with a unit: `256MiB`, `4GB`, `512B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A number of bits per second, written with a unit: `100Mbit/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

impl FromStr for ByteSize {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, SIZES, "size").map(Self)
    }
}

impl FromStr for Rate {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text, RATES, "rate").map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&exact(self.0, SIZES, "B"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&exact(self.0, RATES, "bit/s"))
    }
}

/// Digits, at most one decimal point, then a unit. Units are taken in any case, since no
/// two of a family differ by case alone.
fn parse(text: &str, units: Units, kind: &'static str) -> Result<u64, ParseQuantityError> {
    let fault = || ParseQuantityError {
        text: text.chars().take(40).collect(),
        kind,
    };
    let text_trimmed = text.trim();
    let unit_at = text_trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(fault)?;
    let (number, unit) = text_trimmed.split_at(unit_at);
    let (_, factor) = units
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))
        .ok_or_else(fault)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let (whole, fraction_digits) = (whole.parse::<u64>(), fraction.len());
    let scale = 10u64.checked_pow(u32::try_from(fraction_digits).map_err(|_| fault())?);
    let fraction = fraction.parse::<u64>().map_err(|_| fault())?;
    let scaled = u128::from(fraction) * u128::from(*factor) / u128::from(scale.ok_or_else(fault)?);
    whole
        .map_err(|_| fault())?
        .checked_mul(*factor)
        .and_then(|bytes| bytes.checked_add(u64::try_from(scaled).ok()?))
        .ok_or_else(fault)
}

/// The value in the largest unit that divides it.
fn exact(value: u64, units: Units, smallest: &str) -> String {
    units
        .iter()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
        .map_or_else(
            || format!("{value}{smallest}"),
            |(name, factor)| format!("{}{name}", value / factor),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let sizes = [
            ("0B", 0),
            ("512B", 512),
            ("256MiB", 256 << 20),
            ("256 mib", 256 << 20),
            ("1.5GiB", 3 << 29),
            ("4GB", 4_000_000_000),
        ];
        for (text, bytes) in sizes {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!("100Mbit/s".parse(), Ok(Rate(100_000_000)));
        assert_eq!("2.5 Gbit/s".parse(), Ok(Rate(2_500_000_000)));
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "12",
            "MiB",
            "-1B",
            "1.B",
            "1..2B",
            "1.2.3B",
            "1QB",
            "99999999TiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for text in ["100", "100MB", "100Mbps", "1e3bit/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        let fraction = format!("0.{}1GiB", "0".repeat(30));
        assert!(fraction.parse::<ByteSize>().is_err());
    }

    #[test]
    fn what_is_printed_reads_back() {
        for bytes in [0, 1, 1000, 1024, 1 << 30, (1 << 30) + 1, u64::MAX] {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
            assert_eq!(Rate(bytes).to_string().parse(), Ok(Rate(bytes)));
        }
        assert_eq!(ByteSize(256 << 20).to_string(), "256MiB");
    }
}
