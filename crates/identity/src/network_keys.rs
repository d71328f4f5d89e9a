//! The network keys that a machine holds: the current one and the one before, so that a machine
//! that was away while the key was replaced still finds its way back.

use crate::{NetworkKey, NetworkKeyEpoch};

/// A network key and which one it is.
#[derive(Clone, Debug)]
pub struct EpochKey {
    /// Which one.
    pub epoch: NetworkKeyEpoch,
    /// The secret.
    pub key: NetworkKey,
}

/// The network keys that a machine holds: links are dialled with the current one, and accepted with
/// the current one and the one before.
#[derive(Clone, Debug)]
pub struct NetworkKeys {
    current: EpochKey,
    previous: Option<EpochKey>,
}

impl NetworkKeys {
    /// Holds one key.
    #[must_use]
    pub const fn new(current: EpochKey) -> Self {
        Self {
            current,
            previous: None,
        }
    }

    /// Holds a key and the one before it; `None` unless `previous` is of an earlier epoch.
    #[must_use]
    pub fn with_previous(current: EpochKey, previous: EpochKey) -> Option<Self> {
        let is_earlier = previous.epoch < current.epoch;
        is_earlier.then_some(Self {
            current,
            previous: Some(previous),
        })
    }

    /// The key to dial with.
    #[must_use]
    pub const fn current(&self) -> &EpochKey {
        &self.current
    }

    /// The keys to accept, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &EpochKey> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
    }

    /// Takes a newer key into use; the current one becomes the one before. Returns whether it is
    /// newer: an epoch never goes back.
    pub fn advance(&mut self, newer: EpochKey) -> bool {
        let is_newer = newer.epoch > self.current.epoch;
        if is_newer {
            self.previous = Some(std::mem::replace(&mut self.current, newer));
        }
        is_newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch_key(epoch: u32) -> EpochKey {
        EpochKey {
            epoch: NetworkKeyEpoch(epoch),
            key: NetworkKey::from_bytes(&[7; 32]),
        }
    }

    fn epochs(keys: &NetworkKeys) -> Vec<u32> {
        keys.iter().map(|key| key.epoch.0).collect()
    }

    #[test]
    fn a_newer_key_keeps_the_one_before_and_an_older_one_changes_nothing() {
        let mut keys = NetworkKeys::new(epoch_key(1));

        assert!(keys.advance(epoch_key(2)));
        assert!(!keys.advance(epoch_key(2)));
        assert!(!keys.advance(epoch_key(1)));
        assert_eq!(epochs(&keys), [2, 1]);

        assert!(keys.advance(epoch_key(5)));
        assert_eq!(epochs(&keys), [5, 2]);
        assert!(NetworkKeys::with_previous(epoch_key(2), epoch_key(2)).is_none());
    }
}
