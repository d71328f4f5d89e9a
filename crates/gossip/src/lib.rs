//! Gossip: how blocks and states reach everyone, and how gaps close.
//!
//! Implements Plumtree (Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees", SRDS 2007) as a
//! [`statemachine::StateMachine`], one tree for each origin, over logs with frontiers. Names follow
//! the paper: eager, lazy, graft, prune. Start at [`Gossip`].
//!
//! # Where we differ from the paper
//!
//! - The announcement of a block is the change that it makes to the frontier of whoever holds it
//!   durably. It is gathered for a tick and goes to every neighbour, eager ones too, because
//!   acknowledgements count who holds a block.
//! - Neighbours that connect compare sums and list only where these differ (`compare`).
//! - A node replicates the sites that it wants, and says so first (`interest`, `sharing`).
//! - A frontier says what is held, not what is new, so the same comparison that replaces a lost
//!   message also repairs an outage of any length.
//! - A link is eager or lazy in each direction by itself: a tree that starts at one origin has a
//!   direction. A prune names the slower of two pushers and never the last one.
//! - A graft asks for future pushes only; the missing block is wanted beside it.
//!
//! - A neighbour that gives nothing of what it announces, over many attempts, is told of
//!   (`withheld`).
//!
//! # What the links must do
//!
//! Interests, sums, frontiers, summaries and states of one link arrive in the order in which they
//! were sent, or the link goes down. Blocks, wants, grafts and prunes may be lost or overtake each
//! other.
//!
//! # Not here
//!
//! Choosing neighbours (`overlay`), signatures (`identity`), bytes on the wire (`wire`), files
//! (`store`), retention (the store moves floors).

mod blocks;
mod budget;
mod compare;
mod config;
mod digests;
mod frontier;
mod interest;
mod lost;
mod machine;
mod message;
mod neighbour;
mod recent;
mod repair;
mod serve;
mod sharing;
mod sooner;
mod spread;
mod states;
mod stats;
mod suspect;
mod urgent;
mod withheld;
mod writes;

pub use config::{Config, Recovered};
pub use digests::{Sum, Sums};
pub use frontier::{Frontier, FrontierEntry, Insertion, SEQUENCE_MAX, Span};
pub use interest::{Interest, InterestError};
pub use machine::{Fault, Gossip, Input, Output, RelayError, Write};
pub use message::{Holdings, Message};
pub use stats::Stats;
