//! Bytes to typed messages and back, with limits.
