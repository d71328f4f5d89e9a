//! What connections are made of: QUIC with Noise first, TCP where that does not get through.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use identity::Credential;
use libp2p::core::muxing::{StreamMuxer as _, StreamMuxerBox};
use libp2p::core::transport::timeout::{TransportTimeout, TransportTimeoutError};
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::core::{ConnectedPoint, Transport};
use libp2p::{Multiaddr, PeerId, relay};
use tokio_util::compat::FuturesAsyncReadCompatExt as _;
use transport::{Connection, Quic};

use crate::address::machine_of;
use crate::admission::{Admission, NoLink};
use crate::config::Keys;
use crate::enrolment::Door;
use crate::gate::Gate;
use crate::refusals::Refuser;
use crate::tcp::{RawConnection, Tcp};
use crate::ways::{Way, Ways};
use crate::{Config, RefusalReason, own};

type Output = (PeerId, StreamMuxerBox);
type Establishing = BoxFuture<'static, io::Result<Output>>;

/// What there is.
pub(crate) struct Transports {
    pub(crate) circuits: relay::client::Transport,
    pub(crate) quic: Quic,
    pub(crate) tcp: Tcp,
}

impl Transports {
    /// Puts them together; a dial takes `dial_timeout` at most. Circuits come first: an address
    /// that has one is theirs.
    pub(crate) fn compose(
        self,
        admission: Arc<Admission>,
        refuser: Refuser,
        door: Door,
        ways: Arc<Ways>,
        dial_timeout: Duration,
    ) -> Boxed<Output> {
        let circuit_admission = Arc::clone(&admission);
        let circuits = self.circuits.and_then(move |connection, endpoint| {
            let raw = RawConnection {
                stream: Box::new(connection.compat()),
                permit: None,
            };
            circuit_admission.admit(raw, endpoint)
        });
        let circuits = circuits.map_err(|error| error.either(io::Error::other, io::Error::other));
        let tcp = self.tcp;
        let tcp = tcp.and_then(move |connection, endpoint| admission.admit(connection, endpoint));
        let tcp = tcp.map_err(|error| error.either(|error| error, io::Error::other));
        let direct = QuicFirst {
            quic: self.quic,
            tcp: tcp.boxed(),
            ways,
            refuser,
            door,
        };
        let either = circuits.or_transport(direct).map(|either, _| match either {
            Either::Left(connection) | Either::Right(connection) => connection,
        });
        TransportTimeout::with_outgoing_timeout(either, dial_timeout)
            .map_err(|error| match error {
                TransportTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
                TransportTimeoutError::TimerError(error) => error,
                TransportTimeoutError::Other(either) => either.into_inner(),
            })
            .boxed()
    }
}

/// What QUIC is told of this machine.
pub(crate) fn quic_config(keys: &Keys<'_>, config: &Config, gate: Arc<Gate>) -> transport::Config {
    let local = own::local(keys.machine_key, keys.network, &gate);
    let ring = own::ring(&keys.network, keys.network_keys);
    let wall_clock = Arc::clone(&config.wall_clock.0);
    let reset_key = keys.machine_key.derive(b"fieldmesh-link-reset-v1");
    transport::Config {
        seen: config.seen.clone(),
        path_mtu_probes: config.path_mtu_probes,
        socket_layer: config.socket_layer.clone(),
        idle_timeout: config.idle_timeout,
        ..transport::Config::new(Arc::new(local), ring, gate, wall_clock, reset_key)
    }
}

/// The direct ones; addresses decide which one is asked.
struct QuicFirst {
    quic: Quic,
    tcp: Boxed<Output>,
    ways: Arc<Ways>,
    refuser: Refuser,
    door: Door,
}

