//! What decoders, the handshake and replays must hold for any bytes that come from elsewhere.
//!
//! A [`Target`] is a function of bytes that panics when a promise is broken. The same functions run
//! under libFuzzer, which searches for such bytes, and under `cargo test`, which replays what has
//! been found so far (`corpus/`) together with honest bytes ([`Target::seeds`]), so that both the
//! accepting and the refusing side of every decoder stay covered.
//!
//! ```text
//! cargo +nightly fuzz run --fuzz-dir crates/fuzz --features libfuzzer TARGET
//! cargo run -p fuzz -- replay TARGET FILE…     # without a fuzzer: a crash, step by step
//! cargo run -p fuzz -- seed                    # writes the honest bytes into the corpus
//! ```
//!
//! # Not here
//!
//! Sockets and QUIC packets (`transport` has them, and its own tests), schedules of whole networks
//! (`sim`).

mod credentials;
mod end;
mod frames;
mod insider;
mod network;
mod noise;
mod recordings;
mod strangers;
mod target;
mod texts;
mod world;

pub use credentials::credentials;
pub use frames::frames;
pub use insider::insider;
pub use network::handshake;
pub use recordings::recordings;
pub use strangers::strangers;
pub use target::{Outcome, TARGETS, Target};
pub use texts::texts;
