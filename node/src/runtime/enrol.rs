//! Machines that redeem an invitation here, and what administrators sign: asked of the node, answered,
//! and written down.

use engine::{AdminError, AdminReply, AdminRequest, Input, RequestId};
use identity::Claim;
use overlay::Address;
use swarm::{Answer, EnrolmentId};

use super::Runtime;
use crate::audit::{ADMINISTRATOR, Kind, Record};
use crate::backend::Door;
use crate::clock;

/// A machine that waits for the answer to its claim.
#[derive(Debug)]
pub struct Waiting {
    enrolment: EnrolmentId,
    claim: Box<Claim>,
    address: Option<Address>,
}

impl Runtime {
    /// A machine has dialled this one and shown a claim.
    pub(super) fn on_claim(
        &mut self,
        enrolment: EnrolmentId,
        claim: Box<Claim>,
        address: Option<Address>,
    ) {
        self.request.0 += 1;
        let asked = AdminRequest::Redeem(claim.clone());
        let waiting = Waiting {
            enrolment,
            claim,
            address,
        };
        self.newcomers.insert(self.request, waiting);
        self.handle(Input::Admin(self.request, Box::new(asked)));
    }

    pub(super) fn on_admin_reply(
        &mut self,
        request: RequestId,
        result: Result<AdminReply, AdminError>,
    ) {
        if let Some(waiting) = self.newcomers.remove(&request) {
            self.answer(&waiting, result);
        } else if let Some(reply) = self.administrators.remove(&request) {
            self.record(signed(&result));
            let _ = reply.send(result); // Whoever asked may be gone.
        }
    }

    fn answer(&mut self, waiting: &Waiting, result: Result<AdminReply, AdminError>) {
        let (machine, invitation) = (waiting.claim.machine(), waiting.claim.invitation());
        let from = waiting.address.as_ref().map_or("", Address::as_str);
        let record = Record::new(clock::wall_time(), Kind::Enrolled, machine, machine)
            .with(format!("invitation {} from {from}", invitation.id()));
        let (answer, record) = match result {
            Ok(AdminReply::Admitted(membership)) => {
                tracing::info!(%machine, name = membership.grant().name, "a machine has joined");
                let answer = Answer::Admitted {
                    membership: membership.as_bytes().clone(),
                    network_keys: self.network_keys.clone(),
                };
                (answer, record)
            }
            Ok(AdminReply::Relayed { .. } | AdminReply::Invited(_)) => return,
            Err(error) => {
                tracing::info!(%machine, %error, "a machine was not let join");
                (Answer::Refused(error.to_string()), record.failed(error))
            }
        };
        self.record(Some(record));
        self.swarm.answer(waiting.enrolment, answer);
    }

    /// What tokens need besides an invitation.
    pub(super) fn door(&self) -> Door {
        Door {
            network_key: self.network_keys.current().clone(),
            addresses: self.addresses.clone(),
        }
    }
}

/// What this machine has signed because an administrator asked for it; revocations are recorded when
/// they take effect.
fn signed(result: &Result<AdminReply, AdminError>) -> Option<Record> {
    let time = clock::wall_time();
    match result {
        Ok(AdminReply::Admitted(membership)) => {
            let machine = membership.machine();
            let record = Record::new(time, Kind::MembershipSigned, ADMINISTRATOR, machine);
            Some(record.with(&membership.grant().name))
        }
        Ok(AdminReply::Invited(invitation)) => {
            let id = invitation.id();
            Some(Record::new(time, Kind::Invited, ADMINISTRATOR, id))
        }
        Ok(AdminReply::Relayed { .. }) | Err(_) => None,
    }
}
