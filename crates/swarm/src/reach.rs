//! Being reached by machines that cannot dial this one.
//!
//! Every part is libp2p's: others try whether this machine can be dialled (AutoNAT); if not, it
//! keeps circuits through machines that can (circuit relay v2), under addresses that it tells like
//! its own; and a connection over a circuit is replaced by a direct one where the routers between
//! let it be punched through (DCUtR, over QUIC). What is here decides when circuits are wanted, and
//! through whom. Whoever gets so far is a member, so every machine that can be dialled serves
//! circuits, and only members use them.
//!
//! # Not here
//!
//! Which connection is the link (`links`); admission, which a circuit passes like any connection.

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use libp2p::autonat::v1::NatStatus;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::NetworkBehaviour;
use libp2p::{Multiaddr, PeerId, autonat, dcutr, identify, identity, relay};
use tokio::time::{Sleep, sleep};

use crate::address::split_peer;

/// What runs on every connection for this.
#[derive(NetworkBehaviour)]
pub(crate) struct Reach {
    /// Tells others at which address they are seen.
    identify: identify::Behaviour,
    autonat: autonat::v1::Behaviour,
    /// Serves circuits, once AutoNAT has found that others can dial this machine.
    relay: relay::Behaviour,
    circuits: relay::client::Behaviour,
    punch: dcutr::Behaviour,
}

impl Reach {
    pub(crate) fn new(key: &identity::Keypair, circuits: relay::client::Behaviour) -> Self {
        let own = key.public().to_peer_id();
        let identify = identify::Config::new(PROTOCOL.to_owned(), key.public())
            .with_agent_version(String::new())
            .with_hide_listen_addrs(true)
            .with_cache_size(0);
        let autonat = autonat::v1::Config {
            timeout: PROBE_TIMEOUT,
            boot_delay: PROBE_DELAY,
            retry_interval: PROBE_RETRY,
            throttle_server_period: PROBE_RETRY,
            only_global_ips: false, // A site's own network is reach enough.
            ..autonat::v1::Config::default()
        };
        let relay = relay::Config {
            max_circuits: CIRCUITS_MAX,
            max_circuits_per_peer: CIRCUITS_PER_PEER_MAX,
            max_circuit_duration: CIRCUIT_TIME_MAX,
            max_circuit_bytes: 0, // No limit: readings flow over it if nothing can be punched.
            circuit_src_rate_limiters: Vec::new(),
            ..relay::Config::default()
        };
        Self {
            identify: identify::Behaviour::new(identify),
            autonat: autonat::v1::Behaviour::new(own, autonat),
            relay: relay::Behaviour::new(own, relay),
            circuits,
            punch: dcutr::Behaviour::new(own),
        }
    }
}

/// Which circuits this machine listens on.
#[derive(Debug)]
pub(crate) struct Circuits {
    /// What others found when they tried to dial this machine.
    status: NatStatus,
    /// Machines that serve circuits, with the address to say to others.
    servers: BTreeMap<PeerId, Multiaddr>,
    /// Circuits that are listened on or being asked for.
    held: BTreeMap<PeerId, ListenerId>,
    /// Not before then is another one asked for.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Circuits {
    pub(crate) const fn new() -> Self {
        Self {
            status: NatStatus::Unknown,
            servers: BTreeMap::new(),
            held: BTreeMap::new(),
            pause: None,
        }
    }

    /// What others found out about this machine changed.
    pub(crate) fn on_status(&mut self, status: NatStatus) {
        self.status = match status {
            NatStatus::Public(address) => NatStatus::Public(split_peer(address).0),
            NatStatus::Private | NatStatus::Unknown => status,
        };
    }

    /// Where others could dial this machine when they tried; it may be a router's.
    pub(crate) const fn public_address(&self) -> Option<&Multiaddr> {
        match &self.status {
            NatStatus::Public(address) => Some(address),
            NatStatus::Private | NatStatus::Unknown => None,
        }
    }

    /// A machine said at which addresses it can be dialled, and what it serves.
    pub(crate) fn on_identified(&mut self, peer: PeerId, info: &identify::Info) {
        let is_server = info.protocols.contains(&relay::HOP_PROTOCOL_NAME);
        let mut addresses = info.listen_addrs.iter();
        match addresses.find(|address| !is_circuit(address)) {
            Some(address) if is_server && self.servers.len() < SERVERS_MAX => {
                self.servers.insert(peer, address.clone());
            }
            _ => _ = self.servers.remove(&peer),
        }
    }

    pub(crate) fn on_disconnected(&mut self, peer: &PeerId) {
        self.servers.remove(peer);
    }

    /// A circuit that is not listened on any more, or that was refused.
    pub(crate) fn on_closed(&mut self, listener: ListenerId) {
        let before = self.held.len();
        self.held.retain(|_, held| *held != listener);
        if self.held.len() < before {
            self.on_failed();
        }
    }

    /// A circuit could not be asked for.
    pub(crate) fn on_failed(&mut self) {
        self.pause = Some(Box::pin(sleep(RETRY_PAUSE)));
    }

    /// Waits until another circuit may be asked for. Losing the future loses nothing.
    pub(crate) async fn due(&mut self) {
        match &mut self.pause {
            Some(pause) => pause.as_mut().await,
            None => pending().await,
        }
        self.pause = None;
    }

    /// The next circuit to listen on, if one is wanted now.
    pub(crate) fn next(&mut self) -> Option<(PeerId, Multiaddr)> {
        let is_wanted = self.status == NatStatus::Private && self.held.len() < CIRCUITS_HELD_MAX;
        if !is_wanted || self.pause.is_some() {
            return None;
        }
        let is_free = |peer: &PeerId| !self.held.contains_key(peer);
        let (peer, address) = self.servers.iter().find(|(peer, _)| is_free(peer))?;
        let relay = address.clone().with_p2p(*peer).ok()?;
        Some((*peer, relay.with(Protocol::P2pCircuit)))
    }

    pub(crate) fn on_listening(&mut self, listener: ListenerId, peer: PeerId) {
        self.held.insert(peer, listener);
    }

    /// The circuits to give up: all, once this machine can be dialled.
    pub(crate) fn needless(&self) -> Vec<ListenerId> {
        match self.status {
            NatStatus::Public(_) => self.held.values().copied().collect(),
            NatStatus::Private | NatStatus::Unknown => Vec::new(),
        }
    }
}

/// Whether an address leads over a circuit.
pub(crate) fn is_circuit(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|protocol| protocol == Protocol::P2pCircuit)
}

/// What machines say to each other that they speak.
const PROTOCOL: &str = "/fieldmesh/1";
/// How long others may take to try. Source: guess, above a dial's own limit.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// When others are asked to try for the first time. Source: guess, after the first links stand.
const PROBE_DELAY: Duration = Duration::from_secs(5);
/// How often, until three in a row say the same; then every 15 minutes. Source: guess.
const PROBE_RETRY: Duration = Duration::from_secs(30);
/// Circuits that this machine is reached by. Source: guess, one more than is needed.
const CIRCUITS_HELD_MAX: usize = 2;
/// Machines remembered for it. Source: guess.
const SERVERS_MAX: usize = 64;
/// After a circuit ended or was refused. Source: guess.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// Most circuits that this machine serves. Source: guess.
const CIRCUITS_MAX: usize = 64;
/// Source: guess, an active view.
const CIRCUITS_PER_PEER_MAX: usize = 16;
/// Source: a link is re-made at most a day old.
const CIRCUIT_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
