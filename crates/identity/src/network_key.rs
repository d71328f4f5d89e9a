//! The network key: what every machine of a network knows and no stranger does.

use std::fmt;

use hkdf::Hkdf;
use model::NetworkId;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Which network key is in use; the operator counts it up when the key is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkKeyEpoch(pub u32);

impl NetworkKeyEpoch {
    /// The epoch of the key that `fieldmesh network create` makes.
    pub const FIRST: Self = Self(1);

    /// The one that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for NetworkKeyEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The secret of a network: 32 bytes. Wiped when dropped, never printed.
///
/// It is used for nothing but deriving one key per purpose. Holding it lets a machine be answered
/// at all; what it may do, its membership says.
#[derive(Clone)]
pub struct NetworkKey(Zeroizing<[u8; 32]>);

impl NetworkKey {
    /// The key of these bytes, which must come from the operating system's entropy.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The secret, to be written to a file of mode 0600.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of the cipher under every TCP connection of the network (libp2p's pnet).
    #[must_use]
    pub fn pnet(&self, network: &NetworkId, epoch: NetworkKeyEpoch) -> Zeroizing<[u8; 32]> {
        self.derive(network, epoch, b"fieldmesh-pnet-v1")
    }

    /// The keys of every QUIC connection of the network.
    #[must_use]
    pub fn link(&self, network: &NetworkId, epoch: NetworkKeyEpoch) -> LinkKeys {
        LinkKeys {
            epoch,
            connection_id: self.derive(network, epoch, b"fieldmesh-link-connection-id-v1"),
            initial: self.derive(network, epoch, b"fieldmesh-link-initial-v1"),
            retry: self.derive(network, epoch, b"fieldmesh-link-retry-v1"),
            psk: self.derive(network, epoch, b"fieldmesh-link-psk-v1"),
        }
    }

    fn derive(
        &self,
        network: &NetworkId,
        epoch: NetworkKeyEpoch,
        purpose: &[u8],
    ) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(network.as_bytes()), self.as_bytes())
            .expand_multi_info(&[purpose, &epoch.0.to_be_bytes()], key.as_mut())
            .expect("HKDF gives up to 255 times 32 bytes");
        key
    }
}

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkKey(secret)")
    }
}

/// What QUIC needs of one network key: a key per purpose. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct LinkKeys {
    epoch: NetworkKeyEpoch,
    connection_id: Zeroizing<[u8; 32]>,
    initial: Zeroizing<[u8; 32]>,
    retry: Zeroizing<[u8; 32]>,
    psk: Zeroizing<[u8; 32]>,
}

impl LinkKeys {
    /// The epoch of the network key that they were derived from.
    #[must_use]
    pub const fn epoch(&self) -> NetworkKeyEpoch {
        self.epoch
    }

    /// Authenticates connection ids.
    #[must_use]
    pub fn connection_id(&self) -> &[u8; 32] {
        &self.connection_id
    }

    /// Protects the packets before the first Diffie-Hellman.
    #[must_use]
    pub fn initial(&self) -> &[u8; 32] {
        &self.initial
    }

    /// Authenticates Retry packets.
    #[must_use]
    pub fn retry(&self) -> &[u8; 32] {
        &self.retry
    }

    /// The pre-shared key of the Noise handshake.
    #[must_use]
    pub fn psk(&self) -> &[u8; 32] {
        &self.psk
    }
}

impl fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkKeys(secret of epoch {})", self.epoch.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_derived_key_depends_on_key_network_and_epoch() {
        let (key, network) = (
            NetworkKey::from_bytes(&[1; 32]),
            NetworkId::from_bytes([2; 32]),
        );
        let derived = key.pnet(&network, NetworkKeyEpoch::FIRST);

        assert_ne!(*derived, [1; 32]);
        assert_eq!(derived, key.pnet(&network, NetworkKeyEpoch::FIRST));
        assert_ne!(derived, key.pnet(&network, NetworkKeyEpoch(2)));
        let other_network = NetworkId::from_bytes([3; 32]);
        assert_ne!(derived, key.pnet(&other_network, NetworkKeyEpoch::FIRST));
        let other_key = NetworkKey::from_bytes(&[4; 32]);
        assert_ne!(derived, other_key.pnet(&network, NetworkKeyEpoch::FIRST));
    }

    #[test]
    fn no_two_purposes_share_a_key() {
        let (key, network) = (
            NetworkKey::from_bytes(&[1; 32]),
            NetworkId::from_bytes([2; 32]),
        );
        let link = key.link(&network, NetworkKeyEpoch::FIRST);

        let purposes = [
            *link.connection_id(),
            *link.initial(),
            *link.retry(),
            *link.psk(),
            *key.pnet(&network, NetworkKeyEpoch::FIRST),
            *key.as_bytes(),
        ];

        assert_eq!(BTreeSet::from(purposes).len(), purposes.len());
        let next = key.link(&network, NetworkKeyEpoch(2));
        assert_ne!(next.psk(), link.psk());
    }

    #[test]
    fn the_secret_is_not_printed() {
        let key = NetworkKey::from_bytes(&[77; 32]);
        let link = key.link(&NetworkId::from_bytes([2; 32]), NetworkKeyEpoch::FIRST);

        assert_eq!(format!("{key:?}"), "NetworkKey(secret)");
        assert_eq!(format!("{link:?}"), "LinkKeys(secret of epoch 1)");
    }
}
