//! Ways to connect two programs, each as its users would: the link, and what it is compared with.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fieldmesh::clock;
use futures::future::{BoxFuture, poll_fn};
use futures::stream::FuturesUnordered;
use futures::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _, StreamExt as _};
use handshake::{Judge, KeyRing, Local};
use identity::{Credential, Roll};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint as Role, Transport as _};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, noise, quic, tcp, yamux};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::crypto::ring::cipher_suite;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::keys;

/// A way to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The link, with or without probes for larger datagrams.
    Link { path_mtu_probes: bool },
    /// quinn with TLS, its ciphers reduced to the link's, the server authenticated alone.
    Quinn,
    /// libp2p's QUIC: TLS, both sides authenticated.
    QuicV1,
    /// libp2p's TCP with Noise and Yamux.
    Tcp,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Link {
            path_mtu_probes: false,
        },
        Self::Link {
            path_mtu_probes: true,
        },
        Self::Quinn,
        Self::QuicV1,
        Self::Tcp,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Link {
                path_mtu_probes: false,
            } => "link, thin",
            Self::Link {
                path_mtu_probes: true,
            } => "link",
            Self::Quinn => "quinn + TLS",
            Self::QuicV1 => "libp2p quic-v1",
            Self::Tcp => "libp2p TCP + Noise + Yamux",
        }
    }

    pub(crate) fn is_tcp(self) -> bool {
        self == Self::Tcp
    }
}

/// One that dials or answers.
pub(crate) enum End {
    Quinn(quinn::Endpoint),
    Libp2p(Kind, Boxed<(PeerId, StreamMuxerBox)>),
}

impl End {
    /// An end with a socket of its own, and where it can be dialled. Both ends have one, so that no
    /// dial pays for making it.
    pub(crate) async fn start(kind: Kind, number: u8) -> anyhow::Result<(Self, SocketAddr)> {
        if kind == Kind::Quinn {
            let endpoint = quinn_endpoint()?;
            let address = endpoint.local_addr()?;
            return Ok((Self::Quinn(endpoint), address));
        }
        let mut transport = libp2p_transport(kind, number)?;
        let anywhere = multiaddr(kind, SocketAddr::from(([127, 0, 0, 1], 0)));
        transport.listen_on(ListenerId::next(), anywhere)?;
        loop {
            if let TransportEvent::NewAddress { listen_addr, .. } = next(&mut transport).await {
                let address = socket(&listen_addr).context("an address of a socket")?;
                tokio::time::sleep(AFTER_START).await;
                return Ok((Self::Libp2p(kind, transport), address));
            }
        }
    }

    pub(crate) async fn dial(&mut self, to: SocketAddr) -> anyhow::Result<Connection> {
        match self {
            Self::Quinn(endpoint) => {
                let connection = endpoint.connect(to, SERVER_NAME)?.await?;
                Ok(Connection::Quinn(connection))
            }
            Self::Libp2p(kind, transport) => {
                let options = DialOpts {
                    role: Role::Dialer,
                    port_use: PortUse::Reuse,
                };
                let dialling = transport.dial(multiaddr(*kind, to), options)?;
                let mut dialling = pin!(dialling);
                loop {
                    tokio::select! {
                        biased;
                        connected = &mut dialling => {
                            return Ok(Connection::Libp2p(connected?.1));
                        }
                        _ = next(transport) => {}
                    }
                }
            }
        }
    }

    /// Answers every request on every connection, for ever.
    pub(crate) async fn answer(mut self) -> anyhow::Result<()> {
        let mut answering = FuturesUnordered::new();
        loop {
            tokio::select! {
                connecting = self.accept() => {
                    let connecting = connecting?;
                    answering.push(async {
                        answer_all(connecting.await?).await;
                        anyhow::Ok(())
                    });
                }
                Some(answered) = answering.next() => answered?,
            }
        }
    }

    /// Waits for somebody to come in; losing the future loses nobody.
    async fn accept(&mut self) -> anyhow::Result<BoxFuture<'static, anyhow::Result<Connection>>> {
        match self {
            Self::Quinn(endpoint) => {
                let incoming = endpoint.accept().await.context("the endpoint is open")?;
                Ok(async { Ok(Connection::Quinn(incoming.await?)) }.boxed())
            }
            Self::Libp2p(_, transport) => loop {
                if let TransportEvent::Incoming { upgrade, .. } = next(transport).await {
                    return Ok(async { Ok(Connection::Libp2p(upgrade.await?.1)) }.boxed());
                }
            },
        }
    }
}

