//! The vocabulary of protocols without side effects: machines, time, timers, randomness, bounds.
//!
//! A protocol here is a [`StateMachine`]: it is told what happened and when, and says what must be
//! done. It never reads a clock, opens a socket or draws entropy, so that every run can be
//! repeated.
//!
//! # Not here
//!
//! Wall-clock time (`model::Timestamp`), the one real clock and the one source of entropy (`node`).

mod bounded;
mod machine;
mod rng;
mod time;
mod timers;

pub use bounded::{BoundedMap, BoundedQueue, Full};
pub use machine::{StateMachine, Ticket};
pub use rng::Rng;
pub use time::{Deadline, Instant};
pub use timers::Timers;
