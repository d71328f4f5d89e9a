//! Timers by subject: setting one replaces it, clearing one forgets it, so none fires stale.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Deadline, Instant};

/// The pending timers of one machine, at most one for each key.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    by_key: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_time: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets the timer `key` to fire at `at`, in place of an earlier setting.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(old) = self.by_key.insert(key.clone(), at) {
            self.by_time.remove(&(old, key.clone()));
        }
        self.by_time.insert((at, key));
    }

    /// Sets the timer `key` unless it is set already.
    pub fn set_if_idle(&mut self, key: K, at: Instant) {
        if !self.is_set(&key) {
            self.set(key, at);
        }
    }

    /// Forgets the timer `key`; returns whether it was set.
    pub fn clear(&mut self, key: &K) -> bool {
        match self.by_key.remove(key) {
            Some(at) => self.by_time.remove(&(at, key.clone())),
            None => false,
        }
    }

    /// Whether the timer `key` is pending.
    #[must_use]
    pub fn is_set(&self, key: &K) -> bool {
        self.by_key.contains_key(key)
    }

    /// Takes the earliest timer due at or before `now`, with the time it was set for.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        if self.by_time.first()?.0 > now {
            return None;
        }
        let (at, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some((at, key))
    }

    /// Returns the earliest pending timer as a deadline; `why` names a key.
    pub fn next_deadline(&self, why: impl Fn(&K) -> &'static str) -> Option<Deadline> {
        self.by_time.first().map(|(at, key)| Deadline {
            at: *at,
            why: why(key),
        })
    }

    /// How many timers are pending.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no timer is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_timer_set_again_fires_once_at_its_last_setting() {
        let mut timers = Timers::default();

        timers.set("graft", at(10));
        timers.set("graft", at(20));

        assert_eq!(timers.pop_due(at(15)), None);
        assert_eq!(timers.pop_due(at(20)), Some((at(20), "graft")));
        assert_eq!(timers.pop_due(at(99)), None);
    }

    #[test]
    fn a_cleared_timer_never_fires() {
        let mut timers = Timers::default();

        timers.set("graft", at(10));

        assert!(timers.clear(&"graft"));
        assert!(!timers.clear(&"graft"));
        assert_eq!(timers.next_deadline(|key| key), None);
    }

    #[test]
    fn timers_fire_in_the_order_of_their_times() {
        let mut timers = Timers::default();

        timers.set("b", at(2));
        timers.set("a", at(3));
        timers.set("c", at(1));

        let order: Vec<_> = std::iter::from_fn(|| timers.pop_due(at(9)))
            .map(|(_, k)| k)
            .collect();
        assert_eq!(order, ["c", "b", "a"]);
    }
}
