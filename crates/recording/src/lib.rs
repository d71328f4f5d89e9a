//! Recording: what a running node took in, written down, and that run again.
//!
//! A node is a function of its start and its inputs ([`engine::Node`] is pure), so these are enough
//! to run it again somewhere else, step by step. [`Recorded`] stands around the node in the loop of
//! `node`: it writes down how the node starts and each input with its instant, and a digest of all
//! that the node gave out for it. [`Replay`] reads that, gives the same inputs to a node of its own
//! and demands the same outputs.
//!
//! What is in a recording: settings, what the disk knew at the start, every frame, reading and
//! command, in clear. What is not: keys. The machine's key answers questions
//! ([`engine::MachineKey`]); its answers are written down in its place, and of a network key that
//! it opens only the epoch.
//!
//! A recording is made for the program that made it. It is read like anything from outside: with
//! limits, and with errors.
//!
//! # Not here
//!
//! Files and threads that write them (`node`), the command line of a replay (`sim`).

mod commands;
mod error;
mod event;
mod file;
mod held;
mod key;
mod plain;
mod recorded;
mod replay;
mod settings;
#[cfg(test)]
mod tests;

pub use error::{Difference, ReplayError, Unrecordable};
pub use file::{ENTRY_BYTES_MAX, HEADER_BYTES};
pub use recorded::{Recorded, Sink};
pub use replay::{Replay, Step, Summary};
