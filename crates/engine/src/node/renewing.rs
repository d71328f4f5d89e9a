//! What this machine is given while it runs, a newer membership or a newer network key, and what it
//! gives to others as their admitter before their memberships end.

use std::time::Duration;

use identity::{Grant, Membership, Renewal};
use model::{MachineId, State, StateKey, StateKind, Timestamp};
use statemachine::Instant;

use super::{Node, Timer};
use crate::{Event, Output};

impl Node {
    /// Takes a newer membership of this machine into use. Everyone else passes it on.
    pub(super) fn on_renewal(&mut self, now: Instant, state: &State) {
        if let Some(membership) = self.take_renewal(state) {
            let payload = membership.as_bytes().to_vec();
            self.say(now, StateKind::Membership, String::new(), payload);
            self.stand(now);
        }
    }

    /// The newer membership that a state brings this machine, taken into use.
    pub(super) fn take_renewal(&mut self, state: &State) -> Option<Membership> {
        if state.key().subject != self.machine.to_string() {
            return None;
        }
        let renewal = Renewal::from_state(&self.identity.trust, state).ok()?;
        let membership = renewal.membership;
        let own = &self.identity.membership;
        if !is_newer(&membership, own) || self.roll().is_revoked(&membership) {
            return None;
        }
        self.identity.membership = membership.clone();
        self.event(Event::Renewed(membership.grant().not_after));
        let renewed = Output::Renewed(Box::new(membership.clone()));
        self.outputs.push_back(renewed);
        Some(membership)
    }

    /// Opens a network key that is sealed to this machine; the caller knows whether it is newer.
    pub(super) fn on_network_key(&mut self, state: &State) {
        if state.key().subject != self.machine.to_string() {
            return;
        }
        let identity = &self.identity;
        match identity.keypair.receive_key(&identity.trust, state) {
            Ok(key) => self.outputs.push_back(Output::NetworkKey(key)),
            Err(error) => self.event(Event::NetworkKeyRefused(error)),
        }
    }

    /// The newest membership that is known of a linked machine: what it showed when the link was
    /// made, or what it has said since.
    pub(super) fn newest<'a>(&'a self, shown: &'a Membership) -> &'a Membership {
        let said = self.catalogue.member(&shown.machine());
        let said = said.map(|member| member.membership.as_ref());
        said.filter(|said| is_newer(said, shown)).unwrap_or(shown)
    }

    /// Renews what ends soon of what this machine has signed, and says so of its own membership.
    pub(super) fn renew(&mut self, now: Instant) {
        self.timers.set(Timer::Renew, now + RENEWAL_INTERVAL);
        let Some(time) = self.trusted_time(now) else {
            return;
        };
        let end = self.identity.membership.grant().not_after;
        let days = |time: Timestamp| end.since(time).as_secs() / DAY.as_secs();
        let is_another_day = days(time) != days(time.saturating_sub(RENEWAL_INTERVAL));
        if is_ending(self.identity.membership.grant(), time) && is_another_day {
            self.event(Event::MembershipEnds(end));
        }
        for machine in self.ending(time) {
            if let Some(renewal) = self.renewal_for(machine, time) {
                // It was signed here, and is refused only if there is no room for states.
                let _ = self.gossip.relay(now, renewal);
            }
        }
    }

    /// Machines that this one has admitted, that are there, and whose memberships end soon.
    fn ending(&self, time: Timestamp) -> Vec<MachineId> {
        let admitted = self.catalogue.admitted_by(self.machine);
        let is_due = |machine: &MachineId| {
            let member = self.catalogue.present_member(machine);
            let member = member.filter(|member| member.presence().is_some());
            member.is_some_and(|member| {
                is_ending(member.membership.grant(), time)
                    && !self.is_renewed(member.membership.grant())
            })
        };
        admitted.filter(is_due).collect()
    }

    /// Whether a renewal is under way already that the machine has not taken into use yet.
    fn is_renewed(&self, grant: &Grant) -> bool {
        let key = StateKey {
            origin: self.machine,
            kind: StateKind::Renewal,
            subject: grant.machine.to_string(),
        };
        let given = self.gossip.state(&key);
        let given = given.and_then(|state| Renewal::from_state(&self.identity.trust, state).ok());
        given.is_some_and(|given| given.membership.grant().not_after > grant.not_after)
    }

    /// The same grant for as long again, inside this machine's own window; `None` if that is not
    /// longer, or if it may not grant this any more.
    fn renewal_for(&self, machine: MachineId, time: Timestamp) -> Option<State> {
        let grant = self.catalogue.member(&machine)?.membership.grant();
        let lifetime = grant.not_after.since(grant.not_before);
        let own_end = self.identity.membership.grant().not_after;
        let renewed = Grant {
            not_before: time,
            not_after: time.saturating_add(lifetime).min(own_end),
            ..grant.clone()
        };
        if renewed.not_after <= grant.not_after {
            return None;
        }
        let membership = self.issuer().ok()?.admit(renewed).ok()?;
        let (keypair, trust) = (&*self.identity.keypair, self.identity.trust);
        Some(Renewal::sign(keypair, trust, &membership, time))
    }
}

/// Whether a membership was signed for a later time: the one that its machine is to use.
fn is_newer(membership: &Membership, than: &Membership) -> bool {
    membership.grant().not_before > than.grant().not_before
}

/// Whether it is time to renew a membership: its last third, 30 days at most.
fn is_ending(grant: &Grant, time: Timestamp) -> bool {
    let lifetime = grant.not_after.since(grant.not_before);
    let early = (lifetime / 3).min(RENEWAL_EARLY_MAX);
    time >= grant.not_after.saturating_sub(early)
}

/// How often memberships are looked through. Source: guess.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long before its end a membership is renewed at the earliest.
/// Source: `conventions.md`, from 30 days before the end of 365.
const RENEWAL_EARLY_MAX: Duration = Duration::from_secs(30 * DAY.as_secs());
const DAY: Duration = Duration::from_secs(24 * 3_600);
