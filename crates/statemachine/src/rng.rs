//! Repeatable randomness: the same seed draws the same numbers on every platform.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};

/// A seeded stream of random numbers (ChaCha with eight rounds).
///
/// Machines receive one in `new`. A parent forks one for each child by label, so that one more
/// draw in one child leaves the others' streams as they were. Never used for keys.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: [u8; 32],
    stream: ChaCha8Rng,
}

impl Rng {
    /// The stream of `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            seed,
            stream: ChaCha8Rng::from_seed(seed),
        }
    }

    /// The stream of a small seed, as simulations print it.
    #[must_use]
    pub fn from_u64(seed: u64) -> Self {
        Self::from_seed(Sha256::digest(seed.to_le_bytes()).into())
    }

    /// What this stream is drawn from, at its beginning.
    #[must_use]
    pub const fn seed(&self) -> [u8; 32] {
        self.seed
    }

    /// The stream of `label` below this one's seed; this stream does not move.
    #[must_use]
    pub fn fork(&self, label: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(self.seed)
            .chain_update(label.as_bytes());
        Self::from_seed(digest.finalize().into())
    }

    /// Draws 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// Draws a number from `0..bound`, zero if `bound` is zero.
    ///
    /// By multiplication (Lemire 2019) without rejection: biased by less than `bound` / 2⁶⁴.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(u64::MAX)
    }

    /// Draws an index into a slice of `len` elements; `None` if there are none.
    pub fn index(&mut self, len: usize) -> Option<usize> {
        if len == 0 {
            return None;
        }
        usize::try_from(self.below(u64::try_from(len).ok()?)).ok()
    }

    /// Draws true `permille` times out of 1,000.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1_000) < u64::from(permille)
    }

    /// Draws one element.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        self.index(items.len()).and_then(|index| items.get(index))
    }

    /// Shuffles in place (Fisher, Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            if let Some(index) = self.index(last + 1) {
                items.swap(last, index);
            }
        }
    }

    /// Draws a duration between half of `mean` and one and a half of it, so that timers that were
    /// set together do not stay together.
    pub fn jitter(&mut self, mean: std::time::Duration) -> std::time::Duration {
        let nanos = u64::try_from(mean.as_nanos()).unwrap_or(u64::MAX);
        mean / 2 + std::time::Duration::from_nanos(self.below(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_draw_leaves_a_fork_as_it_was() {
        let untouched = Rng::from_u64(7);
        let mut drawn = Rng::from_u64(7);

        drawn.next_u64();

        assert_eq!(
            untouched.fork("gossip").next_u64(),
            drawn.fork("gossip").next_u64()
        );
        assert_ne!(
            untouched.fork("gossip").next_u64(),
            untouched.fork("overlay").next_u64()
        );
    }

    #[test]
    fn a_draw_stays_below_its_bound_and_reaches_both_ends() {
        let mut rng = Rng::from_u64(1);

        let drawn: Vec<u64> = (0..1_000).map(|_| rng.below(10)).collect();

        assert!(drawn.iter().all(|&n| n < 10));
        assert!((0..10).all(|n| drawn.contains(&n)));
        assert_eq!(rng.below(0), 0);
    }
}
