//! MQTT with JSON payloads, over TCP or TLS.
//!
//! A record is delivered when the broker's PUBACK says so (QoS 1). The connection is kept while
//! there is nothing to send, so that a relay that takes over publishes at once. Each connection
//! starts a clean session: what was not acknowledged is in the outbox and is published again.
//!
//! MQTT 5 says in the acknowledgement why it refuses a record; MQTT 3.1.1 has no words for that:
//! a broker acknowledges what it drops for want of a right, or ends the connection.
//!
//! # Not here
//!
//! That a record arrives only once: plain MQTT cannot promise it, so the payload carries the
//! idempotency key.

mod v3;
mod v5;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::NetworkOptions;
use rustls::ClientConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::traffic::{Traffic, of_connection, on_the_wire};
use super::{Outcome, Sink};
use crate::access::Access;
use crate::{Item, Login, MqttUrl, SinkError};

pub(crate) use v3::V3;
pub(crate) use v5::V5;

/// A version of the protocol.
pub(crate) trait Version {
    /// Asks for things.
    type Client;
    /// Reads and writes.
    type Events: Send + 'static;
    /// An answer that is still to come.
    type Notice;

    /// Makes a connection and waits for the broker's word.
    fn connect(settings: &Settings<'_>)
    -> impl Future<Output = Result<Connected<Self>, SinkError>>;

    /// Keeps the connection going until it fails.
    fn drive(events: Self::Events, url: MqttUrl) -> impl Future<Output = SinkError> + Send;

    /// Publishes at QoS 1; `None` if the connection is lost.
    fn publish(
        client: &Self::Client,
        topic: String,
        json: Bytes,
    ) -> impl Future<Output = Option<Self::Notice>>;

    /// Waits for the answer; `None` if the connection went first.
    fn acknowledged(notice: Self::Notice) -> impl Future<Output = Option<Outcome>>;

    /// Says goodbye; whether that is on its way.
    fn say_goodbye(client: &Self::Client) -> bool;
}

/// A connection that stands.
pub(crate) struct Connected<V: Version + ?Sized> {
    client: V::Client,
    events: V::Events,
    /// Largest packet that the broker takes. Unit: bytes.
    packet_bytes_max: usize,
}

/// What a connection needs.
pub(crate) struct Settings<'a> {
    url: &'a MqttUrl,
    client_id: &'a str,
    login: Login,
    tls: Option<Arc<ClientConfig>>,
}

/// Publishes to a broker.
#[derive(Debug)]
pub(crate) struct MqttSink<V: Version> {
    url: MqttUrl,
    access: Access,
    client_id: String,
    session: Option<Session<V::Client>>,
    traffic: Traffic,
}

/// A connection with what keeps it going.
#[derive(Debug)]
struct Session<C> {
    client: C,
    /// Why the connection ended, once it has.
    ended: watch::Receiver<Option<SinkError>>,
    packet_bytes_max: usize,
    /// Reads and writes; ends with the session.
    driver: JoinSet<()>,
}

impl<V: Version> MqttSink<V> {
    pub(crate) fn new(url: MqttUrl, access: Access, client_id: String) -> Self {
        Self {
            url,
            access,
            client_id,
            session: None,
            traffic: Traffic::default(),
        }
    }

    async fn open(&self) -> Result<Session<V::Client>, SinkError> {
        let settings = Settings {
            url: &self.url,
            client_id: &self.client_id,
            login: self.access.login(&self.url.login)?,
            tls: self.url.tls.then(|| self.access.tls()).transpose()?,
        };
        let connected = timeout(CONNECT_TIMEOUT, V::connect(&settings)).await;
        let silent = "does not answer; check the address and the way to it";
        let Connected {
            client,
            events,
            packet_bytes_max,
        } = connected.map_err(|_| SinkError(format!("{} {silent}", self.url)))??;
        let (ended_tx, ended) = watch::channel(None);
        let mut driver = JoinSet::new();
        let url = self.url.clone();
        driver.spawn(async move {
            ended_tx.send_replace(Some(V::drive(events, url).await));
        });
        Ok(Session {
            client,
            ended,
            packet_bytes_max,
            driver,
        })
    }

