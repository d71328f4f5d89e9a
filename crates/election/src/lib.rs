//! Election: which candidates are relays, and which origins each one serves.

mod candidacy;
mod machine;
mod message;

pub use candidacy::{Candidacy, UplinkId};
pub use machine::{Config, Election, Fault, Input, Output};
pub use message::Message;
