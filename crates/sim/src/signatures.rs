//! Signatures, each checked once: thousands of machines check the same ones.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use identity::{SignatureError, Signatures, verify_digest};
use model::{MachineId, Signature};

/// A digest and a signature on it.
type Signed = ([u8; 32], [u8; 64]);

/// Checks like every node does, and remembers what came of it.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// Good signatures, each with its digest, and whose they are.
    good: Mutex<BTreeMap<Signed, MachineId>>,
}

impl Signatures for Remembered {
    fn verify(
        &self,
        machine: MachineId,
        digest: &[u8; 32],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let name = (*digest, signature.0);
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.get(&name) == Some(&machine) {
            return Ok(());
        }
        verify_digest(machine, digest, signature)?;
        good.insert(name, machine);
        Ok(())
    }
}
