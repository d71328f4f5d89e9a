//! Command: one machine asks another to do something, now, and hears what became of it.
//!
//! Start at [`Commands`]. A command has an id, a name, one argument, a deadline and an answer: any
//! number of values and a [`Status`] whose codes are gRPC's.
//!
//! **At most once.** The target notes an id durably before a handler sees the command, and keeps it
//! until nobody can send it again. A command that comes twice is answered from what is kept; one
//! that a crash cut short is answered [`Code::Unknown`], never run again.
//!
//! # Not here
//!
//! Bytes of messages (`wire`), links (`engine`), the file of notes (`store`), handlers and clients
//! (`node`, `api`).

mod argument;
mod assembly;
mod attempt;
mod caller;
mod config;
mod ends;
mod error;
mod handlers;
mod id;
mod ledger;
mod letter;
mod load;
mod machine;
mod message;
mod name;
mod note;
mod policy;
mod status;
mod target;

pub use argument::Argument;
pub use attempt::{Attempt, Side};
pub use config::Config;
pub use error::{ArgumentError, IdError, NoteError, RangeError};
pub use id::CommandId;
pub use letter::{Envelope, Letter};
pub use machine::{
    Call, CallId, Command, Commands, Fault, HandlerId, Input, Offer, Output, Recovered, RunId,
    Stats,
};
pub use message::{Lineage, Message};
pub use name::CommandName;
pub use note::{Answer, CallKey, Note, NoteWrite};
pub use policy::{Allowance, Policy, Range, Rights};
pub use status::{Code, Status};
