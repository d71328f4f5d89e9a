//! Who this machine is, and how its swarm behaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use handshake::ReplayGuard;
use identity::{Keypair, Membership, NetworkKeys, Roll};
use model::{NetworkId, Timestamp};
use overlay::Address;

use crate::SocketLayer;

/// What a machine shows to others and how it judges them.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// Its secret key.
    pub machine_key: &'a Keypair,
    /// What the operator lets it do; must be of `machine_key`.
    pub membership: &'a Membership,
    /// Who else counts as a member.
    pub roll: &'a Roll,
    /// The secrets of the network.
    pub network_keys: &'a NetworkKeys,
}

impl<'a> Credentials<'a> {
    pub(crate) fn keys(&self) -> Keys<'a> {
        Keys {
            machine_key: self.machine_key,
            network: self.roll.trust().network(),
            network_keys: self.network_keys,
        }
    }
}

/// What ciphers are made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'a> {
    pub(crate) machine_key: &'a Keypair,
    pub(crate) network: NetworkId,
    pub(crate) network_keys: &'a NetworkKeys,
}

/// The wall clock, which memberships are judged by: `None` while nobody vouches for it.
#[derive(Clone)]
pub struct WallClock(pub Arc<dyn Fn() -> Option<Timestamp> + Send + Sync>);

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}

/// How the swarm behaves. [`Config::new`] gives the defaults.
#[derive(Clone)]
pub struct Config {
    /// What memberships are judged by.
    pub wall_clock: WallClock,
    /// Where to look for machines while there is no link: multiaddresses with or without
    /// `/p2p/MACHINE`.
    pub bootstrap: Vec<Address>,
    /// Whether to announce this machine on the local network and to listen for others.
    pub mdns: bool,
    /// How long one address may take from the first packet to an admitted connection.
    pub dial_timeout: Duration,
    /// How long an inbound connection may take to be admitted.
    pub admission_timeout: Duration,
    /// How often a link's round trip is measured.
    pub ping_interval: Duration,
    /// How long a link may be silent after a ping before it counts as dead.
    pub ping_timeout: Duration,
    /// How long QUIC may hear nothing before it counts a link as dead.
    pub idle_timeout: Duration,
    /// How old a connection becomes before its link moves to a fresh one.
    pub link_age_max: Duration,
    /// How often a link over TCP looks whether QUIC gets through.
    pub quic_probe_interval: Duration,
    /// Most links at a time; more are refused.
    pub links_max: usize,
    /// Most frames that wait for one machine on one lane.
    pub queue_frames_max: usize,
    /// Most bytes that wait for one machine on one lane; a single frame always fits.
    pub queue_bytes_max: usize,
    /// Whether QUIC may find out by probes how large datagrams may be; costs some 12 kB a link.
    pub path_mtu_probes: bool,
    /// First messages of handshakes over QUIC that were seen before the start.
    pub seen: ReplayGuard,
    /// What lies between sockets and everything else; `None` but in testnets.
    pub socket_layer: Option<Arc<dyn SocketLayer>>,
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new(wall_clock: WallClock) -> Self {
        Self {
            wall_clock,
            bootstrap: Vec::new(),
            mdns: false,
            dial_timeout: DIAL_TIMEOUT_DEFAULT,
            admission_timeout: ADMISSION_TIMEOUT_DEFAULT,
            ping_interval: PING_INTERVAL_DEFAULT,
            ping_timeout: PING_TIMEOUT_DEFAULT,
            idle_timeout: IDLE_TIMEOUT_DEFAULT,
            link_age_max: LINK_AGE_MAX_DEFAULT,
            quic_probe_interval: QUIC_PROBE_INTERVAL_DEFAULT,
            links_max: LINKS_MAX_DEFAULT,
            queue_frames_max: QUEUE_FRAMES_MAX_DEFAULT,
            queue_bytes_max: QUEUE_BYTES_MAX_DEFAULT,
            path_mtu_probes: true,
            seen: ReplayGuard::new(),
            socket_layer: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("bootstrap", &self.bootstrap)
            .field("mdns", &self.mdns)
            .finish_non_exhaustive()
    }
}

/// Source: guess, above the handshake's five round trips over a link of 500 ms.
const DIAL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// Source: guess, above [`DIAL_TIMEOUT_DEFAULT`], so that the dialler gives up first.
const ADMISSION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Source: guess.
const PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(15);
/// Source: guess, above a retransmission on a cellular link.
const PING_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Source: guess, some retransmissions and a short stop of the process.
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(8);
/// Source: `link.md`.
const LINK_AGE_MAX_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// Source: guess; a handful of datagrams each time where UDP stays blocked.
const QUIC_PROBE_INTERVAL_DEFAULT: Duration = Duration::from_secs(600);
/// Source: guess, four times the largest active view.
const LINKS_MAX_DEFAULT: usize = 256;
/// Source: guess.
const QUEUE_FRAMES_MAX_DEFAULT: usize = 1_024;
/// Unit: bytes. Source: guess, a dozen of the largest blocks.
const QUEUE_BYTES_MAX_DEFAULT: usize = 4 * 1024 * 1024;
