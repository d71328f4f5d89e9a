//! The gate: what this machine shows, and who gets in, for every transport alike.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Mutex, PoisonError, RwLock};

use bytes::Bytes;
use handshake::Judge;
use identity::{Credential, Membership, Roll};
use model::MachineId;

use crate::{RefusalReason, WallClock};

/// Judges whoever is at the other end of a link.
#[derive(Debug)]
pub(crate) struct Gate {
    roll: RwLock<Roll>,
    wall_clock: WallClock,
    /// What this machine shows.
    shown: RwLock<Bytes>,
    /// The newest membership of everyone who was admitted.
    members: Mutex<BTreeMap<MachineId, Membership>>,
}

impl Gate {
    pub(crate) fn new(shown: &Credential, roll: Roll, wall_clock: WallClock) -> Self {
        Self {
            roll: RwLock::new(roll),
            wall_clock,
            shown: RwLock::new(shown.to_bytes()),
            members: Mutex::new(BTreeMap::new()),
        }
    }

    /// The credential that this machine shows.
    pub(crate) fn shown(&self) -> Bytes {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.clone()
    }

    /// Shows this credential from now on.
    pub(crate) fn show(&self, credential: &Credential) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        *shown = credential.to_bytes();
    }

    /// Judges everyone by this from now on.
    pub(crate) fn set_roll(&self, roll: Roll) {
        *self.roll.write().unwrap_or_else(PoisonError::into_inner) = roll;
    }

    /// Judges what the machine showed that has proved to hold the key of `proved`. Whoever shows a
    /// claim gets an answer ([`crate::enrolment`]) and no link.
    pub(crate) fn admit(
        &self,
        proved: MachineId,
        shown: Bytes,
    ) -> Result<Credential, RefusalReason> {
        let time = (self.wall_clock.0)();
        let roll = self.roll.read().unwrap_or_else(PoisonError::into_inner);
        let credential = roll.admit(proved, shown, time)?;
        drop(roll);
        match &credential {
            Credential::Membership(membership) => self.enter(membership.clone())?,
            Credential::Claim(_) => {}
        }
        Ok(credential)
    }

    /// The membership that a machine showed last.
    pub(crate) fn member(&self, machine: MachineId) -> Option<Membership> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.get(&machine).cloned()
    }

    fn enter(&self, membership: Membership) -> Result<(), RefusalReason> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = members.contains_key(&membership.machine());
        if !is_known && members.len() >= MEMBERS_MAX {
            return Err(RefusalReason::TooManyMembers);
        }
        members.insert(membership.machine(), membership);
        Ok(())
    }
}

/// In the handshake of QUIC.
impl Judge for Gate {
    fn judge(
        &self,
        machine: MachineId,
        shown: Bytes,
    ) -> Result<Credential, Box<dyn Error + Send + Sync>> {
        Ok(self.admit(machine, shown)?)
    }
}

/// Most members that are remembered. Source: guess; at most 12 MiB.
const MEMBERS_MAX: usize = 4_096;
