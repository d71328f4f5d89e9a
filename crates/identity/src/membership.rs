//! Memberships: what the operator lets a machine do.

use std::collections::BTreeSet;

use bytes::Bytes;
use model::{MachineId, NetworkId, Timestamp};

use crate::{Keypair, MembershipError};

/// What a machine may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Be the origin of readings.
    Publish,
    /// Be a candidate, and forward to the internet.
    Relay,
    /// Send commands.
    Command,
    /// Read what others published.
    Observe,
    /// Admit others, within limits.
    Admit,
}

/// What a membership says. Signed by the operator over the bytes as carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The machine.
    pub machine: MachineId,
    /// Its display name; characters as in one level of a series name.
    pub name: String,
    /// Its site; characters as in one level of a series name.
    pub site: String,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// Names of commands that it may send, as patterns.
    pub commands: Vec<String>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
}

/// A membership: a grant with the signature of the network's operator, kept as carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    grant: Grant,
    bytes: Bytes,
}

impl Membership {
    /// Largest membership. Unit: bytes.
    pub const BYTES_MAX: usize = 3 * 1024;

    /// Signs a grant with the operator's key.
    ///
    /// # Errors
    ///
    /// [`MembershipError`] if a name is refused or the whole is too long.
    pub fn issue(operator: &Keypair, grant: Grant) -> Result<Self, MembershipError> {
        let _ = (operator, grant);
        unimplemented!()
    }

    /// What it says.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The bytes that travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The one thing that a machine trusts: its network's operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    operator: MachineId,
}

impl Trust {
    /// Trusts the operator with this public key.
    #[must_use]
    pub const fn new(operator: MachineId) -> Self {
        Self { operator }
    }

    /// The operator's public key.
    #[must_use]
    pub const fn operator(&self) -> MachineId {
        self.operator
    }

    /// The network that the operator's key names.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        unimplemented!()
    }

    /// Reads a membership and checks the signature; whether it is valid now, [`Self::judge`] says.
    ///
    /// # Errors
    ///
    /// [`MembershipError`] if it does not decode or the operator did not sign it.
    pub fn read(&self, bytes: Bytes) -> Result<Membership, MembershipError> {
        let _ = bytes;
        unimplemented!()
    }

    /// Whether a membership is valid at `now`; with `None` (no trusted clock) its window cannot be
    /// judged and counts as open.
    ///
    /// # Errors
    ///
    /// [`MembershipError::NotYetValid`] or [`MembershipError::Expired`].
    pub fn judge(
        &self,
        membership: &Membership,
        now: Option<Timestamp>,
    ) -> Result<(), MembershipError> {
        let _ = (membership, now);
        unimplemented!()
    }
}
