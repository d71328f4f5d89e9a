//! What an administrator asks, done: signed with this machine's key only if its membership says so.

use identity::{CredentialError, Issuer, Revocation};
use model::{MachineId, State, StateKey};
use statemachine::Instant;

use super::Node;
use crate::{AdminError, AdminReply, AdminRequest, RequestId};

/// An answer that waits until a state is on disk.
#[derive(Debug)]
pub(super) struct Promise {
    request: RequestId,
    reply: AdminReply,
}

impl Node {
    pub(super) fn on_admin(&mut self, now: Instant, request: RequestId, asked: AdminRequest) {
        let result = match asked {
            AdminRequest::Relay(state) => return self.relay_for(now, request, state),
            AdminRequest::Revoke { machine, reason } => {
                match self.revocation(now, machine, &reason) {
                    Ok(state) => return self.relay_for(now, request, state),
                    Err(error) => Err(error),
                }
            }
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

    /// Sends a state on its way, and answers when it is on disk.
    fn relay_for(&mut self, now: Instant, request: RequestId, state: State) {
        let key = state.key().clone();
        match self.gossip.relay(now, state) {
            Ok(news) => self.answer_when_written(request, key, AdminReply::Relayed { news }),
            Err(error) => self.answer(request, Err(error.into())),
        }
    }

    /// Promises nothing that a crash could take back.
    pub(super) fn answer_when_written(
        &mut self,
        request: RequestId,
        key: StateKey,
        reply: AdminReply,
    ) {
        let promise = Promise { request, reply };
        self.promised.entry(key).or_default().push(promise);
        self.answer_promised();
    }

    /// Answers everyone whose state is not being written any more.
    pub(super) fn answer_promised(&mut self) {
        let keys = self.promised.keys();
        let done = keys.filter_map(|key| Some((key.clone(), self.gossip.is_written(key)?)));
        for (key, is_written) in done.collect::<Vec<_>>() {
            for promise in self.promised.remove(&key).into_iter().flatten() {
                let result = match is_written {
                    true => Ok(promise.reply),
                    false => Err(AdminError::NotPersisted),
                };
                self.answer(promise.request, result);
            }
        }
    }

    /// That a machine is thrown out, signed by this one.
    fn revocation(
        &self,
        now: Instant,
        machine: MachineId,
        reason: &str,
    ) -> Result<State, AdminError> {
        self.issuer()?;
        // One that is not known yet may have been admitted here and not have come since.
        let member = self.catalogue.member(&machine);
        if member.is_some_and(|member| member.membership.issuer() != self.machine) {
            return Err(AdminError::NotAdmittedHere { machine });
        }
        let network = self.identity.trust.network();
        let time = self.now_wall(now).time;
        let key = &*self.identity.keypair;
        Ok(Revocation::sign(key, &network, machine, time, reason)?)
    }

    /// This machine as one that signs for others, if the operator lets it.
    pub(super) fn issuer(&self) -> Result<Issuer<'_>, CredentialError> {
        let identity = &self.identity;
        Issuer::admitter(&*identity.keypair, &identity.membership, identity.trust)
    }
}
