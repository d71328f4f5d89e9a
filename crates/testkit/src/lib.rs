//! Drives one state machine in a test, and checks the laws.
//!
//! [`Probe`] plays the caller of one machine: it feeds inputs, moves time and fires every timer at
//! its deadline. [`Lawful`] is a machine around a machine that panics when the one inside breaks a
//! law of [`StateMachine`](statemachine::StateMachine); it goes wherever the machine itself goes,
//! also into a `Probe` or a simulated network.
//!
//! # Not here
//!
//! Networks of machines (`sim`), anything that runs outside of tests.

mod laws;
mod probe;

pub use laws::{Lawful, Step, check};
pub use probe::Probe;
