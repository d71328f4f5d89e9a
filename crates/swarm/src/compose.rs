//! Which transports there are. QUIC will stand in front of TCP here.

use std::io;
use std::sync::Arc;

use libp2p::PeerId;
use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::{TransportTimeout, TransportTimeoutError};

use crate::Config;
use crate::admission::Admission;
use crate::tcp::Tcp;

/// Composes what connections are made of.
///
/// The next transport joins by `or_transport`, before [`boxed`](libp2p::core::Transport::boxed):
/// addresses decide which one is asked.
pub(crate) fn compose(
    config: &Config,
    admission: Arc<Admission>,
) -> Boxed<(PeerId, StreamMuxerBox)> {
    let tcp = Tcp::new(config.socket_layer.clone())
        .and_then(move |connection, endpoint| admission.admit(connection, endpoint));
    TransportTimeout::with_outgoing_timeout(tcp, config.dial_timeout)
        .map_err(|error| match error {
            TransportTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
            TransportTimeoutError::TimerError(error) => error,
            TransportTimeoutError::Other(either) => either.either(|error| error, io::Error::other),
        })
        .boxed()
}
