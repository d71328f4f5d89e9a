//! Invitations: how a machine that nobody has met yet becomes a member, once.
//!
//! An invitation says what its redeemer gets, and carries the public half of a secret that only the
//! invited know. It is signed by the operator or by an admitter, within what that one may grant. A
//! machine redeems it with a [`Claim`]: its own id and the name that it wishes, signed with the
//! secret, so that whoever overhears a claim cannot use it for another machine.
//!
//! # Not here
//!
//! The token as text ([`crate::Token`]), who has redeemed what already ([`crate::Redemption`]).

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use model::{MachineId, Timestamp};
use prost::Message as _;

use crate::grant::{check_commands, check_name, check_not_admit, numbers_of, roles_of};
use crate::signed::{self, Purpose, SIGNATURE_BYTES};
use crate::{CredentialError, Delegation, Grant, Issuer, Keypair, Membership, Role, Trust};

/// Names an invitation: the public half of its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InvitationId(pub [u8; 32]);

impl InvitationId {
    /// The invitation whose redeemer must know this secret.
    #[must_use]
    pub fn of(secret: &Keypair) -> Self {
        Self(*secret.machine().as_bytes())
    }
}

impl fmt::Display for InvitationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the redeemer of an invitation gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The site.
    pub site: String,
    /// The roles; never `admit`.
    pub roles: BTreeSet<Role>,
    /// Commands, as patterns; at most [`Grant::COMMANDS_MAX`].
    pub commands: Vec<String>,
    /// How long the membership is valid from the moment of its redemption. Whole seconds.
    pub lifetime: Duration,
    /// Until when it can be redeemed, exclusive.
    pub not_after: Timestamp,
}

impl Terms {
    fn check(&self) -> Result<(), CredentialError> {
        check_name("the site's name", &self.site)?;
        check_commands(&self.commands)?;
        check_not_admit(&self.roles)?;
        match self.lifetime.as_secs() {
            0 => Err(CredentialError::Malformed("a lifetime below a second")),
            _ => Ok(()),
        }
    }

    fn check_delegated(&self, admitter: &Grant) -> Result<(), CredentialError> {
        let (roles, commands) = (&self.roles, &self.commands);
        Delegation::check(admitter, &self.site, roles, commands, self.lifetime)?;
        if self.not_after > admitter.not_after {
            return Err(CredentialError::BeyondDelegation(
                "an end after the admitter's own",
            ));
        }
        Ok(())
    }
}

/// A signed offer, kept as carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    id: InvitationId,
    terms: Terms,
    issuer: MachineId,
    bytes: Bytes,
}

impl Invitation {
    /// Largest invitation, its issuer's membership included. Unit: bytes.
    pub const BYTES_MAX: usize = 2_816;

    /// Which one it is.
    #[must_use]
    pub const fn id(&self) -> InvitationId {
        self.id
    }

    /// What its redeemer gets.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
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

/// A machine's wish to redeem an invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    invitation: Invitation,
    machine: MachineId,
    name: String,
    bytes: Bytes,
}

impl Claim {
    /// Largest claim, its invitation included. Unit: bytes.
    pub const BYTES_MAX: usize = 3 * 1024;

    /// Signs a claim with the secret of the invitation.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if the name is refused or the secret is another invitation's.
    pub fn sign(
        trust: Trust,
        invitation: Invitation,
        secret: &Keypair,
        machine: MachineId,
        name: &str,
    ) -> Result<Self, CredentialError> {
        check_name("the machine's name", name)?;
        if InvitationId::of(secret) != invitation.id {
            return Err(CredentialError::OtherSecret);
        }
        let message = ClaimMessage {
            invitation: invitation.bytes.clone(),
            machine: Bytes::copy_from_slice(machine.as_bytes()),
            name: name.to_owned(),
        };
        let (network, body) = (trust.network(), message.encode_to_vec());
        let bytes = signed::sign(Purpose::Claim, &network, secret, &body, Self::BYTES_MAX)?;
        Ok(Self {
            invitation,
            machine,
            name: name.to_owned(),
            bytes,
        })
    }

    /// What is redeemed.
    #[must_use]
    pub const fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// The machine that wants to become a member.
    #[must_use]
    pub const fn machine(&self) -> MachineId {
        self.machine
    }

    /// The display name that it wishes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bytes that travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl Issuer<'_> {
    /// Signs an invitation for whoever knows the secret whose public half is `id`.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if a name is refused, the whole is too long, or the terms go beyond what
    /// the operator lets this admitter grant.
    pub fn invite(&self, id: InvitationId, terms: Terms) -> Result<Invitation, CredentialError> {
        terms.check()?;
        if let Some(admitter) = self.own_grant() {
            terms.check_delegated(admitter)?;
        }
        let message = TermsMessage {
            id: Bytes::copy_from_slice(&id.0),
            site: terms.site.clone(),
            roles: numbers_of(&terms.roles),
            commands: terms.commands.clone(),
            lifetime_seconds: terms.lifetime.as_secs(),
            not_after: terms.not_after.as_nanos(),
            issuer: self.issuer_bytes(),
        };
        let bytes_max = Invitation::BYTES_MAX;
        let bytes = self.sign(Purpose::Invitation, &message.encode_to_vec(), bytes_max)?;
        Ok(Invitation {
            id,
            terms,
            issuer: self.machine(),
            bytes,
        })
    }
}

