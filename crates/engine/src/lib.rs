//! Engine: the protocols composed into one state machine, the whole of a node but its effects.
//!
//! Start at [`Node`]. The same `Node` runs behind real sockets and disks in `node` and behind
//! simulated ones in `sim`: everything that can go wrong in a distributed system is decided here or
//! below.
//!
//! - [`Node`] routes inputs to overlay, gossip and election and translates what they say.
//! - `publisher` gathers readings into blocks, numbers and signs them, and answers publishers.
//! - `feed` follows the logs of all origins, computes windows and hands records to uplinks.
//! - `own` keeps what this machine tells everyone about itself, as states.
//!
//! # Not here
//!
//! Sockets (`swarm`), disks (`store`), sinks (`uplink`), clocks and entropy (`node`).

mod admin;
mod canonical;
mod catalogue;
mod config;
mod feed;
mod follower;
mod health;
mod io;
mod key;
mod lines;
mod links;
mod lookback;
mod mail;
mod node;
mod own;
mod past;
mod presence;
mod publisher;
mod told;
mod views;

pub use admin::{AdminError, AdminReply, AdminRequest, Rights};
pub use catalogue::{Catalogue, Member};
pub use config::{Config, Forward, NodeIdentity, UplinkConfig};
pub use follower::{Backlog, FeedStats};
pub use io::{
    AckLevel, CleanStop, CommandInput, CommandOutput, Event, Input, Output, PublishError,
    Published, Recovered, RequestId, UploadId,
};
pub use key::MachineKey;
pub use node::Node;
pub use presence::{Neighbour, Presence};
