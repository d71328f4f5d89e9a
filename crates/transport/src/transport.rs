//! The libp2p transport.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, select};
use handshake::{KeyRing, Local};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent};
use libp2p::core::{Endpoint as Role, Transport};
use libp2p::{Multiaddr, PeerId};
use model::MachineId;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::address::{from_socket, to_socket};
use crate::endpoint::Settings;
use crate::gate::Gate;
use crate::interfaces::AddressChange;
use crate::listener::{Arrival, Listener};
use crate::member::{Credentials, Member};
use crate::punch::punch;
use crate::turns::{Chooser, KeyTurns};
use crate::upgrade::{Timing, establish};
use crate::{Config, Connection, Error, Stats};

/// A connection in the making.
pub(crate) type Establishing = BoxFuture<'static, Result<(PeerId, Connection), Error>>;

type Event = TransportEvent<Establishing, Error>;

/// QUIC with a Noise handshake, for addresses like `/ip4/192.0.2.7/udp/4001/quic/noise`.
pub struct Quic {
    settings: Settings,
    timing: Timing,
    gate: Gate,
    listeners: VecDeque<Listener>,
    /// Sockets that only dial, for what no listener reaches: IPv4 and IPv6.
    diallers: BTreeMap<bool, quinn::Endpoint>,
    /// Who waits for a connection from where, through a hole.
    punching: BTreeMap<SocketAddr, oneshot::Sender<Establishing>>,
    turns: KeyTurns<SocketAddr>,
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

/// What can be asked of a transport, and changed, while libp2p owns it.
#[derive(Clone)]
pub struct Handle(Arc<Member>);

impl Handle {
    /// Shows another credential, and goes by other network keys, from the next handshake on.
    pub fn replace(&self, local: Arc<Local>, ring: KeyRing) {
        self.0.replace(Credentials { local, ring });
    }

    /// Which first flights were seen, to be kept over a restart; see [`handshake::ReplayGuard`].
    #[must_use]
    pub fn seen(&self) -> Vec<u8> {
        self.0.with_seen(|seen| {
            seen.saved();
            seen.to_bytes()
        })
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.counters.read()
    }

