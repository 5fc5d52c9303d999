//! Which snapshots are kept.

use std::collections::BTreeSet;

const DAY_MS: u64 = 86_400_000;

/// How many snapshots stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotRules {
    /// The newest so many; at least one.
    pub newest: usize,
    /// And the last of each of so many days (UTC) before today.
    pub days: u64,
}

impl SnapshotRules {
    /// Those of `times_ms` (rising) that may go at `now_ms`. Any that are dated later are from before
    /// the clock was put back: they count as older than all others.
    pub fn expired(&self, times_ms: &[u64], now_ms: u64) -> Vec<u64> {
        let ahead = times_ms.partition_point(|time| *time <= now_ms);
        let as_taken = times_ms[ahead..].iter().chain(&times_ms[..ahead]);
        let newest = times_ms.len().saturating_sub(self.newest.max(1));
        let mut kept: BTreeSet<u64> = as_taken.skip(newest).copied().collect();
        let today = now_ms / DAY_MS;
        for (place, time) in times_ms.iter().enumerate() {
            let day = time / DAY_MS;
            let next = times_ms.get(place + 1).map(|next| next / DAY_MS);
            let last_of_day = next != Some(day);
            if last_of_day && day < today && today - day <= self.days {
                kept.insert(*time);
            }
        }
        let gone = times_ms.iter().filter(|time| !kept.contains(time));
        gone.copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_one_of_each_day() {
        let hour = DAY_MS / 24;
        let times: Vec<u64> = (0..24 * 10).map(|n| n * hour).collect();
        let now = DAY_MS * 10 - 1;
        let rules = SnapshotRules { newest: 3, days: 4 };
        let gone = rules.expired(&times, now);
        let kept: Vec<u64> = times
            .iter()
            .copied()
            .filter(|t| !gone.contains(t))
            .collect();
        let last_of = |day: u64| day * DAY_MS + 23 * hour;
        let days = [5, 6, 7, 8].map(last_of);
        let newest = [21, 22, 23].map(|h| 9 * DAY_MS + h * hour);
        assert_eq!(kept, [&days[..], &newest].concat());
        let none = SnapshotRules { newest: 0, days: 0 };
        assert_eq!(none.expired(&[5, 7], now), [5], "the last one always stays");
        assert!(rules.expired(&[], now).is_empty());
    }

    #[test]
    fn those_of_the_future_go_before_those_just_taken() {
        let rules = SnapshotRules { newest: 2, days: 0 };
        assert_eq!(rules.expired(&[7, 9, 900, 901, 902], 9), [900, 901, 902]);
        assert_eq!(rules.expired(&[9, 900, 901], 9), [900]);
    }
}
