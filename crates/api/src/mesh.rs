//! The service `Mesh`.

use std::sync::Arc;

use proto::v1::{self as pb, mesh_server::Mesh};
use tonic::{Request, Response, Status};

use crate::Backend;

/// The service, over a backend.
pub(crate) struct MeshService {
    pub(crate) backend: Arc<dyn Backend>,
}

#[tonic::async_trait]
impl Mesh for MeshService {
    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        Ok(Response::new(self.backend.status().await?))
    }

    async fn get_topology(
        &self,
        _: Request<pb::GetTopologyRequest>,
    ) -> Result<Response<pb::GetTopologyResponse>, Status> {
        Ok(Response::new(self.backend.topology().await?))
    }

    async fn list_relays(
        &self,
        _: Request<pb::ListRelaysRequest>,
    ) -> Result<Response<pb::ListRelaysResponse>, Status> {
        Ok(Response::new(self.backend.relays().await?))
    }

    async fn list_set_aside(
        &self,
        request: Request<pb::ListSetAsideRequest>,
    ) -> Result<Response<pb::ListSetAsideResponse>, Status> {
        let pb::ListSetAsideRequest { uplink_id, limit } = request.into_inner();
        let uplink = Some(uplink_id).filter(|id| !id.is_empty());
        let limit = match usize::try_from(limit).unwrap_or(SET_ASIDE_MAX) {
            0 => SET_ASIDE_DEFAULT,
            asked => asked.min(SET_ASIDE_MAX),
        };
        Ok(Response::new(self.backend.set_aside(uplink, limit).await?))
    }
}

/// Records that are listed of each uplink if nobody says how many. Source: the API.
const SET_ASIDE_DEFAULT: usize = 100;
/// Most records that are listed of each uplink. Source: the API.
const SET_ASIDE_MAX: usize = 1_000;
