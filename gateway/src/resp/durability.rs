//! When a write is confirmed to the client.

use super::glob;

/// How safe a write is before its reply is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// In memory: lost with the machine for up to a flush interval and one fsync. While the disk is
    /// further behind than the window of loss, as `Disk`.
    #[default]
    Memory,
    /// Fsynced here, together with what other clients write meanwhile.
    Disk,
    /// Fsynced at one peer besides. Waits for as long as no peer is there.
    Remote,
}

/// Which durability a key's writes have: the first pattern that matches counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DurabilityRules {
    /// Glob patterns as those of `SCAN MATCH`.
    pub patterns: Vec<(String, Durability)>,
    /// For keys that match none.
    pub otherwise: Durability,
}

impl DurabilityRules {
    /// What a write to `key` is promised.
    pub(super) fn of(&self, key: &[u8]) -> Durability {
        let matching =
            |(pattern, _): &&(String, Durability)| glob::matches(pattern.as_bytes(), key);
        self.patterns
            .iter()
            .find(matching)
            .map_or(self.otherwise, |(_, durability)| *durability)
    }

    /// Whether every write is [`Durability::Memory`]: then keys need no look.
    pub(super) fn is_memory_only(&self) -> bool {
        self.patterns.is_empty() && self.otherwise == Durability::Memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_matches_counts() {
        let rules = DurabilityRules {
            patterns: vec![
                ("order:*".to_owned(), Durability::Remote),
                ("o*".to_owned(), Durability::Memory),
            ],
            otherwise: Durability::Disk,
        };
        assert_eq!(rules.of(b"order:1"), Durability::Remote);
        assert_eq!(rules.of(b"other"), Durability::Memory);
        assert_eq!(rules.of(b"x"), Durability::Disk);
        assert!(!rules.is_memory_only());
        assert!(DurabilityRules::default().is_memory_only());
    }
}
