//! Machines that redeem an invitation here, and what administrators sign: asked of the node,
//! answered, and written down.

use std::fmt::Display;

use engine::{AdminError, AdminReply, AdminRequest, Input, RequestId};
use identity::Claim;
use model::StateKind;
use overlay::Address;
use swarm::{Answer, EnrolmentId};
use tokio::sync::oneshot;

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
        } else if let Some(administrator) = self.administrators.remove(&request) {
            let record = administrator.answer(result);
            self.record(record);
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

/// An administrator that waits for the node to do what it has asked for.
#[derive(Debug)]
pub struct Administrator {
    /// What is written down if it is done, and if not.
    done: Option<Record>,
    refused: Option<Record>,
    reply: oneshot::Sender<Result<AdminReply, AdminError>>,
}

impl Administrator {
    /// What is signed here is written down, whatever comes of it; what takes effect everywhere is
    /// when it does ([`Record::of_event`]).
    pub(super) fn new(
        asked: &AdminRequest,
        reply: oneshot::Sender<Result<AdminReply, AdminError>>,
    ) -> Self {
        let record =
            |kind, id: &dyn Display| Some(Record::new(clock::wall_time(), kind, ADMINISTRATOR, id));
        let (done, refused) = match asked {
            AdminRequest::Admit { machine, name, .. } => {
                let record = record(Kind::MembershipSigned, machine);
                let record = record.map(|record| record.with(name));
                (record.clone(), record)
            }
            AdminRequest::Invite { id, .. } => {
                let record = record(Kind::Invited, id);
                (record.clone(), record)
            }
            AdminRequest::Revoke { machine, .. } => (None, record(Kind::Revoked, machine)),
            AdminRequest::Relay(state) => {
                let refused = record(Kind::Revoked, &state.key().subject);
                let is_revocation = state.key().kind == StateKind::Revocation;
                (None, refused.filter(|_| is_revocation))
            }
            AdminRequest::Redeem(_) => (None, None),
        };
        Self {
            done,
            refused,
            reply,
        }
    }

    /// Tells it; gives what is to be written down.
    fn answer(self, result: Result<AdminReply, AdminError>) -> Option<Record> {
        let record = match &result {
            Ok(_) => self.done,
            Err(error) => self.refused.map(|record| record.failed(error)),
        };
        let _ = self.reply.send(result); // Whoever asked may be gone.
        record
    }
}
