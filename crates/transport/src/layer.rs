//! The place between sockets and everything above them, where a testnet puts its faults.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// What bytes go through in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A stream of bytes whose kind does not matter.
pub type BoxedStream = Box<dyn ByteStream>;

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It passes at once.
    Through,
    /// It passes after a while.
    After(Duration),
    /// It is lost.
    Lost,
}

/// Stands between sockets and everything above them: delays, limits or cuts what passes.
///
/// The shipped node has none. A layer sees every connection, inbound and outbound, from before its
/// first byte, and every datagram. The remote address tells machines apart: one that listens on a
/// loopback address also sends and dials from it.
///
/// Over TCP, to look like a cut cable, it lets a cut connection neither read nor write nor shut
/// down (all three stay pending and go on after healing, as TCP's retransmissions would), and keeps
/// [`Self::admit_dial`] pending. Cutting at one end does for both directions of a dial, because an
/// accepted connection on which nothing arrives is not admitted. A connection that is dropped while
/// cut is closed by the kernel, which the peer's own layer hides from it until the cut heals. Over
/// UDP, what is cut is lost; QUIC retransmits by itself.
pub trait SocketLayer: Send + Sync {
    /// Resolves when a TCP connection to `remote` may be opened; an error is one of the dial.
    fn admit_dial(&self, remote: IpAddr) -> BoxFuture<'static, io::Result<()>>;

    /// Takes a TCP connection that was just opened or accepted, and gives what stands in its place.
    fn wrap(&self, remote: IpAddr, stream: BoxedStream) -> BoxedStream;

    /// What becomes of a datagram that has arrived from `remote`.
    fn arriving(&self, remote: IpAddr) -> Passage;

    /// Whether a datagram of so many bytes to `remote` leaves.
    fn is_leaving(&self, remote: IpAddr, bytes: usize) -> bool;
}
