//! Names, versions and positions, each with a type of its own.

use std::fmt;
use std::str::FromStr;

use strait_transport::SiteName;

/// A writer of counter components: a site's data directory. A rebuilt site is a new origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Where it is.
    pub site: SiteName,
    /// Drawn when its data directory was made.
    pub incarnation: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:016x}", self.site, self.incarnation)
    }
}

/// Number of a flush of this gateway, and the version of every component that it wrote.
///
/// 0 means "before the first". Never reused by an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a flush that had something for peers, ours or others', since the gateway started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlushNumber(pub u64);

impl FlushNumber {
    /// The one after this.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for FlushNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Stands for a flush that is still to come; see [`Grid::durable`](super::Grid::durable).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// Id of a log's entry: `<ms>-<seq>`. `0-0` stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since 1970.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The last possible one.
    pub const MAX: Self = Self {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// The id right after this one; none after the last.
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => Some(Self {
                ms: self.ms.checked_add(1)?,
                seq: 0,
            }),
        }
    }

    /// The id right before this one; none before the first.
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => Some(Self {
                ms: self.ms.checked_sub(1)?,
                seq: u64::MAX,
            }),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// A log as all sites know it: its origin's site and its name there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    /// The only site that appends to it.
    pub site: SiteName,
    /// The key that clients use there. At other sites they see `<site>.<name>`.
    pub name: Box<[u8]>,
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.site, self.name.escape_ascii())
    }
}

/// How much of a log someone holds. Each part only ever rises, so two may be merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// Id of the last entry.
    pub last: EntryId,
    /// Entries up to here have been trimmed away.
    pub trimmed_to: EntryId,
    /// Rises when the log is deleted and when it comes back; odd while it is deleted.
    pub revision: u64,
}

impl LogPosition {
    /// Whether somebody at `self` already has all that somebody at `other` has.
    pub fn covers(&self, other: &Self) -> bool {
        self.last >= other.last
            && self.trimmed_to >= other.trimmed_to
            && self.revision >= other.revision
    }

    /// What two that hold `self` and `other` hold together.
    pub(super) fn max_of(&self, other: &Self) -> Self {
        Self {
            last: self.last.max(other.last),
            trimmed_to: self.trimmed_to.max(other.trimmed_to),
            revision: self.revision.max(other.revision),
        }
    }

    /// Whether the log is deleted (`DEL`): it keeps its last id so that ids never go back.
    pub fn is_deleted(&self) -> bool {
        self.revision % 2 == 1
    }
}

/// Why a text is no id of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an entry id: expected <ms>-<seq>")]
pub struct ParseEntryIdError;

impl FromStr for EntryId {
    type Err = ParseEntryIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ms, seq) = text.split_once('-').ok_or(ParseEntryIdError)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| ParseEntryIdError);
        Ok(Self {
            ms: number(ms)?,
            seq: number(seq)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_an_id() {
        let id = EntryId {
            ms: 5,
            seq: u64::MAX,
        };
        assert_eq!(id.next().unwrap(), EntryId { ms: 6, seq: 0 });
        assert_eq!(id.next().unwrap().previous().unwrap(), id);
        assert_eq!(EntryId::MAX.next(), None);
        assert_eq!(EntryId::MIN.previous(), None);
        assert_eq!("6-0".parse(), Ok(id.next().unwrap()));
    }
}
