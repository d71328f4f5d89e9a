//! Real sockets on loopback; whatever is awaited has a deadline.

mod links;
mod node;
mod wire;
