//! End-to-end tests: real processes, real sockets, real disks, judged from outside.
//!
//! Nodes are started by the built programs `testnet` and `fieldmesh`, asked over gRPC and the
//! command line, and judged by what they answer and upload; nothing here reaches into them. Each
//! test has a loopback network and a temporary directory of its own, which stays behind when the
//! test fails. Tests that check times take turns ([`gate`]).
//!
//! Needed beside the programs: `faketime`, `mosquitto` and `mosquitto_sub`, root (for a full disk
//! and for network namespaces, which are made with `ip` and `nft`), and the interpreter that
//! `FIELDMESH_PYTHON` names, with the packages of `tests/python`. What is missing fails the test
//! that needs it; nothing is skipped.

#![expect(
    clippy::disallowed_methods,
    reason = "real processes are judged by the real clock"
)]

mod admission;
mod bad_input;
mod behind;
mod capture;
mod client;
mod command_crashes;
mod commands;
mod crash;
mod damage;
mod discovery;
mod failover;
mod feed;
mod gate;
mod hand_out;
mod joining;
mod judge;
mod kills;
mod levels;
mod mqtt;
mod namespaces;
mod nat;
mod own_network;
mod partition;
mod program;
mod python;
mod replay;
mod retention;
mod rules;
mod sites;
mod solo;
mod spread;
mod stop;
mod testnet;
mod up;
mod wait;
