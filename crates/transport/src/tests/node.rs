//! A machine with a transport, and what its peers and strangers do with it.

use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, poll_fn};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use handshake::{Judge, KeyRing, Local};
use identity::{
    Credential, Grant, Keypair, Membership, NetworkKey, NetworkKeyEpoch, Role, Roll, Trust,
};
use libp2p::PeerId;
use libp2p::core::Transport as _;
use libp2p::core::muxing::StreamMuxerExt as _;
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p::core::{Endpoint, Multiaddr};
use model::{MachineId, NetworkId, Timestamp};

use crate::transport::Establishing;
use crate::{BoxedStream, Config, Connection, Error, Handle, Passage, Quic, SocketLayer, Stream};

/// How long anything that must happen may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A wall clock that is set by hand, and moves by itself no more than a file's does.
#[derive(Clone, Debug)]
pub(super) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(super) fn at(seconds: i64) -> Self {
        Self(Arc::new(AtomicI64::new(seconds)))
    }

    pub(super) fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::SeqCst) * 1_000_000_000)
    }
}

/// Lets everybody in whose credential is genuine and its own.
struct LetIn;

impl Judge for LetIn {
    fn judge(
        &self,
        machine: MachineId,
        shown: Bytes,
    ) -> Result<Credential, Box<dyn StdError + Send + Sync>> {
        let trust = Trust::new(operator().machine());
        Ok(Roll::new(trust, Duration::ZERO).admit(machine, shown, None)?)
    }
}

/// The operator of every network here.
fn operator() -> Keypair {
    Keypair::from_seed(&[100; 32])
}

pub(super) fn network() -> NetworkId {
    Trust::new(operator().machine()).network()
}

pub(super) fn ring(key: u8) -> KeyRing {
    let key = NetworkKey::from_bytes(&[key; 32]);
    KeyRing::new(key.link(&network(), NetworkKeyEpoch::FIRST), None)
}

/// What a machine shows.
pub(super) fn local(seed: u8) -> Arc<Local> {
    let keypair = Keypair::from_seed(&[seed; 32]);
    let grant = Grant {
        machine: keypair.machine(),
        name: format!("press-{seed}"),
        site: "hall-b".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        not_before: Timestamp::from_nanos(0),
        not_after: Timestamp::MAX,
        delegation: None,
    };
    let membership = Membership::issue(&operator(), grant).expect("a good grant");
    let network = Trust::new(operator().machine()).network();
    let credential = Credential::Membership(membership).to_bytes();
    Arc::new(Local::new(keypair, network, credential))
}

/// In January 2027. Unit: seconds since the Unix epoch.
pub(super) const NOW: i64 = 1_800_000_000;

/// The key of the network that machines are in unless a test says otherwise.
pub(super) const NETWORK_KEY: u8 = 200;

pub(super) fn config(seed: u8) -> Config {
    config_by(seed, &Clock::at(NOW))
}

/// Of a machine that goes by this clock.
pub(super) fn config_by(seed: u8, clock: &Clock) -> Config {
    let clock = clock.clone();
    let time = move || Some(clock.time());
    Config::new(
        local(seed),
        ring(NETWORK_KEY),
        Arc::new(LetIn),
        Arc::new(time),
        [seed; 32].into(),
    )
}

/// Of a machine that has another network's key, and a genuine membership all the same.
pub(super) fn stranger_config(seed: u8) -> Config {
    let mut config = config(seed);
    config.ring = ring(NETWORK_KEY + 1);
    config
}

/// A machine.
pub(super) struct Node {
    pub(super) machine: MachineId,
    pub(super) quic: Quic,
    pub(super) handle: Handle,
    cable: Arc<Cable>,
}

/// What a machine hangs on.
#[derive(Debug, Default)]
struct Cable {
    is_cut: AtomicBool,
    is_deaf: AtomicBool,
}

impl SocketLayer for Cable {
    fn admit_dial(&self, _: IpAddr) -> BoxFuture<'static, io::Result<()>> {
        unreachable!("there is no TCP here")
    }

    fn wrap(&self, _: IpAddr, _: BoxedStream) -> BoxedStream {
        unreachable!("there is no TCP here")
    }

    fn arriving(&self, _: IpAddr) -> Passage {
        let is_lost = [&self.is_cut, &self.is_deaf].map(|it| it.load(Ordering::SeqCst));
        if is_lost.contains(&true) {
            return Passage::Lost;
        }
        Passage::Through
    }

    fn is_leaving(&self, _: IpAddr, _: usize) -> bool {
        !self.is_cut.load(Ordering::SeqCst)
    }
}

impl Node {
    pub(super) fn new(seed: u8) -> Self {
        Self::with(config(seed))
    }

