//! What can be wrong with an uplink.

use std::io;
use std::path::PathBuf;

/// Why a text is no uplink's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// No scheme, or one that is not known.
    #[error("unknown uplink {0:?}; known are {known}", known = KNOWN)]
    Scheme(String),
    /// `file:` without a directory.
    #[error("file: needs a directory, as in file:/var/lib/fieldmesh/uplink")]
    NoDirectory,
    /// No host, or none between two commas.
    #[error("a host is missing; write it as in mqtt://broker.example:1883")]
    NoHost,
    /// Several hosts where only one can be.
    #[error("several hosts; only nats:// takes more than one")]
    SeveralHosts,
    /// What follows the host is no port.
    #[error("{0:?} is no port; write it as in mqtt://broker.example:1883")]
    Port(String),
    /// `%` without two hexadecimal digits, or what they make is no UTF-8.
    #[error("user or password has a malformed %-escape; write % itself as %25")]
    Escape,
    /// A topic that brokers refuse.
    #[error("topic {0:?} is refused: no wildcards, no empty levels, no white space")]
    Topic(String),
    /// A version of MQTT that there is none of.
    #[error("{0:?} is no version of MQTT; write ?version=5 or ?version=3.1.1")]
    Version(String),
    /// A prefix of subjects that servers refuse, or that is theirs.
    #[error(
        "prefix {0:?} is refused: levels separated by dots, no wildcards, no $, no white space"
    )]
    Prefix(String),
    /// A query that is none, or asks for less than nanoseconds.
    #[error("query {0:?} is refused: %-escapes for special characters; precision is always ns")]
    Query(String),
}

/// Why an uplink could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The directory of the outbox cannot be used.
    #[error("cannot use {} for records that wait for the uplink", path.display())]
    Outbox {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system gives no thread or runtime.
    #[error("cannot start the uplink's thread")]
    Thread(#[source] io::Error),
}

/// Why a sink cannot be reached or does not take records now. Says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// What can be written for an uplink.
const KNOWN: &str = "file:DIR, mqtt://[user:password@]host[:port][/topic] (mqtts over TLS), \
                     nats://[user:password@]host[:port][,host[:port]…][/prefix] (tls over TLS), \
                     influx+http://[user:password@]host[:port][/path][?query] (or influx+https)";
