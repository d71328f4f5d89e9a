//! The service `Admin`.

use std::sync::Arc;
use std::time::Duration;

use engine::{AdminReply, AdminRequest, Rights};
use identity::Role;
use model::{MachineId, State, StateKind};
use proto::v1::{self as pb, admin_server::Admin, admit_request, revoke_request};
use tonic::{Request, Response, Status};

use crate::Backend;

/// The service, over a backend.
pub(crate) struct AdminService {
    pub(crate) backend: Arc<dyn Backend>,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn admit(
        &self,
        request: Request<pb::AdmitRequest>,
    ) -> Result<Response<pb::AdmitResponse>, Status> {
        let Some(admit_request::How::Candidate(candidate)) = request.into_inner().how else {
            return Err(Status::invalid_argument("set candidate"));
        };
        let asked = AdminRequest::Admit {
            machine: machine(&candidate.machine_id)?,
            name: candidate.name,
            rights: rights(candidate.rights)?,
        };
        match self.backend.admin(asked).await? {
            AdminReply::Admitted(membership) => Ok(Response::new(pb::AdmitResponse {
                membership: membership.as_bytes().to_vec(),
                not_after: Some(crate::convert::to_timestamp(membership.grant().not_after)),
            })),
            AdminReply::Relayed { .. } | AdminReply::Invited(_) => Err(no_answer()),
        }
    }

    async fn create_invitation(
        &self,
        request: Request<pb::CreateInvitationRequest>,
    ) -> Result<Response<pb::CreateInvitationResponse>, Status> {
        let request = request.into_inner();
        let open_for = duration("open_for", request.open_for)?;
        let rights = rights(request.rights)?;
        Ok(Response::new(self.backend.invite(rights, open_for).await?))
    }

    async fn revoke(
        &self,
        request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        let asked = match request.into_inner().how {
            Some(revoke_request::How::Signed(bytes)) => {
                AdminRequest::Relay(signed(bytes, &[StateKind::Revocation])?)
            }
            Some(revoke_request::How::Outcast(outcast)) => AdminRequest::Revoke {
                machine: machine(&outcast.machine_id)?,
                reason: outcast.reason,
            },
            None => return Err(Status::invalid_argument("set signed or outcast")),
        };
        match self.backend.admin(asked).await? {
            AdminReply::Relayed { news } => Ok(Response::new(pb::RevokeResponse { news })),
            AdminReply::Admitted(_) | AdminReply::Invited(_) => Err(no_answer()),
        }
    }

    async fn push(
        &self,
        request: Request<pb::PushRequest>,
    ) -> Result<Response<pb::PushResponse>, Status> {
        let state = signed(request.into_inner().signed, PUSHED)?;
        match self.backend.admin(AdminRequest::Relay(state)).await? {
            AdminReply::Relayed { news } => Ok(Response::new(pb::PushResponse { news })),
            AdminReply::Admitted(_) | AdminReply::Invited(_) => Err(no_answer()),
        }
    }

    async fn list_members(
        &self,
        _: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        Ok(Response::new(self.backend.members().await?))
    }

    async fn list_audit(
        &self,
        request: Request<pb::ListAuditRequest>,
    ) -> Result<Response<pb::ListAuditResponse>, Status> {
        let request = request.into_inner();
        let category = Some(request.category).filter(|category| !category.is_empty());
        let limit = match usize::try_from(request.limit) {
            Ok(0) => AUDIT_RECORDS_DEFAULT,
            Ok(limit @ 1..=AUDIT_RECORDS_MAX) => limit,
            _ => {
                let most = format!("limit: ask for at most {AUDIT_RECORDS_MAX} records");
                return Err(Status::invalid_argument(most));
            }
        };
        Ok(Response::new(self.backend.audit(category, limit).await?))
    }
}

/// Reads a state that was signed elsewhere, which must be of one of these kinds.
fn signed(bytes: Vec<u8>, kinds: &[StateKind]) -> Result<State, Status> {
    let state = State::decode(bytes.into());
    let state = state.map_err(|error| Status::invalid_argument(format!("signed: {error}")))?;
    if !kinds.contains(&state.key().kind) {
        return Err(Status::invalid_argument(format!(
            "signed: this is a state of kind {:?}, but one of {kinds:?} is needed here",
            state.key().kind
        )));
    }
    Ok(state)
}

fn rights(rights: Option<pb::Rights>) -> Result<Rights, Status> {
    let rights = rights.ok_or_else(|| Status::invalid_argument("set rights"))?;
    let role = |name: &String| {
        let unknown = "roles: use publish, relay, command and observe";
        Role::from_name(name).ok_or_else(|| Status::invalid_argument(unknown))
    };
    Ok(Rights {
        roles: rights.roles.iter().map(role).collect::<Result<_, _>>()?,
        commands: rights.commands,
        lifetime: duration("rights.lifetime", rights.lifetime)?,
    })
}

/// A whole number of seconds above zero.
fn duration(what: &str, duration: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let seconds = duration.and_then(|duration| u64::try_from(duration.seconds).ok());
    match seconds {
        Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        Some(0) | None => Err(Status::invalid_argument(format!(
            "{what}: set at least one second"
        ))),
    }
}

/// The backend has answered another question.
fn no_answer() -> Status {
    Status::internal("the node gave an answer that does not fit; see its log")
}

fn machine(text: &str) -> Result<MachineId, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("machine_id: {error}")))
}

/// What is passed on for whoever may use this node's gRPC.
const PUSHED: &[StateKind] = &[
    StateKind::Revocation,
    StateKind::Renewal,
    StateKind::NetworkKey,
];
/// Source: guess, some screens.
const AUDIT_RECORDS_DEFAULT: usize = 100;
/// Source: guess; some 3 MiB.
const AUDIT_RECORDS_MAX: usize = 10_000;
