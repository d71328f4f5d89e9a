//! A gRPC client of one machine.

use std::time::Duration;

use futures::stream::BoxStream;
use model::Timestamp;
use prost_types::Timestamp as ProtoTimestamp;
use proto::v1::readings_client::ReadingsClient;
use proto::v1::value::Kind;
use proto::v1::{
    NewReading, PublishRequest, PublishResponse, QueryRequest, QueryResponse, Value, WatchRequest,
    WatchResponse,
};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// A client of one machine. Cloning shares its connection.
#[derive(Clone, Debug)]
pub(crate) struct Client(ReadingsClient<Channel>);

impl Client {
    /// Connects to a machine's gRPC address.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub(crate) async fn connect(address: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await?;
        Ok(Self(ReadingsClient::new(channel)))
    }

    /// Publishes one batch and waits until it is durable.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub(crate) async fn publish(&self, readings: Vec<NewReading>) -> anyhow::Result<()> {
        let request = PublishRequest {
            readings,
            ..PublishRequest::default()
        };
        let requests = futures::stream::iter([request]);
        let mut answers = self.0.clone().publish(requests).await?.into_inner();
        let answer = answers.message().await?;
        anyhow::ensure!(answer.is_some(), "a batch was not acknowledged");
        Ok(())
    }

    /// Publishes batches as they come; each is acknowledged when it is durable.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub(crate) async fn publish_all(
        &self,
        batches: BoxStream<'static, PublishRequest>,
    ) -> anyhow::Result<Streaming<PublishResponse>> {
        Ok(self.0.clone().publish(batches).await?.into_inner())
    }

    /// Watches the readings of a pattern from now on.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub(crate) async fn watch(&self, pattern: &str) -> anyhow::Result<Streaming<WatchResponse>> {
        let request = WatchRequest {
            pattern: pattern.to_owned(),
            since: None,
        };
        Ok(self.0.clone().watch(request).await?.into_inner())
    }

    /// Asks for all readings of a pattern.
    ///
    /// # Errors
    ///
    /// If it is refused.
    pub(crate) async fn query(&self, pattern: &str) -> anyhow::Result<Streaming<QueryResponse>> {
        let request = QueryRequest {
            pattern: pattern.to_owned(),
            ..QueryRequest::default()
        };
        Ok(self.0.clone().query(request).await?.into_inner())
    }
}

/// A reading to publish.
pub(crate) fn reading(series: &str, time: Timestamp, kind: Option<Kind>) -> NewReading {
    let nanos = time.as_nanos();
    NewReading {
        series: series.to_owned(),
        time: Some(ProtoTimestamp {
            seconds: nanos.div_euclid(NANOS_PER_SECOND),
            nanos: i32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).unwrap_or(0),
        }),
        value: Some(Value { kind }),
        ..NewReading::default()
    }
}

/// Longest time until a machine takes a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const NANOS_PER_SECOND: i64 = 1_000_000_000;
