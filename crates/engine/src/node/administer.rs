//! What an administrator asks, done: signed with this machine's key only if its membership says so.

use identity::{CredentialError, Issuer, Revocation};
use model::{MachineId, State};
use statemachine::Instant;

use super::Node;
use crate::{AdminError, AdminReply, AdminRequest, RequestId};

impl Node {
    pub(super) fn on_admin(&mut self, now: Instant, request: RequestId, asked: AdminRequest) {
        let result = match asked {
            AdminRequest::Relay(state) => self.relay(now, state),
            AdminRequest::Revoke { machine, reason } => self.revoke(now, machine, &reason),
            AdminRequest::Admit {
                machine,
                name,
                rights,
            } => self.admit(now, machine, name, rights),
            AdminRequest::Invite {
                id,
                rights,
                open_for,
            } => self.invite(now, id, rights, open_for),
            AdminRequest::Redeem(claim) => return self.redeem(now, request, &claim),
        };
        self.answer(request, result);
    }

    pub(super) fn relay(&mut self, now: Instant, state: State) -> Result<AdminReply, AdminError> {
        let news = self.gossip.relay(now, state)?;
        Ok(AdminReply::Relayed { news })
    }

    fn revoke(
        &mut self,
        now: Instant,
        machine: MachineId,
        reason: &str,
    ) -> Result<AdminReply, AdminError> {
        self.issuer()?;
        // One that is not known yet may have been admitted here and not have come since.
        let member = self.catalogue.member(&machine);
        if member.is_some_and(|member| member.membership.issuer() != self.machine) {
            return Err(AdminError::NotAdmittedHere { machine });
        }
        let network = self.identity.trust.network();
        let time = self.now_wall(now).time;
        let state = Revocation::sign(&*self.identity.keypair, &network, machine, time, reason)?;
        self.relay(now, state)
    }

    /// This machine as one that signs for others, if the operator lets it.
    pub(super) fn issuer(&self) -> Result<Issuer<'_>, CredentialError> {
        let identity = &self.identity;
        Issuer::admitter(&*identity.keypair, &identity.membership, identity.trust)
    }
}
