//! Wire: what neighbours say to each other, as bytes and back, with limits.
//!
//! Start at [`Frame`]; [`encode`] and [`decode`] are the only ways in and out. What comes out of
//! [`decode`] keeps every limit that the messages document, so nobody checks one again.
//!
//! # Not here
//!
//! Where one frame ends and the next begins, and which stream carries it (`swarm`); signatures of
//! blocks and states (`gossip`); whether a message makes sense now (the protocols).

mod error;
mod frame;
mod limits;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use error::{FrameError, MessageKind};
pub use frame::{FRAME_BYTES_MAX, Frame, Lane, decode, encode};
