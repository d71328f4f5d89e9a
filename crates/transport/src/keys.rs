//! Packet protection: the handshake's keys in rustls' ciphers, as quinn wants them.

use handshake::{DirectionKeys, KeySet, PacketKey, PacketKeySet};
use quinn::crypto::{self, KeyPair, Keys};
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256;
use rustls::quic::{Algorithm, HeaderProtectionKey};

/// Keys of a packet space.
pub(crate) fn keys(set: &KeySet) -> Keys {
    Keys {
        header: KeyPair {
            local: header_key(&set.local),
            remote: header_key(&set.remote),
        },
        packet: KeyPair {
            local: packet_key(&set.local.packet),
            remote: packet_key(&set.remote.packet),
        },
    }
}

/// Keys of a key phase.
pub(crate) fn packet_keys(set: &PacketKeySet) -> KeyPair<Box<dyn crypto::PacketKey>> {
    KeyPair {
        local: packet_key(&set.local),
        remote: packet_key(&set.remote),
    }
}

fn packet_key(key: &PacketKey) -> Box<dyn crypto::PacketKey> {
    Box::new(cipher().packet_key(AeadKey::from(*key.key), Iv::from(*key.iv)))
}

fn header_key(keys: &DirectionKeys) -> Box<dyn crypto::HeaderKey> {
    let key: Box<dyn HeaderProtectionKey> =
        cipher().header_protection_key(AeadKey::from(*keys.header));
    Box::new(key)
}

/// ChaCha20-Poly1305, the one suite there is.
fn cipher() -> &'static dyn Algorithm {
    TLS13_CHACHA20_POLY1305_SHA256
        .tls13()
        .and_then(|suite| suite.quic)
        .expect("a suite of TLS 1.3 that rustls knows for QUIC")
}
