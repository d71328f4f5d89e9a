//! Uplinks: how records leave the mesh, at least once, whatever happens to the other side.
//!
//! Start at [`Uplink::start`]. Each uplink is one thread with its own single-threaded runtime, so
//! that a slow disk or broker never holds up the mesh; [`Sink`] is what is different between
//! kinds of sinks, [`SinkUrl`] names them.
//!
//! # What is promised
//!
//! A record that was submitted is reported as delivered only after the sink has it for good: synced
//! to disk, or acknowledged by the broker. Until then it is tried again, live records before old
//! ones, until it is withdrawn, refused for ever (then it is set aside with the reason) or dropped
//! because the backlog is full or it is too old (then that is counted and reported).
//!
//! # Not here
//!
//! What a record says (`aggregate`), who uploads which origin's records, and the progress that
//! follows from deliveries (`election`, `engine`).

mod access;
mod aside;
mod backoff;
mod budget;
mod clock;
mod config;
mod error;
mod event;
mod http;
mod inbox;
mod item;
mod json;
mod outbox;
mod packed;
mod sink;
mod suspects;
mod uplink;
mod url;
mod worker;

pub use access::{Access, ClientIdentity, Secret};
pub use aside::{SetAside, SetAsideReader};
pub use budget::WhenSpent;
pub use config::Config;
pub use error::{SinkError, StartError, UrlError};
pub use event::{Counters, DropReason, Event, Full, Outgoing, Priority, State, Status};
pub use item::Item;
pub use sink::{Outcome, Sink};
pub use uplink::Uplink;
pub use url::{Host, InfluxUrl, JetStreamUrl, Login, MqttUrl, MqttVersion, SinkUrl};
