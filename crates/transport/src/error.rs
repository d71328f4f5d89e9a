//! What can go wrong with a socket or a connection.

use std::io;
use std::net::SocketAddr;

use handshake::HandshakeError;
use model::MachineId;

/// Why there is no connection, or no listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refuses a socket, or has none left.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// QUIC refuses to dial there.
    #[error("cannot be dialled: {0}")]
    Dial(#[from] quinn::ConnectError),
    /// Nothing came that proves a member of the network.
    #[error("no answer in time; it may be away, or have another network key")]
    TimedOut,
    /// This machine ended the handshake.
    #[error(transparent)]
    Refused(Box<HandshakeError>),
    /// The connection ended before it stood, on the way or by the other side.
    #[error("closed before it stood: {0}")]
    Closed(#[from] quinn::ConnectionError),
    /// A machine id that is no point of the curve; a verified one always is.
    #[error("machine {0} has no key that libp2p knows")]
    NoPeer(MachineId),
    /// Holes are punched from a listening socket.
    #[error("nothing listens that a hole to {0} could be punched from")]
    NoListener(SocketAddr),
    /// One attempt at a time.
    #[error("a hole to {0} is being punched")]
    Punching(SocketAddr),
}
