//! What a scenario asks of a machine, over gRPC.

use std::time::Duration;

use anyhow::Context as _;
use proto::v1::commands_client::CommandsClient;
use proto::v1::readings_client::ReadingsClient;
use proto::v1::rules_client::RulesClient;
use proto::v1::value::Kind;
use proto::v1::{self as pb};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::{Publish, Send};

/// A client of one machine, which may come and go.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    readings: ReadingsClient<Channel>,
    rules: RulesClient<Channel>,
    commands: CommandsClient<Channel>,
}

impl Client {
    /// A client that connects when it is used, and again when it has to.
    pub(crate) fn new(address: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect_lazy();
        Ok(Self {
            readings: ReadingsClient::new(channel.clone()),
            rules: RulesClient::new(channel.clone()),
            commands: CommandsClient::new(channel),
        })
    }

    /// Publishes a reading; it is durable afterwards.
    pub(crate) async fn publish(&self, publish: &Publish) -> anyhow::Result<()> {
        let value =
            kind_of(&publish.value).context("a value is a number, a truth value or text")?;
        self.publish_value(&publish.series, &publish.unit, value)
            .await
            .map_err(|status| anyhow::anyhow!("{}", status.message()))
    }

    /// The same, of a value that was checked.
    pub(crate) async fn publish_value(
        &self,
        series: &str,
        unit: &str,
        value: Kind,
    ) -> Result<(), Status> {
        let reading = pb::NewReading {
            series: series.to_owned(),
            unit: unit.to_owned(),
            value: Some(pb::Value { kind: Some(value) }),
            ..pb::NewReading::default()
        };
        let request = pb::PublishRequest {
            readings: vec![reading],
            ..pb::PublishRequest::default()
        };
        let requests = futures::stream::iter([request]);
        let mut answers = self.readings.clone().publish(requests).await?.into_inner();
        let answer = answers.message().await?;
        answer
            .map(|_| ())
            .ok_or_else(|| Status::unknown("no acknowledgement"))
    }

    /// The latest values of a pattern.
    pub(crate) async fn latest(&self, pattern: &str) -> Result<Vec<Option<Kind>>, Status> {
        let request = pb::LatestRequest {
            pattern: pattern.to_owned(),
        };
        let mut parts = self.readings.clone().latest(request).await?.into_inner();
        let mut values = Vec::new();
        while let Some(part) = parts.message().await? {
            let of = |reading: pb::Reading| reading.value.and_then(|value| value.kind);
            values.extend(part.readings.into_iter().map(of));
        }
        Ok(values)
    }

    /// How many readings of a pattern are held.
    pub(crate) async fn count(&self, pattern: &str) -> Result<usize, Status> {
        let request = pb::QueryRequest {
            pattern: pattern.to_owned(),
            ..pb::QueryRequest::default()
        };
        let mut parts = self.readings.clone().query(request).await?.into_inner();
        let mut count = 0;
        while let Some(part) = parts.message().await? {
            count += part.readings.len();
        }
        Ok(count)
    }

    /// The alarms that are known.
    pub(crate) async fn alarms(&self) -> Result<Vec<pb::Alarm>, Status> {
        let request = pb::ListAlarmsRequest { all: true };
        let answer = self.rules.clone().list_alarms(request).await?;
        Ok(answer.into_inner().alarms)
    }

    /// Acknowledges an alarm.
    pub(crate) async fn acknowledge(&self, alarm: &str) -> anyhow::Result<()> {
        let (machine, name) = alarm.split_once(':').context("an alarm is MACHINE:NAME")?;
        let request = pb::AcknowledgeAlarmRequest {
            machine: machine.to_owned(),
            name: name.to_owned(),
        };
        let answer = self.rules.clone().acknowledge_alarm(request).await;
        answer.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
        Ok(())
    }

    /// Sends a command; its code, and the last value of its answer as JSON.
    pub(crate) async fn send(&self, send: &Send) -> anyhow::Result<(Code, String)> {
        let request = pb::SendRequest {
            machine: send.to.clone(),
            name: send.command.clone(),
            arguments: serde_json::to_string(&send.argument)?,
            ..pb::SendRequest::default()
        };
        let mut answer = String::new();
        let mut steps = match self.commands.clone().send(request).await {
            Ok(steps) => steps.into_inner(),
            Err(status) => return Ok((status.code(), status.message().to_owned())),
        };
        loop {
            match steps.message().await {
                Ok(Some(pb::SendResponse {
                    step: Some(pb::send_response::Step::Value(value)),
                })) => answer = value,
                Ok(Some(_)) => {}
                Ok(None) => return Ok((Code::Ok, answer)),
                Err(status) => return Ok((status.code(), status.message().to_owned())),
            }
        }
    }

    /// Serves commands, as long as both streams are there.
    pub(crate) async fn serve(
        &self,
        requests: impl futures::Stream<Item = pb::ServeRequest> + std::marker::Send + 'static,
    ) -> Result<tonic::Streaming<pb::ServeResponse>, Status> {
        Ok(self.commands.clone().serve(requests).await?.into_inner())
    }
}

/// A value of a scenario as one of a reading; whole numbers are doubles, too.
pub(crate) fn kind_of(value: &toml::Value) -> Option<Kind> {
    match value {
        toml::Value::Boolean(truth) => Some(Kind::Bool(*truth)),
        toml::Value::Float(number) => Some(Kind::Double(*number)),
        toml::Value::Integer(number) => Some(Kind::Double(f64::from(i32::try_from(*number).ok()?))),
        toml::Value::String(text) => Some(Kind::Text(text.clone())),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

/// How long connecting may take. Source: guess.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
