//! The benchmarks: what Fieldmesh costs and how fast it is, measured, with what limits it.
//!
//! `cargo run --release -p bench -- NAME [--json]`; `list` names them. Each file is one benchmark;
//! `measure` holds the statistics and the output of all.
//!
//! Every result names what limits it, as far as the benchmark itself can measure that. Rounds of
//! things that are compared alternate, so that a noisy computer disturbs them alike.
//!
//! Benchmarks with several machines run them as real processes: the testnet starts this program
//! itself once for each machine.
//!
//! # Not here
//!
//! Checks of behaviour: a benchmark fails when it cannot measure, never because it is slow.

mod aggregate;
mod cli;
mod client;
mod codec;
mod command;
mod failover;
mod fanout;
mod footprint;
mod handshake;
mod ingest;
mod keys;
mod known;
mod links;
mod measure;
mod process;
mod query;
mod react;
mod rtt;
mod rules;
mod site;
mod stalled;
mod table;
mod throughput;
mod year;

pub use cli::run;
