//! Who this machine is to its peers, and how its connections behave.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use handshake::{Judge, KeyRing, Local, ReplayGuard};
use model::Timestamp;
use zeroize::Zeroizing;

use crate::SocketLayer;

/// The wall clock, which first flights are judged by: `None` while nobody vouches for it.
pub type WallClock = Arc<dyn Fn() -> Option<Timestamp> + Send + Sync>;

/// How the transport behaves. [`Config::new`] gives the defaults.
#[derive(Clone)]
pub struct Config {
    /// What this machine shows.
    pub local: Arc<Local>,
    /// The keys of the network.
    pub ring: KeyRing,
    /// Whom it lets in.
    pub judge: Arc<dyn Judge + Send + Sync>,
    /// What first flights are judged by.
    pub wall_clock: WallClock,
    /// First flights that were seen before this process started.
    pub seen: ReplayGuard,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How long a connection may be silent before it counts as dead. After a third of it without
    /// anything else, a sign of life is sent.
    pub idle_timeout: Duration,
    /// Makes the tokens by which peers believe this machine that it has forgotten a connection; the
    /// same after a restart.
    pub reset_key: Zeroizing<[u8; 32]>,
    /// How often a connection renews its keys.
    pub key_update_interval: Duration,
    /// Whether to find out by probes how large datagrams may be. Costs some 12 kB a connection.
    pub path_mtu_probes: bool,
    /// What lies between sockets and everything else; `None` but in testnets.
    pub socket_layer: Option<Arc<dyn SocketLayer>>,
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new(
        local: Arc<Local>,
        ring: KeyRing,
        judge: Arc<dyn Judge + Send + Sync>,
        wall_clock: WallClock,
        reset_key: Zeroizing<[u8; 32]>,
    ) -> Self {
        Self {
            local,
            ring,
            judge,
            wall_clock,
            seen: ReplayGuard::new(),
            handshake_timeout: HANDSHAKE_TIMEOUT_DEFAULT,
            idle_timeout: IDLE_TIMEOUT_DEFAULT,
            reset_key,
            key_update_interval: KEY_UPDATE_INTERVAL_DEFAULT,
            path_mtu_probes: true,
            socket_layer: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("local", &self.local)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

/// Source: `link.md`.
const HANDSHAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// Source: guess; a third of it is below the half minute after which NATs may forget a UDP flow
/// (RFC 4787 §4.3 asks them for two minutes, and says that many have less).
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Source: guess; what is recorded before an update stays secret if the keys are stolen after it.
const KEY_UPDATE_INTERVAL_DEFAULT: Duration = Duration::from_secs(3_600);
