//! Local testnets: real processes, real sockets, real readings, and faults by command.
//!
//! The program embeds `fieldmesh` as a library and starts itself once for each machine, so that
//! nothing has to be built or installed before. Machine N listens on and dials from 127.0.1.N.
//!
//! - [`up`] starts machines, watches over them and ends them.
//! - [`control`] is the Unix socket by which commands reach a running testnet.
//! - [`faults`] is the layer below the nodes' connections that partitions and slows them.
//! - [`scenario`] starts machines, takes steps, and checks what follows.
//! - [`layout`] lays out directories, keys and configurations.
//!
//! # Not here
//!
//! Anything a shipped node has in it: faults are injected into the nodes embedded here.

pub mod args;
pub mod control;
pub mod data;
pub mod description;
pub mod faults;
pub mod layout;
pub mod machine;
pub mod namespaces;
pub mod scenario;
pub mod up;