    /// `TOPIC/NETWORK/MACHINE/SERIES`.
    fn topic(&self, item: &Item) -> String {
        let (network, machine) = (item.record.network(), item.record.machine());
        let series = item.record.series().name.as_str();
        format!("{}/{network}/{machine}/{series}", self.url.topic)
    }

    fn lost(&self) -> SinkError {
        SinkError(format!("the connection to {} is lost", self.url))
    }
}

impl<V: Version> Sink for MqttSink<V> {
    const IDLE_COST: u64 = (on_the_wire(2) + on_the_wire(2)) * 60 / KEEP_ALIVE_SECONDS as u64;

    fn connect_cost(&self) -> u64 {
        of_connection(self.url.tls) + on_the_wire(CONNECT_BYTES) + on_the_wire(CONNACK_BYTES)
    }

    fn cost(&self, item: &Item) -> u64 {
        let packet = self.topic(item).len() + item.json().len() + PACKET_OVERHEAD;
        on_the_wire(packet) + on_the_wire(PUBACK_BYTES)
    }

    fn take_traffic(&mut self) -> u64 {
        self.traffic.take()
    }

    async fn connect(&mut self) -> Result<(), SinkError> {
        self.session = None; // First, so that two sessions of one name never fight.
        let opened = self.open().await;
        self.traffic.connect(self.url.tls && opened.is_ok());
        self.traffic.exchange(CONNECT_BYTES, CONNACK_BYTES);
        self.session = Some(opened?);
        Ok(())
    }

    async fn gone(&mut self) -> SinkError {
        let lost = self.lost();
        match &mut self.session {
            Some(session) => match session.ended.wait_for(Option::is_some).await {
                Ok(error) => error.clone().unwrap_or(lost),
                Err(_) => lost,
            },
            None => lost,
        }
    }

    async fn deliver(&mut self, batch: &[Item]) -> Vec<Outcome> {
        let lost = Outcome::Failed(self.lost().0);
        let Some(session) = &self.session else {
            return vec![lost; batch.len()];
        };
        let limit = session.packet_bytes_max;
        let mut sent = Vec::with_capacity(batch.len());
        let mut bytes = 0;
        for item in batch {
            let (topic, json) = (self.topic(item), item.json());
            if topic.len() + json.len() + PACKET_OVERHEAD > limit {
                let reason = format!("larger than the broker's limit of {limit} bytes a packet");
                sent.push(Err(Outcome::Refused(reason)));
                continue;
            }
            bytes += topic.len() + json.len() + PACKET_OVERHEAD;
            let notice = V::publish(&session.client, topic, json).await;
            sent.push(notice.ok_or_else(|| lost.clone()));
        }
        self.traffic.exchange(bytes, PUBACK_BYTES * sent.len());
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut patience = ACK_TIMEOUT;
        for sent in sent {
            outcomes.push(match sent {
                Err(outcome) => outcome,
                Ok(notice) => match timeout(patience, V::acknowledged(notice)).await {
                    Ok(outcome) => outcome.unwrap_or_else(|| lost.clone()),
                    Err(_) => {
                        patience = Duration::ZERO; // No other answer is waited for.
                        let late = "the broker does not acknowledge in time";
                        Outcome::Failed(late.to_owned())
                    }
                },
            });
        }
        if patience.is_zero() {
            self.session = None;
        }
        outcomes
    }

    async fn close(&mut self) {
        if let Some(mut session) = self.session.take()
            && V::say_goodbye(&session.client)
        {
            let _ = timeout(GOODBYE_TIMEOUT, session.driver.join_next()).await;
        }
    }
}

fn network_options() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network
}

fn refused_login(url: &MqttUrl) -> SinkError {
    let advice = "check user, password and client certificate";
    SinkError(format!("{url} refuses this user or password; {advice}"))
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
/// A CONNECT with a long name, user and password. Unit: bytes. Source: guess.
const CONNECT_BYTES: usize = 200;
/// A CONNACK with properties. Unit: bytes. Source: guess.
const CONNACK_BYTES: usize = 50;
/// A PUBACK with a reason. Unit: bytes. Source: MQTT 5, section 3.4.
const PUBACK_BYTES: usize = 6;
/// Largest packet that MQTT can carry. Unit: bytes. Source: MQTT 5, section 2.1.4.
const PACKET_BYTES_MAX: usize = 268_435_455;
