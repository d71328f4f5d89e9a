//! How a machine that is no member yet redeems an invitation: it dials a machine that may admit,
//! shows its claim in the handshake, and reads the answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use identity::{Claim, Credential, Keypair, NetworkKeys, Roll};
use libp2p::Multiaddr;
use libp2p::core::muxing::StreamMuxer as _;
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::{ConnectedPoint, Endpoint, Transport as _};
use overlay::Address;
use tokio::time::timeout;
use transport::Quic;

use crate::admission::Admission;
use crate::compose::quic_config;
use crate::config::Keys;
use crate::enrolment::{Answer, Knocks, read};
use crate::gate::Gate;
use crate::refusals::Refusals;
use crate::tcp::Tcp;
use crate::ways::Way;
use crate::{Config, JoinError};

/// What a machine redeems an invitation with.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a> {
    /// Its secret key.
    pub machine_key: &'a Keypair,
    /// What it shows.
    pub claim: &'a Claim,
    /// Who counts as a member, as far as it knows: nobody is revoked yet.
    pub roll: &'a Roll,
    /// The key of the token.
    pub network_keys: &'a NetworkKeys,
}

impl Joining<'_> {
    /// Asks the machine at an address; it is a member, or nothing is asked of it. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`JoinError`] if there is no answer.
    pub async fn ask(&self, config: &Config, address: &Address) -> Result<Answer, JoinError> {
        let invalid = || JoinError::Unsupported(address.clone());
        let multiaddr: Multiaddr = address.as_str().parse().map_err(|_| invalid())?;
        let asking = async {
            match Way::of(&multiaddr) {
                Way::Quic => self.ask_over_quic(config, multiaddr).await,
                Way::Tcp => self.ask_over_tcp(config, multiaddr).await,
                Way::Circuit => Err(invalid()),
            }
        };
        match timeout(ASKING_TIME_MAX, asking).await {
            Ok(asked) => asked,
            Err(_) => Err(JoinError::TimedOut),
        }
    }

    async fn ask_over_quic(
        &self,
        config: &Config,
        address: Multiaddr,
    ) -> Result<Answer, JoinError> {
        let gate = Arc::new(self.gate(config));
        let (mut quic, _handle) = Quic::new(quic_config(&self.keys(), config, gate));
        let dialling = quic.dial(address, OPTIONS).map_err(failed)?;
        let mut connection = dialling.await.map_err(failed)?.1;
        let opened = poll_fn(|cx| Pin::new(&mut connection).poll_inbound(cx));
        let mut stream = opened.await.map_err(failed)?;
        let answer = read(&mut stream).await.map_err(failed)?;
        let closed = poll_fn(|cx| Pin::new(&mut connection).poll_close(cx));
        closed.await.map_err(failed)?;
        Ok(answer)
    }

    async fn ask_over_tcp(&self, config: &Config, address: Multiaddr) -> Result<Answer, JoinError> {
        let gate = Arc::new(self.gate(config));
        let keypair = crate::swarm::to_libp2p(self.machine_key).map_err(failed)?;
        let (refuser, _refusals) = Refusals::new();
        let (door, _knocks) = Knocks::new();
        let admission_timeout = config.admission_timeout;
        let keys = self.keys();
        let admission = Admission::new(&keys, &keypair, gate, admission_timeout, refuser, door);
        let admission = admission.map_err(failed)?;
        let mut tcp = Tcp::new(config.socket_layer.clone());
        let endpoint = ConnectedPoint::Dialer {
            address: address.clone(),
            role_override: OPTIONS.role,
            port_use: OPTIONS.port_use,
        };
        let connection = tcp.dial(address, OPTIONS).map_err(failed)?;
        let connection = connection.await.map_err(failed)?;
        let introduced = admission.introduce(connection, &endpoint, &mut None).await;
        let mut introduced = introduced.map_err(failed)?;
        read(&mut introduced.stream).await.map_err(failed)
    }

    fn gate(&self, config: &Config) -> Gate {
        let shown = Credential::Claim(self.claim.clone());
        Gate::new(&shown, self.roll.clone(), config.wall_clock.clone())
    }

    fn keys(&self) -> Keys<'_> {
        Keys {
            machine_key: self.machine_key,
            network: self.roll.trust().network(),
            network_keys: self.network_keys,
        }
    }
}

fn failed(error: impl std::error::Error) -> JoinError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    JoinError::NoAnswer(text)
}

const OPTIONS: DialOpts = DialOpts {
    role: Endpoint::Dialer,
    port_use: PortUse::New,
};
/// Source: guess, above what connecting, deciding and telling may take together.
const ASKING_TIME_MAX: Duration = Duration::from_secs(15);
