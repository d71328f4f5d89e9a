//! Times and sizes of the election.

use std::time::Duration;

/// What lies between the candidates of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// A LAN: round trips of milliseconds. A silent relay is suspected after 300 ms.
    #[default]
    Lan,
    /// Lines between places: round trips up to some 150 ms. Suspected after 2.1 s.
    Wan,
    /// Cellular or satellite links: round trips up to some 2 s. Suspected after 30 s.
    Thin,
}

/// Times and sizes of the election. Durations are not zero; the defaults are for a LAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Relays of one uplink. Range: 1..=16.
    pub relays_count: usize,
    /// How often relays say to the other candidates that they are alive.
    pub heartbeat_interval: Duration,
    /// Silence after which a relay is suspected, on a network without losses. At 10 % loss, with
    /// the loss of a packet found out by the next one, the work of a relay that lives moves 0.2
    /// times a day between two candidates, 0.1 times between three, and not between five (ten
    /// simulated days each; a day of three stays in `tests/network`). Such an error costs
    /// uploading twice for some milliseconds.
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
    /// How long a machine that begins to stand, or was paused, listens to others before it serves.
    /// A relay that took its place meanwhile is heard of in each heartbeat interval.
    pub listen_time: Duration,
    /// How long a candidate must have stood without a break before it may take the place of a
    /// relay that works.
    pub settle_after: Duration,
}

impl Config {
    /// The configuration for a profile.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let lan = Self::default();
        let factor = match profile {
            Profile::Lan => return lan,
            Profile::Wan => WAN_FACTOR,
            Profile::Thin => THIN_FACTOR,
        };
        Self {
            heartbeat_interval: lan.heartbeat_interval * factor,
            suspect_after: lan.suspect_after * factor,
            probe_timeout: lan.probe_timeout * factor,
            fence_after: lan.fence_after * factor,
            refresh_interval: lan.refresh_interval * factor,
            join_grace: lan.join_grace * factor,
            listen_time: lan.listen_time * factor,
            settle_after: lan.settle_after * factor,
            ..lan
        }
    }

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
            listen_time: LISTEN_TIME_DEFAULT,
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
/// Four heartbeats, of which three may be lost or late. Source: guess.
const LISTEN_TIME_DEFAULT: Duration = Duration::from_millis(200);
/// Source: guess, above the period of a process that a supervisor restarts after 5 s.
const SETTLE_AFTER_DEFAULT: Duration = Duration::from_secs(10);
/// Unit: refresh intervals. Source: guess, two lost or late repetitions are forgiven.
const REFRESHES_MISSED_MAX: u32 = 3;
/// How much slower [`Profile::Wan`] is than [`Profile::Lan`]: a probe through a helper passes four
/// times over a line. Source: `each_profile_bears_the_network_that_it_is_for` in
/// `tests/network`.
const WAN_FACTOR: u32 = 7;
/// How much slower [`Profile::Thin`] is than [`Profile::Lan`]. Source: as `WAN_FACTOR`.
const THIN_FACTOR: u32 = 100;
