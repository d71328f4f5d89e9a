//! Ingest: sources of readings.
//!
//! A source turns what it finds into [`model::NewReading`]s and sends them, batch by batch, into a
//! bounded channel; when the channel is full it waits, and when the channel is closed it ends. Each
//! source is one future, run by a task of the caller's: [`host::run`] and [`replay::run`]. Lines
//! that programs write are parsed one by one, see [`mod@line`].
//!
//! The wall clock is given by the caller ([`Clock`]); waiting goes through tokio's timers.
//!
//! # Not here
//!
//! Numbering of series and sealing of blocks (`engine`), standard input itself (`node`).

mod error;
pub mod host;
pub mod line;
mod names;
pub mod replay;

use std::sync::Arc;

use model::{NewReading, Timestamp};
use tokio::sync::mpsc;

pub use error::{LineError, LineFault, SourceError};
pub use names::{foreign_name, level};

/// The caller's wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where a source sends its readings; each batch is of one moment.
pub type Readings = mpsc::Sender<Vec<NewReading>>;
