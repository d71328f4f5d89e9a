//! Aggregate: event-time windows over one origin's log, computed alike on every relay.
//!
//! A window's record is a pure function of the gap-free prefix of its origin's log: every relay
//! that computes it gets the same bytes, so equal keys mean equal content. Start at
//! [`Windows::apply`]. Words follow the Dataflow model (Akidau et al., VLDB 2015): watermark,
//! allowed lateness.
//!
//! # Which blocks count
//!
//! The epochs of an origin in order, each cut at the block that the first block of the next one
//! names in `continues`. Blocks of an old epoch beyond that are stragglers and do not count; a
//! fold that has taken some says [`AggregateError::Rewind`] when it learns so. Somebody may have
//! uploaded records that are named by them: what is in memory at a cut is given again, named by the
//! first block after it. An epoch that continues nothing begins another log: what its machine said
//! before it lost everything may arrive at any time or never, so no window reaches across.
//!
//! # What comes late
//!
//! No reading is too late: a window that it belongs to is in memory, or is computed from the log
//! again, and a record with a later contributor is given. Which of several late readings get a
//! record of their own depends on timing; the last one has one always.
//!
//! # Numbers
//!
//! All sums are taken in log order with `+ - * /` and `sqrt` alone, which IEEE 754 fixes, so that
//! an ARM and an x86 relay agree to the bit. A good number is one that is finite and whose quality
//! is good; uncertain counts as bad.
//!
//! # Not here
//!
//! Where blocks come from (`engine`), where records go (`uplink`), who uploads (`election`).

mod cold;
mod config;
mod error;
mod held;
mod progress;
mod record;
mod sketch;
mod slot;
mod window;
mod windows;

pub use cold::Scan;
pub use config::{Applied, Config};
pub use error::AggregateError;
pub use progress::Progress;
pub use record::{RawKey, RawRecord, Record, SeriesKey, Summary, WindowKey, WindowRecord};
pub use windows::{Windows, horizon_before};
