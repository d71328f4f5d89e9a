//! Drives one state machine in a test, and checks the laws.
