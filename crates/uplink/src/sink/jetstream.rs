//! NATS JetStream: each record once, however often it is published.
//!
//! Every record has a subject of its own and is published with
//! `Nats-Expected-Last-Subject-Sequence: 0`: the stream takes it only while nothing stands under
//! that subject, so a repeat is refused however old it is, where the window of `Nats-Msg-Id` is two
//! minutes. A record is delivered when the stream has acknowledged it, or refuses it because it has
//! it (error 10071). No other refusal means that: 10164 says that a copy is being replicated, which
//! may yet fail, and 10077 that the stream cannot store, because it is full for example.
//!
//! A lost server is no lost sink as long as another of its cluster answers at once; what was on
//! its way is published again there.
//!
//! # Not here
//!
//! Making the stream: how many replicas it has and what it forgets is for its operator to say.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{Request, RequestError, RequestErrorKind};
use async_nats::{Client, ClientError, ConnectError, ConnectErrorKind, ConnectOptions, Event};
use async_nats::{HeaderMap, Message, ServerAddr};
use futures::future::join_all;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::traffic::{Traffic, of_connection, on_the_wire};
use super::{Outcome, Sink, subject};
use crate::access::Access;
use crate::{Item, JetStreamUrl, Login, SinkError, clock};

/// Publishes to a stream.
#[derive(Debug)]
pub(crate) struct JetStreamSink {
    url: JetStreamUrl,
    access: Access,
    client_name: String,
    session: Option<Session>,
    traffic: Traffic,
}

/// A connection to one server after the other.
#[derive(Debug)]
struct Session {
    client: Client,
    link: watch::Receiver<Link>,
}

/// How the connection is.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// How often a server was lost.
    losses: u64,
    /// Since when there is none.
    lost_at: Option<Instant>,
    /// There will be none any more.
    closed: bool,
}

/// The connection went before the answer came: nothing is known of the record.
struct Lost;

impl JetStreamSink {
    pub(crate) fn new(url: JetStreamUrl, access: Access, client_name: String) -> Self {
        Self {
            url,
            access,
            client_name,
            session: None,
            traffic: Traffic::default(),
        }
    }

    async fn open(&self) -> Result<Session, SinkError> {
        let (link_tx, link) = watch::channel(Link::default());
        let on_event = move |event: Event| {
            link_tx.send_if_modified(|link| link.apply(&event));
            ready(())
        };
        let mut options = ConnectOptions::new()
            .name(&self.client_name)
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(ACK_TIMEOUT))
            .ping_interval(PING_INTERVAL)
            .max_reconnects(RECONNECTS_MAX)
            .event_callback(on_event)
            .require_tls(self.url.tls);
        let Login { user, password } = self.access.login(&self.url.login)?;
        options = match (user, password) {
            (Some(user), Some(password)) => options.user_and_password(user, password),
            (Some(token), None) | (None, Some(token)) => options.token(token),
            (None, None) => options,
        };
        // A server may ask for TLS also under `nats://`.
        let is_set = self.access.ca_file.is_some() || self.access.identity.is_some();
        if self.url.tls || is_set {
            options = options.tls_client_config(Arc::unwrap_or_clone(self.access.tls()?));
        }
        let hosts = self.url.hosts.iter();
        let servers: Result<Vec<ServerAddr>, _> =
            hosts.map(|host| format!("nats://{host}").parse()).collect();
        let servers = servers.map_err(|error| SinkError(format!("{}: {error}", self.url)))?;
        let client = options.connect(servers).await;
        let client = client.map_err(|error| explain(&self.url, &error))?;
        Ok(Session { client, link })
    }

    fn publish_bytes(&self, item: &Item) -> usize {
        let subject = subject::of(&self.url.prefix, &item.key());
        subject.len() + PUBLISH_OVERHEAD + item.json().len()
    }

    fn lost(&self) -> SinkError {
        let error = "is lost, and no other server of the cluster answers";
        SinkError(format!("the connection to {} {error}", self.url))
    }

    /// What became of each record, as far as this connection can tell.
    async fn publish(&self, session: &Session, batch: &[&Item]) -> Vec<Result<Outcome, Lost>> {
        let losses = session.link.borrow().losses;
        let publish = async |item: &&Item| {
            let mut headers = HeaderMap::new();
            headers.insert(EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
            let subject = subject::of(&self.url.prefix, &item.key());
            let request = Request::new().headers(headers).payload(item.json());
            let mut link = session.link.clone();
            tokio::select! {
                biased;
                answer = session.client.send_request(subject, request) => match answer {
                    Ok(message) => Ok(outcome_of(&message)),
                    Err(error) => Ok(self.outcome_without_answer(&error)),
                },
                _ = link.wait_for(|link| link.losses > losses || link.closed) => Err(Lost),
            }
        };
        join_all(batch.iter().map(publish)).await
    }

    fn outcome_without_answer(&self, error: &RequestError) -> Outcome {
        match error.kind() {
            RequestErrorKind::NoResponders => Outcome::Failed(format!(
                "no stream takes {prefix}.> at {url}, or it has no leader now; make one with \
                 `nats stream add FIELDMESH --subjects '{prefix}.>'`",
                prefix = self.url.prefix,
                url = self.url,
            )),
            RequestErrorKind::TimedOut => {
                Outcome::Failed("the stream does not acknowledge in time".to_owned())
            }
            RequestErrorKind::MaxPayloadExceeded => {
                Outcome::Refused("larger than the server's max_payload".to_owned())
            }
            RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
                Outcome::Failed(format!("cannot publish to {}: {error}", self.url))
            }
        }
    }
}

