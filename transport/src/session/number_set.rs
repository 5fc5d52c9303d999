use std::collections::BTreeMap;

use crate::ids::Number;
use crate::wire::control::Run;

/// A set of numbers that is dense at the front: everything below `tail`, and runs beyond.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NumberSet {
    tail: u64,
    /// Start to end (exclusive) of runs above the tail; never adjacent, never empty.
    beyond: BTreeMap<u64, u64>,
}

impl NumberSet {
    /// From a tail and runs in rising order with gaps between them; `None` if they are not.
    pub(crate) fn from_parts(tail: Number, runs: &[Run]) -> Option<Self> {
        let mut end = tail.0;
        let mut beyond = BTreeMap::new();
        for run in runs {
            let run_end = run.start.0.checked_add(run.len)?;
            if run.start.0 <= end || run.len == 0 {
                return None;
            }
            beyond.insert(run.start.0, run_end);
            end = run_end;
        }
        Some(Self {
            tail: tail.0,
            beyond,
        })
    }

    /// The lowest number that is missing.
    pub(crate) fn tail(&self) -> Number {
        Number(self.tail)
    }

    /// One more than the highest number inside.
    pub(crate) fn end(&self) -> Number {
        Number(
            self.beyond
                .last_key_value()
                .map_or(self.tail, |(_, &end)| end),
        )
    }

    /// Runs above the tail.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        self.beyond.iter().map(|(&start, &end)| Run {
            start: Number(start),
            len: end - start,
        })
    }

    /// All numbers inside, as runs.
    pub(crate) fn into_runs(self) -> Vec<Run> {
        let front = Run {
            start: Number(0),
            len: self.tail,
        };
        let front = (front.len > 0).then_some(front);
        front.into_iter().chain(self.runs()).collect()
    }

    pub(crate) fn contains(&self, Number(n): Number) -> bool {
        let before = self.beyond.range(..=n).next_back();
        n < self.tail || before.is_some_and(|(_, &end)| n < end)
    }

    /// False if it was there already.
    pub(crate) fn insert(&mut self, number: Number) -> bool {
        if self.contains(number) {
            return false;
        }
        let Number(start) = number;
        let end = self.beyond.remove(&(start + 1)).unwrap_or(start + 1);
        if start == self.tail {
            self.tail = end;
            return true;
        }
        match self.beyond.range_mut(..start).next_back() {
            Some((_, before_end)) if *before_end == start => *before_end = end,
            _ => {
                self.beyond.insert(start, end);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(numbers in prop::collection::vec(0..60u64, 0..80)) {
            let mut set = NumberSet::default();
            let mut model = BTreeSet::new();
            for n in numbers {
                prop_assert_eq!(set.insert(Number(n)), model.insert(n));
                prop_assert!((0..70).all(|n| set.contains(Number(n)) == model.contains(&n)));
                let tail = (0..).find(|n| !model.contains(n)).unwrap();
                prop_assert_eq!(set.tail(), Number(tail));
                prop_assert_eq!(set.end(), Number(model.last().map_or(0, |n| n + 1)));
                let runs: Vec<_> = set.runs().collect();
                prop_assert_eq!(NumberSet::from_parts(set.tail(), &runs), Some(set.clone()));
            }
        }
    }

    #[test]
    fn runs_that_touch_or_overflow_are_refused() {
        let run = |start, len| Run {
            start: Number(start),
            len,
        };
        assert!(NumberSet::from_parts(Number(5), &[run(5, 1)]).is_none());
        assert!(NumberSet::from_parts(Number(5), &[run(7, 0)]).is_none());
        assert!(NumberSet::from_parts(Number(5), &[run(7, 2), run(9, 1)]).is_none());
        assert!(NumberSet::from_parts(Number(5), &[run(7, u64::MAX)]).is_none());
        let mut set = NumberSet::default();
        for number in [4, 1, 2, 9] {
            set.insert(Number(number));
        }
        let runs = [run(1, 2), run(4, 1), run(9, 1)];
        assert_eq!(set.clone().into_runs(), runs);
        set.insert(Number(0));
        assert_eq!(set.into_runs(), [run(0, 3), runs[1], runs[2]]);
    }
}
