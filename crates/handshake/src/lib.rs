//! The handshake of the link: Noise messages in, Noise messages and packet keys out.
//!
//! QUIC carries its handshake as an ordered stream of bytes per packet space (CRYPTO frames). A
//! [`Session`] reads and writes these bytes and says when the keys change; `transport` puts it
//! where quinn expects TLS. Start at [`Session`]; the keys are in [`KeySet`], what keeps strangers
//! out before any session exists in [`ConnectionIdKind`], [`FirstFlight`] and [`ReplayGuard`].
//!
//! The protocol is `Noise_XXpsk0_25519_ChaChaPoly_SHA256` (The Noise Protocol Framework,
//! revision 34) in three messages and a confirmation:
//!
//! | flight | packet space | content | keys afterwards |
//! | --- | --- | --- | --- |
//! | C1 | Initial | `psk, e` + version, network, key epoch, time, protocol, parameters | none |
//! | S1a | Initial | `e, ee, s, es` + parameters, proof | Handshake |
//! | S1b | Handshake | confirmation | |
//! | C2 | Handshake, after S1b was read | `s, se` + proof | 1-RTT |
//!
//! Beside it, a newer network key is sealed to every machine that is to have it ([`deliver_key`]).
//!
//! The parameters are QUIC's transport parameters. A proof is a machine id, its signature over this
//! very transcript, and its credential.
//!
//! # Where we differ from TLS in QUIC (RFC 9001) and from libp2p's Noise
//!
//! - The pre-shared key comes first (`psk0`), so who does not know it reads nothing and is answered
//!   nothing, and the Initial packets are keyed from the network key instead of a public constant.
//! - A client of QUIC becomes established only while it processes a Handshake packet, hence S1b;
//!   C2 waits for it, because a server forgets its Handshake keys as soon as it has C2.
//! - No 0-RTT and no data of the server before the client is known.
//! - The signature covers the transcript; libp2p's covers the static key alone and never goes
//!   stale.
//!
//! # Not here
//!
//! Packets, sockets, timers, rate limits (`transport`); entropy and clocks (callers pass them in);
//! what a credential is and whether it counts now ([`Judge`], the caller's).

mod codec;
mod connection_id;
mod delivery;
mod error;
mod first_flight;
mod frame;
mod keys;
mod letter;
mod noise;
mod proof;
mod replay;
mod retry;
mod ring;
mod session;

pub use connection_id::{ConnectionIdKind, check_connection_id, connection_id};
pub use delivery::{deliver_key, receive_key};
pub use error::{ExportError, HandshakeError, ReplayError};
pub use first_flight::{FirstFlight, FlightId};
pub use keys::{
    DirectionKeys, KeyChange, KeySet, PacketKey, PacketKeySet, UpdateChain, initial_keys,
};
pub use letter::{open_letter, seal_letter};
pub use proof::{Judge, Local, Peer};
pub use replay::{Freshness, ReplayGuard};
pub use retry::{check_retry, retry_tag};
pub use ring::KeyRing;
pub use session::{ALPN, MESSAGE_BYTES_MAX, PARAMETERS_BYTES_MAX, Session, Side, VERSION};

#[cfg(test)]
mod tests;