impl Sink for JetStreamSink {
    const IDLE_COST: u64 = (on_the_wire(6) + on_the_wire(6)) * 60 / PING_INTERVAL.as_secs();

    fn connect_cost(&self) -> u64 {
        of_connection(self.url.tls) + on_the_wire(CONNECT_BYTES) + on_the_wire(INFO_BYTES)
    }

    fn cost(&self, item: &Item) -> u64 {
        on_the_wire(self.publish_bytes(item)) + on_the_wire(PUB_ACK_BYTES)
    }

    fn take_traffic(&mut self) -> u64 {
        self.traffic.take()
    }

    async fn connect(&mut self) -> Result<(), SinkError> {
        self.session = None;
        let opened = self.open().await;
        self.traffic.connect(self.url.tls && opened.is_ok());
        self.traffic.exchange(CONNECT_BYTES, INFO_BYTES);
        self.session = Some(opened?);
        Ok(())
    }

    async fn gone(&mut self) -> SinkError {
        while let Some(session) = &mut self.session {
            if session.link.wait_for(|link| !link.is_up()).await.is_err() || !session.hop().await {
                break;
            }
        }
        self.lost()
    }

    async fn deliver(&mut self, batch: &[Item]) -> Vec<Outcome> {
        let lost = Outcome::Failed(self.lost().0);
        let mut outcomes = vec![lost; batch.len()];
        let Some(mut session) = self.session.take() else {
            return outcomes;
        };
        let mut left: Vec<usize> = (0..batch.len()).collect();
        for _ in 0..SERVERS_PER_BATCH_MAX {
            if left.is_empty() || !session.hop().await {
                break;
            }
            let items: Vec<&Item> = left.iter().map(|&index| &batch[index]).collect();
            let bytes: usize = items.iter().map(|item| self.publish_bytes(item)).sum();
            self.traffic.exchange(bytes, PUB_ACK_BYTES * items.len());
            let found = self.publish(&session, &items).await;
            let mut again = Vec::new();
            for (index, found) in left.into_iter().zip(found) {
                match found {
                    Ok(outcome) => outcomes[index] = outcome,
                    Err(Lost) => again.push(index),
                }
            }
            left = again;
        }
        self.session = Some(session);
        outcomes
    }

    async fn close(&mut self) {
        self.session = None; // Everything that was sent has been waited for.
    }
}

