//! MQTT 5 with JSON payloads, over plain TCP.
//!
//! A record is delivered when the broker's PUBACK says so (QoS 1). The connection is kept while
//! there is nothing to send, so that a relay that takes over publishes at once. Each connection
//! starts a clean session: what was not acknowledged is in the outbox and is published again.
//!
//! # Not here
//!
//! TLS. That a record arrives only once: plain MQTT cannot promise it, so the payload carries the
//! idempotency key.

use std::time::Duration;

use rumqttc::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, PubAckReason};
use rumqttc::{AsyncClient, Broker, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{NetworkOptions, PublishNotice, PublishOptions, PublishResult};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Outcome, Sink};
use crate::{Item, MqttUrl, SinkError};

/// Publishes to a broker.
#[derive(Debug)]
pub(crate) struct MqttSink {
    url: MqttUrl,
    client_id: String,
    session: Option<Session>,
}

/// A connection that stands.
#[derive(Debug)]
struct Session {
    client: AsyncClient,
    /// Why the connection ended, once it has.
    ended: watch::Receiver<Option<SinkError>>,
    /// Largest packet that the broker takes. Unit: bytes.
    packet_bytes_max: usize,
    /// Reads and writes; ends with the session.
    driver: JoinSet<()>,
}

impl MqttSink {
    pub(crate) fn new(url: MqttUrl, client_id: String) -> Self {
        Self {
            url,
            client_id,
            session: None,
        }
    }

    fn options(&self) -> MqttOptions {
        let broker = Broker::tcp(self.url.host.name.clone(), self.url.host.port);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        let mut options = MqttOptions::new(self.client_id.clone(), broker);
        options
            .set_keep_alive(KEEP_ALIVE_SECONDS)
            .set_connect_timeout(CONNECT_TIMEOUT)
            .set_network_options(network)
            .set_clean_start(true);
        match (&self.url.login.user, &self.url.login.password) {
            (Some(user), Some(password)) => {
                options.set_credentials(user.clone(), password.clone().into_bytes());
            }
            (Some(user), None) => {
                options.set_username(user.clone());
            }
            (None, _) => {}
        }
        options
    }

    /// Connects and waits for the broker's word.
    async fn open(&mut self) -> Result<Session, SinkError> {
        let builder = AsyncClient::builder(self.options()).capacity(REQUESTS_MAX);
        let (client, mut events) = builder.build();
        let ack = loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => break ack,
                Ok(_) => {}
                Err(error) => return Err(explain(&self.url, &error)),
            }
        };
        let (ended_tx, ended) = watch::channel(None);
        let mut driver = JoinSet::new();
        let url = self.url.clone();
        driver.spawn(async move {
            let error = drive(&mut events).await;
            ended_tx.send_replace(Some(explain(&url, &error)));
        });
        Ok(Session {
            client,
            ended,
            packet_bytes_max: packet_bytes_max(&ack),
            driver,
        })
    }
}

impl Sink for MqttSink {
    async fn connect(&mut self) -> Result<(), SinkError> {
        self.session = None; // First, so that two sessions of one name never fight.
        self.session = Some(self.open().await?);
        Ok(())
    }

    async fn gone(&mut self) -> SinkError {
        let lost = || SinkError(format!("the connection to {} is lost", self.url));
        match &mut self.session {
            Some(session) => match session.ended.wait_for(Option::is_some).await {
                Ok(error) => error.clone().unwrap_or_else(lost),
                Err(_) => lost(),
            },
            None => lost(),
        }
    }

