//! Where an uplink leads, as the operator writes it.

mod authority;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::UrlError;

use authority::Authority;
pub use authority::{Host, Login};

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkUrl {
    /// `file:DIR`: NDJSON files in a directory.
    File(PathBuf),
    /// `mqtt://[user:password@]host[:port][/topic][?version=3.1.1]`, or `mqtts://` over TLS: an
    /// MQTT broker.
    Mqtt(MqttUrl),
    /// `nats://[user:password@|token@]host[:port][,host[:port]…][/prefix]`, or `tls://`: a NATS
    /// JetStream.
    JetStream(JetStreamUrl),
    /// `influx+http://[user:password@|token@]host[:port][/path][?query]`, or `influx+https://`: a
    /// store that takes InfluxDB line protocol.
    Influx(InfluxUrl),
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttUrl {
    /// Where it is; port 1883, or 8883 over TLS, unless written.
    pub host: Host,
    /// Who logs in.
    pub login: Login,
    /// Over TLS.
    pub tls: bool,
    /// What it speaks.
    pub version: MqttVersion,
    /// What topics begin with; `fieldmesh` unless written.
    pub topic: String,
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    #[default]
    V5,
}

/// A NATS server, or a cluster of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JetStreamUrl {
    /// Where to begin; port 4222 unless written. More servers of the cluster are learned.
    pub hosts: Vec<Host>,
    /// Who logs in; a user without password is a token.
    pub login: Login,
    /// TLS or nothing; without it a server that wants TLS still gets it.
    pub tls: bool,
    /// What subjects begin with; `fieldmesh` unless written.
    pub prefix: String,
}

/// A store that takes InfluxDB line protocol over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct InfluxUrl {
    /// Where it is; port 8086 unless written.
    pub host: Host,
    /// Who logs in; a user without password is a token.
    pub login: Login,
    /// Over TLS.
    pub tls: bool,
    /// Where to write: `/write?db=fieldmesh` unless written, always with nanoseconds.
    pub path_and_query: String,
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
        match text.split_once("://") {
            Some(("mqtt", rest)) => mqtt(rest, false).map(Self::Mqtt),
            Some(("mqtts", rest)) => mqtt(rest, true).map(Self::Mqtt),
            Some(("nats", rest)) => jetstream(rest, false).map(Self::JetStream),
            Some(("tls", rest)) => jetstream(rest, true).map(Self::JetStream),
            Some(("influx+http", rest)) => influx(rest, false).map(Self::Influx),
            Some(("influx+https", rest)) => influx(rest, true).map(Self::Influx),
            _ => {
                // Without what may be a password.
                let scheme = text.split_once(':').map_or(text, |(scheme, _)| scheme);
                Err(UrlError::Scheme(scheme.chars().take(SHOWN_MAX).collect()))
            }
        }
    }
}

fn mqtt(rest: &str, tls: bool) -> Result<MqttUrl, UrlError> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let version = match query {
        "" | "version=5" => MqttVersion::V5,
        "version=3.1.1" => MqttVersion::V3,
        _ => return Err(UrlError::Version(query.to_owned())),
    };
    let port = if tls { MQTTS_PORT } else { MQTT_PORT };
    let Authority { login, hosts, path } = Authority::read(rest, port)?;
    let is_refused = |c: char| c == '+' || c == '#' || c.is_whitespace() || c.is_control();
    if path.contains(is_refused) || path.starts_with('/') || path.contains("//") {
        return Err(UrlError::Topic(path.to_owned()));
    }
    let [host] = <[Host; 1]>::try_from(hosts).map_err(|_| UrlError::SeveralHosts)?;
    Ok(MqttUrl {
        host,
        login,
        tls,
        version,
        topic: or_default(path),
    })
}

fn jetstream(rest: &str, tls: bool) -> Result<JetStreamUrl, UrlError> {
    let Authority { login, hosts, path } = Authority::read(rest, NATS_PORT)?;
    let is_refused = |c: char| "*>$/".contains(c) || c.is_whitespace() || c.is_control();
    let has_empty_token = !path.is_empty() && path.split('.').any(str::is_empty);
    if path.contains(is_refused) || has_empty_token || path.len() > PREFIX_BYTES_MAX {
        return Err(UrlError::Prefix(path.to_owned()));
    }
    Ok(JetStreamUrl {
        hosts,
        login,
        tls,
        prefix: or_default(path),
    })
}

fn influx(rest: &str, tls: bool) -> Result<InfluxUrl, UrlError> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Authority { login, hosts, path } = Authority::read(rest, INFLUX_PORT)?;
    let [host] = <[Host; 1]>::try_from(hosts).map_err(|_| UrlError::SeveralHosts)?;
    let path = if path.is_empty() { "write" } else { path };
    let refused = || UrlError::Query(query.to_owned());
    let mut query: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
    let value = |query: &[&str], name: &str| {
        let found = query
            .iter()
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        found.map(str::to_owned)
    };
    match value(&query, "precision").as_deref() {
        Some("ns" | "n") => {}
        Some(_) => return Err(refused()),
        None => query.push("precision=ns"),
    }
    if path == "write" && value(&query, "db").is_none() {
        query.insert(0, "db=fieldmesh");
    }
    let path_and_query = format!("/{path}?{}", query.join("&"));
    let is_allowed = |c: char| c.is_ascii_graphic() && !"\"<>\\^`{|}#".contains(c);
    if !path_and_query.chars().all(is_allowed) {
        return Err(refused());
    }
    Ok(InfluxUrl {
        host,
        login,
        tls,
        path_and_query,
    })
}

fn or_default(path: &str) -> String {
    if path.is_empty() {
        PREFIX_DEFAULT
    } else {
        path
    }
    .to_owned()
}

impl fmt::Display for MqttUrl {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        write!(f, "{scheme}://{}/{}", self.host, self.topic)
    }
}

impl fmt::Display for JetStreamUrl {
    /// Without user, password and token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(Host::to_string).collect();
        let scheme = if self.tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{}/{}", hosts.join(","), self.prefix)
    }
}

impl fmt::Display for InfluxUrl {
    /// Without user and password, and without a query, which may have them too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls {
            "influx+https"
        } else {
            "influx+http"
        };
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.host)
    }
}

impl fmt::Debug for InfluxUrl {
    /// As it is displayed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SinkUrl {
    /// Without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(dir) => write!(f, "file:{}", dir.display()),
            Self::Mqtt(url) => write!(f, "{url}"),
            Self::JetStream(url) => write!(f, "{url}"),
            Self::Influx(url) => write!(f, "{url}"),
        }
    }
}

/// Source: IANA, "mqtt".
const MQTT_PORT: u16 = 1_883;
/// Source: IANA, "secure-mqtt".
const MQTTS_PORT: u16 = 8_883;
/// Source: the NATS documentation, "Running and deploying a NATS server": the client port.
const NATS_PORT: u16 = 4_222;
/// Source: the InfluxDB documentation, "Ports".
const INFLUX_PORT: u16 = 8_086;
/// Source: contract, "Aggregates as they leave".
const PREFIX_DEFAULT: &str = "fieldmesh";
/// Longest prefix of subjects. Unit: bytes. Source: guess, an eighth of a subject.
const PREFIX_BYTES_MAX: usize = 128;
/// How much of an unknown scheme is repeated. Unit: characters.
const SHOWN_MAX: usize = 32;

#[cfg(test)]
mod tests;
