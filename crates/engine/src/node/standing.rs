//! Who counts as a member, and what follows when somebody does not any more.

use identity::{CredentialError, Membership, Revocation, Roll, Standing};
use model::{ClockState, MachineId, State, Timestamp};
use statemachine::{Instant, StateMachine as _};

use super::Node;
use crate::{Event, Output};

impl Node {
    /// Who counts as a member: what every new connection is judged by.
    #[must_use]
    pub const fn roll(&self) -> &Roll {
        self.gossip.roll()
    }

    /// How far this machine's own membership is in order at a time; `None` without a trusted clock.
    ///
    /// # Errors
    ///
    /// As [`Roll::judge`].
    pub fn own_standing(&self, time: Option<Timestamp>) -> Result<Standing, CredentialError> {
        self.roll().judge(&self.identity.membership, time)
    }

    /// The wall clock, unless nobody vouches for it.
    pub(super) fn trusted_time(&self, now: Instant) -> Option<Timestamp> {
        let wall = self.wall.as_ref().map(|_| self.now_wall(now))?;
        (wall.state != ClockState::Unsynchronised).then_some(wall.time)
    }

    /// Judges whoever has just been linked: it may have been thrown out, or have expired, since the
    /// handshake. Returns whether it may stay.
    pub(super) fn receive(&mut self, now: Instant, membership: Membership) -> bool {
        let machine = membership.machine();
        match self.roll().judge(&membership, self.trusted_time(now)) {
            Ok(_) => {
                self.shown.insert(machine, membership);
                true
            }
            Err(error) => {
                self.expel(now, machine, error);
                false
            }
        }
    }

    /// Judges everyone who is linked again: time has passed, or has become known, or somebody was
    /// thrown out.
    pub(super) fn judge_links(&mut self, now: Instant) {
        let time = self.trusted_time(now);
        let judged = (self.shown.iter()).filter_map(|(machine, shown)| {
            let membership = self.newest(shown);
            Some((*machine, self.roll().judge(membership, time).err()?))
        });
        for (machine, error) in judged.collect::<Vec<_>>() {
            self.expel(now, machine, error);
        }
    }

    /// Somebody was thrown out: nobody links with it any more, and its word does not count.
    pub(super) fn on_revocation(&mut self, now: Instant, state: &State) {
        let Ok(revocation) = Revocation::from_state(state) else {
            return;
        };
        self.event(Event::Revoked(revocation.clone()));
        self.bar(now, &revocation);
        self.roll_changed = true;
        self.judge_links(now);
    }

    /// With an admitter everyone is out that it has admitted.
    pub(super) fn bar(&mut self, now: Instant, revocation: &Revocation) {
        let mut out: Vec<MachineId> = self.catalogue.admitted_by(revocation.machine).collect();
        out.push(revocation.machine);
        self.bar_those_out(now, out);
    }

    /// Has those of the machines forgotten that do not count as members any more.
    pub(super) fn bar_those_out(&mut self, now: Instant, machines: Vec<MachineId>) {
        for machine in machines {
            let known = self.catalogue.member(&machine);
            let issuer = known.map_or(self.identity.trust.operator(), |member| {
                member.membership.issuer()
            });
            if machine != self.machine && self.roll().is_out(machine, issuer) {
                self.overlay.handle(now, overlay::Input::Barred(machine));
                self.election.handle(now, election::Input::Barred(machine));
            }
        }
    }

    fn expel(&mut self, now: Instant, machine: MachineId, error: CredentialError) {
        self.outputs.push_back(Output::Expel(machine));
        self.event(Event::Expelled(machine, error));
        self.on_link_down(now, machine);
    }
}
