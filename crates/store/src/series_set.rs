//! Which series a block holds, small enough to be kept for every block.

use std::sync::Arc;

use model::{Reading, SeriesNumber};

/// Series numbers as ranges in order, both ends included, not touching each other.
///
/// Always covers what the block holds; more than [`RANGES_MAX`] ranges are kept as one that spans
/// them, which costs a query a needless look and never a reading.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesSet(Arc<[(u32, u32)]>);

impl SeriesSet {
    /// Every series there could be.
    pub(crate) fn any() -> Self {
        Self([(0, u32::MAX)].into())
    }

    /// The series of a block's readings, which are in the order of their series.
    pub(crate) fn of(readings: &[Reading]) -> Self {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for reading in readings {
            let number = reading.series.0;
            match ranges.last_mut() {
                Some((_, last)) if *last == number => {}
                Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
                _ => ranges.push((number, number)),
            }
        }
        Self::from_ranges(ranges)
    }

    /// Takes any ranges: sorts and joins them, and bounds their number.
    pub(crate) fn from_ranges(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last);
                }
                _ => joined.push((first, last)),
            }
        }
        if joined.len() > RANGES_MAX {
            joined = vec![(joined[0].0, joined[joined.len() - 1].1)];
        }
        Self(joined.into())
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// The numbers in order. May be very many.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = SeriesNumber> {
        self.0
            .iter()
            .flat_map(|&(first, last)| (first..=last).map(SeriesNumber))
    }

    /// Whether a number of `wanted`, which is in order, is in it.
    pub(crate) fn meets(&self, wanted: &std::collections::BTreeSet<SeriesNumber>) -> bool {
        self.0.iter().any(|&(first, last)| {
            let mut inside = wanted.range(SeriesNumber(first)..=SeriesNumber(last));
            inside.next().is_some()
        })
    }
}

/// Most ranges that are kept of one block. Source: guess, half a kilobyte.
pub(crate) const RANGES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_meets_every_number_that_it_was_made_of(
            numbers in prop::collection::btree_set(0_u32..2_000, 1..300),
        ) {
            let set = SeriesSet::from_ranges(numbers.iter().map(|n| (*n, *n)).collect());

            prop_assert!(set.ranges().len() <= RANGES_MAX);
            for number in &numbers {
                prop_assert!(set.meets(&BTreeSet::from([SeriesNumber(*number)])));
            }
            let few = set.ranges().len() > 1;
            let held: BTreeSet<u32> = set.numbers().map(|n| n.0).collect();
            prop_assert!(!few || held == numbers);
        }
    }
}
