//! Aggregate: event-time windows over one origin's log, computed alike on every relay.
//!
//! A window's record is a pure function of the gap-free prefix of its origin's log: every relay
//! that computes it gets the same bytes, so equal keys mean equal content.
//!
//! # Not here
//!
//! Where blocks come from (`engine`), where records go (`uplink`), who uploads (`election`).

mod error;
mod progress;
mod record;
mod windows;

pub use error::AggregateError;
pub use progress::Progress;
pub use record::{Record, RecordKey, SeriesKey, Summary};
pub use windows::{Applied, Config, Windows};
