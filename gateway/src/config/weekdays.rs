//! Days of the week.

use std::fmt;

/// As they are written, the first day first.
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Some of the seven, all unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Weekdays([bool; 7]);

impl Weekdays {
    /// `None` without a name, and where one is none of `mon`, `tue` … `sun`.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut days = [false; 7];
        for name in names {
            days[NAMES.iter().position(|day| *day == name)?] = true;
        }
        days.contains(&true).then_some(Self(days))
    }

    /// Whether the day that is so many days after the Unix epoch, a Thursday, is one of them.
    pub fn has(&self, epoch_day: u64) -> bool {
        self.0.iter().cycle().nth(((epoch_day + 3) % 7) as usize) == Some(&true)
    }
}

impl Default for Weekdays {
    fn default() -> Self {
        Self([true; 7])
    }
}

impl fmt::Debug for Weekdays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = NAMES.iter().zip(self.0).filter(|(_, has)| *has);
        f.debug_list().entries(named.map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_told_apart() {
        let days = Weekdays::named(["wed", "sun", "wed"]).unwrap();
        // 2026-11-16 is a Monday.
        let week = (20_773..20_780).map(|day| days.has(day));
        assert_eq!(
            week.collect::<Vec<_>>(),
            [false, false, true, false, false, false, true]
        );
        assert!((0..7).all(|day| Weekdays::default().has(day)));
        for bad in [&["mon", "Tue"][..], &["monday"], &[""], &[]] {
            assert_eq!(Weekdays::named(bad.iter().copied()), None);
        }
    }
}
