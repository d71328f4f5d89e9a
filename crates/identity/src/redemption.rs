//! Redemptions: which machine has become a member by which invitation, and through which admitter.
//!
//! A redemption travels as a state whose origin is the admitter and whose subject names invitation
//! and machine, so none overwrites another. It carries the claim, which only whoever has the
//! invitation's secret can sign, so that no admitter makes up what another one's invitation was
//! redeemed for; and the membership, so that a machine that missed the answer gets the same again.
//!
//! Of several states with one key everyone keeps the earliest: an admitter that has lost its disk
//! may redeem a claim again, and what counts by time must not depend on which of the two was heard.
//!
//! # Not here
//!
//! What counts of several redemptions of one invitation ([`crate::Roll`]).

use bytes::Bytes;
use model::{
    MachineId, NetworkId, State, StateDraft, StateKey, StateKind, StateVersion, Timestamp,
};
use prost::Message as _;

use crate::{Claim, CredentialError, InvitationId, Membership, Signer, Trust};

/// A machine has become a member by an invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    claim: Claim,
    membership: Membership,
    time: Timestamp,
}

impl Redemption {
    /// Signs a redemption with the admitter's key as the state that travels. `membership` is of the
    /// claim's machine and signed with the same key.
    ///
    /// # Errors
    ///
    /// [`CredentialError::Malformed`] if claim and membership are too long together.
    pub fn sign(
        key: &dyn Signer,
        network: &NetworkId,
        claim: &Claim,
        membership: &Membership,
        time: Timestamp,
    ) -> Result<State, CredentialError> {
        let payload = RedemptionMessage {
            time: time.as_nanos(),
            claim: claim.as_bytes().clone(),
            membership: membership.as_bytes().clone(),
        };
        let payload: Bytes = payload.encode_to_vec().into();
        if payload.len() > State::PAYLOAD_BYTES_MAX {
            return Err(CredentialError::Malformed(
                "the invitation and what it grants do not fit together; allow fewer commands",
            ));
        }
        let draft = StateDraft {
            key: Self::key(key.machine(), claim.invitation().id(), claim.machine()),
            version: version_at(time),
            payload,
        };
        Ok(draft.seal(network, |digest| key.sign(digest)))
    }

    /// The key of the state that says that an admitter has admitted a machine by an invitation.
    #[must_use]
    pub fn key(admitter: MachineId, invitation: InvitationId, machine: MachineId) -> StateKey {
        StateKey {
            origin: admitter,
            kind: StateKind::Redemption,
            subject: format!("{invitation}/{machine}"),
        }
    }

    /// Reads a state of kind `Redemption`, with the signatures inside it. Whether the state's own
    /// signature holds is the caller's to check.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] if it is of another kind, does not decode, or its parts do not belong
    /// together.
    pub fn from_state(trust: Trust, state: &State) -> Result<Self, CredentialError> {
        if state.key().kind != StateKind::Redemption {
            return Err(CredentialError::Malformed("no redemption"));
        }
        let message = RedemptionMessage::decode(state.payload().clone());
        let message = message.map_err(|_| CredentialError::Malformed("no redemption"))?;
        let claim = trust.read_claim(message.claim)?;
        let membership = trust.read(message.membership)?;
        let admitter = state.key().origin;
        let key = Self::key(admitter, claim.invitation().id(), claim.machine());
        if *state.key() != key
            || state.version() != version_at(Timestamp::from_nanos(message.time))
            || membership.machine() != claim.machine()
            || membership.issuer() != admitter
        {
            return Err(CredentialError::Malformed(
                "a redemption of parts that do not belong together",
            ));
        }
        Ok(Self {
            claim,
            membership,
            time: Timestamp::from_nanos(message.time),
        })
    }

    /// Which invitation.
    #[must_use]
    pub const fn invitation(&self) -> InvitationId {
        self.claim.invitation().id()
    }

    /// The machine that has become a member.
    #[must_use]
    pub const fn machine(&self) -> MachineId {
        self.claim.machine()
    }

    /// Its membership.
    #[must_use]
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Who admitted it.
    #[must_use]
    pub const fn admitter(&self) -> MachineId {
        self.membership.issuer()
    }

    /// When, by the admitter's clock.
    #[must_use]
    pub const fn time(&self) -> Timestamp {
        self.time
    }
}

/// The earlier, the greater.
fn version_at(time: Timestamp) -> StateVersion {
    StateVersion {
        epoch: 0,
        counter: u64::MAX - u64::try_from(time.as_nanos()).unwrap_or(0),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct RedemptionMessage {
    /// Unit: nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "1")]
    time: i64,
    #[prost(bytes = "bytes", tag = "2")]
    claim: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    membership: Bytes,
}

#[cfg(test)]
mod tests;
