//! What a node does with its machine's secret key, and nothing else: so that the key can stay where
//! it is while a recorded run is replayed somewhere else.

use handshake::{open_letter, receive_key, seal_letter};
use identity::{EpochKey, Keypair, Signer, Trust};
use model::{MachineId, NetworkId, State};

/// A machine's secret key, or whatever gives the answers that it gave.
///
/// Every answer is a function of the question: no key draws randomness.
pub trait MachineKey: Signer {
    /// Seals `content` to a machine; `None` if nobody can hold that machine's id. See
    /// [`handshake::seal_letter`].
    fn seal_letter(
        &self,
        network: &NetworkId,
        to: MachineId,
        context: &[u8],
        content: &[u8],
    ) -> Option<Vec<u8>>;

    /// Opens a letter from a machine; `None` if it is not what it says. See
    /// [`handshake::open_letter`].
    fn open_letter(
        &self,
        network: &NetworkId,
        from: MachineId,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>>;

    /// Opens a network key that is sealed to this machine. See [`handshake::receive_key`].
    ///
    /// # Errors
    ///
    /// Why it cannot be opened, in words.
    fn receive_key(&self, trust: &Trust, state: &State) -> Result<EpochKey, String>;
}

impl MachineKey for Keypair {
    fn seal_letter(
        &self,
        network: &NetworkId,
        to: MachineId,
        context: &[u8],
        content: &[u8],
    ) -> Option<Vec<u8>> {
        seal_letter(self, network, to, context, content).ok()
    }

    fn open_letter(
        &self,
        network: &NetworkId,
        from: MachineId,
        context: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let content = open_letter(self, network, from, context, sealed).ok()?;
        Some(content.to_vec())
    }

    fn receive_key(&self, trust: &Trust, state: &State) -> Result<EpochKey, String> {
        receive_key(self, trust, state).map_err(|error| error.to_string())
    }
}
