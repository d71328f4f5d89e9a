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
}
