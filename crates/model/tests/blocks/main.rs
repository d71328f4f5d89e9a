//! What other programs rely on in blocks: their contents, limits, bytes and size.

mod codec;
mod common;
mod golden;
mod turbine;
