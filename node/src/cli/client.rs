//! A connection to a node.

use std::time::Duration;

use proto::v1::admin_client::AdminClient;
use proto::v1::commands_client::CommandsClient;
use proto::v1::mesh_client::MeshClient;
use proto::v1::readings_client::ReadingsClient;
use proto::v1::rules_client::RulesClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::args::NodeArgs;
use super::failure::{Failure, Kind};

/// A connection to a node.
pub(crate) struct Client {
    /// Its readings.
    pub(crate) readings: ReadingsClient<Channel>,
    /// Its mesh.
    pub(crate) mesh: MeshClient<Channel>,
    /// Its members.
    pub(crate) admin: AdminClient<Channel>,
    /// Its commands.
    pub(crate) commands: CommandsClient<Channel>,
    /// Its rules, and the alarms.
    pub(crate) rules: RulesClient<Channel>,
    address: String,
}

impl Client {
    /// Connects to the node that the arguments name.
    pub(crate) async fn connect(node: NodeArgs) -> Result<Self, Failure> {
        let address = node.grpc;
        let uri = if address.starts_with("unix:") || address.contains("://") {
            address.clone()
        } else {
            format!("http://{address}")
        };
        let endpoint = Endpoint::from_shared(uri).map_err(|_| {
            Failure::new(
                Kind::Usage,
                format!("{address:?} is no address; use HOST:PORT or unix:PATH"),
            )
        })?;
        let channel = endpoint
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(|_| {
                let status = Status::unavailable("cannot connect");
                Failure::from_status(&status, &address)
            })?;
        Ok(Self {
            readings: ReadingsClient::new(channel.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            admin: AdminClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            commands: CommandsClient::new(channel.clone()),
            rules: RulesClient::new(channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            mesh: MeshClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
            address,
        })
    }

    /// What a status of this node means for the command.
    pub(crate) fn failure(&self, status: &Status) -> Failure {
        Failure::from_status(status, &self.address)
    }
}

/// How long connecting may take. Unit: seconds. Source: guess.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How long a node may take to begin its answer. Unit: seconds. Source: guess.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How often a silent node is asked whether it is there, and how long it may take to say so, so
/// that `watch` notices a stopped process. Unit: seconds. Source: guess.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Largest answer. Unit: bytes. Source: a topology of 10,000 machines with 1 KiB each, and some
/// more.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
