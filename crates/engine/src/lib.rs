//! The protocols composed into one state machine.
