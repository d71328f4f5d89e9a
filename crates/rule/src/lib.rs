//! Rule: a machine reacts to readings by itself, its own and those of others.
//!
//! Start at [`Rules`]. A rule has a condition in CEL over series functions (`last`, `avg`, `min`,
//! `max`, `rate`, `count`) and an action: a command, a derived reading or an alarm.
//!
//! **Invariant:** evaluating costs at most as many steps as the expression has nodes: what loops
//! or names what is not there is refused when the rule is loaded.
//!
//! **Invariant:** a stale or bad input is never taken for a value; the condition is then unknown,
//! and the rule may act on that with its safe value.
//!
//! # Where we differ from CEL
//!
//! - Macros (`all`, `exists`, `map`, `filter`, `has`) are refused: they loop, and no series is a
//!   list.
//! - Numbers of series are doubles, whatever their type.
//!
//! # Not here
//!
//! Sending commands (`command`), publishing what is derived, files and settings (`node`).

mod bucket;
mod draft;
mod error;
mod expression;
mod functions;
mod latch;
mod lineage;
mod machine;
mod rule;
mod running;
mod window;

pub use draft::{Draft, DraftAction, Limit};
pub use error::{CheckError, Place};
pub use machine::{Event, Input, Kept, Output, Recovered, RuleState, Rules, SeriesKey};
pub use rule::{ALARM_PREFIX, Rule, is_alarm};
