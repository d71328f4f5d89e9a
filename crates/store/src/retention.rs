//! Retention: which segments are given up, and what is left of them.
//!
//! A segment is given up as a whole, the oldest first, once all in it is uploaded; what waits for
//! an uplink goes last, and only when the store would be larger than it may be. A log is kept from
//! one block on (its floor), so what a younger segment holds of it below the floor counts as given
//! up with it. Blocks with alarms outlive that for a time of their own ([`Alarms`]).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use model::{LogId, MachineId, Position, Sequence, Timestamp};

use crate::Selection;
use crate::notes::GivenUp;

/// What may be given up.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The time by the clock that files are dated with.
    pub now: SystemTime,
    /// What was written longer ago than this, if it is uploaded. `None`: it never gets too old.
    pub age_max: Option<Duration>,
    /// What makes the store larger than this, what waits for an uplink last. Unit: bytes.
    pub bytes_max: Option<u64>,
    /// By origin, the first block that some uplink still needs; an origin that is not there is
    /// needed as a whole. `None`: there is no uplink that could need anything.
    pub uploaded: Option<BTreeMap<MachineId, Position>>,
    /// What is kept for longer than the rest.
    pub alarms: Alarms,
}

/// Series whose blocks outlive the part of their log that is given up. They are copied whole to
/// where is written now, and left to questions alone: neighbours are promised nothing below a
/// floor.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    /// Which series.
    pub series: Selection,
    /// Blocks whose newest reading is older are not kept.
    pub since: Timestamp,
    /// Most bytes of such blocks; the oldest are not kept. Unit: bytes.
    pub bytes_max: u64,
}

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The logs that begin later now, each with the oldest block that is kept.
    pub floors: Vec<(LogId, Sequence)>,
    /// How many segments are gone.
    pub segments: u64,
    /// How many readings are gone.
    pub readings: u64,
    /// How many of them no uplink had brought out yet.
    pub readings_waiting: u64,
}

impl Retention {
    /// The first block of a log that some uplink still needs; `None` if none does.
    pub(crate) fn needed_from(&self, log: &LogId) -> Option<Sequence> {
        let uploaded = self.uploaded.as_ref()?;
        let Some(needed) = uploaded.get(&log.machine) else {
            return Some(Sequence::MIN);
        };
        match log.epoch.cmp(&needed.epoch) {
            Ordering::Less => None,
            Ordering::Equal => Some(needed.sequence),
            Ordering::Greater => Some(Sequence::MIN),
        }
    }

    /// Whether no uplink needs a log up to a block any more.
    pub(crate) fn is_uploaded(&self, log: &LogId, through: Sequence) -> bool {
        self.needed_from(log).is_none_or(|needed| through < needed)
    }
}

/// The segments that nobody writes to any more.
#[derive(Debug)]
pub(crate) struct AtRest {
    /// By number, so the oldest first.
    pub(crate) segments: BTreeMap<u32, Resting>,
    /// What is left of those that are gone.
    pub(crate) given_up: GivenUp,
}

/// A segment that nobody writes to any more.
#[derive(Debug)]
pub(crate) struct Resting {
    /// How long its file is. Unit: bytes.
    pub(crate) bytes: u64,
    /// The last block of each log in it, once somebody has looked.
    pub(crate) ends: Option<BTreeMap<LogId, Sequence>>,
}

impl AtRest {
    /// No segment yet.
    pub(crate) fn new(given_up: GivenUp) -> Self {
        Self {
            segments: BTreeMap::new(),
            given_up,
        }
    }

    /// Nobody writes to a segment any more.
    pub(crate) fn add(&mut self, number: u32, bytes: u64) {
        self.segments.insert(number, Resting { bytes, ends: None });
    }
}
