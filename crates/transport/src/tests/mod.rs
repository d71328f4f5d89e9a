//! Real sockets on loopback; whatever is awaited has a deadline.

mod first_flights;
mod insiders;
mod links;
mod lossy;
mod node;
mod restart;
mod strangers;
mod wire;
