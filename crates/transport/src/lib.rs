//! The link: QUIC with a Noise handshake, as a libp2p transport.
//!
//! quinn does QUIC; where it expects TLS, it finds a [`handshake::Session`]. Start at [`Quic`].
//! What lies between the wire and a connection:
//!
//! ```text
//! UDP → socket layer (testnets) → QuietSocket: foreign versions end here
//!     → ids: the MAC in a first destination id → Gate: how many at a time
//!     → FirstPacketKey: one first message, whole and never seen → Noise → membership
//! ```
//!
//! **Invariant:** who does not have the network key gets no datagram. Every step before the first
//! answer drops what it refuses; QUIC's own four answers to strangers (versions, resets, closes,
//! refusals) are taken from it one by one, and none of their datagrams leaves the socket.
//!
//! **Invariant:** a connection stands only between two members, each of which has judged the
//! other's membership.
//!
//! **Invariant:** every buffer has a bound: handshakes, what waits for them, streams, windows.
//!
//! # Where we differ from libp2p's QUIC
//!
//! - No version of TLS, no certificates, no multistream negotiation for the security protocol.
//! - A stateless reset goes only to an address at which a member has proved itself: a recorded
//!   connection id would else be a question whether this machine runs.
//! - Keys are renewed by the clock.
//!
//! # Not here
//!
//! Who is a member (`identity`, and the [`handshake::Judge`] that is handed in), which connection
//! counts, TCP (`swarm`).

mod address;
mod clock;
mod config;
mod connection;
mod datagram;
mod endpoint;
mod error;
mod first_packet;
mod gate;
mod interfaces;
mod keys;
mod known;
mod layer;
mod listener;
mod member;
mod punch;
mod session;
mod socket;
mod stats;
mod stream;
mod transport;
mod turns;
mod upgrade;

pub use config::{Config, WallClock};
pub use connection::Connection;
pub use error::Error;
pub use interfaces::{AddressChange, Interfaces};
pub use layer::{BoxedStream, ByteStream, Passage, SocketLayer};
pub use stats::Stats;
pub use stream::Stream;
pub use transport::{Handle, Quic};
pub use turns::{Chooser, KeyTurns};

#[cfg(test)]
mod tests;
