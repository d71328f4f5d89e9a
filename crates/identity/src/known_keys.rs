//! The same few machines sign nearly everything that a node checks, so their keys are kept ready.
//!
//! A key on the wire is one coordinate of a point; the other takes a square root, a tenth of what a
//! check costs.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ed25519_dalek::VerifyingKey;
use model::{MachineId, Signature};

use crate::keypair::{key_of, verify_with};
use crate::{SignatureError, Signatures};

/// Checks every signature each time, with keys that it has at hand once a signature of theirs was
/// good.
#[derive(Debug, Default)]
pub struct KnownKeys {
    keys: Mutex<BTreeMap<MachineId, VerifyingKey>>,
}

impl Signatures for KnownKeys {
    fn verify(
        &self,
        machine: MachineId,
        digest: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        if let Some(key) = self.at_hand(machine) {
            return verify_with(&key, machine, digest, signature);
        }
        let key = key_of(machine)?;
        verify_with(&key, machine, digest, signature)?;
        self.keep(machine, key);
        Ok(())
    }
}

impl KnownKeys {
    /// The key of a machine, if one is kept; a copy, so that no check is made behind the lock.
    fn at_hand(&self, machine: MachineId) -> Option<VerifyingKey> {
        self.lock().get(&machine).copied()
    }

    fn keep(&self, machine: MachineId, key: VerifyingKey) {
        let mut keys = self.lock();
        if keys.len() >= KEYS_MAX {
            keys.clear(); // Whoever still signs is back soon.
        }
        keys.insert(machine, key);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MachineId, VerifyingKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys at hand, some 250 bytes each. Source: guess, the machines of a large site.
const KEYS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Keypair;

    #[test]
    fn a_key_at_hand_says_the_same_as_one_that_is_read_anew() {
        let known = KnownKeys::default();
        let (pair, other) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let (machine, digest) = (pair.machine(), [3; 32]);
        let good = pair.sign(&digest);

        for _ in 0..2 {
            assert_eq!(known.verify(machine, &digest, &good), Ok(()));
            for (digest, signature) in [(digest, other.sign(&digest)), ([4; 32], good)] {
                let refused = known.verify(machine, &digest, &signature);
                assert_eq!(refused, Err(SignatureError::Mismatch(machine)));
            }
        }
    }

    #[test]
    fn only_keys_that_have_signed_are_kept_and_no_more_than_there_is_room_for() {
        let known = KnownKeys::default();
        for seed in 0..1_030_u32 {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&seed.to_be_bytes());
            let pair = Keypair::from_seed(&bytes);
            let wrong = known.verify(pair.machine(), &[1; 32], &pair.sign(&[2; 32]));
            assert!(wrong.is_err());
            assert!(known.lock().len() <= KEYS_MAX);
            let right = known.verify(pair.machine(), &[1; 32], &pair.sign(&[1; 32]));
            assert_eq!(right, Ok(()));
        }

        assert_eq!(known.lock().len(), 1_030 - KEYS_MAX);
    }
}