    /// Whether [`Self::seen`] should be written soon.
    #[must_use]
    pub fn must_save_seen(&self) -> bool {
        self.0.with_seen(|seen| seen.must_save())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl Quic {
    /// A transport that listens nowhere yet. Must be used within a tokio runtime.
    #[must_use]
    pub fn new(config: Config) -> (Self, Handle) {
        let credentials = Credentials {
            local: Arc::clone(&config.local),
            ring: config.ring.clone(),
        };
        let member = Arc::new(Member::new(
            credentials,
            Arc::clone(&config.judge),
            Arc::clone(&config.wall_clock),
            config.seen.clone(),
        ));
        let transport = Self {
            timing: Timing {
                handshake_timeout: config.handshake_timeout,
                key_update_interval: config.key_update_interval,
            },
            settings: Settings::new(&config, Arc::clone(&member)),
            gate: Gate::new(),
            listeners: VecDeque::new(),
            diallers: BTreeMap::new(),
            punching: BTreeMap::new(),
            turns: KeyTurns::default(),
            events: VecDeque::new(),
            waker: None,
        };
        (transport, Handle(member))
    }

    /// The socket that a dial starts from: a listening one if it may, so that the other side sees
    /// where this machine can be reached, and a NAT lets the answer in.
    fn endpoint_for(&mut self, remote: SocketAddr, port: PortUse) -> io::Result<quinn::Endpoint> {
        let is_ipv4 = remote.is_ipv4();
        if port == PortUse::New {
            return self.settings.dial_only(is_ipv4);
        }
        if let Some(listener) = self.listener_for(remote) {
            return Ok(listener.endpoint.clone());
        }
        if let Some(dialler) = self.diallers.get(&is_ipv4) {
            return Ok(dialler.clone());
        }
        let dialler = self.settings.dial_only(is_ipv4)?;
        self.diallers.insert(is_ipv4, dialler.clone());
        Ok(dialler)
    }

    fn listener_for(&self, remote: SocketAddr) -> Option<&Listener> {
        let mut listeners = self.listeners.iter();
        listeners.find(|listener| listener.reaches(remote))
    }

    fn dial_out(
        &mut self,
        remote: SocketAddr,
        expected: Option<MachineId>,
        port: PortUse,
    ) -> Result<Establishing, Error> {
        let endpoint = self.endpoint_for(remote, port)?;
        let turn = self.turns.take(Chooser::Dialler, remote);
        let ring = self.settings.member.credentials().ring;
        let keys = Arc::clone(match ring.previous() {
            Some(previous) if turn.is_previous() => previous,
            _ => ring.current(),
        });
        let (config, failure) = self.settings.dial(expected, keys);
        let connecting = endpoint.connect_with(config, remote, ANY_NAME);
        let connecting = connecting.map_err(|error| {
            let refused = crate::session::take_failure(&failure);
            refused.map_or(Error::Dial(error), |refused| {
                Error::Refused(Box::new(refused))
            })
        })?;
        let known = Arc::clone(&self.settings.member.known);
        let establishing = establish(connecting, failure, known, self.timing, None);
        Ok(async move {
            let connected = establishing.await;
            if matches!(connected, Ok(_) | Err(Error::Refused(_))) {
                turn.settle();
            }
            connected
        }
        .boxed())
    }

    /// Waits for a connection from `remote` while keeping the way open for it.
    fn dial_in(&mut self, remote: SocketAddr) -> Result<Establishing, Error> {
        let listener = self.listener_for(remote);
        let socket = listener.ok_or(Error::NoListener(remote))?.socket();
        self.punching.retain(|_, waiting| !waiting.is_closed());
        if self.punching.contains_key(&remote) {
            return Err(Error::Punching(remote));
        }
        let (sender, arrived) = oneshot::channel();
        self.punching.insert(remote, sender);
        let patience = self.timing.handshake_timeout;
        Ok(async move {
            let punching = std::pin::pin!(punch(socket, remote));
            match timeout(patience, select(arrived, punching)).await {
                Ok(Either::Left((Ok(establishing), _))) => establishing.await,
                Ok(Either::Right((error, _))) => Err(error.into()),
                Ok(Either::Left((Err(_), _))) | Err(_) => Err(Error::TimedOut),
            }
        }
        .boxed())
    }

    fn poll_listeners(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        for _ in 0..self.listeners.len() {
            self.listeners.rotate_left(1);
            let Some(listener) = self.listeners.front_mut() else {
                break;
            };
            let (listener_id, bound) = (listener.id, listener.bound);
            if let Poll::Ready(change) = listener.poll_addresses(cx) {
                return Poll::Ready(address_event(listener_id, bound.port(), change));
            }
            let arrival = listener.poll_arrival(cx, &self.settings, &mut self.gate, self.timing);
            match arrival {
                Poll::Pending => {}
                Poll::Ready(Arrival::Closed) => {
                    self.listeners.pop_front();
                    return Poll::Ready(TransportEvent::ListenerClosed {
                        listener_id,
                        reason: Ok(()),
                    });
                }
                Poll::Ready(Arrival::Handshake(from, upgrade)) => {
                    let Some(upgrade) = self.hand_to_puncher(from, upgrade) else {
                        cx.waker().wake_by_ref(); // There may be more.
                        continue;
                    };
                    return Poll::Ready(TransportEvent::Incoming {
                        listener_id,
                        upgrade,
                        local_addr: from_socket(bound),
                        send_back_addr: from_socket(from),
                    });
                }
            }
        }
        Poll::Pending
    }

    /// Gives a connection to whoever waits for it, or back.
    fn hand_to_puncher(&mut self, from: SocketAddr, upgrade: Establishing) -> Option<Establishing> {
        match self.punching.remove(&from) {
            Some(waiting) => waiting.send(upgrade).err(),
            None => Some(upgrade),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Transport for Quic {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = Establishing;
    type Dial = Establishing;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<Error>> {
        let Some((socket, _)) = to_socket(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let listener = Listener::new(id, &self.settings, socket);
        let listener = listener.map_err(|error| TransportError::Other(error.into()))?;
        self.listeners.push_back(listener);
        self.wake();
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(at) = self.listeners.iter().position(|listener| listener.id == id) else {
            return false;
        };
        self.listeners.remove(at);
        self.events.push_back(TransportEvent::ListenerClosed {
            listener_id: id,
            reason: Ok(()),
        });
        self.wake();
        true
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Establishing, TransportError<Error>> {
        let is_dialable = |socket: &SocketAddr| socket.port() != 0 && !socket.ip().is_unspecified();
        let named = to_socket(&address).filter(|(socket, _)| is_dialable(socket));
        let Some((remote, peer)) = named else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let expected = peer.and_then(|peer| MachineId::from_peer_id_bytes(&peer.to_bytes()));
        let dialling = match options.role {
            Role::Dialer => self.dial_out(remote, expected, options.port_use),
            Role::Listener => self.dial_in(remote),
        };
        dialling.map_err(TransportError::Other)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        let polled = self.poll_listeners(cx);
        if polled.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        polled
    }
}

impl fmt::Debug for Quic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound: Vec<SocketAddr> = self.listeners.iter().map(|l| l.bound).collect();
        f.debug_struct("Quic").field("listeners", &bound).finish()
    }
}

fn address_event(listener_id: ListenerId, port: u16, change: io::Result<AddressChange>) -> Event {
    match change {
        Ok(AddressChange::Up(ip)) => TransportEvent::NewAddress {
            listener_id,
            listen_addr: from_socket(SocketAddr::new(ip, port)),
        },
        Ok(AddressChange::Down(ip)) => TransportEvent::AddressExpired {
            listener_id,
            listen_addr: from_socket(SocketAddr::new(ip, port)),
        },
        Err(error) => TransportEvent::ListenerError {
            listener_id,
            error: error.into(),
        },
    }
}

/// What QUIC calls the other side; the handshake goes by machine ids.
const ANY_NAME: &str = "fieldmesh";
