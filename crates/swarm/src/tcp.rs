//! TCP as a libp2p transport, below every cipher.
//!
//! libp2p's own TCP transport shares a listening port between processes (`SO_REUSEPORT`), so that
//! a taken port goes unnoticed, and has no place for a [`SocketLayer`]. Ours also bounds how many
//! accepted connections wait for their admission.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Ready, ready as ready_future};
use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::core::{Endpoint, Transport};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::PollSemaphore;
use transport::{AddressChange, Interfaces};

use crate::address::{from_socket, to_socket};
use crate::{BoxedStream, SocketLayer};

/// A connection that nobody has proved anything over yet.
pub(crate) struct RawConnection {
    pub(crate) stream: BoxedStream,
    /// Given back when an accepted connection is admitted or refused.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

type Event = TransportEvent<Ready<io::Result<RawConnection>>, io::Error>;

/// The transport.
pub(crate) struct Tcp {
    layer: Option<Arc<dyn SocketLayer>>,
    listeners: VecDeque<Listener>,
    permits: PollSemaphore,
    /// For the next connection to be accepted.
    permit: Option<OwnedSemaphorePermit>,
    events: VecDeque<Event>,
}

impl Tcp {
    pub(crate) fn new(layer: Option<Arc<dyn SocketLayer>>) -> Self {
        Self {
            layer,
            listeners: VecDeque::new(),
            permits: PollSemaphore::new(Arc::new(Semaphore::new(ADMITTING_MAX))),
            permit: None,
            events: VecDeque::new(),
        }
    }

    /// Who listens on a loopback address also dials from it, so that machines on one host can be
    /// told apart by their addresses. Otherwise the kernel knows better.
    fn source_for(&self, remote: IpAddr) -> Option<IpAddr> {
        let mut ips = self.listeners.iter().map(|listener| listener.bound.ip());
        ips.find(|ip| ip.is_loopback() && remote.is_loopback() && ip.is_ipv4() == remote.is_ipv4())
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.permit.is_none() {
            self.permit = ready!(self.permits.poll_acquire(cx));
        }
        for _ in 0..self.listeners.len() {
            self.listeners.rotate_left(1);
            let Some(listener) = self.listeners.front_mut() else {
                break;
            };
            let Poll::Ready(accepted) = listener.poll_accept(cx) else {
                continue;
            };
            let listener_id = listener.id;
            let event = match accepted {
                Ok((stream, local, remote)) => {
                    let permit = self.permit.take();
                    let stream = wrap(self.layer.as_deref(), remote.ip(), stream);
                    TransportEvent::Incoming {
                        listener_id,
                        upgrade: ready_future(Ok(RawConnection { stream, permit })),
                        local_addr: from_socket(local),
                        send_back_addr: from_socket(remote),
                    }
                }
                Err(error) => TransportEvent::ListenerError { listener_id, error },
            };
            return Poll::Ready(event);
        }
        Poll::Pending
    }
}

impl Transport for Tcp {
    type Output = RawConnection;
    type Error = io::Error;
    type ListenerUpgrade = Ready<io::Result<RawConnection>>;
    type Dial = BoxFuture<'static, io::Result<RawConnection>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        let Some(socket) = to_socket(&address) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let listener = Listener::new(id, socket).map_err(TransportError::Other)?;
        self.listeners.push_back(listener);
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
        true
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        // A dial in the role of a listener punches through a router, which is QUIC's to do.
        let is_dialable = |socket: &SocketAddr| {
            options.role == Endpoint::Dialer && socket.port() != 0 && !socket.ip().is_unspecified()
        };
        let Some(remote) = to_socket(&address).filter(is_dialable) else {
            return Err(TransportError::MultiaddrNotSupported(address));
        };
        let source = self.source_for(remote.ip());
        let layer = self.layer.clone();
        Ok(async move {
            if let Some(layer) = &layer {
                layer.admit_dial(remote.ip()).await?;
            }
            let stream = connect(source, remote).await?;
            let stream = wrap(layer.as_deref(), remote.ip(), stream);
            Ok(RawConnection {
                stream,
                permit: None,
            })
        }
        .boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        for listener in &mut self.listeners {
            if let Poll::Ready(event) = listener.poll_interfaces(cx) {
                return Poll::Ready(event);
            }
        }
        self.poll_accept(cx)
    }
}

/// One listening socket.
struct Listener {
    id: ListenerId,
    socket: TcpListener,
    bound: SocketAddr,
    interfaces: Interfaces,
    /// Set after accepting failed, which mostly means that there are no file descriptors left.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Listener {
    fn new(id: ListenerId, address: SocketAddr) -> io::Result<Self> {
        let kind = Domain::for_address(address);
        let socket = Socket::new(kind, Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?; // 0.0.0.0 may be listened on beside it.
        }
        #[cfg(unix)]
        socket.set_reuse_address(true)?; // Old connections may linger; other listeners may not.
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        let bound = socket.local_addr()?;
        Ok(Self {
            id,
            socket,
            bound,
            interfaces: Interfaces::new(bound.ip())?,
            pause: None,
        })
    }

    fn poll_interfaces(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let (listener_id, port) = (self.id, self.bound.port());
        self.interfaces.poll(cx).map(|change| match change {
            Ok(AddressChange::Up(ip)) => TransportEvent::NewAddress {
                listener_id,
                listen_addr: from_socket(SocketAddr::new(ip, port)),
            },
            Ok(AddressChange::Down(ip)) => TransportEvent::AddressExpired {
                listener_id,
                listen_addr: from_socket(SocketAddr::new(ip, port)),
            },
            Err(error) => TransportEvent::ListenerError { listener_id, error },
        })
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, SocketAddr, SocketAddr)>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let accepted = match ready!(self.socket.poll_accept(cx)) {
            Ok((stream, remote)) => prepare(&stream)
                .and_then(|()| stream.local_addr())
                .map(|local| (stream, local, remote)),
            Err(error) => Err(error),
        };
        if accepted.is_err() {
            self.pause = Some(Box::pin(sleep(PAUSE)));
        }
        Poll::Ready(accepted)
    }
}

async fn connect(source: Option<IpAddr>, remote: SocketAddr) -> io::Result<TcpStream> {
    let stream = match source {
        None => TcpStream::connect(remote).await?,
        Some(source) => {
            let socket = match remote {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            match socket.bind(SocketAddr::new(source, 0)) {
                Ok(()) => socket.connect(remote).await?,
                Err(error) => {
                    tracing::debug!(%source, %error, "cannot dial from there, using any address");
                    TcpStream::connect(remote).await?
                }
            }
        }
    };
    prepare(&stream)?;
    Ok(stream)
}

/// Sends at once, and keeps little in the kernel that is not sent yet, so that what is live does
/// not queue behind what was given before it.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(())
}

fn wrap(layer: Option<&dyn SocketLayer>, remote: IpAddr, stream: TcpStream) -> BoxedStream {
    match layer {
        Some(layer) => layer.wrap(remote, Box::new(stream)),
        None => Box::new(stream),
    }
}

/// Most accepted connections that wait for their admission; more wait in the kernel.
/// Source: `link.md`, the same number of half-open handshakes.
const ADMITTING_MAX: usize = 128;
/// Most connections that wait to be accepted. Source: guess.
const BACKLOG: i32 = 1_024;
/// How long to wait after accepting failed. Source: guess.
const PAUSE: Duration = Duration::from_millis(100);
/// Unit: bytes. Source: guess, a quarter of a large block; 0.5 s at 1 Mbit/s.
const UNSENT_BYTES: u32 = 64 * 1024;
