//! A Fieldmesh node: configuration, keys, the command line, and the loop that gives the pure
//! `engine` its clock, sockets and disks.
//!
//! Start at [`run::run`]. The one clock is in [`clock`], the one source of entropy in [`keys`].
//!
//! # Not here
//!
//! Decisions: what a node does when something happens is `engine`'s.

pub mod audit;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod floor;
pub mod join;
pub mod keys;
mod load;
pub mod logging;
mod newest;
pub mod operator;
pub mod reader;
pub mod recorder;
pub mod report;
pub mod rules;
pub mod run;
pub mod runtime;
pub mod scrub;
pub mod seen;
pub mod sources;
pub mod uplinks;
pub mod view;
pub mod wear;
