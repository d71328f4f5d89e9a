//! Sim: many nodes of the real engine over a simulated network, disk, sink and clock.
//!
//! Start at [`run`]. A seed draws the network, the machines' work and the faults; frames pass
//! through `wire`. Safety is checked after every event (`checker`), and that progress never runs
//! ahead of the sink and whoever can be served is (`uploads`); then the faults stop, and everyone
//! must hold everything and the sink every window in bounded time (`world`), judged by an
//! independent computation (`oracle`). Each seed is run twice, and its traces must be equal.
//!
//! # Not here
//!
//! Anything that decides: whatever is decided is decided by `engine` and below.

mod checker;
mod commands;
mod disk;
mod draw;
mod faults;
mod growth;
mod halves;
mod hardware;
mod hours;
mod insiders;
mod io;
mod machine;
mod network;
mod newcomers;
mod oracle;
mod outcast;
mod plants;
mod record;
mod replay;
mod report;
mod run;
mod scenario;
mod shared;
mod signatures;
mod sink;
mod sites;
mod stretch;
mod survivors;
mod trace;
mod uploads;
mod whole;
mod workload;
mod world;

pub use growth::Growth;
pub use plants::Plant;
pub use replay::{ReplayFailure, Replayed, replay};
pub use report::Report;
pub use run::{find_failure, log, run, run_once, run_recorded};
pub use scenario::Scenario;
pub use trace::TraceHash;
