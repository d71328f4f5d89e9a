//! Gossip: how blocks and states reach everyone, and how gaps close.

mod frontier;
mod machine;
mod message;

pub use frontier::{Frontier, FrontierEntry, Span};
pub use machine::{Config, Fault, Gossip, Input, Output, Recovered, Write};
pub use message::Message;
