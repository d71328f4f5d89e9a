//! What goes into an uplink, what it says, and how it stands.

use election::UplinkId;
use model::Timestamp;

use crate::Item;

/// A record on its way out.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// By this the caller knows it again in events.
    pub id: u64,
    /// The record.
    pub item: Item,
    /// How much it matters when not everything can be sent or kept.
    pub priority: Priority,
}

/// How much a record matters when not everything can be sent or kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// The first to be given up.
    Expendable,
    /// Sent before what is expendable.
    #[default]
    Normal,
    /// Sent first and given up last.
    Urgent,
}

impl Priority {
    /// In the order in which records are given up.
    pub(crate) const ALL: [Self; 3] = [Self::Expendable, Self::Normal, Self::Urgent];

    /// Its number on disk.
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Normal => 0,
            Self::Expendable => 1,
            Self::Urgent => 2,
        }
    }

    /// The priority of a number; that of no number is normal.
    pub(crate) const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Expendable,
            2 => Self::Urgent,
            _ => Self::Normal,
        }
    }
}

/// As many records as may wait to be taken over do wait; submit these again after an event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the uplink is busy: {} records were not taken", .0.len())]
pub struct Full(pub Vec<Outgoing>);

/// What an uplink has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The sink can be reached from now on, or cannot. Said when it changes, and once at first.
    Reachable(UplinkId, bool),
    /// The sink has these records for good. A record that was submitted several times has several
    /// ids; one left from before a restart has none.
    Delivered(UplinkId, Vec<u64>),
    /// The sink refused a record for ever; it was written to `set-aside.ndjson`.
    SetAside {
        /// Which uplink.
        uplink: UplinkId,
        /// The ids under which the record was submitted.
        ids: Vec<u64>,
        /// The record's key.
        key: String,
        /// What the sink said.
        reason: String,
    },
    /// Records were given up, oldest first.
    Dropped {
        /// Which uplink.
        uplink: UplinkId,
        /// Their ids.
        ids: Vec<u64>,
        /// How many there were.
        count: u64,
        /// Why.
        reason: DropReason,
    },
}

/// Why a record was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// It waited longer than `backlog_age_max`.
    Age,
    /// The backlog exceeded `backlog_bytes_max`.
    Bytes,
    /// Its file in the outbox could not be read; the origin's log can give it again.
    Unreadable,
}

/// Whether records get through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Not tried yet.
    #[default]
    Connecting,
    /// The sink takes records.
    Reachable,
    /// It does not; `last_error` says why.
    Unreachable,
}

impl State {
    /// Its name in tables and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
        }
    }
}

/// How an uplink stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether records get through.
    pub state: State,
    /// Records that wait.
    pub backlog_items: u64,
    /// What they take. Unit: bytes.
    pub backlog_bytes: u64,
    /// When the oldest of them was submitted.
    pub backlog_oldest: Option<Timestamp>,
    /// What went wrong last; kept after it went well again.
    pub last_error: Option<String>,
    /// When the sink is tried again, if it cannot be reached.
    pub next_try: Option<Timestamp>,
    /// What has gone over the wire today (UTC), if there is a budget. Unit: bytes.
    pub spent_today: u64,
    /// What has happened since the start.
    pub counters: Counters,
}

/// What has happened to an uplink's records since its start. Unit: records, unless said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Acknowledged by the sink.
    pub delivered: u64,
    /// Submitted while a record of the same key was waiting, which is held once.
    pub duplicates: u64,
    /// Left out because a later record of the same window waits for a sink that keeps one of them.
    pub superseded: u64,
    /// Refused by the sink for ever.
    pub set_aside: u64,
    /// Given up because of age.
    pub dropped_age: u64,
    /// Given up because of the backlog's size.
    pub dropped_bytes: u64,
    /// Given up because a file could not be read.
    pub dropped_unreadable: u64,
    /// Withdrawn by the caller.
    pub withdrawn: u64,
    /// How often the backlog passed 80 % of its size. Unit: times.
    pub alarms: u64,
    /// How often the outbox could not be written, so that records were kept in memory only. Unit:
    /// times.
    pub outbox_failures: u64,
}
