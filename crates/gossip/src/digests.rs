//! Digests: sums over what is held, by which two nodes find where they differ without listing it.
//!
//! Items are spread over 1,024 leaves by a hash of their key. The digest of a leaf is the sum of
//! the hashes of its items, that of a range of leaves the sum of theirs: a change costs two hashes,
//! and a node says as many sums as suit how much it holds. What two nodes do about ranges whose
//! sums differ is range-based set reconciliation (Meyer, "Range-Based Set Reconciliation", SRDS
//! 2023). Sums of hashes as digests are Clarke et al., "Incremental Multiset Hash Functions and
//! Their Application to Memory Integrity Checking", ASIACRYPT 2003.
//!
//! # Where we differ from Meyer
//!
//! - Ranges are of a hash of the keys, not of keys, and of one size, so that naming them costs
//!   nothing; they are never split again, so that there is one round trip, and at a thousand logs
//!   2 kB instead of less in more round trips.
//!
//! # What a sum does not withstand
//!
//! Whoever chooses very many items itself can find some that add up to nothing. A member that
//! does could hide from two neighbours, until the next change, that they differ. A neighbour that
//! lies about its sums hides nothing but what it holds itself.

use std::collections::BTreeMap;

use model::{LogId, StateKey, StateVersion};
use sha2::{Digest as _, Sha256};

use crate::FrontierEntry;

/// The sum of the hashes of some items, modulo 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(pub u128);

/// The sums of the ranges of all that is held, as one node says them to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// There are two to the power of this many ranges; at most [`Sums::BITS_MAX`].
    pub bits: u8,
    /// Those in which something is held, in order: the number of the range and its sum.
    pub ranges: Vec<(u16, Sum)>,
}

impl Sums {
    /// Most bits of the number of a range. Source: at 131,072 states 10 say the fewest bytes about
    /// one difference.
    pub const BITS_MAX: u8 = 10;
    /// Most ranges.
    pub const RANGES_MAX: usize = 1 << Self::BITS_MAX;

    /// Whether there are so many ranges, each named once and in order.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let last = self.ranges.last().map_or(0, |(range, _)| *range);
        self.bits <= Self::BITS_MAX
            && usize::from(last) < 1 << self.bits
            && self.ranges.is_sorted_by(|(a, _), (b, _)| a < b)
    }
}

/// The ranges in which two nodes differ.
#[derive(Clone, Debug)]
pub(crate) struct Differing {
    bits: u8,
    /// Of each such range whether the other holds nothing there.
    ranges: BTreeMap<u16, bool>,
}

/// Where an item belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u16);

/// The digests of all leaves.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    /// Those that are not zero.
    leaves: BTreeMap<Place, Sum>,
    count: usize,
}

impl Digests {
    /// An item is held from now on.
    pub(crate) fn add(&mut self, place: Place, item: Sum) {
        self.count += 1;
        self.shift(place, item.0);
    }

    /// An item is held no more.
    pub(crate) fn remove(&mut self, place: Place, item: Sum) {
        self.count = self.count.saturating_sub(1);
        self.shift(place, item.0.wrapping_neg());
    }

    /// The sums of as many ranges as cost the fewest bytes if one item differs.
    pub(crate) fn sums(&self) -> Sums {
        let ranges = 4_usize.saturating_mul(self.count).isqrt();
        let bits = ranges.next_power_of_two().trailing_zeros();
        let bits = u8::try_from(bits).map_or(Sums::BITS_MAX, |bits| bits.min(Sums::BITS_MAX));
        Sums {
            bits,
            ranges: self.ranges(bits).into_iter().collect(),
        }
    }

    /// Where another's sums are not those of what is held here.
    pub(crate) fn differing(&self, theirs: &Sums) -> Differing {
        let mut ours = self.ranges(theirs.bits);
        let mut ranges = BTreeMap::new();
        for (range, sum) in &theirs.ranges {
            if ours.remove(range) != Some(*sum) {
                ranges.insert(*range, false);
            }
        }
        ranges.extend(ours.into_keys().map(|range| (range, true)));
        let bits = theirs.bits;
        Differing { bits, ranges }
    }

    fn ranges(&self, bits: u8) -> BTreeMap<u16, Sum> {
        let mut ranges = BTreeMap::<u16, Sum>::new();
        for (place, sum) in &self.leaves {
            let range = ranges.entry(place.range(bits)).or_default();
            range.0 = range.0.wrapping_add(sum.0);
        }
        ranges.retain(|_, sum| sum.0 != 0);
        ranges
    }

    fn shift(&mut self, place: Place, by: u128) {
        let leaf = self.leaves.entry(place).or_default();
        leaf.0 = leaf.0.wrapping_add(by);
        if leaf.0 == 0 {
            self.leaves.remove(&place);
        }
    }
}

impl Differing {
    /// Whether there is no difference.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the two differ in the range where an item belongs; if so, whether the other holds
    /// nothing at all there.
    pub(crate) fn at(&self, place: Place) -> Option<bool> {
        self.ranges.get(&place.range(self.bits)).copied()
    }
}

impl Place {
    /// Where a log belongs.
    pub(crate) fn of_log(log: &LogId) -> Self {
        let counter = log.epoch.counter.to_le_bytes();
        let tag = log.epoch.tag.to_le_bytes();
        Self::of([log.machine.as_bytes(), &counter[..], &tag[..]])
    }

    /// Where a state belongs.
    pub(crate) fn of_state(key: &StateKey) -> Self {
        let kind = [key.kind.code()];
        Self::of([key.origin.as_bytes(), &kind[..], key.subject.as_bytes()])
    }

    /// FNV-1a (Fowler, Noll, Vo), then the last step of splitmix64 (Steele et al., OOPSLA 2014),
    /// for the first bits of FNV hardly depend on the last bytes.
    fn of(parts: [&[u8]; 3]) -> Self {
        let bytes = parts.into_iter().flatten();
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let leaf = hash >> (u64::BITS - LEAF_BITS);
        Self(u16::try_from(leaf).unwrap_or(u16::MAX))
    }

    fn range(self, bits: u8) -> u16 {
        self.0 >> LEAF_BITS.saturating_sub(bits.into())
    }
}

/// What is held of a log, as an item. What was given up does not count: nothing is missing there.
pub(crate) fn item_of_entry(entry: &FrontierEntry) -> Sum {
    let mut hash = Sha256::new();
    hash.update(b"log");
    hash.update(entry.log.machine.as_bytes());
    hash.update(entry.log.epoch.counter.to_le_bytes());
    hash.update(entry.log.epoch.tag.to_le_bytes());
    hash.update(entry.end.to_le_bytes());
    for span in &entry.beyond {
        hash.update(span.first.to_le_bytes());
        hash.update(span.last.to_le_bytes());
    }
    first_half(hash)
}

/// A state that is held, as an item.
pub(crate) fn item_of_state(key: &StateKey, version: StateVersion) -> Sum {
    let mut hash = Sha256::new();
    hash.update(b"state");
    hash.update(key.origin.as_bytes());
    hash.update([key.kind.code()]);
    hash.update(version.epoch.to_le_bytes());
    hash.update(version.counter.to_le_bytes());
    hash.update(key.subject.as_bytes());
    first_half(hash)
}

fn first_half(hash: Sha256) -> Sum {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    Sum(u128::from_le_bytes(half))
}

/// Bits of the number of a leaf.
const LEAF_BITS: u32 = 10;
const _: () = assert!(Sums::BITS_MAX as u32 <= LEAF_BITS);

#[cfg(test)]
mod tests;