    pub(super) fn with(mut config: Config) -> Self {
        let cable = Arc::new(Cable::default());
        config.socket_layer = Some(Arc::clone(&cable) as Arc<dyn SocketLayer>);
        let machine = config.local.machine();
        let (quic, handle) = Quic::new(config);
        Self {
            machine,
            quic,
            handle,
            cable,
        }
    }

    /// From now on nothing reaches the machine.
    pub(super) fn deafen(&self) {
        self.cable.is_deaf.store(true, Ordering::SeqCst);
    }

    /// Ends the machine, whose connections have been dropped, without a word to anybody, and starts
    /// it again at the same address.
    pub(super) async fn crash_and_restart(self, config: Config, at: SocketAddr) -> Self {
        self.cable.is_cut.store(true, Ordering::SeqCst);
        drop(self);
        soon(async {
            while std::net::UdpSocket::bind(at).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let mut node = Self::with(config);
        node.listen_at(at).await;
        node
    }

    /// Listens on a free port of 127.0.0.1.
    pub(super) async fn listen(&mut self) -> SocketAddr {
        self.listen_at("127.0.0.1:0".parse().expect("an address"))
            .await
    }

    pub(super) async fn listen_at(&mut self, socket: SocketAddr) -> SocketAddr {
        let address = crate::address::from_socket(socket);
        self.quic
            .listen_on(ListenerId::next(), address)
            .expect("a free port");
        let TransportEvent::NewAddress { listen_addr, .. } = self.event().await else {
            panic!("a listener says first where it is");
        };
        crate::address::to_socket(&listen_addr)
            .expect("an address of the link")
            .0
    }

    pub(super) async fn event(&mut self) -> TransportEvent<Establishing, Error> {
        poll_fn(|cx| Pin::new(&mut self.quic).poll(cx)).await
    }

    /// Waits for somebody to come in, for ever.
    pub(super) async fn incoming(&mut self) -> Establishing {
        loop {
            if let TransportEvent::Incoming { upgrade, .. } = self.event().await {
                return upgrade;
            }
        }
    }

    /// Answers everybody who comes in, and gives those who got through.
    pub(super) async fn accept(&mut self) -> (PeerId, Connection) {
        loop {
            if let Ok(connection) = self.incoming().await.await {
                return connection;
            }
        }
    }

    pub(super) fn dial(&mut self, to: SocketAddr, expected: Option<MachineId>) -> Establishing {
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        self.quic
            .dial(address(to, expected), options)
            .expect("an address that can be dialled")
    }
}

pub(super) fn address(socket: SocketAddr, expected: Option<MachineId>) -> Multiaddr {
    let address = crate::address::from_socket(socket);
    match expected {
        Some(machine) => address
            .with_p2p(peer_of(machine))
            .expect("an address without a peer"),
        None => address,
    }
}

pub(super) fn peer_of(machine: MachineId) -> PeerId {
    PeerId::from_bytes(&machine.to_peer_id_bytes()).expect("a key of Ed25519")
}

/// Waits for something that must happen.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

/// Both ends of a connection that the first one dials, on which both have heard each other.
pub(super) async fn connect(
    from: &mut Node,
    to: &mut Node,
    at: SocketAddr,
) -> (Connection, Connection) {
    let dialled = from.dial(at, Some(to.machine));
    let (dialled, accepted) = soon(async { tokio::join!(dialled, to.accept()) }).await;
    let (answered_by, mut dialler) = dialled.expect("the other end answers");
    let (came_from, mut listener) = accepted;
    assert_eq!(answered_by, peer_of(to.machine));
    assert_eq!(came_from, peer_of(from.machine));
    assert_eq!(
        ask(&mut dialler, &mut listener, b"question").await,
        b"question"
    );
    (dialler, listener)
}

/// Sends bytes on a new stream, has the other end send them back, and gives what came back.
pub(super) async fn ask(
    asking: &mut Connection,
    answering: &mut Connection,
    bytes: &[u8],
) -> Vec<u8> {
    let ask = async {
        let mut stream = poll_fn(|cx| asking.poll_outbound_unpin(cx))
            .await
            .expect("a stream");
        stream.write_all(bytes).await.expect("it is taken");
        stream.close().await.expect("it ends");
        read_all(&mut stream).await
    };
    let answer = async {
        let mut stream = poll_fn(|cx| answering.poll_inbound_unpin(cx))
            .await
            .expect("a stream");
        let question = read_all(&mut stream).await;
        stream.write_all(&question).await.expect("it is taken");
        stream.close().await.expect("it ends");
    };
    soon(async { tokio::join!(ask, answer) }).await.0
}

async fn read_all(stream: &mut Stream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream
        .read_to_end(&mut bytes)
        .await
        .expect("the stream ends");
    bytes
}