/// A connection.
pub(crate) enum Connection {
    Quinn(quinn::Connection),
    Libp2p(StreamMuxerBox),
}

impl Connection {
    pub(crate) async fn open(&mut self) -> anyhow::Result<Stream> {
        match self {
            Self::Quinn(connection) => {
                let (send, receive) = connection.open_bi().await?;
                Ok(Stream::Quinn(send, receive))
            }
            Self::Libp2p(muxer) => {
                let opening = poll_fn(|cx| {
                    while muxer.poll_unpin(cx)?.is_ready() {}
                    muxer.poll_outbound_unpin(cx)
                });
                Ok(Stream::Libp2p(opening.await?))
            }
        }
    }

    async fn accept(&mut self) -> anyhow::Result<Stream> {
        match self {
            Self::Quinn(connection) => {
                let (send, receive) = connection.accept_bi().await?;
                Ok(Stream::Quinn(send, receive))
            }
            Self::Libp2p(muxer) => {
                let accepting = poll_fn(|cx| {
                    while muxer.poll_unpin(cx)?.is_ready() {}
                    muxer.poll_inbound_unpin(cx)
                });
                Ok(Stream::Libp2p(accepting.await?))
            }
        }
    }

    /// Sends a frame and waits for the same number of bytes; what comes first is told.
    pub(crate) async fn ask(
        &mut self,
        stream: &mut Stream,
        frame: &mut [u8],
        is_last: bool,
    ) -> anyhow::Result<()> {
        let asking = async {
            stream.write(frame).await?;
            if is_last {
                stream.finish().await?;
            }
            let is_answered = stream.read(frame).await?;
            anyhow::ensure!(is_answered, "the stream ended");
            Ok(())
        };
        self.drive(asking).await
    }

    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        match &mut self {
            Self::Quinn(connection) => connection.close(0_u32.into(), &[]),
            Self::Libp2p(muxer) => {
                let closing = poll_fn(|cx| muxer.poll_close_unpin(cx));
                let _ = tokio::time::timeout(CLOSING_TIME_MAX, closing).await; // Either way.
            }
        }
        Ok(())
    }

    /// Runs something that needs the connection to go on meanwhile.
    async fn drive<T>(&mut self, future: impl Future<Output = T>) -> T {
        let Self::Libp2p(muxer) = self else {
            return future.await;
        };
        let mut future = pin!(future);
        poll_fn(|cx| {
            while let std::task::Poll::Ready(Ok(_)) = muxer.poll_unpin(cx) {}
            future.poll_unpin(cx)
        })
        .await
    }
}

/// A stream.
pub(crate) enum Stream {
    Quinn(quinn::SendStream, quinn::RecvStream),
    Libp2p(SubstreamBox),
}

impl Stream {
    async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Quinn(send, _) => send.write_all(bytes).await?,
            Self::Libp2p(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await?;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Quinn(send, _) => send.finish()?,
            Self::Libp2p(stream) => stream.close().await?,
        }
        Ok(())
    }

    /// Whether there was a whole frame before the end.
    async fn read(&mut self, frame: &mut [u8]) -> anyhow::Result<bool> {
        Ok(match self {
            Self::Quinn(_, receive) => receive.read_exact(frame).await.is_ok(),
            Self::Libp2p(stream) => stream.read_exact(frame).await.is_ok(),
        })
    }
}

/// Until the connection ends.
async fn answer_all(mut connection: Connection) {
    while let Ok(mut stream) = connection.accept().await {
        let answering = async {
            let mut frame = FRAME;
            while stream.read(&mut frame).await? {
                stream.write(&frame).await?;
            }
            stream.finish().await
        };
        let answered: anyhow::Result<()> = connection.drive(answering).await;
        let _ = answered; // The asker may be gone.
    }
}

async fn next(
    transport: &mut Boxed<(PeerId, StreamMuxerBox)>,
) -> TransportEvent<
    <Boxed<(PeerId, StreamMuxerBox)> as libp2p::Transport>::ListenerUpgrade,
    std::io::Error,
