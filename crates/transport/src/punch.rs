//! Opens the way through a NAT from inside, for a connection that the other side starts.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::member::random;

/// Sends datagrams from a listening socket until it is dropped; whoever they reach drops them.
///
/// # Errors
///
/// If the socket cannot send; a full buffer is no error.
pub(crate) async fn punch(socket: Arc<UdpSocket>, remote: SocketAddr) -> io::Error {
    loop {
        let noise: [u8; PUNCH_BYTES] = random();
        if let Err(error) = socket.send_to(&noise, remote)
            && error.kind() != io::ErrorKind::WouldBlock
        {
            return error;
        }
        sleep(PUNCH_INTERVAL).await;
    }
}

/// Unit: bytes. Source: libp2p's specification of DCUtR over QUIC.
const PUNCH_BYTES: usize = 64;
/// Source: libp2p's specification has a random time from 10 to 200 ms; its mean.
const PUNCH_INTERVAL: Duration = Duration::from_millis(100);
