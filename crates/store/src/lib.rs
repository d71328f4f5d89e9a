//! Store: blocks in segment files, and what is keyed, on one machine's disk.
//!
//! Blocks, memberships and series definitions are records of append-only segment files
//! (`record`, `footer`), written by one thread that syncs once for many of them (`writer`). Where
//! each block lies is kept in memory (`index`) and comes back from the segments' footers when the
//! store opens (`segments`). sled holds what is keyed and can be lost (`keyed`).
//!
//! Start at [`Store::open`].
//!
//! # Promises
//!
//! - What was completed without error is there after `kill -9` and power loss.
//! - A block is stored at most once, and nothing is readable before it is synced.
//! - What is given up (`retention`) goes by whole segments, the oldest first, and is said.
//! - A damaged record costs itself alone; it is counted, said ([`Store::lost`]) until it is stored
//!   again, and looked for before somebody needs it ([`Scrub`]).
//!
//! # Not here
//!
//! Signatures (checked before anything is written), which series a pattern means (`engine` keeps
//! the catalogue), which thread may block (`node`), when to give something up (`node`).

mod command_log;
mod config;
mod disk;
mod error;
mod footer;
mod index;
mod keyed;
mod latest;
mod notes;
mod query;
mod record;
mod recover;
mod retention;
mod scan;
mod scrub;
mod search;
mod segments;
mod series_set;
mod stats;
mod store;
mod writer;

pub use command_log::CommandLog;
pub use config::Config;
pub use error::{
    CloseError, IoError, NotesError, OpenError, RefusedReason, RefusedWrite, WriteError,
};
pub use notes::CleanStop;
pub use query::{Cursor, Found, Page, Query, Selection};
pub use recover::Recovered;
pub use retention::{Alarms, Dropped, Retention};
pub use scrub::Scrub;
pub use search::FoundBlocks;
pub use stats::Stats;
pub use store::{ReadBlocks, Store};
pub use writer::Completion;
