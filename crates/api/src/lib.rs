//! The faces of a node that programs see: gRPC (`fieldmesh.v1`, health, reflection) and metrics.
//!
//! [`serve`] runs the services over a [`Backend`], which `node` implements; [`Feed`] is the bounded
//! fan-out behind `Watch`; [`serve_metrics`] answers Prometheus and liveness probes.
//!
//! # Not here
//!
//! What the answers are (`node`), the messages (`proto`), TLS and tokens: until they are here, only
//! loopback addresses and a Unix socket are served.

mod admin;
mod backend;
mod commands;
mod convert;
mod error;
mod feed;
mod incoming;
mod json;
mod listen;
mod mesh;
mod metrics;
mod publish;
mod readings;
mod rules;
mod server;

pub use backend::{Backend, Batch, HeldReading, Origin, Query, ReadingStream, SeriesEntry};
pub use commands::{CommandBackend, Order, Sent, SentStep, Served, Serving, ServingOrder};
pub use convert::{to_new_reading, to_timestamp};
pub use error::{ListenError, Refusal, ServeError};
pub use feed::Feed;
pub use listen::Listeners;
pub use metrics::serve_metrics;
pub use publish::READINGS_PER_REQUEST_MAX;
pub use server::serve;
