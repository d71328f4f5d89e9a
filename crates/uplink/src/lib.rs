//! Sinks, and the outbox before them.
