//! Where an uplink leads, as the operator writes it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::UrlError;

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkUrl {
    /// `file:DIR`: NDJSON files in a directory.
    File(PathBuf),
    /// `mqtt://[user:password@]host:port[/topic]`: an MQTT 5 broker, over plain TCP.
    Mqtt(MqttUrl),
}

/// A broker.
#[derive(Clone, PartialEq, Eq)]
pub struct MqttUrl {
    /// Its name or address.
    pub host: String,
    /// Its port; 1883 unless written.
    pub port: u16,
    /// The user, without `%`-escapes.
    pub user: Option<String>,
    /// The password, without `%`-escapes; may be set from elsewhere to keep it out of the URL.
    pub password: Option<String>,
    /// What topics begin with; `fieldmesh` unless written.
    pub topic: String,
}

impl FromStr for SinkUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if let Some(dir) = text.strip_prefix("file:") {
            let dir = dir.strip_prefix("//").unwrap_or(dir);
            return match dir {
                "" => Err(UrlError::NoDirectory),
                _ => Ok(Self::File(PathBuf::from(dir))),
            };
        }
        if let Some(rest) = text.strip_prefix("mqtt://") {
            return mqtt(rest).map(Self::Mqtt);
        }
        // Without what may be a password.
        let scheme = text.split_once(':').map_or(text, |(scheme, _)| scheme);
        Err(UrlError::Scheme(scheme.chars().take(SHOWN_MAX).collect()))
    }
}

fn mqtt(rest: &str) -> Result<MqttUrl, UrlError> {
    let (login, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => (Some(login), rest),
        None => (None, rest),
    };
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        Some((user, "")) => (Some(unescape(user)?), None),
        Some((user, password)) => (Some(unescape(user)?), Some(unescape(password)?)),
        None => (None, None),
    };
    let (address, topic) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = host_and_port(address)?;
    let topic = topic.trim_end_matches('/');
    let is_refused = |c: char| c == '+' || c == '#' || c.is_whitespace() || c.is_control();
    if topic.contains(is_refused) || topic.starts_with('/') || topic.contains("//") {
        return Err(UrlError::Topic(topic.to_owned()));
    }
    Ok(MqttUrl {
        host,
        port,
        user,
        password,
        topic: if topic.is_empty() {
            TOPIC_DEFAULT
        } else {
            topic
        }
        .to_owned(),
    })
}

/// `host`, `host:port`, `[address]` or `[address]:port`.
fn host_and_port(address: &str) -> Result<(String, u16), UrlError> {
    let bracketed = address
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'));
    let (host, port) = match (bracketed, address.split_once(':')) {
        (Some((host, rest)), _) => (
            host,
            rest.strip_prefix(':').or(rest.is_empty().then_some("")),
        ),
        (None, Some((host, port))) => (host, Some(port)),
        (None, None) => (address, Some("")),
    };
    let port = port.ok_or_else(|| UrlError::Port(address.to_owned()))?;
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let number = match port {
        "" => PORT_DEFAULT,
        _ => port.parse().map_err(|_| UrlError::Port(port.to_owned()))?,
    };
    Ok((host.to_owned(), number))
}

fn unescape(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or(UrlError::Escape)?;
        let digits = std::str::from_utf8(digits).map_err(|_| UrlError::Escape)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| UrlError::Escape)?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| UrlError::Escape)
}

impl fmt::Debug for MqttUrl {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MqttUrl {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "mqtt://[{}]:{}/{}", self.host, self.port, self.topic),
            false => write!(f, "mqtt://{}:{}/{}", self.host, self.port, self.topic),
        }
    }
}

impl fmt::Display for SinkUrl {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(dir) => write!(f, "file:{}", dir.display()),
            Self::Mqtt(url) => write!(f, "{url}"),
        }
    }
}

/// Source: IANA, "mqtt".
const PORT_DEFAULT: u16 = 1_883;
/// Source: contract, "Aggregates as they leave".
const TOPIC_DEFAULT: &str = "fieldmesh";
/// How much of an unknown scheme is repeated. Unit: characters.
const SHOWN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn mqtt_of(text: &str) -> MqttUrl {
        match text.parse() {
            Ok(SinkUrl::Mqtt(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn urls_are_read_with_their_defaults() {
        let full = mqtt_of("mqtt://me:p%40ss%3A@broker.example:8883/plant/a");
        assert_eq!((full.host.as_str(), full.port), ("broker.example", 8_883));
        assert_eq!(
            (full.user.as_deref(), full.password.as_deref()),
            (Some("me"), Some("p@ss:"))
        );
        assert_eq!(full.topic, "plant/a");

        let short = mqtt_of("mqtt://[::1]");
        assert_eq!(
            (short.host.as_str(), short.port, short.topic.as_str()),
            ("::1", 1_883, "fieldmesh")
        );
        assert_eq!("file:/tmp/x".parse(), Ok(SinkUrl::File("/tmp/x".into())));
        assert_eq!("file:///tmp/x".parse(), Ok(SinkUrl::File("/tmp/x".into())));
    }

    #[test]
    fn a_wrong_url_says_what_to_write_instead() {
        let error = |text: &str| text.parse::<SinkUrl>().expect_err(text);

        assert_eq!(error("file:"), UrlError::NoDirectory);
        assert_eq!(error("mqtt://"), UrlError::NoHost);
        assert_eq!(error("mqtt://host:many"), UrlError::Port("many".to_owned()));
        assert_eq!(error("mqtt://a%zz:x@host"), UrlError::Escape);
        assert_eq!(
            error("mqtt://host/a/+/b"),
            UrlError::Topic("a/+/b".to_owned())
        );
        assert_eq!(
            error("amqp://u:secret@host"),
            UrlError::Scheme("amqp".to_owned())
        );
        assert!(error("amqp:x").to_string().contains("file:DIR and mqtt://"));
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        let url: SinkUrl = "mqtt://me:secret@host:1".parse().expect("a URL");

        assert_eq!(format!("{url} {url:?}").matches("secret").count(), 0);
        assert_eq!(url.to_string(), "mqtt://host:1/fieldmesh");
    }
}
