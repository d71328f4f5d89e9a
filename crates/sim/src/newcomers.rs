//! Machines that redeem invitations while the network falls apart: what they were told must hold.

use std::collections::BTreeMap;

use engine::{AdminError, AdminReply, AdminRequest, Input, RequestId};
use identity::{Claim, CredentialError, Membership};

use crate::world::World;

/// Who has asked for what, and what it was told.
#[derive(Debug, Default)]
pub(crate) struct Newcomers {
    asked: BTreeMap<RequestId, Claim>,
    told: Vec<(Claim, Membership)>,
}

impl World {
    /// Some newcomer brings one of a few invitations to a machine.
    pub(crate) fn redeem(&mut self, through: usize) {
        let (Some(invitation), Some(newcomer)) =
            (self.faults.index(INVITATIONS), self.faults.index(NEWCOMERS))
        else {
            return;
        };
        if !self.machines[through].answers() {
            return;
        }
        self.requests += 1;
        let request = RequestId(self.requests);
        let claim = self.site.claim(invitation, newcomer);
        self.newcomers.asked.insert(request, claim.clone());
        let asked = AdminRequest::Redeem(Box::new(claim));
        self.input(through, Input::Admin(request, Box::new(asked)));
    }

    pub(crate) fn on_admin_reply(
        &mut self,
        machine: usize,
        request: RequestId,
        result: Result<AdminReply, AdminError>,
    ) {
        let answer = format!("{request:?} {result:?}");
        self.trace.note(self.now, machine, "answer", &answer);
        match (self.newcomers.asked.remove(&request), result) {
            (None, Ok(_)) => {}
            (Some(claim), Ok(AdminReply::Admitted(membership))) => {
                self.on_admitted(machine, claim, membership);
            }
            // It is another machine's, or this one was too late with it elsewhere.
            (
                Some(_),
                Err(AdminError::Redeemed { .. } | AdminError::Credential(CredentialError::Revoked)),
            ) => {}
            (_, result) => self.checker.fail(format!("machine {machine}: {result:?}")),
        }
    }

    fn on_admitted(&mut self, machine: usize, claim: Claim, membership: Membership) {
        let is_its = membership.machine() == claim.machine();
        self.checker.require(is_its, || {
            format!("machine {machine} gives away another one's membership")
        });
        self.newcomers.told.push((claim, membership));
    }

    /// What is lacking until every machine comes to the same, and remembers what was told.
    pub(crate) fn lacking_of_newcomers(&self) -> Option<String> {
        let first = self.machines.first()?.running.as_ref()?.node.roll();
        for (claim, membership) in &self.newcomers.told {
            let invitation = claim.invitation().id();
            for number in self.members() {
                let roll = self.machines[number].running.as_ref()?.node.roll();
                let (own, others) = (roll.redeemer(invitation), first.redeemer(invitation));
                if own != others {
                    return Some(format!(
                        "machine {number} takes {own:?} for the redeemer of {invitation}, \
                         another one {others:?}"
                    ));
                }
                let counts = roll.judge(membership, None).is_ok();
                let is_in_time = (0..INVITATIONS).any(|invitation| {
                    let invitation = self.site.claim(invitation, 0).invitation().id();
                    let redeemer = roll.redeemer(invitation);
                    redeemer.is_some_and(|redeemer| {
                        redeemer.machine == claim.machine()
                            && redeemer.admitters.contains(&membership.issuer())
                    })
                });
                if own.is_none() || counts != is_in_time {
                    return Some(format!(
                        "machine {number} takes {} wrongly for a member or not",
                        claim.name()
                    ));
                }
            }
        }
        None
    }
}

/// Few enough to be redeemed twice.
const INVITATIONS: usize = 3;
/// More than there are invitations.
const NEWCOMERS: usize = 5;
