//! Memberships: what the operator, or an admitter on its behalf, lets a machine do.
//!
//! As carried, a membership is a protobuf message and a signature over it. One that an admitter
//! signed carries the admitter's own membership inside, which the operator signed: a chain is
//! operator → machine or operator → admitter → machine, never longer.
//!
//! # Not here
//!
//! Whether a membership counts now ([`crate::Roll`]).

use std::time::Duration;

use bytes::Bytes;
use model::{MachineId, NetworkId, Timestamp};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::grant::{numbers_of, roles_of};
use crate::signed::{self, Purpose};
use crate::{CredentialError, Delegation, Grant, Signer};

/// A membership: a grant with the signature of the operator or an admitter, kept as carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    grant: Grant,
    issuer: MachineId,
    bytes: Bytes,
}

impl Membership {
    /// Largest membership, its issuer's included. Unit: bytes.
    pub const BYTES_MAX: usize = 3 * 1024;

    /// Signs a grant with the operator's key.
    ///
    /// # Errors
    ///
    /// As [`Issuer::admit`].
    pub fn issue(operator: &dyn Signer, grant: Grant) -> Result<Self, CredentialError> {
        Issuer::operator(operator).admit(grant)
    }

    /// What it says.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The machine that it is for.
    #[must_use]
    pub const fn machine(&self) -> MachineId {
        self.grant.machine
    }

    /// Who signed it: the operator, or an admitter.
    #[must_use]
    pub const fn issuer(&self) -> MachineId {
        self.issuer
    }

    /// The bytes that travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Who signs memberships and invitations: the operator, or a machine that it lets admit.
#[derive(Clone, Copy, Debug)]
pub struct Issuer<'a> {
    key: &'a dyn Signer,
    network: NetworkId,
    /// The admitter's own membership; `None` for the operator.
    membership: Option<&'a Membership>,
}

impl<'a> Issuer<'a> {
    /// The operator, with its key.
    #[must_use]
    pub fn operator(key: &'a dyn Signer) -> Self {
        Self {
            key,
            network: Trust::new(key.machine()).network(),
            membership: None,
        }
    }

    /// A machine, with its key and its membership.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if the membership is not of this key, not signed by the operator itself,
    /// or does not let the machine admit.
    pub fn admitter(
        key: &'a dyn Signer,
        membership: &'a Membership,
        trust: Trust,
    ) -> Result<Self, CredentialError> {
        if membership.machine() != key.machine() {
            return Err(CredentialError::OtherMachine(membership.machine()));
        }
        if membership.issuer != trust.operator || !membership.grant.may_admit() {
            return Err(CredentialError::NotAdmitter);
        }
        Ok(Self {
            key,
            network: trust.network(),
            membership: Some(membership),
        })
    }

    /// Signs a membership.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if a name is refused, the whole is too long, or the grant goes beyond
    /// what the operator lets this admitter grant.
    pub fn admit(&self, grant: Grant) -> Result<Membership, CredentialError> {
        grant.check()?;
        if let Some(admitter) = self.membership {
            check_delegated(&grant, &admitter.grant)?;
        }
        let mut message = GrantMessage::from(&grant);
        message.issuer = self.issuer_bytes();
        let bytes_max = Membership::BYTES_MAX;
        let bytes = self.sign(Purpose::Membership, &message.encode_to_vec(), bytes_max)?;
        Ok(Membership {
            grant,
            issuer: self.key.machine(),
            bytes,
        })
    }

    /// The window of a membership that is signed now: as long as asked for, but within what this
    /// issuer may grant. It starts a little early, for machines whose clocks are behind.
    #[must_use]
    pub fn window(&self, now: Timestamp, lifetime: Duration) -> (Timestamp, Timestamp) {
        let Some(own) = self.own_grant() else {
            let slack = CLOCK_SLACK.min(lifetime / 10);
            return (now.saturating_sub(slack), now.saturating_add(lifetime));
        };
        let longest = own.delegation.as_ref().map(|may| may.lifetime);
        let longest = longest.unwrap_or_default();
        let slack = CLOCK_SLACK.min(longest / 10);
        let from = now.saturating_sub(slack).max(own.not_before);
        let to = now.saturating_add(lifetime);
        (
            from,
            to.min(from.saturating_add(longest)).min(own.not_after),
        )
    }

    /// What this issuer may grant; `None` for the operator, who may grant everything.
    pub(crate) fn own_grant(&self) -> Option<&Grant> {
        self.membership.map(Membership::grant)
    }

    pub(crate) fn machine(&self) -> MachineId {
        self.key.machine()
    }

    /// The membership that goes along with what an admitter signs.
    pub(crate) fn issuer_bytes(&self) -> Option<Bytes> {
        self.membership.map(|membership| membership.bytes.clone())
    }

    pub(crate) fn sign(
        &self,
        purpose: Purpose,
        body: &[u8],
        bytes_max: usize,
    ) -> Result<Bytes, CredentialError> {
        signed::sign(purpose, &self.network, self.key, body, bytes_max)
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
        NetworkId::from_bytes(Sha256::digest(self.operator.as_bytes()).into())
    }