impl QuicFirst {
    fn dial_quic(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Establishing, TransportError<io::Error>> {
        let dialling = self.quic.dial(address.clone(), options);
        let dialling = dialling.map_err(|error| error.map(to_io))?;
        let dial = self.ways.dial_quic(&address);
        let refuser = self.refuser.clone();
        let endpoint = ConnectedPoint::Dialer {
            address,
            role_override: options.role,
            port_use: options.port_use,
        };
        Ok(async move {
            let connected = dialling.await;
            if connected.is_ok() {
                dial.succeed();
            }
            let (peer, connection) = refused_or(connected, &endpoint, &refuser)?;
            if let Credential::Claim(_) = connection.credential() {
                refuser.refuse(&endpoint, machine_of(&peer), RefusalReason::Claim);
                return Err(io::Error::other(RefusalReason::Claim));
            }
            Ok((peer, StreamMuxerBox::new(connection)))
        }
        .boxed())
    }

    fn dial_tcp(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Establishing, TransportError<io::Error>> {
        let dialling = self.tcp.dial(address.clone(), options)?;
        let ways = Arc::clone(&self.ways);
        Ok(async move {
            let is_quic_tried = ways.turn_of_tcp(&address).await;
            let connected = dialling.await;
            if connected.is_ok() && is_quic_tried {
                ways.fell_back(&address);
            }
            connected
        }
        .boxed())
    }
}

impl Transport for QuicFirst {
    type Output = Output;
    type Error = io::Error;
    type ListenerUpgrade = Establishing;
    type Dial = Establishing;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        match Way::of(&address) {
            Way::Quic => {
                let listening = self.quic.listen_on(id, address);
                listening.map_err(|error| error.map(to_io))
            }
            Way::Tcp => self.tcp.listen_on(id, address),
            Way::Circuit => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.quic.remove_listener(id) || self.tcp.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Establishing, TransportError<io::Error>> {
        match Way::of(&address) {
            Way::Quic => self.dial_quic(address, options),
            Way::Tcp => self.dial_tcp(address, options),
            Way::Circuit => Err(TransportError::MultiaddrNotSupported(address)),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Establishing, io::Error>> {
        if let Poll::Ready(event) = Pin::new(&mut self.quic).poll(cx) {
            let (local_addr, send_back_addr) = match &event {
                TransportEvent::Incoming {
                    local_addr,
                    send_back_addr,
                    ..
                } => (local_addr.clone(), send_back_addr.clone()),
                TransportEvent::NewAddress { .. }
                | TransportEvent::AddressExpired { .. }
                | TransportEvent::ListenerClosed { .. }
                | TransportEvent::ListenerError { .. } => (Multiaddr::empty(), Multiaddr::empty()),
            };
            let (refuser, door) = (self.refuser.clone(), self.door.clone());
            let event = event.map_err(to_io).map_upgrade(|upgrade| {
                let endpoint = ConnectedPoint::Listener {
                    local_addr,
                    send_back_addr,
                };
                async move {
                    let connected = refused_or(upgrade.await, &endpoint, &refuser)?;
                    answered(connected, &endpoint, &door).await
                }
                .boxed()
            });
            return Poll::Ready(event);
        }
        let event = Pin::new(&mut self.tcp).poll(cx);
        event.map(|event| event.map_upgrade(|upgrade| upgrade.boxed()))
    }
}

/// A connection over QUIC; whom this machine has refused is reported.
fn refused_or(
    connected: Result<(PeerId, Connection), transport::Error>,
    endpoint: &ConnectedPoint,
    refuser: &Refuser,
) -> io::Result<(PeerId, Connection)> {
    let connected = connected.inspect_err(|error| refuser.refuse_quic(endpoint, error));
    connected.map_err(to_io)
}

/// A member's connection goes on to the swarm; whoever has shown a claim gets an answer.
async fn answered(
    (peer, mut connection): (PeerId, Connection),
    endpoint: &ConnectedPoint,
    door: &Door,
) -> io::Result<Output> {
    let Credential::Claim(claim) = connection.credential().clone() else {
        return Ok((peer, StreamMuxerBox::new(connection)));
    };
    let opened = poll_fn(|cx| Pin::new(&mut connection).poll_outbound(cx));
    let stream = opened.await.map_err(io::Error::other)?;
    door.serve(claim, endpoint, stream).await;
    Err(io::Error::other(NoLink::Enrolled))
}

fn to_io(error: transport::Error) -> io::Error {
    if let transport::Error::Io(error) = error {
        return error;
    }
    io::Error::other(error)
}
