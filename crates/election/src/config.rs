//! Times and sizes of the election.

use std::time::Duration;

/// Times and sizes of the election. Durations are not zero; the defaults are for a LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Relays of one uplink. Range: 1..=16.
    pub relays_count: usize,
    /// How often candidates say that they are alive.
    pub heartbeat_interval: Duration,
    /// Silence after which a candidate is suspected. At 10 % loss, with the loss of a packet found
    /// out by the next one, the defaults take 0.13 of two, 0.2 of three and 0.4 of five candidates
    /// an hour for dead that are not (30 simulated hours each in `tests/network.rs`, where the
    /// second case stays); such an error costs uploading twice for some milliseconds.
    pub suspect_after: Duration,
    /// How long indirect probes may take before a suspect counts as dead.
    pub probe_timeout: Duration,
    /// Candidates that are asked about a suspect.
    pub probes: usize,
    /// A pause of this machine after which it stops uploading until it has read the states again.
    pub fence_after: Duration,
    /// How much better a challenger must score to take an incumbent's place. Unit: points, of
    /// which the priority makes 100 each; see [`Candidacy::score`](crate::Candidacy::score).
    pub hysteresis: u32,
    /// How often a candidate repeats its candidacy. Everyone drops one that was not repeated for
    /// three such intervals.
    pub refresh_interval: Duration,
    /// How long a candidate that is known by its state alone counts as alive before it must have
    /// been heard.
    pub join_grace: Duration,
    /// How long a candidate must have stood without a break before it may take the place of a
    /// relay that works.
    pub settle_after: Duration,
}

impl Config {
    /// Age at which a candidacy that was not repeated is dropped.
    pub(crate) fn expire_after(&self) -> Duration {
        self.refresh_interval * REFRESHES_MISSED_MAX
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            relays_count: RELAYS_COUNT_DEFAULT,
            heartbeat_interval: HEARTBEAT_INTERVAL_DEFAULT,
            suspect_after: SUSPECT_AFTER_DEFAULT,
            probe_timeout: PROBE_TIMEOUT_DEFAULT,
            probes: PROBES_DEFAULT,
            fence_after: FENCE_AFTER_DEFAULT,
            hysteresis: HYSTERESIS_DEFAULT,
            refresh_interval: REFRESH_INTERVAL_DEFAULT,
            join_grace: JOIN_GRACE_DEFAULT,
            settle_after: SETTLE_AFTER_DEFAULT,
        }
    }
}

/// One relay: a site's aggregates are little work, and a second relay opens a second session at
/// the sink. More than one pays off with many origins or slow uplinks. Source: guess.
const RELAYS_COUNT_DEFAULT: usize = 1;
/// Source: design, section 9.
const HEARTBEAT_INTERVAL_DEFAULT: Duration = Duration::from_millis(50);
/// Source: design, section 9.
const SUSPECT_AFTER_DEFAULT: Duration = Duration::from_millis(300);
/// Source: design, section 9.
const PROBE_TIMEOUT_DEFAULT: Duration = Duration::from_millis(40);
/// Source: design, section 9.
const PROBES_DEFAULT: usize = 2;
/// Source: design, section 9.
const FENCE_AFTER_DEFAULT: Duration = Duration::from_millis(300);
/// Unit: points. As much as load alone can change a score, so that the work of a relay never costs
/// it its place; a quarter of the health, half a step of priority. Source: guess.
const HYSTERESIS_DEFAULT: u32 = 50;
/// Source: guess, some 100 bytes a second for each candidate and neighbour.
const REFRESH_INTERVAL_DEFAULT: Duration = Duration::from_secs(2);
/// Source: guess, above a dial and a handshake on a LAN or a cellular link.
const JOIN_GRACE_DEFAULT: Duration = Duration::from_secs(1);
/// Source: guess, above the period of a process that a supervisor restarts after 5 s.
const SETTLE_AFTER_DEFAULT: Duration = Duration::from_secs(10);
/// Unit: refresh intervals. Source: guess, two lost or late repetitions are forgiven.
const REFRESHES_MISSED_MAX: u32 = 3;
