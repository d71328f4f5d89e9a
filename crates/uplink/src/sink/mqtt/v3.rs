//! MQTT 3.1.1.

use bytes::Bytes;
use rumqttc_v4::{AsyncClient, Broker, ConnectReturnCode, ConnectionError, Event, EventLoop};
use rumqttc_v4::{MqttOptions, Packet, PublishNotice, PublishOptions, PublishResult};
use rumqttc_v4::{TlsConfiguration, Transport};

use super::{Connected, KEEP_ALIVE_SECONDS, PACKET_BYTES_MAX, REQUESTS_MAX, Settings, Version};
use super::{network_options, refused_login};
use crate::{MqttUrl, Outcome, SinkError};

/// MQTT 3.1.1.
#[derive(Debug)]
pub(crate) struct V3;

impl Version for V3 {
    type Client = AsyncClient;
    type Events = EventLoop;
    type Notice = PublishNotice;

    async fn connect(settings: &Settings<'_>) -> Result<Connected<Self>, SinkError> {
        let builder = AsyncClient::builder(options(settings)).capacity(REQUESTS_MAX);
        let (client, mut events) = builder.build();
        events.set_network_options(network_options());
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Packet::ConnAck(_))) => break,
                Ok(_) => {}
                Err(error) => return Err(explain(settings.url, &error)),
            }
        }
        Ok(Connected {
            client,
            events,
            packet_bytes_max: PACKET_BYTES_MAX, // It has no way to say less.
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
            Ok(PublishResult::Qos1(_)) => Some(Outcome::Delivered),
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
        .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX)
        .set_clean_session(true);
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

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enumeration: what is not named speaks for itself"
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
