//! One UDP socket, and QUIC on it, with every default that has no bound replaced.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use handshake::{ConnectionIdKind, VERSION};
use model::MachineId;
use quinn::crypto::HmacKey;
use quinn::{
    AsyncUdpSocket, ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig,
    MtuDiscoveryConfig, NoneTokenLog, NoneTokenStore, Runtime as _, ServerConfig, TokioRuntime,
    TransportConfig, ValidationTokenConfig, VarInt,
};
use quinn_proto::InvalidCid;
use ring::{hkdf, hmac};
use socket2::{Domain, Protocol, Socket, Type};

use crate::datagram::ISSUED_BYTES;
use crate::member::{Member, random};
use crate::session::{Answering, Dialling, Failure, NotAnswering};
use crate::socket::QuietSocket;
use crate::{Config, SocketLayer};
use identity::LinkKeys;

/// What all endpoints of a transport have in common.
pub(crate) struct Settings {
    pub(crate) member: Arc<Member>,
    transport: Arc<TransportConfig>,
    /// For those that come in; each gets its own [`Answering`].
    server: ServerConfig,
    reset_key: Arc<dyn HmacKey>,
    layer: Option<Arc<dyn SocketLayer>>,
}

impl Settings {
    pub(crate) fn new(config: &Config, member: Arc<Member>) -> Self {
        let transport = Arc::new(transport_config(config));
        let answering = Answering {
            member: Arc::clone(&member),
            failure: Failure::default(),
        };
        let mut server = ServerConfig::new(Arc::new(answering), Arc::new(token_key()));
        let mut tokens = ValidationTokenConfig::default();
        tokens.sent(0).log(Arc::new(NoneTokenLog));
        server
            .transport_config(Arc::clone(&transport))
            .time_source(Arc::new(member.clock))
            .validation_token_config(tokens)
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
        Self {
            member,
            transport,
            server,
            reset_key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &*config.reset_key)),
            layer: config.socket_layer.clone(),
        }
    }

    /// An endpoint that dials and answers. Must be called within a tokio runtime.
    pub(crate) fn listen(&self, address: SocketAddr) -> io::Result<(quinn::Endpoint, UdpSocket)> {
        let socket = bind(address)?;
        let endpoint = self.endpoint(socket.try_clone()?, self.server.clone())?;
        Ok((endpoint, socket))
    }

    /// An endpoint that dials, and answers nobody who comes in.
    pub(crate) fn dial_only(&self, is_ipv4: bool) -> io::Result<quinn::Endpoint> {
        let any: IpAddr = if is_ipv4 {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let mut server = self.server.clone();
        server.crypto = Arc::new(NotAnswering);
        self.endpoint(bind(SocketAddr::new(any, 0))?, server)
    }

    /// For one connection that came in, with what to find its failure by.
    pub(crate) fn answer(&self) -> (Arc<ServerConfig>, Failure) {
        let failure = Failure::default();
        let answering = Answering {
            member: Arc::clone(&self.member),
            failure: Arc::clone(&failure),
        };
        let mut server = self.server.clone();
        server.crypto = Arc::new(answering);
        (Arc::new(server), failure)
    }

    /// For one dial with these keys, with what to find its failure by.
    pub(crate) fn dial(
        &self,
        expected: Option<MachineId>,
        keys: Arc<LinkKeys>,
    ) -> (ClientConfig, Failure) {
        let failure = Failure::default();
        let dialling = Dialling {
            member: Arc::clone(&self.member),
            keys: Arc::clone(&keys),
            expected,
            failure: Arc::clone(&failure),
        };
        let mut config = ClientConfig::new(Arc::new(dialling));
        config
            .version(VERSION)
            .transport_config(Arc::clone(&self.transport))
            .token_store(Arc::new(NoneTokenStore))
            .initial_dst_cid_provider(Arc::new(move || Member::first_id(&keys)));
        (config, failure)
    }

    /// Whether a destination id is one that a client draws.
    pub(crate) fn is_first(id: &ConnectionId) -> bool {
        id.len() == ConnectionIdKind::First.id_bytes()
    }

    fn endpoint(&self, socket: UdpSocket, server: ServerConfig) -> io::Result<quinn::Endpoint> {
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket)?;
        let socket: Arc<dyn AsyncUdpSocket> = Arc::new(QuietSocket::new(
            socket,
            Arc::clone(&self.member.known),
            Arc::clone(&self.member.counters),
            self.layer.clone(),
        ));
        let config = self.endpoint_config();
        quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
    }

    fn endpoint_config(&self) -> EndpointConfig {
        let member = Arc::clone(&self.member);
        let mut config = EndpointConfig::new(Arc::clone(&self.reset_key));
        config
            .supported_versions(vec![VERSION])
            .cid_generator(move || Box::new(Ids(Arc::clone(&member))));
        config
    }
}

/// Issues connection ids.
struct Ids(Arc<Member>);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.0.issue_id()
    }

    /// QUIC asks this before it resets a connection that it does not know.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        self.0.may_reset(id).then_some(()).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        ISSUED_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

fn transport_config(config: &Config) -> TransportConfig {
    let idle_ms = u32::try_from(config.idle_timeout.as_millis()).unwrap_or(u32::MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(VarInt::from_u32(idle_ms).into()))
        .keep_alive_interval(Some(config.idle_timeout / KEEP_ALIVES))
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(CONNECTION_WINDOW_BYTES.into())
        .crypto_buffer_size(CRYPTO_BYTES_MAX)
        .datagram_receive_buffer_size(None)
        .initial_rtt(INITIAL_ROUND_TRIP)
        .allow_spin(false)
        .mtu_discovery_config(config.path_mtu_probes.then(MtuDiscoveryConfig::default));
    transport
}

/// A socket of its own on this address; one that another program has is refused.
fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Domain::for_address(address);
    let socket = Socket::new(kind, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?; // 0.0.0.0 may be listened on beside it.
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Seals the tokens of Retry packets. Of this process alone: a Retry is answered within seconds.
fn token_key() -> hkdf::Prk {
    let key: [u8; 32] = random();
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&key)
}

/// First datagrams that wait to be looked at. Source: as many handshakes may be under way.
const INCOMING_MAX: usize = crate::gate::HALF_OPEN_MAX;
/// What else may come for one of them meanwhile. Unit: bytes. Source: guess, a few retransmissions.
const INCOMING_BYTES_MAX: u64 = 8 * 1024;
/// And for all of them. Unit: bytes.
const INCOMING_BYTES_TOTAL_MAX: u64 = 256 * 1024;
/// Streams that the other side may have open. Source: guess; a link has two, finding ways through
/// routers takes some, and what asks and is answered on streams of its own has room for more.
pub(crate) const STREAMS_MAX: u32 = 64;
/// Signs of life within the time after which a connection counts as dead; all but one may be lost.
/// Source: guess.
const KEEP_ALIVES: u32 = 3;
/// What may be on the way on one stream. Unit: bytes. Source: guess, four of the largest blocks;
/// 10 MB/s at a round trip of 100 ms.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// What may be on the way on all streams. Unit: bytes. Source: guess, two lanes.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Handshake bytes out of order. Unit: bytes. Source: three of the longest messages of `handshake`.
const CRYPTO_BYTES_MAX: usize = 16 * 1024;
/// Round trip before one is measured. Source: guess: four transmissions within the time that a
/// handshake has; RFC 9002 §6.2.2 has 333 ms, for handshakes that may take longer.
const INITIAL_ROUND_TRIP: std::time::Duration = std::time::Duration::from_millis(100);
