//! What an uplink has to be told.

use std::time::Duration;

use election::UplinkId;
use model::MachineId;

use crate::{Access, SinkUrl, WhenSpent};

/// An uplink's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub id: UplinkId,
    /// Where records go.
    pub url: SinkUrl,
    /// How this machine proves to the sink who it is, and knows the sink.
    pub access: Access,
    /// This machine: it names the MQTT client and the files, which other machines' stand beside.
    pub machine: MachineId,
    /// Most that records take which wait for the sink; beyond it the oldest are dropped. Files may
    /// take twice as much. Unit: bytes.
    pub backlog_bytes_max: u64,
    /// How long a record waits for the sink at most.
    pub backlog_age_max: Duration,
    /// What may go over the wire in a day (UTC), both ways and as far as the sink can tell; `None`
    /// for no limit. Unit: bytes.
    pub daily_bytes_max: Option<u64>,
    /// What happens then.
    pub when_spent: WhenSpent,
    /// How fast a backlog is uploaded beside live records. Unit: records per second, at least 1.
    pub backlog_rate: u32,
}

impl Config {
    /// Settings with the defaults for all limits.
    #[must_use]
    pub fn new(id: UplinkId, url: SinkUrl, machine: MachineId) -> Self {
        Self {
            id,
            url,
            access: Access::default(),
            machine,
            backlog_bytes_max: BACKLOG_BYTES_MAX_DEFAULT,
            backlog_age_max: BACKLOG_AGE_MAX_DEFAULT,
            daily_bytes_max: None,
            when_spent: WhenSpent::default(),
            backlog_rate: BACKLOG_RATE_DEFAULT,
        }
    }
}

/// Unit: bytes. Source: guess, about 100,000 records, of which some 100 bytes each are in memory.
const BACKLOG_BYTES_MAX_DEFAULT: u64 = 64 * 1024 * 1024;
/// Source: guess, a week without an internet line.
const BACKLOG_AGE_MAX_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Unit: records per second. Source: guess, a day of a hundred windows a minute in little more than
/// a minute.
const BACKLOG_RATE_DEFAULT: u32 = 2_000;
