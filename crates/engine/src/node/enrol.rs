//! How machines become members through this one, if the operator lets it: named by an
//! administrator, or by an invitation, once.
//!
//! A redemption is on disk before its machine hears of it, and on its way to everyone then. What
//! counts when several machines have redeemed one invitation, `identity::Roll` says.

use std::time::Duration;

use identity::{
    Claim, CredentialError, Grant, Invitation, InvitationId, Membership, Redemption, Standing,
    Terms,
};
use model::{MachineId, State, StateKey, Timestamp};
use statemachine::Instant;

use super::Node;
use crate::admin::Rights;
use crate::{AdminError, AdminReply, Event, Output, RequestId};

impl Node {
    /// Signs a membership for a machine that an administrator names.
    pub(super) fn admit(
        &self,
        now: Instant,
        machine: MachineId,
        name: String,
        rights: Rights,
    ) -> Result<AdminReply, AdminError> {
        let issuer = self.issuer()?;
        let time = self.time_to_sign_at(now)?;
        self.check_newcomer(machine, &name)?;
        let (not_before, not_after) = issuer.window(time, rights.lifetime);
        let membership = issuer.admit(Grant {
            machine,
            name,
            site: self.identity.membership.grant().site.clone(),
            roles: rights.roles,
            commands: rights.commands,
            not_before,
            not_after,
            delegation: None,
        })?;
        Ok(AdminReply::Admitted(membership))
    }

    /// Signs an invitation for whoever knows the secret whose public half is `id`. It ends no later
    /// than this machine's own membership.
    pub(super) fn invite(
        &self,
        now: Instant,
        id: InvitationId,
        rights: Rights,
        open_for: Duration,
    ) -> Result<AdminReply, AdminError> {
        let issuer = self.issuer()?;
        let own = self.identity.membership.grant();
        let longest = own.delegation.as_ref().map(|may| may.lifetime);
        let not_after = self.time_to_sign_at(now)?.saturating_add(open_for);
        let invitation: Invitation = issuer.invite(
            id,
            Terms {
                site: own.site.clone(),
                roles: rights.roles,
                commands: rights.commands,
                lifetime: rights.lifetime.min(longest.unwrap_or_default()),
                not_after: not_after.min(own.not_after),
            },
        )?;
        Ok(AdminReply::Invited(invitation))
    }

    /// Makes a machine a member by an invitation, and answers when that is on disk. One that asks
    /// again gets the same again.
    pub(super) fn redeem(&mut self, now: Instant, request: RequestId, claim: &Claim) {
        match self.try_redeem(now, claim) {
            Ok((key, membership)) => {
                self.answer_when_written(request, key, AdminReply::Admitted(membership));
            }
            Err(error) => self.answer(request, Err(error)),
        }
    }

    fn try_redeem(
        &mut self,
        now: Instant,
        claim: &Claim,
    ) -> Result<(StateKey, Membership), AdminError> {
        let issuer = self.issuer()?;
        let time = self.time_to_sign_at(now)?;
        self.roll().judge_claim(claim, Some(time))?;
        if let Some(known) = self.redemption_of(claim)? {
            return Ok(known);
        }
        self.check_newcomer(claim.machine(), claim.name())?;
        let membership = issuer.redeem(claim, time)?;
        let (key, network) = (&*self.identity.keypair, self.identity.trust.network());
        let state = Redemption::sign(key, &network, claim, &membership, time)?;
        let key = state.key().clone();
        self.gossip.relay(now, state)?;
        Ok((key, membership))
    }

    /// What the claim's machine has been given by the invitation already; it is refused if another
    /// machine was.
    fn redemption_of(&self, claim: &Claim) -> Result<Option<(StateKey, Membership)>, AdminError> {
        let (invitation, machine) = (claim.invitation().id(), claim.machine());
        let Some(redeemer) = self.roll().redeemer(invitation) else {
            return Ok(None);
        };
        if redeemer.machine != machine {
            let by = redeemer.machine;
            return Err(AdminError::Redeemed { by });
        }
        let keys = redeemer.admitters.into_iter();
        let keys = keys.map(|admitter| Redemption::key(admitter, invitation, machine));
        let trust = self.identity.trust;
        let found = keys.filter_map(|key| {
            let known = Redemption::from_state(trust, self.gossip.state(&key)?).ok()?;
            let counts = !self.roll().is_revoked(known.membership());
            counts.then(|| (key, known.membership().clone()))
        });
        match found.last() {
            Some(known) => Ok(Some(known)),
            None => Err(CredentialError::Revoked.into()),
        }
    }

    /// Somebody has redeemed an invitation. If others had too, some of them are members no more.
    pub(super) fn on_redemption(&mut self, now: Instant, state: &State) {
        let Ok(redemption) = Redemption::from_state(self.identity.trust, state) else {
            return;
        };
        self.roll_changed = true;
        if self.bar_late(now, &redemption) {
            self.judge_links(now);
        }
    }

    /// Bars the machines that redeemed the same invitation too late; returns whether there are any.
    pub(super) fn bar_late(&mut self, now: Instant, redemption: &Redemption) -> bool {
        let invitation = redemption.invitation();
        let Some(redeemer) = self.roll().redeemer(invitation) else {
            return false;
        };
        self.bar_those_out(now, redeemer.too_late.iter().copied().collect());
        for machine in &redeemer.too_late {
            self.event(Event::RedeemedTwice {
                invitation,
                counts: redeemer.machine,
                too_late: *machine,
            });
        }
        !redeemer.too_late.is_empty()
    }

    /// The time, if it is known and this machine's own membership counts by it: what it signs ends
    /// no later.
    fn time_to_sign_at(&self, now: Instant) -> Result<Timestamp, CredentialError> {
        let time = self.trusted_time(now).ok_or(CredentialError::NoClock)?;
        match self.own_standing(Some(time))? {
            Standing::Valid => Ok(time),
            Standing::Grace | Standing::Unjudged => Err(CredentialError::Expired),
        }
    }

    /// Refuses a machine for which this one's word counts no more, and a name that another member
    /// has.
    fn check_newcomer(&self, machine: MachineId, name: &str) -> Result<(), AdminError> {
        if self.roll().is_out(machine, self.machine) {
            return Err(CredentialError::Revoked.into());
        }
        let mut members = self.catalogue.members();
        let taken =
            members.find(|(id, member)| **id != machine && member.membership.grant().name == name);
        match taken {
            None => Ok(()),
            Some((by, _)) => Err(AdminError::NameTaken {
                name: name.to_owned(),
                by: *by,
            }),
        }
    }

    pub(super) fn answer(&mut self, request: RequestId, result: Result<AdminReply, AdminError>) {
        let reply = Output::AdminReply(request, Box::new(result));
        self.outputs.push_back(reply);
    }
}
