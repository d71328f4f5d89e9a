//! Logs: for people on a terminal, as JSON elsewhere.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error, at `info` unless `FIELDMESH_LOG` says otherwise. Does nothing
/// if logging was started before.
pub fn start() {
    let filter = EnvFilter::try_from_env("FIELDMESH_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,libp2p=error,quinn=error,rumqttc=error"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}
