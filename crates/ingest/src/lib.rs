//! Sources of readings.
