//! Which of two network keys to try next.
//!
//! While network keys are replaced, some machines hold the older one alone, and whoever is dialled
//! with a key that it does not hold is silent. So where a try led nowhere, the next one is with the
//! other key; what led somewhere is forgotten, and the next one is with the current key again.
//!
//! Where who is dialled has to choose as well (TCP), it changes half as often: if both sides
//! changed with every try, they could miss each other for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which side of a connection chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chooser {
    /// The one that dials: the other key after every try that led nowhere.
    Dialler,
    /// The one that is dialled: the other key after two of them.
    Listener,
}

/// How many tries in a row have led nowhere, by remote. Cloning shares it.
#[derive(Debug)]
pub struct KeyTurns<K>(Arc<Mutex<BTreeMap<K, u8>>>);

/// One try, which has led nowhere until [`Turn::settle`] is called.
#[derive(Debug)]
pub struct Turn<K: Ord> {
    turns: KeyTurns<K>,
    remote: Option<K>,
    is_previous: bool,
}

impl<K: Ord> KeyTurns<K> {
    /// Begins a try.
    #[must_use]
    pub fn take(&self, chooser: Chooser, remote: K) -> Turn<K> {
        let failed = self.failed().get(&remote).copied().unwrap_or(0);
        let changes = match chooser {
            Chooser::Dialler => failed,
            Chooser::Listener => failed / 2,
        };
        Turn {
            turns: self.clone(),
            is_previous: changes % 2 == 1,
            remote: Some(remote),
        }
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<K, u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Clone for KeyTurns<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for KeyTurns<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord> Turn<K> {
    /// Whether the previous key is to be used, if there is one.
    #[must_use]
    pub const fn is_previous(&self) -> bool {
        self.is_previous
    }

    /// The other side has understood: the key is one that it holds.
    pub fn settle(mut self) {
        if let Some(remote) = self.remote.take() {
            self.turns.failed().remove(&remote);
        }
    }
}

impl<K: Ord> Drop for Turn<K> {
    fn drop(&mut self) {
        let Some(remote) = self.remote.take() else {
            return;
        };
        let mut failed = self.turns.failed();
        if failed.len() >= REMOTES_MAX && !failed.contains_key(&remote) {
            failed.clear(); // They begin with the current key again.
        }
        let count = failed.entry(remote).or_default();
        *count = count.wrapping_add(1);
    }
}

/// Most remotes that are remembered. Source: guess.
const REMOTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_led_nowhere_is_followed_by_one_with_the_other_key() {
        let turns = KeyTurns::default();
        let used = |chooser| -> Vec<bool> {
            let tries = 0..4;
            tries
                .map(|_| turns.take(chooser, "a").is_previous())
                .collect()
        };

        assert_eq!(used(Chooser::Dialler), [false, true, false, true]);
        assert_eq!(used(Chooser::Listener), [false, false, true, true]);
        assert!(
            !turns.take(Chooser::Dialler, "b").is_previous(),
            "the control"
        );
    }

    #[test]
    fn a_dialler_and_a_listener_meet_in_four_tries_wherever_they_begin() {
        for (offset, wanted) in (0..8).flat_map(|offset| [(offset, false), (offset, true)]) {
            let (dialler, listener) = (KeyTurns::default(), KeyTurns::default());
            for _ in 0..offset {
                drop(listener.take(Chooser::Listener, "a"));
            }

            let met = (0..4).any(|_| {
                let dials = dialler.take(Chooser::Dialler, "a").is_previous();
                let answers = listener.take(Chooser::Listener, "a").is_previous();
                dials == wanted && answers == wanted
            });

            assert!(met, "after {offset} tries, previous key: {wanted}");
        }
    }

    #[test]
    fn what_led_somewhere_begins_with_the_current_key_again() {
        let turns = KeyTurns::default();
        drop(turns.take(Chooser::Dialler, "a"));

        let with_previous = turns.take(Chooser::Dialler, "a");
        assert!(with_previous.is_previous());
        with_previous.settle();

        assert!(!turns.take(Chooser::Dialler, "a").is_previous());
    }
}
