//! The libp2p swarm: discovery, connections, and the two streams that frames travel on.
//!
//! Start at [`Swarm::next`]. A link is one connection between two machines that proved to each
//! other who they are and that the operator admitted both:
//!
//! ```text
//! UDP → socket layer → QUIC keyed by Noise (network key, machine keys, credentials) → live, bulk
//! TCP → socket layer → pnet (network key) → Noise (machine keys) → credentials → Yamux
//!     → live, bulk
//! ```
//!
//! **Invariant:** at most one link per machine is reported at a time, each up once and down once. A
//! link outlives its connections: it moves to a fresh one before it is a day old, and loses
//! nothing.
//!
//! **Invariant:** a machine without a valid membership never reaches the swarm. With an invitation
//! it gets an answer inside the connection upgrade, and nothing else.
//!
//! **Invariant:** every queue has a bound; sending never waits, and a caller that is slow to call
//! [`Swarm::next`] stops the reading of sockets.
//!
//! # Not here
//!
//! Which machines to link with (`overlay`), what frames mean (`wire`), revocation, NAT traversal,
//! faults (the testnet brings its own [`SocketLayer`]), what QUIC is made of (`transport`).

mod address;
mod admission;
mod bootstrap;
mod compose;
mod config;
mod dials;
mod enrolment;
mod error;
mod event;
mod frame;
mod gate;
mod handler;
mod join;
mod links;
mod muxer;
mod outbox;
mod own;
mod pulse;
mod reach;
mod refusals;
mod renewal;
mod swarm;
mod tcp;
mod ways;

pub use config::{Config, Credentials, WallClock};
pub use enrolment::{Answer, EnrolmentId};
pub use error::{JoinError, ListenError, RefusalReason, StartError};
pub use event::{Event, Stats};
pub use join::Joining;
pub use outbox::Sending;
pub use swarm::Swarm;
pub use transport::{BoxedStream, ByteStream, Passage, SocketLayer};
pub use ways::Way;
pub use wire::Lane;

#[cfg(test)]
mod tests;
