//! Overlay: which neighbours to keep, so that the site is one connected graph.
//!
//! Implements HyParView (Leitão, Pereira, Rodrigues, "HyParView: a membership protocol for reliable
//! gossip-based broadcast", DSN 2007) as a [`StateMachine`](statemachine::StateMachine). Names
//! follow the paper: active view (neighbours), passive view (others that are known), shuffle.
//!
//! # Where we differ from the paper
//!
//! - A link is not yet a neighbour: links are opened for other reasons too, so being neighbours is
//!   always asked (`Join`, `Neighbour`) and answered (`NeighbourReply`). One neighbour in each
//!   shuffle interval is asked anew, so that views which differ after lost messages agree again.
//! - Who is dropped to make room is told who takes its place and goes there, so that an eviction
//!   does not cut the graph, and whoever came in the last second is not dropped.
//! - Urgent requests and joins get places above the view's size first, and evict only when those
//!   are taken; such places are not taken back.
//! - Neighbours that were lost are dialled until they answer, also with a full view, and get a
//!   place above it: halves of a partition find each other without knowing that they are two.
//! - So are members of which nothing is heard any more, as `engine` tells: halves that forgot each
//!   other, too.
//! - A machine that hears the walks of few others only, but knows more, suspects that it sits in a
//!   closed corner and treats one of those as lost. Shuffles are frequent in the first seconds, so
//!   that this is noticed early.
//! - A neighbour of which `gossip` says that it withholds what it should give is doubted: it keeps
//!   its place until another machine comes, the one that has what is withheld before all. Half of
//!   the view is kept for neighbours that this machine chose itself (see `doubts`).
//! - A join is answered with a sample too, so that many that join through one machine at once find
//!   each other.
//! - The answer to a shuffle goes to whoever handed the walk over, not to where it began, so that
//!   it needs no further link.
//! - What others say about a machine neither replaces what it said itself nor fills more than half
//!   of the passive view at the cost of machines that were met.
//! - A far neighbour gives its place to a machine that is much nearer, but for some far ones, which
//!   keep the graph an expander (after X-BOT, see `improve`).
//!
//! # Not here
//!
//! Finding first contacts and opening links (`swarm`), what travels between neighbours (`gossip`),
//! keeping the address book on disk (`store`), limits of how many links there are (`swarm`).

mod book;
mod config;
mod heard;
mod links;
mod machine;
mod message;

pub use config::Config;
pub use machine::{Fault, Input, Output, Overlay, Recovered, Stats};
pub use message::{Address, Contact, Hops, Message};
