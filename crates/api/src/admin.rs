//! The service `Admin`.

use std::sync::Arc;

use engine::{AdminReply, AdminRequest};
use model::{MachineId, State, StateKind};
use proto::v1::{self as pb, admin_server::Admin, revoke_request::How};
use tonic::{Request, Response, Status};

use crate::Backend;

/// The service, over a backend.
pub(crate) struct AdminService {
    pub(crate) backend: Arc<dyn Backend>,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn revoke(
        &self,
        request: Request<pb::RevokeRequest>,
    ) -> Result<Response<pb::RevokeResponse>, Status> {
        let asked = match request.into_inner().how {
            Some(How::Signed(bytes)) => AdminRequest::Relay(signed(bytes, StateKind::Revocation)?),
            Some(How::Outcast(outcast)) => AdminRequest::Revoke {
                machine: machine(&outcast.machine_id)?,
                reason: outcast.reason,
            },
            None => return Err(Status::invalid_argument("set signed or outcast")),
        };
        let AdminReply::Relayed { news } = self.backend.admin(asked).await?;
        Ok(Response::new(pb::RevokeResponse { news }))
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
        let limit = match usize::try_from(request.into_inner().limit) {
            Ok(0) => AUDIT_RECORDS_DEFAULT,
            Ok(limit @ 1..=AUDIT_RECORDS_MAX) => limit,
            _ => {
                let most = format!("limit: ask for at most {AUDIT_RECORDS_MAX} records");
                return Err(Status::invalid_argument(most));
            }
        };
        Ok(Response::new(self.backend.audit(limit).await?))
    }
}

/// Reads a state that was signed elsewhere, which must be of this kind.
fn signed(bytes: Vec<u8>, kind: StateKind) -> Result<State, Status> {
    let state = State::decode(bytes.into());
    let state = state.map_err(|error| Status::invalid_argument(format!("signed: {error}")))?;
    if state.key().kind != kind {
        return Err(Status::invalid_argument(format!(
            "signed: this is a state of kind {:?}, but {kind:?} is needed here",
            state.key().kind
        )));
    }
    Ok(state)
}

fn machine(text: &str) -> Result<MachineId, Status> {
    text.parse()
        .map_err(|error| Status::invalid_argument(format!("machine_id: {error}")))
}

/// Source: guess, some screens.
const AUDIT_RECORDS_DEFAULT: usize = 100;
/// Source: guess; some 3 MiB.
const AUDIT_RECORDS_MAX: usize = 10_000;
