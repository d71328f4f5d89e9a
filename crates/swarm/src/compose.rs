//! Which transports there are. QUIC will stand in front of TCP here.

use std::io;
use std::sync::Arc;

use futures::future::Either;
use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::{TransportTimeout, TransportTimeoutError};

use libp2p::{PeerId, relay};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;

use crate::Config;
use crate::admission::Admission;
use crate::tcp::{RawConnection, Tcp};

/// Composes what connections are made of. Circuits come first: an address that has one is theirs.
///
/// The next transport joins by `or_transport`, before [`boxed`](libp2p::core::Transport::boxed):
/// addresses decide which one is asked.
pub(crate) fn compose(
    config: &Config,
    admission: Arc<Admission>,
    circuits: relay::client::Transport,
) -> Boxed<(PeerId, StreamMuxerBox)> {
    let circuit_admission = Arc::clone(&admission);
    let circuits = circuits.and_then(move |connection, endpoint| {
        let raw = RawConnection {
            stream: Box::new(connection.compat()),
            permit: None,
        };
        circuit_admission.admit(raw, endpoint)
    });
    let tcp = Tcp::new(config.socket_layer.clone())
        .and_then(move |connection, endpoint| admission.admit(connection, endpoint));
    let either = circuits.or_transport(tcp).map(|either, _| match either {
        Either::Left(connection) | Either::Right(connection) => connection,
    });
    TransportTimeout::with_outgoing_timeout(either, config.dial_timeout)
        .map_err(|error| match error {
            TransportTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
            TransportTimeoutError::TimerError(error) => error,
            TransportTimeoutError::Other(either) => either.either(
                |circuit| circuit.either(io::Error::other, io::Error::other),
                |tcp| tcp.either(|error| error, io::Error::other),
            ),
        })
        .boxed()
}
