//! What this machine shows and which network keys it goes by, replaced while it runs.
//!
//! Open links stay as they are; the next handshake on every transport is by what counts now.

use std::sync::Arc;

use handshake::{KeyRing, Local};
use identity::{Credential, EpochKey, Keypair, Membership, NetworkKeys};
use model::NetworkId;

use crate::StartError;
use crate::admission::Admission;
use crate::gate::Gate;

/// What every transport was told of this machine.
pub(crate) struct Own {
    pub(crate) machine_key: Keypair,
    pub(crate) network: NetworkId,
    pub(crate) network_keys: NetworkKeys,
    pub(crate) gate: Arc<Gate>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) quic: transport::Handle,
}

impl Own {
    /// Shows this membership from now on.
    pub(crate) fn show(&mut self, membership: Membership) {
        self.gate.show(&Credential::Membership(membership));
        self.tell_quic();
    }

    /// Goes by these keys from now on.
    pub(crate) fn set_network_keys(&mut self, keys: &NetworkKeys) -> Result<(), StartError> {
        self.admission.set_network_keys(&self.network, keys)?;
        self.network_keys = keys.clone();
        self.tell_quic();
        Ok(())
    }

    fn tell_quic(&self) {
        let local = local(&self.machine_key, self.network, &self.gate);
        let ring = ring(&self.network, &self.network_keys);
        self.quic.replace(Arc::new(local), ring);
    }
}

/// What QUIC shows of this machine.
pub(crate) fn local(machine_key: &Keypair, network: NetworkId, gate: &Gate) -> Local {
    Local::new(copy(machine_key), network, gate.shown())
}

/// The keys that QUIC goes by.
pub(crate) fn ring(network: &NetworkId, keys: &NetworkKeys) -> KeyRing {
    let link_keys = |key: &EpochKey| key.key.link(network, key.epoch);
    let previous = keys.iter().nth(1).map(link_keys);
    KeyRing::new(link_keys(keys.current()), previous)
}

/// The same key once more; it is not `Clone`, so that every copy is meant.
pub(crate) fn copy(key: &Keypair) -> Keypair {
    Keypair::from_seed(&key.seed())
}
