//! Names and numbers, each with a type of its own.

use std::fmt;
use std::str::FromStr;

/// One ordered flow within a session, numbered by its sender. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Place of a batch in its stream. The first is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Place of a batch among all of its class in a session. What is resent, acknowledged and
/// resumed is counted in these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Number(pub(crate) u64);

/// A version of the protocol between two gateways. Which ones there are: `docs/WIRE.md`, "Hello".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireVersion(pub u16);

impl fmt::Display for WireVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A data centre's name: 1 to 32 of `a-z`, `0-9` and `-`, the first a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteName(String);

impl SiteName {
    /// Most characters in a name.
    pub const LEN_MAX: usize = 32;
}

/// Why a text is no site name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no site name: use 1 to 32 of a-z, 0-9 and '-', starting with a letter")]
pub struct ParseSiteError(String);

impl FromStr for SiteName {
    type Err = ParseSiteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let starts_well = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if starts_well && text.len() <= Self::LEN_MAX && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseSiteError(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for SiteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for SiteName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn site_names() {
        for good in ["east", "e", "eu-west-1", &"a".repeat(32)] {
            assert_eq!(good.parse::<SiteName>().unwrap().as_ref(), good);
        }
        for bad in ["", "1st", "-a", "East", "a.b", "a b", "é", &"a".repeat(33)] {
            assert!(bad.parse::<SiteName>().is_err(), "{bad}");
        }
    }
}