    async fn deliver(&mut self, batch: &[Item]) -> Vec<Outcome> {
        let lost = || Outcome::Failed(format!("the connection to {} is lost", self.url));
        let Some(session) = &mut self.session else {
            return batch.iter().map(|_| lost()).collect();
        };
        let mut sent = Vec::with_capacity(batch.len());
        for item in batch {
            let (topic, json) = (topic(&self.url, item), item.json());
            if topic.len() + json.len() + PACKET_OVERHEAD > session.packet_bytes_max {
                let limit = session.packet_bytes_max;
                let reason = format!("larger than the broker's limit of {limit} bytes a packet");
                sent.push(Err(Outcome::Refused(reason)));
                continue;
            }
            let options = PublishOptions::at_least_once();
            let publish = session.client.publish_tracked(topic, json, options);
            sent.push(publish.await.map_err(|_| lost()));
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut patience = ACK_TIMEOUT;
        for sent in sent {
            outcomes.push(match sent {
                Err(outcome) => outcome,
                Ok(notice) => acknowledged(notice, &mut patience)
                    .await
                    .unwrap_or_else(lost),
            });
        }
        if patience.is_zero() {
            self.session = None;
        }
        outcomes
    }

    async fn close(&mut self) {
        if let Some(mut session) = self.session.take()
            && session.client.try_disconnect_now().is_ok()
        {
            let _ = timeout(GOODBYE_TIMEOUT, session.driver.join_next()).await;
        }
    }
}

/// Keeps the connection going until it fails.
async fn drive(events: &mut EventLoop) -> ConnectionError {
    loop {
        if let Err(error) = events.poll().await {
            return error;
        }
    }
}

/// Waits for the broker's answer to one publish; `None` if the connection went first. Once the
/// patience is spent, no other answer is waited for.
async fn acknowledged(notice: PublishNotice, patience: &mut Duration) -> Option<Outcome> {
    match timeout(*patience, notice.wait_async()).await {
        Ok(Ok(PublishResult::Qos1(ack))) => Some(outcome_of(ack.reason)),
        Ok(_) => None,
        Err(_) => {
            *patience = Duration::ZERO;
            Some(Outcome::Failed(
                "the broker does not acknowledge in time".to_owned(),
            ))
        }
    }
}

/// What an answer means (MQTT 5, section 3.4.2.1). A missing right is worth another try: an
/// operator can grant it, and a record that is set aside is out of the way for good.
fn outcome_of(reason: PubAckReason) -> Outcome {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => Outcome::Delivered,
        PubAckReason::TopicNameInvalid => refused("the topic's name as invalid"),
        PubAckReason::PayloadFormatInvalid => refused("the payload's format as invalid"),
        PubAckReason::NotAuthorized => put_off("does not allow publishing to this topic"),
        PubAckReason::QuotaExceeded => put_off("has exceeded a quota"),
        PubAckReason::PacketIdentifierInUse => put_off("takes the packet identifier for used"),
        PubAckReason::UnspecifiedError => put_off("failed without saying why"),
        PubAckReason::ImplementationSpecificError => put_off("failed for a reason of its own"),
    }
}

fn refused(what: &str) -> Outcome {
    Outcome::Refused(format!("the broker refuses {what}"))
}

fn put_off(what: &str) -> Outcome {
    Outcome::PutOff(format!("the broker {what}"))
}

/// `TOPIC/NETWORK/MACHINE/SERIES`.
fn topic(url: &MqttUrl, item: &Item) -> String {
    let (record, series) = (&item.record, &item.record.series().name);
    let (network, machine) = (record.network(), record.machine());
    format!("{}/{network}/{machine}/{}", url.topic, series.as_str())
}

fn packet_bytes_max(ack: &ConnAck) -> usize {
    let limit = ack
        .properties
        .as_ref()
        .and_then(|properties| properties.max_packet_size);
    limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(PACKET_BYTES_MAX)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign, non-exhaustive enumeration: what is not named speaks for itself"
)]
fn explain(url: &MqttUrl, error: &ConnectionError) -> SinkError {
    SinkError(match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => format!("{url} refuses this user or password; check the uplink's URL"),
        ConnectionError::ConnectionRefused(code) => {
            format!("{url} refuses the connection: {code:?}")
        }
        ConnectionError::Timeout(_) => {
            format!("{url} does not answer; check the address and the way to it")
        }
        ConnectionError::Io(error) => format!("cannot reach {url}: {error}"),
        other => format!("the connection to {url} failed: {other}"),
    })
}

/// Pings while idle. Unit: seconds. Source: conventions, "Uplinks": 1 MB a day when idle on a
/// cellular link; a ping with its answer is about 170 bytes, twice a minute half of that.
const KEEP_ALIVE_SECONDS: u16 = 30;
/// Source: guess, a cellular modem that has to wake up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a batch waits for its acknowledgements. Source: guess.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a goodbye may take. Source: design, section 9: leaving takes under 100 ms.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(50);
/// Requests on their way into the connection. Unit: packets.
const REQUESTS_MAX: usize = 64;
/// Fixed header, lengths, packet identifier and properties of a PUBLISH. Unit: bytes. Source: MQTT
/// 5, section 3.3: at most 5, 2, 2 and 1.
const PACKET_OVERHEAD: usize = 10;
/// Largest packet that MQTT can carry. Unit: bytes. Source: MQTT 5, section 2.1.4.
const PACKET_BYTES_MAX: usize = 268_435_455;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_be_taken_is_refused_for_ever() {
        let is_delivered = |reason| outcome_of(reason) == Outcome::Delivered;
        let is_refused = |reason| matches!(outcome_of(reason), Outcome::Refused(_));
        let is_put_off = |reason| matches!(outcome_of(reason), Outcome::PutOff(_));

        assert!(is_delivered(PubAckReason::Success));
        assert!(is_delivered(PubAckReason::NoMatchingSubscribers));
        assert!(is_refused(PubAckReason::PayloadFormatInvalid));
        assert!(is_refused(PubAckReason::TopicNameInvalid));
        assert!(is_put_off(PubAckReason::QuotaExceeded));
        assert!(is_put_off(PubAckReason::NotAuthorized));
        assert!(is_put_off(PubAckReason::UnspecifiedError));
    }
}
