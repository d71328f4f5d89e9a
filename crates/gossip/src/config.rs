//! What gossip is started with.

use std::time::Duration;

use model::State;

use crate::{FrontierEntry, Interest};

/// Times and sizes of gossip. Times below a millisecond count as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What of the network is replicated. A node adds its own site.
    pub interest: Interest,
    /// How long announcements are gathered before they are sent.
    pub announce_interval: Duration,
    /// How long an announced block may take to arrive over the tree before it is asked for; in a
    /// log with a stream of announcements up to twice as long.
    pub graft_timeout: Duration,
    /// How long a neighbour may be silent while blocks are wanted from it before others are asked.
    pub want_timeout: Duration,
    /// Most bytes asked of one neighbour and not arrived yet, by the average size of a block.
    pub want_bytes_max: usize,
    /// Most bytes a second of the past that are asked for, and that are sent in answer; no limit if
    /// `None`. Alarms, and what is new, count but do not wait.
    pub past_bytes_per_second: Option<u32>,
    /// Most logs that are kept track of, an eighth of them of one origin. At most 524,288.
    pub logs_max: usize,
    /// Most states that are kept, an eighth of them of one origin; the operator's come on top, half
    /// as many. At most 524,288.
    pub states_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interest: Interest::default(),
            announce_interval: ANNOUNCE_INTERVAL_DEFAULT,
            graft_timeout: GRAFT_TIMEOUT_DEFAULT,
            want_timeout: WANT_TIMEOUT_DEFAULT,
            want_bytes_max: WANT_BYTES_MAX_DEFAULT,
            past_bytes_per_second: None,
            logs_max: LOGS_MAX_DEFAULT,
            states_max: STATES_MAX_DEFAULT,
        }
    }
}

impl Config {
    /// The settings within the limits that keep timers moving and a call's outputs bounded.
    pub(crate) fn clamped(self) -> Self {
        Self {
            interest: self.interest,
            announce_interval: self.announce_interval.max(INTERVAL_MIN),
            graft_timeout: self.graft_timeout.max(INTERVAL_MIN),
            want_timeout: self.want_timeout.max(INTERVAL_MIN),
            want_bytes_max: self.want_bytes_max,
            past_bytes_per_second: self.past_bytes_per_second,
            logs_max: self.logs_max.min(ENTRIES_MAX),
            states_max: self.states_max.min(ENTRIES_MAX),
        }
    }
}

/// How many of a bounded number of entries one origin may take, so that none crowds the rest out.
pub(crate) fn share_of_origin(max: usize) -> usize {
    (max / 8).max(1)
}

/// How many of the states the operator may take, beyond what bounds the others.
pub(crate) fn share_of_operator(max: usize) -> usize {
    (max / 2).max(1)
}

/// What gossip knew before the start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// What the store holds.
    pub frontier: Vec<FrontierEntry>,
    /// The states that were stored, in any order.
    pub states: Vec<State>,
}

/// Unit: milliseconds. Source: guess; bounds how late `replicated:N` is known.
const ANNOUNCE_INTERVAL_DEFAULT: Duration = Duration::from_millis(50);
/// Unit: milliseconds. Source: guess, above a push over several hops with a sync at none of them.
const GRAFT_TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);
/// Unit: milliseconds. Source: guess, above a round trip and a read from a slow disk.
const WANT_TIMEOUT_DEFAULT: Duration = Duration::from_millis(1_000);
/// Unit: bytes. Source: guess, 100 Mbit/s over a round trip of 80 ms.
const WANT_BYTES_MAX_DEFAULT: usize = 1024 * 1024;
/// Source: guess, a thousand machines with 65 epochs each.
const LOGS_MAX_DEFAULT: usize = 65_536;
/// Source: guess, a thousand machines with 130 states each.
const STATES_MAX_DEFAULT: usize = 131_072;
/// The shortest interval. A timer must be set later than the moment in which it fires.
const INTERVAL_MIN: Duration = Duration::from_millis(1);
/// Most logs or states: with 512 in a message, either is said in 1,024 messages.
const ENTRIES_MAX: usize = 524_288;