    /// Reads a membership and checks every signature of its chain; whether it counts now,
    /// [`crate::Roll::judge`] says.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if it does not decode, is not signed, or grants more than its issuer
    /// may.
    pub fn read(&self, bytes: Bytes) -> Result<Membership, CredentialError> {
        let unverified = signed::split(&bytes, Membership::BYTES_MAX)?;
        let message = GrantMessage::decode(unverified.body)
            .map_err(|_| CredentialError::Malformed("not the expected protobuf message"))?;
        let admitter = self.read_issuer(message.issuer.as_ref())?;
        let issuer = (admitter.as_ref()).map_or(self.operator, Membership::machine);
        if !unverified.is_signed_by(Purpose::Membership, &self.network(), issuer) {
            return Err(CredentialError::OtherOperator);
        }
        let grant = Grant::try_from(message)?;
        if let Some(admitter) = &admitter {
            check_delegated(&grant, &admitter.grant)?;
        }
        Ok(Membership {
            grant,
            issuer,
            bytes,
        })
    }

    /// Reads the membership of whoever signed; it must be the operator's own word, so that no
    /// chain is longer than two.
    pub(crate) fn read_issuer(
        &self,
        bytes: Option<&Bytes>,
    ) -> Result<Option<Membership>, CredentialError> {
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let unverified = signed::split(bytes, Membership::BYTES_MAX)?;
        if !unverified.is_signed_by(Purpose::Membership, &self.network(), self.operator) {
            return Err(CredentialError::OtherOperator);
        }
        let message = GrantMessage::decode(unverified.body)
            .map_err(|_| CredentialError::Malformed("not the expected protobuf message"))?;
        if message.issuer.is_some() {
            return Err(CredentialError::Malformed("a chain longer than two"));
        }
        Ok(Some(Membership {
            grant: Grant::try_from(message)?,
            issuer: self.operator,
            bytes: bytes.clone(),
        }))
    }
}

/// An admitter grants within its site and delegation, and within its own window: then nobody needs
/// to judge the admitter's window beside the member's.
fn check_delegated(grant: &Grant, admitter: &Grant) -> Result<(), CredentialError> {
    if grant.delegation.is_some() {
        return Err(CredentialError::BeyondDelegation("the role admit"));
    }
    let nanos = grant
        .not_after
        .as_nanos()
        .saturating_sub(grant.not_before.as_nanos());
    let lifetime = Duration::from_nanos(nanos.unsigned_abs());
    Delegation::check(
        admitter,
        &grant.site,
        &grant.roles,
        &grant.commands,
        lifetime,
    )?;
    if grant.not_before < admitter.not_before || grant.not_after > admitter.not_after {
        return Err(CredentialError::BeyondDelegation(
            "a window outside of the admitter's own",
        ));
    }
    Ok(())
}

/// [`Grant`] on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct GrantMessage {
    #[prost(bytes = "bytes", tag = "1")]
    machine: Bytes,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    site: String,
    /// Numbers of [`crate::Role`].
    #[prost(uint32, repeated, tag = "4")]
    roles: Vec<u32>,
    #[prost(string, repeated, tag = "5")]
    commands: Vec<String>,
    /// Unit: nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "6")]
    not_before: i64,
    /// Unit: nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "7")]
    not_after: i64,
    /// The membership of the admitter that signed, if it was not the operator.
    #[prost(bytes = "bytes", optional, tag = "8")]
    issuer: Option<Bytes>,
    #[prost(message, optional, tag = "9")]
    delegation: Option<DelegationMessage>,
}

/// [`Delegation`] on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct DelegationMessage {
    #[prost(uint32, repeated, tag = "1")]
    roles: Vec<u32>,
    #[prost(string, repeated, tag = "2")]
    commands: Vec<String>,
    /// Unit: seconds.
    #[prost(uint64, tag = "3")]
    lifetime_seconds: u64,
}

impl From<&Grant> for GrantMessage {
    fn from(grant: &Grant) -> Self {
        Self {
            machine: Bytes::copy_from_slice(grant.machine.as_bytes()),
            name: grant.name.clone(),
            site: grant.site.clone(),
            roles: numbers_of(&grant.roles),
            commands: grant.commands.clone(),
            not_before: grant.not_before.as_nanos(),
            not_after: grant.not_after.as_nanos(),
            issuer: None,
            delegation: grant
                .delegation
                .as_ref()
                .map(|delegation| DelegationMessage {
                    roles: numbers_of(&delegation.roles),
                    commands: delegation.commands.clone(),
                    lifetime_seconds: delegation.lifetime.as_secs(),
                }),
        }
    }
}

impl TryFrom<GrantMessage> for Grant {
    type Error = CredentialError;

    fn try_from(message: GrantMessage) -> Result<Self, CredentialError> {
        let machine = message.machine.as_ref().try_into();
        let machine = machine.map_err(|_| CredentialError::Malformed("no machine id"))?;
        let grant = Self {
            machine: MachineId::from_bytes(machine),
            name: message.name,
            site: message.site,
            roles: roles_of(&message.roles),
            commands: message.commands,
            not_before: Timestamp::from_nanos(message.not_before),
            not_after: Timestamp::from_nanos(message.not_after),
            delegation: message.delegation.map(|delegation| Delegation {
                roles: roles_of(&delegation.roles),
                commands: delegation.commands,
                lifetime: Duration::from_secs(delegation.lifetime_seconds),
            }),
        };
        grant.check()?;
        Ok(grant)
    }
}

/// How far a machine's clock may be behind when it gets its membership; a tenth of its lifetime if
/// that is less. Source: guess.
const CLOCK_SLACK: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests;
