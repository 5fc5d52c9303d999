use crate::class::Class;

/// A ready class goes first once this much was sent before it.
const PASSED_OVER_BYTES_MAX: u64 = 8 << 20;
/// What an empty batch counts.
const BATCH_COST_BYTES: u64 = 1 << 10;

/// Strict priority, except that a class which was passed over for 8 MiB gets one batch.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    passed_over_bytes: [u64; Class::COUNT],
}

impl Schedule {
    /// Whom [`Schedule::pick`] would choose.
    pub(crate) fn peek(&self, ready: [Option<u64>; Class::COUNT]) -> Option<Class> {
        let is_ready = |class: &Class| ready[class.index()].is_some();
        let is_starved =
            |class: &Class| self.passed_over_bytes[class.index()] >= PASSED_OVER_BYTES_MAX;
        let mut candidates = Class::ALL.into_iter().filter(is_ready);
        let starved = candidates.clone().find(is_starved);
        starved.or_else(|| candidates.next())
    }

    /// Chooses among the classes that have something ready, given its length, and remembers
    /// who was passed over.
    pub(crate) fn pick(&mut self, ready: [Option<u64>; Class::COUNT]) -> Option<Class> {
        let class = self.peek(ready)?;
        let cost = ready[class.index()]? + BATCH_COST_BYTES;
        for other in Class::ALL {
            let passed_over = &mut self.passed_over_bytes[other.index()];
            if other == class || ready[other.index()].is_none() {
                *passed_over = 0;
            } else {
                *passed_over += cost;
            }
        }
        Some(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_goes_first_and_none_starves() {
        let mut schedule = Schedule::default();
        let mib = Some(1 << 20);
        let picks: Vec<_> = (0..90)
            .filter_map(|_| schedule.pick([None, mib, mib]))
            .collect();
        let bulk = picks.iter().filter(|&&c| c == Class::Bulk).count();
        assert_eq!(picks[0], Class::Interactive);
        assert!((8..=12).contains(&bulk), "{bulk}");
        assert_eq!(schedule.pick([None, None, None]), None);
        assert_eq!(schedule.pick([Some(0), None, mib]), Some(Class::Control));
    }
}
