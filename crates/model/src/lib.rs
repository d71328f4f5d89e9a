//! Readings, series, values, units and time, and the blocks and states that carry them.
//!
//! Start at [`Reading`] for what is measured and at [`Block`] for how it travels.
//!
//! # Not here
//!
//! Signatures (`identity` makes and checks them), who may publish (`identity`), bytes of protocol
//! messages (`wire`), monotonic time (`statemachine`).

pub mod block;
mod error;
mod id;
mod line;
mod pattern;
mod quality;
mod reading;
mod series;
mod state;
mod time;
mod value;

pub use block::{Block, BlockHash, BlockHeader, ContentHash, Draft, HashPrefix, PublisherMark};
pub use error::{BlockError, IdError, NameError, PatternError, StateError};
pub use id::{BlockId, Epoch, LogId, MachineId, NetworkId, Position, Sequence, Signature};
pub use line::{line_of, lines};
pub use pattern::Pattern;
pub use quality::{Quality, QualityLevel, QualityReason};
pub use reading::{NewReading, Reading};
pub use series::{Labels, SeriesDefinition, SeriesName, SeriesNumber, Unit};
pub use state::{State, StateDraft, StateKey, StateKind, StateVersion};
pub use time::{ClockState, Timestamp};
pub use value::{Value, ValueType};
