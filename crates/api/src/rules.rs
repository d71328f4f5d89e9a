//! The service `Rules`.

use std::sync::Arc;

use proto::v1::{self as pb, rules_server::Rules};
use tonic::{Request, Response, Status};

use crate::Backend;

/// The service, over a backend.
pub(crate) struct RulesService {
    pub(crate) backend: Arc<dyn Backend>,
}

#[tonic::async_trait]
impl Rules for RulesService {
    async fn list_rules(
        &self,
        _: Request<pb::ListRulesRequest>,
    ) -> Result<Response<pb::ListRulesResponse>, Status> {
        Ok(Response::new(self.backend.rules().await?))
    }

    async fn reload_rules(
        &self,
        _: Request<pb::ReloadRulesRequest>,
    ) -> Result<Response<pb::ReloadRulesResponse>, Status> {
        Ok(Response::new(self.backend.reload_rules().await?))
    }

    async fn list_alarms(
        &self,
        request: Request<pb::ListAlarmsRequest>,
    ) -> Result<Response<pb::ListAlarmsResponse>, Status> {
        let all = request.into_inner().all;
        Ok(Response::new(self.backend.alarms(all).await?))
    }

    async fn acknowledge_alarm(
        &self,
        request: Request<pb::AcknowledgeAlarmRequest>,
    ) -> Result<Response<pb::AcknowledgeAlarmResponse>, Status> {
        let pb::AcknowledgeAlarmRequest { machine, name } = request.into_inner();
        self.backend.acknowledge(machine, name).await?;
        Ok(Response::new(pb::AcknowledgeAlarmResponse {}))
    }
}
