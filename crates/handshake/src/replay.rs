//! Which first flights have been seen, so that a recorded one gets no answer.
//!
//! Without it, whoever records a first flight could find out later, and from anywhere, whether the
//! machine that it was for still listens. The rule: nothing at or before the *floor* is accepted,
//! and everything accepted after it is remembered. The floor starts when this machine
//! starts and rises with its clock; when memory is full it rises no faster, but new flights are
//! challenged.
//!
//! A challenge is QUIC's Retry: it makes the client show that it receives at its address, so a
//! recording from elsewhere goes no further, but it is an answer. It is given only if this cannot
//! judge: without a trusted clock at either end, or with full memory.
//!
//! # Not here
//!
//! Writing to disk: whoever drives this saves [`ReplayGuard::to_bytes`] when the process ends,
//! every now and then, and soon after [`ReplayGuard::must_save`] says so.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Timestamp;

use crate::codec::Fields;
use crate::{FirstFlight, FlightId, HandshakeError, ReplayError};

/// What to do with a first flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Never seen: answer it.
    Fresh,
    /// Cannot be judged: answer with a Retry, and judge again when its address is validated.
    Challenge,
    /// Seen before: say nothing.
    Seen,
    /// From before the floor: say nothing.
    TooOld,
    /// From further in the future than clocks of machines may differ: say nothing.
    FromFuture,
}

/// Remembers first flights. At most [`ReplayGuard::FLIGHTS_MAX`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayGuard {
    /// Nothing at or before it is accepted. `None` until a clock is trusted.
    floor: Option<Timestamp>,
    /// What was accepted after the floor: when it says that it was sent, or else came.
    seen: BTreeMap<FlightId, Timestamp>,
    must_save: bool,
}

impl ReplayGuard {
    /// Most flights that are remembered; 24 bytes each on disk. Source: guess, 34 a second for as
    /// long as each must be remembered.
    pub const FLIGHTS_MAX: usize = 8_192;
    /// How far the clocks of two machines may differ. Source: guess.
    pub const TOLERANCE: Duration = Duration::from_secs(120);

    /// A guard that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges a flight, and remembers it if it is fresh.
    ///
    /// `now` is `None` without a trusted clock; `uptime` is how long the process has run.
    pub fn judge(
        &mut self,
        flight: &FirstFlight,
        now: Option<Timestamp>,
        uptime: Duration,
        is_address_validated: bool,
    ) -> Freshness {
        self.raise_floor(now, uptime);
        if self.seen.contains_key(&flight.id) {
            return Freshness::Seen;
        }
        let can_judge = match (flight.time, now) {
            (Some(time), Some(now)) if time > now.saturating_add(Self::TOLERANCE) => {
                return Freshness::FromFuture;
            }
            (Some(time), Some(now)) if self.floor.is_some_and(|floor| time <= floor) => {
                // A floor ahead of the clock means that the clock was set back.
                let is_plausible = time > now.saturating_sub(Self::TOLERANCE);
                if self.floor <= Some(now) || !is_plausible {
                    return Freshness::TooOld;
                }
                false
            }
            (time, now) => time.is_some() && now.is_some(),
        };
        let is_full = self.seen.len() >= Self::FLIGHTS_MAX;
        if !is_address_validated && (is_full || !can_judge) {
            return Freshness::Challenge;
        }
        if !is_full {
            self.remember(flight, now);
        }
        Freshness::Fresh
    }

    /// Whether something is remembered that a restart would not be kept from by the time at which
    /// it starts, and that is not yet on disk.
    #[must_use]
    pub const fn must_save(&self) -> bool {
        self.must_save
    }

    /// What [`Self::to_bytes`] gave is on disk.
    pub const fn saved(&mut self) {
        self.must_save = false;
    }

    /// What outlives the process.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let floor = self.floor.unwrap_or(Timestamp::MIN);
        let count = u32::try_from(self.seen.len()).expect("at most 8,192 flights");
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&floor.as_nanos().to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        for (id, time) in &self.seen {
            bytes.extend_from_slice(&id.0);
            bytes.extend_from_slice(&time.as_nanos().to_be_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] gave.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] if the bytes are anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReplayError> {
        Self::read(bytes).map_err(|_| ReplayError::Damaged)
    }

    fn read(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let mut fields = Fields::new(bytes);
        if fields.array()? != MAGIC {
            return Err(HandshakeError::Malformed("another format"));
        }
        let floor = Timestamp::from_nanos(i64::from_be_bytes(fields.array()?));
        let mut seen = BTreeMap::new();
        for _ in 0..fields.u32()? {
            let id = FlightId(fields.array()?);
            let time = Timestamp::from_nanos(i64::from_be_bytes(fields.array()?));
            seen.insert(id, time);
            if seen.len() > Self::FLIGHTS_MAX {
                return Err(HandshakeError::Malformed("too many flights"));
            }
        }
        fields.finish()?;
        Ok(Self {
            floor: (floor != Timestamp::MIN).then_some(floor),
            seen,
            must_save: false,
        })
    }

    /// What is forgotten is below the floor, so nothing that was accepted is accepted again.
    fn raise_floor(&mut self, now: Option<Timestamp>, uptime: Duration) {
        let Some(now) = now else {
            return;
        };
        let floor = now.saturating_sub(uptime.min(Self::TOLERANCE));
        if self.floor < Some(floor) {
            self.floor = Some(floor);
            self.seen.retain(|_, time| *time > floor);
        }
    }

    fn remember(&mut self, flight: &FirstFlight, now: Option<Timestamp>) {
        let time = flight.time.or(now).unwrap_or(Timestamp::MIN);
        self.seen.insert(flight.id, time);
        self.must_save |= now.is_none_or(|now| time > now);
    }
}

/// The format, and its version.
const MAGIC: [u8; 4] = *b"FmR1";

#[cfg(test)]
mod tests;