> {
    poll_fn(|cx| std::pin::Pin::new(&mut *transport).poll(cx)).await
}

fn libp2p_transport(kind: Kind, number: u8) -> anyhow::Result<Boxed<(PeerId, StreamMuxerBox)>> {
    let keypair = libp2p::identity::Keypair::ed25519_from_bytes([number; 32])?;
    Ok(match kind {
        Kind::Link { path_mtu_probes } => {
            let (link, _) = transport::Quic::new(transport::Config {
                path_mtu_probes,
                ..link_config(number)?
            });
            link.map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
                .boxed()
        }
        Kind::QuicV1 => quic::tokio::Transport::new(quic::Config::new(&keypair))
            .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
            .boxed(),
        Kind::Tcp => tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&keypair)?)
            .multiplex(yamux::Config::default())
            .boxed(),
        Kind::Quinn => anyhow::bail!("not of libp2p"),
    })
}

fn link_config(number: u8) -> anyhow::Result<transport::Config> {
    let identity = keys::identity(number)?;
    let network = identity.trust.network();
    let key = keys::network_keys();
    let key = key.current();
    let credential = Credential::Membership(identity.membership.clone()).to_bytes();
    let reset_key = identity.keypair.derive(b"reset");
    let local = Local::new(identity.keypair, network, credential);
    Ok(transport::Config::new(
        Arc::new(local),
        KeyRing::new(key.key.link(&network, key.epoch), None),
        Arc::new(Members(Roll::new(identity.trust, Duration::ZERO))),
        Arc::new(|| Some(clock::wall_time())),
        reset_key,
    ))
}

/// Lets in whom the operator of the benchmark has admitted.
struct Members(Roll);

impl Judge for Members {
    fn judge(
        &self,
        machine: model::MachineId,
        shown: bytes::Bytes,
    ) -> Result<Credential, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.admit(machine, shown, Some(clock::wall_time()))?)
    }
}

fn quinn_endpoint() -> anyhow::Result<quinn::Endpoint> {
    let certified = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])?;
    let certificate = CertificateDer::from(certified.cert);
    let key = PrivateKeyDer::Pkcs8(certified.key_pair.serialize_der().into());
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(any::AnyCertificate(provider())))
        .with_no_client_auth();
    let initial = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    let initial = initial
        .and_then(|suite| suite.quic_suite())
        .context("for Initials")?;
    let server = QuicServerConfig::with_initial(Arc::new(server), initial)?;
    let client = QuicClientConfig::with_initial(Arc::new(client), initial)?;
    let server = quinn::ServerConfig::with_crypto(Arc::new(server));
    let mut endpoint = quinn::Endpoint::server(server, SocketAddr::from(([127, 0, 0, 1], 0)))?;
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(client)));
    Ok(endpoint)
}

/// ring's, with the cipher of the link alone.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        ..rustls::crypto::ring::default_provider()
    })
}

mod any {
    //! A client that believes any certificate, but checks that the server holds its key.

    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct AnyCertificate(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signed, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

fn multiaddr(kind: Kind, socket: SocketAddr) -> Multiaddr {
    let ip = Multiaddr::from(socket.ip());
    let udp = |ip: Multiaddr| ip.with(Protocol::Udp(socket.port()));
    match kind {
        Kind::Tcp => ip.with(Protocol::Tcp(socket.port())),
        Kind::QuicV1 => udp(ip).with(Protocol::QuicV1),
        Kind::Link { .. } | Kind::Quinn => udp(ip).with(Protocol::Quic).with(Protocol::Noise),
    }
}

fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let (Some(Protocol::Ip4(ip)), Some(Protocol::Udp(port) | Protocol::Tcp(port))) =
        (parts.next(), parts.next())
    else {
        return None;
    };
    Some(SocketAddr::from((ip, port)))
}

/// What travels. Source: design, section 14 h.
pub(crate) const FRAME: [u8; 64] = [7; 64];
const SERVER_NAME: &str = "localhost";
/// A first flight that is not younger than whom it is for is not answered, and its time is in
/// milliseconds; two machines hardly ever start within one.
pub(crate) const AFTER_START: Duration = Duration::from_millis(5);
const CLOSING_TIME_MAX: Duration = Duration::from_millis(100);
