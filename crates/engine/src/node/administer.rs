//! What an administrator asks, done: signed with this machine's key only if its membership says so.

use identity::{CredentialError, Issuer, Revocation};
use model::{MachineId, State};
use statemachine::Instant;

use super::Node;
use crate::{AdminError, AdminReply, AdminRequest, Output, RequestId};

impl Node {
    pub(super) fn on_admin(&mut self, now: Instant, request: RequestId, asked: AdminRequest) {
        let result = match asked {
            AdminRequest::Relay(state) => self.relay(now, state),
            AdminRequest::Revoke { machine, reason } => self.revoke(now, machine, &reason),
        };
        self.outputs
            .push_back(Output::AdminReply(request, Box::new(result)));
    }

    fn relay(&mut self, now: Instant, state: State) -> Result<AdminReply, AdminError> {
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
        let member = self.catalogue.member(&machine);
        if member.is_none_or(|member| member.membership.issuer() != self.machine) {
            return Err(AdminError::NotAdmittedHere { machine });
        }
        let network = self.identity.trust.network();
        let time = self.now_wall(now).time;
        let state = Revocation::sign(&self.identity.keypair, &network, machine, time, reason)?;
        self.relay(now, state)
    }

    /// This machine as one that signs for others, if the operator lets it.
    fn issuer(&self) -> Result<Issuer<'_>, CredentialError> {
        let identity = &self.identity;
        Issuer::admitter(&identity.keypair, &identity.membership, identity.trust)
    }
}
