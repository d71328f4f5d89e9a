//! From a TCP connection to one between two members.
//!
//! Inside the connection upgrade: pnet, Noise, memberships, Yamux, each known in advance, so
//! nothing is negotiated. Whoever fails never reaches the swarm.
//!
//! # Not here
//!
//! Who gets in ([`Gate`]), what becomes of whoever shows a claim ([`Door`]).

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use identity::{Claim, Credential, CredentialError, EpochKey, NetworkKeys};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::upgrade::{InboundConnectionUpgrade as _, OutboundConnectionUpgrade as _};
use libp2p::core::{ConnectedPoint, UpgradeInfo as _};
use libp2p::multiaddr::Protocol as Part;
use libp2p::pnet::{PnetConfig, PnetError, PnetOutput, PreSharedKey};
use libp2p::{Multiaddr, PeerId, noise, yamux};
use model::{MachineId, NetworkId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use transport::{Chooser, KeyTurns};

use crate::address::machine_of;
use crate::config::Keys;
use crate::enrolment::Door;
use crate::gate::Gate;
use crate::muxer::ClosingInTime;
use crate::refusals::Refuser;
use crate::tcp::RawConnection;
use crate::{BoxedStream, RefusalReason, StartError};

/// Takes TCP connections through every step.
pub(crate) struct Admission {
    keypair: libp2p::identity::Keypair,
    /// One for each network key that counts, the current one first.
    ciphers: RwLock<Vec<Ciphers>>,
    turns: KeyTurns<Multiaddr>,
    gate: Arc<Gate>,
    time_max: Duration,
    refuser: Refuser,
    door: Door,
}

/// Ciphered with the network key and the machines' keys.
type Secured = noise::Output<PnetOutput<Compat<BoxedStream>>>;

/// A connection over which both sides know whom they talk to.
pub(crate) struct Introduced {
    peer: PeerId,
    pub(crate) stream: Secured,
    credential: Credential,
    permit: Option<OwnedSemaphorePermit>,
}

/// Why a connection does not become a link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoLink {
    #[error(transparent)]
    Refused(#[from] RefusalReason),
    /// It was for enrolling, and that is done.
    #[error("an invitation was answered")]
    Enrolled,
}

/// What one network key makes.
#[derive(Clone)]
struct Ciphers {
    pnet: PnetConfig,
    noise: noise::Config,
}

impl Ciphers {
    fn new(
        keypair: &libp2p::identity::Keypair,
        network: &NetworkId,
        EpochKey { epoch, key }: &EpochKey,
    ) -> Result<Self, StartError> {
        let prologue = [PROLOGUE, network.as_bytes(), &epoch.0.to_be_bytes()].concat();
        let noise = noise::Config::new(keypair)
            .map_err(|error| StartError::Keys(error.to_string()))?
            .with_prologue(prologue);
        let key = key.pnet(network, *epoch);
        Ok(Self {
            pnet: PnetConfig::new(PreSharedKey::new(*key)),
            noise,
        })
    }
}

impl Admission {
    pub(crate) fn new(
        keys: &Keys<'_>,
        keypair: &libp2p::identity::Keypair,
        gate: Arc<Gate>,
        time_max: Duration,
        refuser: Refuser,
        door: Door,
    ) -> Result<Self, StartError> {
        let admission = Self {
            keypair: keypair.clone(),
            ciphers: RwLock::default(),
            turns: KeyTurns::default(),
            gate,
            time_max,
            refuser,
            door,
        };
        admission.set_network_keys(&keys.network, keys.network_keys)?;
        Ok(admission)
    }

    /// Goes by these keys from now on.
    pub(crate) fn set_network_keys(
        &self,
        network: &NetworkId,
        keys: &NetworkKeys,
    ) -> Result<(), StartError> {
        let ciphers = keys.iter();
        let ciphers = ciphers.map(|key| Ciphers::new(&self.keypair, network, key));
        let ciphers = ciphers.collect::<Result<_, _>>()?;
        *self.ciphers.write().unwrap_or_else(PoisonError::into_inner) = ciphers;
        Ok(())
    }

    /// pnet cannot tell under which key the other side speaks, so both sides take turns.
    fn ciphers(&self, is_previous: bool) -> Option<Ciphers> {
        let ciphers = self.ciphers.read().unwrap_or_else(PoisonError::into_inner);
        let previous = ciphers.get(1).filter(|_| is_previous);
        previous.or(ciphers.first()).cloned()
    }

    /// Takes a connection through every step, or refuses it and says so.
    pub(crate) async fn admit(
        self: Arc<Self>,
        connection: RawConnection,
        endpoint: ConnectedPoint,
    ) -> Result<(PeerId, StreamMuxerBox), NoLink> {
        let mut machine = None;
        let steps = self.prove(connection, &endpoint, &mut machine);
        let proved = match timeout(self.time_max, steps).await {
            Ok(proved) => proved,
            Err(_) => Err(RefusalReason::TimedOut),
        };
        match proved {
            Ok(Proved::Member(peer, muxer)) => Ok((peer, muxer)),
            Ok(Proved::Invited(claim, stream)) => {
                self.door.serve(*claim, &endpoint, stream).await;
                Err(NoLink::Enrolled)
            }
            Err(reason) => {
                self.refuser.refuse(&endpoint, machine, reason.clone());
                Err(reason.into())
            }
        }
    }

    /// `machine` is set as soon as it is proved who is at the other end.
    async fn prove(
        &self,
        connection: RawConnection,
        endpoint: &ConnectedPoint,
        machine: &mut Option<MachineId>,
    ) -> Result<Proved, RefusalReason> {
        let Introduced {
            peer,
            stream,
            credential,
            permit,
        } = self.introduce(connection, endpoint, machine).await?;
        if let Credential::Claim(claim) = credential {
            return match endpoint {
                ConnectedPoint::Listener { .. } => {
                    Ok(Proved::Invited(Box::new(claim), Box::new(stream)))
                }
                ConnectedPoint::Dialer { .. } => Err(RefusalReason::Claim),
            };
        }
        let config = yamux_config();
        let protocol = config.protocol_info().next().unwrap_or_default();
        let muxer = if endpoint.is_dialer() {
            config.upgrade_outbound(stream, protocol).await
        } else {
            config.upgrade_inbound(stream, protocol).await
        }
        .map_err(|error| io_failed(&error))?;
        drop(permit);
        let muxer = StreamMuxerBox::new(ClosingInTime::new(muxer));
        Ok(Proved::Member(peer, muxer))
    }

    /// The steps up to where each side has judged the other.
    pub(crate) async fn introduce(
        &self,
        connection: RawConnection,
        endpoint: &ConnectedPoint,
        machine: &mut Option<MachineId>,
    ) -> Result<Introduced, RefusalReason> {
        let chooser = match endpoint.is_dialer() {
            true => Chooser::Dialler,
            false => Chooser::Listener,
        };
        let turn = self.turns.take(chooser, remote_of(endpoint));
        let ciphers = self.ciphers(turn.is_previous());
        let Ciphers { pnet, noise } = ciphers.ok_or_else(|| failed("there is no network key"))?;
        let RawConnection { stream, permit } = connection;
        let stream = pnet.handshake(stream.compat()).await;
        let stream = stream.map_err(|error| match error {
            PnetError::HandshakeError(error) | PnetError::IoError(error) => io_failed(&error),
        })?;
        let protocol = noise.protocol_info().next().unwrap_or_default();
        let (peer, mut stream) = if endpoint.is_dialer() {
            noise.upgrade_outbound(stream, protocol).await
        } else {
            noise.upgrade_inbound(stream, protocol).await
        }
        .map_err(noise_failed)?;
        let proved = machine_of(&peer).ok_or_else(|| failed("the key is not Ed25519"))?;
        *machine = Some(proved);
        turn.settle();
        let shown = exchange(&mut stream, &self.gate.shown()).await?;
        let credential = self.gate.admit(proved, shown)?;
        Ok(Introduced {
            peer,
            stream,
            credential,
            permit,
        })
    }
}

/// What a machine at the other end has proved to be.
enum Proved {
    Member(PeerId, StreamMuxerBox),
    Invited(Box<Claim>, Box<Secured>),
}

/// The other side without its port, which changes from try to try.
fn remote_of(endpoint: &ConnectedPoint) -> Multiaddr {
    let names_remote = |part: &Part<'_>| matches!(part, Part::Ip4(_) | Part::Ip6(_) | Part::P2p(_));
    let address = endpoint.get_remote_address();
    address.iter().filter(names_remote).collect()
}

/// Both sides show their credential at once; the length comes first, in two bytes.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Bytes,
) -> Result<Bytes, RefusalReason> {
    let length = u16::try_from(own.len()).expect("a credential has at most 3 KiB");
    let exchanged = async {
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(own).await?;
        stream.flush().await?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > Credential::BYTES_MAX {
            return Ok(None);
        }
        let mut shown = vec![0; length];
        stream.read_exact(&mut shown).await?;
        Ok(Some(Bytes::from(shown)))
    };
    let shown = exchanged.await.map_err(|error| io_failed(&error))?;
    shown.ok_or(RefusalReason::Credential(CredentialError::Malformed(
        "longer than 3 KiB",
    )))
}

fn failed(error: impl ToString) -> RefusalReason {
    RefusalReason::Handshake(error.to_string())
}

fn noise_failed(error: noise::Error) -> RefusalReason {
    if let noise::Error::Io(error) = &error {
        return io_failed(error);
    }
    failed(error)
}

fn io_failed(error: &io::Error) -> RefusalReason {
    // Bytes that make no sense are an error of kind `InvalidData`; all else is the network.
    if error.kind() == io::ErrorKind::InvalidData {
        return failed(error);
    }
    RefusalReason::Closed
}

/// Two streams are needed for links, the rest for what `reach` runs beside them: most are circuits.
pub(crate) fn yamux_config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS_MAX);
    config
}

/// Hashed into the Noise handshake, before network and epoch of its key.
const PROLOGUE: &[u8] = b"fieldmesh-tcp-v1";
/// Streams of one connection.
pub(crate) const STREAMS_MAX: usize = 64;
