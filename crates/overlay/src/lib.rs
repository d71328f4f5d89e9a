//! Overlay: which neighbours to keep.

mod machine;
mod message;

pub use machine::{Config, Fault, Input, Output, Overlay, Recovered};
pub use message::{Address, Contact, Hops, Message};
