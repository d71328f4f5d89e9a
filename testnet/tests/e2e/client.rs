//! A gRPC client of one node.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::v1::mesh_client::MeshClient;
use proto::v1::readings_client::ReadingsClient;
use proto::v1::value::Kind;
use proto::v1::{
    GetStatusRequest, GetStatusResponse, GetTopologyRequest, GetTopologyResponse, LatestRequest,
    ListRelaysRequest, NewReading, PublishRequest, PublishResponse, QueryRequest, Reading, Relay,
    Value,
};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A client of one node, which may come and go.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    readings: ReadingsClient<Channel>,
    mesh: MeshClient<Channel>,
}

impl Client {
    /// A client that connects when it is used, and again when it has to.
    pub(crate) fn new(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint
            .timeout(CALL_TIMEOUT)
            .connect_timeout(CALL_TIMEOUT)
            .connect_lazy();
        Self {
            readings: ReadingsClient::new(channel.clone()),
            mesh: MeshClient::new(channel),
        }
    }

    /// Publishes one batch, durably.
    pub(crate) async fn publish(&self, batch: PublishRequest) -> Result<PublishResponse, Status> {
        let request = futures::stream::iter([batch]);
        let mut answers = self.readings.clone().publish(request).await?.into_inner();
        let answer = answers.message().await?;
        answer.ok_or_else(|| Status::unknown("the stream ended without an acknowledgement"))
    }

    /// All readings of a pattern.
    pub(crate) async fn query(&self, pattern: &str) -> Result<Vec<Reading>, Status> {
        let request = QueryRequest {
            pattern: pattern.to_owned(),
            ..QueryRequest::default()
        };
        let mut parts = self.readings.clone().query(request).await?.into_inner();
        let mut readings = Vec::new();
        while let Some(part) = parts.message().await? {
            readings.extend(part.readings);
        }
        Ok(readings)
    }

    /// The latest reading of each series of a pattern.
    pub(crate) async fn latest(&self, pattern: &str) -> Result<Vec<Reading>, Status> {
        let request = LatestRequest {
            pattern: pattern.to_owned(),
        };
        let mut parts = self.readings.clone().latest(request).await?.into_inner();
        let mut readings = Vec::new();
        while let Some(part) = parts.message().await? {
            readings.extend(part.readings);
        }
        Ok(readings)
    }

    /// How the node is doing.
    pub(crate) async fn status(&self) -> Result<GetStatusResponse, Status> {
        Ok(self
            .mesh
            .clone()
            .get_status(GetStatusRequest {})
            .await?
            .into_inner())
    }

    /// The machines and links that the node knows of.
    pub(crate) async fn topology(&self) -> Result<GetTopologyResponse, Status> {
        Ok(self
            .mesh
            .clone()
            .get_topology(GetTopologyRequest {})
            .await?
            .into_inner())
    }

    /// The relays as the node sees them.
    pub(crate) async fn relays(&self) -> Result<Vec<Relay>, Status> {
        Ok(self
            .mesh
            .clone()
            .list_relays(ListRelaysRequest {})
            .await?
            .into_inner()
            .relays)
    }

    /// The relay that serves an origin, as the node sees it.
    pub(crate) async fn relay_of(&self, machine_id: &str) -> Result<String, String> {
        let relays = self.relays().await.map_err(|status| status.to_string())?;
        let serves = |relay: &&Relay| relay.origins.iter().any(|origin| origin == machine_id);
        let relay = relays.iter().find(serves);
        relay
            .map(|relay| relay.machine_id.clone())
            .ok_or_else(|| format!("nobody serves {machine_id}: {relays:?}"))
    }

    /// The neighbours of the node.
    pub(crate) async fn neighbours(&self) -> Result<BTreeSet<String>, Status> {
        let machines = self.topology().await?.machines;
        let neighbours = machines.into_iter().filter(|machine| machine.neighbour);
        Ok(neighbours.map(|machine| machine.machine_id).collect())
    }
}

/// A reading of a number, to be published.
pub(crate) fn reading(series: &str, time: Option<i64>, value: f64) -> NewReading {
    NewReading {
        series: series.to_owned(),
        unit: UNIT.to_owned(),
        time: time.map(|nanos| prost_types::Timestamp {
            seconds: nanos.div_euclid(NANOS_PER_SECOND),
            nanos: i32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).expect("less than a second"),
        }),
        value: Some(Value {
            kind: Some(Kind::Double(value)),
        }),
        ..NewReading::default()
    }
}

/// The number in a reading.
pub(crate) fn number(reading: &Reading) -> Option<f64> {
    match reading.value.as_ref()?.kind.as_ref()? {
        Kind::Double(value) => Some(*value),
        Kind::Integer(_) | Kind::Bool(_) | Kind::Text(_) | Kind::Bytes(_) => None,
    }
}

/// The time of a reading. Unit: nanoseconds since the Unix epoch.
pub(crate) fn nanos(reading: &Reading) -> i64 {
    let time = reading.time.expect("a reading has a time");
    time.seconds * NANOS_PER_SECOND + i64::from(time.nanos)
}

/// The unit of all series that tests publish.
pub(crate) const UNIT: &str = "Cel";
/// Longest time that a node may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const NANOS_PER_SECOND: i64 = 1_000_000_000;