impl Issuer<'_> {
    /// Signs the membership that a claim asks for. It is valid from now on as long as the
    /// invitation says, but no longer than this issuer may grant. Whether the claim counts,
    /// [`crate::Roll::judge_claim`] says.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if the terms go beyond what the operator lets this admitter grant.
    pub fn redeem(&self, claim: &Claim, now: Timestamp) -> Result<Membership, CredentialError> {
        let terms = claim.invitation.terms.clone();
        let (not_before, not_after) = self.window(now, terms.lifetime);
        self.admit(Grant {
            machine: claim.machine,
            name: claim.name.clone(),
            site: terms.site,
            roles: terms.roles,
            commands: terms.commands,
            not_before,
            not_after,
            delegation: None,
        })
    }
}

impl Trust {
    /// Reads an invitation and checks every signature of its chain; whether it counts now,
    /// [`crate::Roll::judge_claim`] says.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if it does not decode, is not signed, or offers more than its issuer
    /// may.
    pub fn read_invitation(&self, bytes: Bytes) -> Result<Invitation, CredentialError> {
        let unverified = signed::split(&bytes, Invitation::BYTES_MAX)?;
        let message = TermsMessage::decode(unverified.body)
            .map_err(|_| CredentialError::Malformed("not the expected protobuf message"))?;
        let admitter = self.read_issuer(message.issuer.as_ref())?;
        let issuer = (admitter.as_ref()).map_or(self.operator(), Membership::machine);
        if !unverified.is_signed_by(Purpose::Invitation, &self.network(), issuer) {
            return Err(CredentialError::OtherOperator);
        }
        let id = message.id.as_ref().try_into();
        let id = id.map_err(|_| CredentialError::Malformed("no invitation id"))?;
        let terms = Terms {
            site: message.site,
            roles: roles_of(&message.roles),
            commands: message.commands,
            lifetime: Duration::from_secs(message.lifetime_seconds),
            not_after: Timestamp::from_nanos(message.not_after),
        };
        terms.check()?;
        if let Some(admitter) = &admitter {
            terms.check_delegated(admitter.grant())?;
        }
        Ok(Invitation {
            id: InvitationId(id),
            terms,
            issuer,
            bytes,
        })
    }

    /// Reads a claim and checks its signature and those of its invitation.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if it does not decode or is not signed with the invitation's secret.
    pub fn read_claim(&self, bytes: Bytes) -> Result<Claim, CredentialError> {
        let unverified = signed::split(&bytes, Claim::BYTES_MAX)?;
        let message = ClaimMessage::decode(unverified.body)
            .map_err(|_| CredentialError::Malformed("not the expected protobuf message"))?;
        let invitation = self.read_invitation(message.invitation)?;
        let secret = MachineId::from_bytes(invitation.id.0);
        if !unverified.is_signed_by(Purpose::Claim, &self.network(), secret) {
            return Err(CredentialError::OtherSecret);
        }
        check_name("the machine's name", &message.name)?;
        let machine = message.machine.as_ref().try_into();
        let machine = machine.map_err(|_| CredentialError::Malformed("no machine id"))?;
        Ok(Claim {
            invitation,
            machine: MachineId::from_bytes(machine),
            name: message.name,
            bytes,
        })
    }
}

/// [`Invitation`] on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct TermsMessage {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(string, tag = "2")]
    site: String,
    /// Numbers of [`Role`].
    #[prost(uint32, repeated, tag = "3")]
    roles: Vec<u32>,
    #[prost(string, repeated, tag = "4")]
    commands: Vec<String>,
    /// Unit: seconds.
    #[prost(uint64, tag = "5")]
    lifetime_seconds: u64,
    /// Unit: nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "6")]
    not_after: i64,
    /// The membership of the admitter that signed, if it was not the operator.
    #[prost(bytes = "bytes", optional, tag = "7")]
    issuer: Option<Bytes>,
}

/// [`Claim`] on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct ClaimMessage {
    #[prost(bytes = "bytes", tag = "1")]
    invitation: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    machine: Bytes,
    #[prost(string, tag = "3")]
    name: String,
}

/// What a claim adds to its invitation: machine, name and signature, and what frames them.
const CLAIM_OVERHEAD_MAX: usize = 32 + Grant::NAME_BYTES_MAX + SIGNATURE_BYTES + 16;
const _: () = assert!(Invitation::BYTES_MAX + CLAIM_OVERHEAD_MAX <= Claim::BYTES_MAX);

#[cfg(test)]
mod tests;
