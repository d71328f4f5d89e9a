//! What a node is told before it starts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use election::UplinkId;
use identity::{Keypair, KnownKeys, Membership, Signatures, Trust};
use model::{Pattern, SeriesName};

/// Who this machine is.
#[derive(Debug)]
pub struct NodeIdentity<K = Keypair> {
    /// Its key.
    pub keypair: K,
    /// Its membership, of this very key.
    pub membership: Membership,
    /// Whom it trusts.
    pub trust: Trust,
}

/// Settings of the protocols.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which neighbours to keep.
    pub overlay: overlay::Config,
    /// How blocks and states spread.
    pub gossip: gossip::Config,
    /// Who checks the signatures of blocks and states.
    pub signatures: Arc<dyn Signatures>,
    /// How relays are found.
    pub election: election::Config,
    /// How commands are kept.
    pub commands: command::Config,
    /// What this machine lets others do.
    pub policy: command::Policy,
    /// The uplinks of this machine; none if it forwards nothing.
    pub uplinks: Vec<UplinkConfig>,
    /// How long a flood of readings is gathered into one block. Source: design, section 2.
    pub gather: Duration,
    /// How far the watermark stays behind the clock: the disorder that sources may have without
    /// their readings counting as late.
    pub watermark_delay: Duration,
    /// How often an origin with nothing to say repeats its watermark.
    pub watermark_interval: Duration,
    /// Say nothing of this machine until it publishes, relays or otherwise has something to say: of
    /// thousands of machines that only listen, each costs every other one two states.
    pub quiet: bool,
    /// How often a machine repeats its presence.
    pub presence_interval: Duration,
    /// How long a machine that did not stop in order listens for its own lost blocks before it
    /// starts a new epoch.
    pub recovery: Duration,
    /// How much longer an expired membership still counts.
    pub grace: Duration,
}

/// One way to the internet.
#[derive(Clone, Debug)]
pub struct UplinkConfig {
    /// Its name, equal on all machines that share it.
    pub id: UplinkId,
    /// The windows it gets.
    pub windows: aggregate::Config,
    /// The series whose windows it gets; none stands for all.
    pub patterns: Vec<Pattern>,
    /// The series whose readings it gets one by one instead, whatever `patterns` says.
    pub raw: Vec<Pattern>,
    /// The series of which it gets nothing, whatever `patterns` and `raw` say.
    pub exclude: Vec<Pattern>,
    /// The operator's preference for this machine; higher is better.
    pub priority: u8,
    /// What the way costs: 0 wired, 1 wireless, 2 metered.
    pub cost_class: u8,
    /// Silence of an origin after which its unfinished windows are given as partial records.
    pub partial_after: Duration,
}

/// What an uplink gets of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Its windows.
    Windows,
    /// Its readings, one by one.
    Raw,
    /// Nothing.
    Nothing,
}

impl Config {
    /// The settings of a machine of the site that its membership names.
    pub(crate) fn at_site_of(mut self, membership: &Membership) -> Self {
        if let Ok(site) = membership.grant().site.parse() {
            self.gossip.interest = self.gossip.interest.at(site);
        }
        self
    }
}

impl UplinkConfig {
    /// What the uplink gets of a series of a machine that answers to `names`.
    #[must_use]
    pub fn forward(&self, names: &BTreeSet<String>, series: &SeriesName) -> Forward {
        let fits = |pattern: &Pattern| {
            pattern
                .machine()
                .is_none_or(|machine| names.contains(machine))
                && pattern.matches(series)
        };
        if self.exclude.iter().any(fits) {
            Forward::Nothing
        } else if self.raw.iter().any(fits) {
            Forward::Raw
        } else if self.patterns.is_empty() || self.patterns.iter().any(fits) {
            Forward::Windows
        } else {
            Forward::Nothing
        }
    }

    /// Whether it gets the windows of everything.
    pub(crate) fn gets_all_windows(&self) -> bool {
        self.patterns.is_empty() && self.raw.is_empty() && self.exclude.is_empty()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            overlay: overlay::Config::default(),
            gossip: gossip::Config::default(),
            signatures: Arc::new(KnownKeys::default()),
            election: election::Config::default(),
            commands: command::Config::default(),
            policy: command::Policy::default(),
            uplinks: Vec::new(),
            gather: GATHER_DEFAULT,
            watermark_delay: WATERMARK_DELAY_DEFAULT,
            watermark_interval: WATERMARK_INTERVAL_DEFAULT,
            quiet: false,
            presence_interval: PRESENCE_INTERVAL_DEFAULT,
            recovery: RECOVERY_DEFAULT,
            grace: GRACE_DEFAULT,
        }
    }
}

/// Source: design, section 2.
const GATHER_DEFAULT: Duration = Duration::from_millis(5);
/// Source: guess, above the time from a poll of a fast device to the seal of its block.
const WATERMARK_DELAY_DEFAULT: Duration = Duration::from_millis(200);
/// Source: guess, a tenth of the shortest window that is common (10 s).
const WATERMARK_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
/// Source: guess.
const PRESENCE_INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
/// Source: guess, time enough to notice and to renew by hand; a site goes on meanwhile.
const GRACE_DEFAULT: Duration = Duration::from_secs(30 * 86_400);
/// Source: guess: a dial, a handshake and the exchange of frontiers take about 100 ms on a LAN.
const RECOVERY_DEFAULT: Duration = Duration::from_secs(1);
