//! The binary: configuration, command line, runtime loop.
