//! Segments of blocks, and what is keyed.