impl Session {
    /// Waits for the next server if the last one is lost; says whether there is one.
    async fn hop(&mut self) -> bool {
        let Some(lost_at) = self.link.borrow().lost_at else {
            return !self.link.borrow().closed;
        };
        let back = self.link.wait_for(|link| link.is_up() || link.closed);
        match timeout_at(lost_at + HOP_TIMEOUT, back).await {
            Ok(Ok(link)) => link.is_up(),
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

impl Link {
    fn is_up(&self) -> bool {
        self.lost_at.is_none() && !self.closed
    }

    /// Notes what the client says; returns whether that changes anything.
    fn apply(&mut self, event: &Event) -> bool {
        match event {
            Event::Connected => self.lost_at.take().is_some(),
            Event::Disconnected => {
                self.losses += 1;
                self.lost_at = Some(clock::monotonic());
                true
            }
            Event::Closed | Event::ClientError(ClientError::MaxReconnects) => {
                self.closed = true;
                true
            }
            Event::LameDuckMode
            | Event::Draining
            | Event::SlowConsumer(_)
            | Event::ServerError(_)
            | Event::ClientError(_) => false,
        }
    }
}

/// The answer of a stream (NATS ADR-1, `io.nats.jetstream.api.v1.pub_ack_response`).
#[derive(Deserialize)]
struct PubAck {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    err_code: u16,
    #[serde(default)]
    description: String,
}

fn outcome_of(message: &Message) -> Outcome {
    let Ok(ack) = serde_json::from_slice::<PubAck>(&message.payload) else {
        return Outcome::Failed("what answers on this subject is no stream".to_owned());
    };
    let Some(error) = ack.error else {
        return if ack.seq > 0 && !ack.stream.is_empty() {
            Outcome::Delivered
        } else {
            Outcome::Failed("what answers on this subject is no stream".to_owned())
        };
    };
    let description: String = error.description.chars().take(SHOWN_MAX).collect();
    match error.err_code {
        WRONG_LAST_SEQUENCE => Outcome::Delivered,
        MESSAGE_EXCEEDS_MAXIMUM => {
            Outcome::Refused(format!("the stream refuses it: {description}"))
        }
        code => Outcome::PutOff(format!(
            "the stream does not take it now ({code}): {description}"
        )),
    }
}

fn explain(url: &JetStreamUrl, error: &ConnectError) -> SinkError {
    SinkError(match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            format!("{url} refuses this user, password or token; check the uplink's URL")
        }
        ConnectErrorKind::TimedOut => {
            format!("{url} does not answer; check the address and the way to it")
        }
        ConnectErrorKind::Tls => {
            format!("{url}: TLS failed: {error}; check the certificates of both sides")
        }
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Dns
        | ConnectErrorKind::Io
        | ConnectErrorKind::MaxReconnects => format!("cannot reach {url}: {error}"),
    })
}

/// Source: NATS ADR-4 and documentation, "JetStream headers".
const EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
/// The subject has a message already. Source: conventions, "Uplinks"; nats-server's `errors.json`.
const WRONG_LAST_SEQUENCE: u16 = 10_071;
/// Larger than the stream's `max_msg_size`. Source: nats-server's `errors.json`.
const MESSAGE_EXCEEDS_MAXIMUM: u16 = 10_054;
/// For each server. Source: guess, a cellular modem that has to wake up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stream may take to acknowledge. Source: the default of NATS's own clients.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings while idle. Source: conventions, "Uplinks": 1 MB a day when idle on a cellular link; a
/// ping with its answer is about 170 bytes with what TCP adds.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long the way to another server may take before the sink counts as lost. Source: guess: a
/// cluster's server that is there answers within a few round trips, and longer than this a relay
/// that can reach the cluster should take over.
const HOP_TIMEOUT: Duration = Duration::from_secs(1);
/// A CONNECT. Unit: bytes. Source: guess.
const CONNECT_BYTES: usize = 300;
/// What a server says of itself and its cluster. Unit: bytes. Source: guess.
const INFO_BYTES: usize = 1_000;
/// HPUB, the inbox for the answer, lengths and the header. Unit: bytes. Source: guess.
const PUBLISH_OVERHEAD: usize = 150;
/// MSG with an acknowledgement. Unit: bytes. Source: guess.
const PUB_ACK_BYTES: usize = 200;
/// Tries of the client to find another server; each known server gets one at first. Source: guess.
const RECONNECTS_MAX: usize = 16;
/// How many servers a batch may outlive. Source: guess: when a second one dies within a batch, the
/// cluster has no majority any more.
const SERVERS_PER_BATCH_MAX: usize = 2;
/// How much of a server's explanation is repeated. Unit: characters.
const SHOWN_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(payload: &str) -> Outcome {
        outcome_of(&Message {
            subject: "inbox".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status: None,
            description: None,
            length: payload.len(),
        })
    }

    fn error(code: u16) -> Outcome {
        let error = format!(r#""code":400,"err_code":{code},"description":"why""#);
        outcome(&format!(r#"{{"error":{{{error}}},"stream":"S","seq":0}}"#))
    }

    #[test]
    fn only_an_acknowledgement_and_error_10071_mean_that_the_stream_has_a_record() {
        assert_eq!(outcome(r#"{"stream":"S","seq":1}"#), Outcome::Delivered);
        assert_eq!(error(10_071), Outcome::Delivered);

        // Being replicated; cannot be stored; no resources; sealed.
        for code in [10_164, 10_077, 10_023, 10_109] {
            assert!(matches!(error(code), Outcome::PutOff(_)), "{code}");
        }
        assert!(matches!(error(10_054), Outcome::Refused(_)));
    }

    #[test]
    fn an_answer_that_is_no_acknowledgement_is_none() {
        for answer in ["", "ok", "{}", r#"{"stream":"S"}"#, r#"{"seq":1}"#, "[1]"] {
            assert!(matches!(outcome(answer), Outcome::Failed(_)), "{answer}");
        }
    }
}
