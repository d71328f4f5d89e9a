//! Election: which candidates are relays, and which origins each one serves.
//!
//! Start at [`Election::handle`](statemachine::StateMachine::handle). Candidates tell everyone
//! about themselves in states ([`Candidacy`]); each machine ranks the candidates that it believes
//! alive (`ranking`), takes the best as relays, and gives each origin to one of them by rendezvous
//! hashing. Candidates watch the relays over kept links (`detector`), everyone else by the age of
//! the states alone.
//!
//! # Not here
//!
//! Consensus: on a partition each side has its own relays, and names at the sink make what both
//! upload harmless. How states travel (`gossip`), links (`engine`), what a relay does (`aggregate`,
//! `uplink`), who may be a candidate (`engine` checks the role).

mod candidacy;
mod config;
mod detector;
mod io;
mod machine;
mod message;
mod patience;
mod ranking;
mod uplink;

pub use candidacy::{Candidacy, UplinkId};
pub use config::{Config, Profile};
pub use io::{Fault, Input, Output, Stats};
pub use machine::Election;
pub use message::Message;
