//! MQTT 5.

use bytes::Bytes;
use rumqttc::mqttbytes::v5::{ConnAck, ConnectReturnCode, Packet, PubAckReason};
use rumqttc::{AsyncClient, Broker, ConnectionError, Event, EventLoop, MqttOptions};
use rumqttc::{PublishNotice, PublishOptions, PublishResult, TlsConfiguration, Transport};

use super::{CONNECT_TIMEOUT, network_options, refused_login};
use super::{Connected, KEEP_ALIVE_SECONDS, PACKET_BYTES_MAX, REQUESTS_MAX, Settings, Version};
use crate::{MqttUrl, Outcome, SinkError};

/// MQTT 5.
#[derive(Debug)]
pub(crate) struct V5;

impl Version for V5 {
    type Client = AsyncClient;
    type Events = EventLoop;
    type Notice = PublishNotice;

    async fn connect(settings: &Settings<'_>) -> Result<Connected<Self>, SinkError> {
        let builder = AsyncClient::builder(options(settings)).capacity(REQUESTS_MAX);
        let (client, mut events) = builder.build();
        let ack = loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(ack))) => break ack,
                Ok(_) => {}
                Err(error) => return Err(explain(settings.url, &error)),
            }
        };
        Ok(Connected {
            client,
            events,
            packet_bytes_max: packet_bytes_max(&ack),
        })
    }

    async fn drive(mut events: EventLoop, url: MqttUrl) -> SinkError {
        loop {
            if let Err(error) = events.poll().await {
                return explain(&url, &error);
            }
        }
    }

    async fn publish(client: &AsyncClient, topic: String, json: Bytes) -> Option<PublishNotice> {
        let options = PublishOptions::at_least_once();
        client.publish_tracked(topic, json, options).await.ok()
    }

    async fn acknowledged(notice: PublishNotice) -> Option<Outcome> {
        match notice.wait_async().await {
            Ok(PublishResult::Qos1(ack)) => Some(outcome_of(ack.reason)),
            Ok(_) | Err(_) => None,
        }
    }

    fn say_goodbye(client: &AsyncClient) -> bool {
        client.try_disconnect_now().is_ok()
    }
}

fn options(settings: &Settings<'_>) -> MqttOptions {
    let host = &settings.url.host;
    let broker = Broker::tcp(host.name.clone(), host.port);
    let mut options = MqttOptions::new(settings.client_id, broker);
    options
        .set_keep_alive(KEEP_ALIVE_SECONDS)
        .set_connect_timeout(CONNECT_TIMEOUT)
        .set_network_options(network_options())
        .set_clean_start(true);
    if let Some(tls) = &settings.tls {
        let tls = TlsConfiguration::Rustls(tls.clone());
        options.set_transport(Transport::tls_with_config(tls));
    }
    match (settings.login.user.clone(), settings.login.password.clone()) {
        (Some(user), Some(password)) => {
            options.set_credentials(user, password.into_bytes());
        }
        (Some(user), None) => {
            options.set_username(user);
        }
        (None, _) => {}
    }
    options
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
        ) => return refused_login(url),
        ConnectionError::ConnectionRefused(code) => {
            format!("{url} refuses the connection: {code:?}")
        }
        ConnectionError::Io(error) => format!("cannot reach {url}: {error}"),
        other => format!("the connection to {url} failed: {other}"),
    })
}

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
