//! The roll: who counts as a member now.
//!
//! Trust in the operator, everyone who was thrown out, and how long an expired membership still
//! counts, in one value that every transport, timer and protocol judges by.
//!
//! # Not here
//!
//! How revocations spread (`gossip`), what happens to a machine that does not count any more
//! (`engine`).

mod redeemed;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use model::{MachineId, Timestamp};

use crate::{
    Claim, Credential, CredentialError, InvitationId, Membership, Redemption, Revocation, Trust,
};
use redeemed::Redeemed;
pub use redeemed::Redeemer;

/// How far a membership that counts is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Inside its window.
    Valid,
    /// There is no trusted clock to judge its window by.
    Unjudged,
    /// Expired, and still inside the grace.
    Grace,
}

/// Who counts as a member now. Grows only: nobody who was thrown out comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    trust: Trust,
    grace: Duration,
    /// Thrown out machines, and who has thrown each of them out.
    revoked: BTreeMap<MachineId, BTreeSet<MachineId>>,
    redeemed: Redeemed,
}

impl Roll {
    /// A roll on which nobody is revoked; expired memberships count for `grace` longer.
    #[must_use]
    pub const fn new(trust: Trust, grace: Duration) -> Self {
        Self {
            trust,
            grace,
            revoked: BTreeMap::new(),
            redeemed: Redeemed::new(),
        }
    }

    /// Whom this network trusts.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        self.trust
    }

    /// Takes in a revocation whose signature holds; returns whether it is news.
    ///
    /// The operator's word throws a machine out of the network, with everything it has signed as an
    /// admitter; an admitter's word ends the memberships that it has signed itself.
    pub fn revoke(&mut self, revocation: &Revocation) -> bool {
        let signers = self.revoked.entry(revocation.machine).or_default();
        signers.insert(revocation.signer)
    }

    /// Takes in a redemption whose signatures hold; returns whether it is news. If another machine
    /// has redeemed the invitation as well, only the earlier of them counts.
    pub fn redeem(&mut self, redemption: &Redemption) -> bool {
        self.redeemed.add(redemption)
    }

    /// Who has redeemed an invitation.
    #[must_use]
    pub fn redeemer(&self, invitation: InvitationId) -> Option<Redeemer> {
        self.redeemed.redeemer(invitation)
    }

    /// Whether a membership has been revoked, or that of the admitter who signed it.
    #[must_use]
    pub fn is_revoked(&self, membership: &Membership) -> bool {
        self.is_out(membership.machine(), membership.issuer())
    }

    /// Whether a membership of this machine by this issuer has been revoked.
    #[must_use]
    pub fn is_out(&self, machine: MachineId, issuer: MachineId) -> bool {
        self.has_revoked(self.trust.operator(), machine)
            || self.has_revoked(issuer, machine)
            || self.has_revoked(self.trust.operator(), issuer)
            || self.redeemed.is_late(machine, issuer)
    }

    /// Whether a membership counts at `now`; with `None` (no trusted clock) its window cannot be
    /// judged and counts as open, so that clock trouble locks nobody out.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Revoked`], [`CredentialError::NotYetValid`] or
    /// [`CredentialError::Expired`].
    pub fn judge(
        &self,
        membership: &Membership,
        now: Option<Timestamp>,
    ) -> Result<Standing, CredentialError> {
        if self.is_revoked(membership) {
            return Err(CredentialError::Revoked);
        }
        let grant = membership.grant();
        match now {
            None => Ok(Standing::Unjudged),
            Some(now) if now < grant.not_before => Err(CredentialError::NotYetValid),
            Some(now) if now < grant.not_after => Ok(Standing::Valid),
            Some(now) if now < grant.not_after.saturating_add(self.grace) => Ok(Standing::Grace),
            Some(_) => Err(CredentialError::Expired),
        }
    }

    /// Reads and judges what the machine at the other end of a link shows: the one question that
    /// every transport asks. `proved` is whose key it has proved to hold. Whether a claim counts is
    /// left to whoever redeems it ([`Self::judge_claim`]), so that its machine can be told.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] says why the link must not stand.
    pub fn admit(
        &self,
        proved: MachineId,
        shown: Bytes,
        now: Option<Timestamp>,
    ) -> Result<Credential, CredentialError> {
        let credential = self.trust.read_credential(shown)?;
        if credential.machine() != proved {
            return Err(CredentialError::OtherMachine(credential.machine()));
        }
        match &credential {
            Credential::Membership(membership) => self.judge(membership, now).map(|_| ())?,
            Credential::Claim(_) => {}
        }
        Ok(credential)
    }

    /// Whether a claim can be redeemed at `now`: not by a machine that the operator has thrown out,
    /// and not where nobody can tell the time. Whether it was redeemed before, [`Self::redeemer`]
    /// says.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Revoked`] if machine or issuer was thrown out,
    /// [`CredentialError::NoClock`], [`CredentialError::InvitationExpired`].
    pub fn judge_claim(
        &self,
        claim: &Claim,
        now: Option<Timestamp>,
    ) -> Result<(), CredentialError> {
        let (operator, invitation) = (self.trust.operator(), claim.invitation());
        let is_out = |machine| self.has_revoked(operator, machine);
        if is_out(claim.machine()) || is_out(invitation.issuer()) {
            return Err(CredentialError::Revoked);
        }
        match now {
            None => Err(CredentialError::NoClock),
            Some(now) if now >= invitation.terms().not_after => {
                Err(CredentialError::InvitationExpired)
            }
            Some(_) => Ok(()),
        }
    }

    fn has_revoked(&self, signer: MachineId, machine: MachineId) -> bool {
        let signers = self.revoked.get(&machine);
        signers.is_some_and(|signers| signers.contains(&signer))
    }
}

#[cfg(test)]
mod tests;
