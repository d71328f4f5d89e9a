//! From the first datagram to a connection between two members, in bounded time.

use std::sync::Arc;
use std::time::Duration;

use handshake::Peer;
use identity::Credential;
use libp2p::PeerId;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::known::Known;
use crate::session::{Failure, take_failure};
use crate::{Connection, Error};

/// Waits until a connection stands.
///
/// `permit` is given back when it does, or never will.
pub(crate) async fn establish(
    connecting: quinn::Connecting,
    failure: Failure,
    known: Arc<Known>,
    timing: Timing,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<(PeerId, Connection), Error> {
    let connection = match timeout(timing.handshake_timeout, connecting).await {
        Err(_) => return Err(Error::TimedOut),
        Ok(connected) => connected.map_err(|error| cause(&failure, error))?,
    };
    drop(permit);
    let remote = connection.remote_address();
    let peer = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Peer>().ok())
        .expect("a connection stands when the peer is known");
    if let Credential::Membership(_) = &peer.credential {
        known.add(remote);
    }
    let id = PeerId::from_bytes(&peer.machine.to_peer_id_bytes())
        .map_err(|_| Error::NoPeer(peer.machine))?;
    let connection = Connection::new(connection, peer.credential, timing.key_update_interval);
    Ok((id, connection))
}

/// What ended a handshake: this machine, if it says so, or what QUIC says.
pub(crate) fn cause(failure: &Failure, error: quinn::ConnectionError) -> Error {
    match take_failure(failure) {
        Some(refused) => Error::Refused(Box::new(refused)),
        None if error == quinn::ConnectionError::TimedOut => Error::TimedOut,
        None => Error::Closed(error),
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) handshake_timeout: Duration,
    pub(crate) key_update_interval: Duration,
}
