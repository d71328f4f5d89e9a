//! A node's settings, field by field: a setting that is new in the engine does not compile until it
//! stands here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use command::{Allowance, Policy, Range};
use engine::UplinkConfig;
use gossip::Interest;
use identity::Signatures;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Damaged;
use crate::plain::{of_patterns, pattern, patterns};

#[derive(Serialize, Deserialize)]
#[serde(remote = "engine::Config")]
pub(crate) struct Settings {
    #[serde(with = "Overlay")]
    overlay: overlay::Config,
    #[serde(with = "Gossip")]
    gossip: gossip::Config,
    /// How a signature is checked changes nothing but the time that it takes.
    #[serde(skip, default = "signatures")]
    signatures: Arc<dyn Signatures>,
    #[serde(with = "Election")]
    election: election::Config,
    #[serde(with = "Commands")]
    commands: command::Config,
    #[serde(serialize_with = "write_policy", deserialize_with = "read_policy")]
    policy: Policy,
    #[serde(serialize_with = "write_uplinks", deserialize_with = "read_uplinks")]
    uplinks: Vec<UplinkConfig>,
    gather: Duration,
    watermark_delay: Duration,
    watermark_interval: Duration,
    quiet: bool,
    presence_interval: Duration,
    recovery: Duration,
    grace: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "overlay::Config")]
struct Overlay {
    active_max: usize,
    passive_max: usize,
    shuffle_interval: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "gossip::Config")]
struct Gossip {
    #[serde(serialize_with = "write_interest", deserialize_with = "read_interest")]
    interest: Interest,
    announce_interval: Duration,
    graft_timeout: Duration,
    want_timeout: Duration,
    want_bytes_max: usize,
    past_bytes_per_second: Option<u32>,
    logs_max: usize,
    states_max: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "election::Config")]
struct Election {
    relays_count: usize,
    heartbeat_interval: Duration,
    suspect_after: Duration,
    probe_timeout: Duration,
    probes: usize,
    fence_after: Duration,
    hysteresis: u32,
    refresh_interval: Duration,
    join_grace: Duration,
    listen_time: Duration,
    settle_after: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "command::Config")]
struct Commands {
    skew: Duration,
    redial: Duration,
    dials_max: u8,
    kept_max: usize,
    kept_of_caller_max: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "aggregate::Config")]
struct Windows {
    lengths: Vec<Duration>,
    allowed_lateness: Duration,
    windows_max: usize,
}

#[derive(Serialize, Deserialize)]
struct Uplink {
    id: String,
    #[serde(with = "Windows")]
    windows: aggregate::Config,
    patterns: Vec<String>,
    raw: Vec<String>,
    exclude: Vec<String>,
    priority: u8,
    cost_class: u8,
    partial_after: Duration,
}

/// A [`Policy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlainPolicy {
    maintenance: bool,
    allow: Vec<PlainAllowance>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PlainAllowance {
    pattern: String,
    callers: Vec<String>,
    arguments: BTreeMap<String, PlainRange>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum PlainRange {
    Number(f64, f64),
    Words(Vec<String>),
}

pub(crate) fn of_policy(policy: &Policy) -> PlainPolicy {
    let range = |range: &Range| match range {
        Range::Number { min, max } => PlainRange::Number(*min, *max),
        Range::Words(words) => PlainRange::Words(words.iter().cloned().collect()),
    };
    let allowance = |allowance: &Allowance| {
        let arguments = allowance.arguments.iter();
        PlainAllowance {
            pattern: allowance.pattern.to_string(),
            callers: allowance.callers.clone(),
            arguments: arguments.map(|(n, r)| (n.clone(), range(r))).collect(),
        }
    };
    PlainPolicy {
        maintenance: policy.maintenance,
        allow: policy.allow.iter().map(allowance).collect(),
    }
}

pub(crate) fn policy(plain: PlainPolicy) -> Result<Policy, Damaged> {
    let range = |range| match range {
        PlainRange::Number(min, max) => Range::Number { min, max },
        PlainRange::Words(words) => Range::Words(words.into_iter().collect()),
    };
    let allowance = |plain: PlainAllowance| {
        let arguments = plain.arguments.into_iter();
        Ok(Allowance {
            pattern: pattern(&plain.pattern)?,
            callers: plain.callers,
            arguments: arguments.map(|(name, r)| (name, range(r))).collect(),
        })
    };
    let allow = plain.allow.into_iter().map(allowance);
    Ok(Policy {
        maintenance: plain.maintenance,
        allow: allow.collect::<Result<_, Damaged>>()?,
    })
}

fn of_uplink(uplink: &UplinkConfig) -> Uplink {
    Uplink {
        id: uplink.id.as_str().to_owned(),
        windows: uplink.windows.clone(),
        patterns: of_patterns(&uplink.patterns),
        raw: of_patterns(&uplink.raw),
        exclude: of_patterns(&uplink.exclude),
        priority: uplink.priority,
        cost_class: uplink.cost_class,
        partial_after: uplink.partial_after,
    }
}

fn uplink(plain: Uplink) -> Result<UplinkConfig, Damaged> {
    Ok(UplinkConfig {
        id: plain.id.parse().map_err(|_| Damaged("an uplink id"))?,
        windows: plain.windows,
        patterns: patterns(&plain.patterns)?,
        raw: patterns(&plain.raw)?,
        exclude: patterns(&plain.exclude)?,
        priority: plain.priority,
        cost_class: plain.cost_class,
        partial_after: plain.partial_after,
    })
}

fn interest((site, texts): (Option<String>, Vec<String>)) -> Result<Interest, Damaged> {
    let site = site.map(|name| name.parse().map_err(|_| Damaged("a site")));
    let patterns = patterns(&texts)?;
    Interest::new(site.transpose()?, patterns).map_err(|_| Damaged("an interest"))
}

/// Refuses settings that no node has, with which one would panic or never end a step: times of zero
/// after which something is done again, times that overflow when a few of them are added up, and
/// windows that have no name.
pub(crate) fn check(settings: &engine::Config) -> Result<(), Damaged> {
    let (gossip, election, commands) = (&settings.gossip, &settings.election, &settings.commands);
    let again = [
        election.heartbeat_interval,
        election.suspect_after,
        election.probe_timeout,
        election.fence_after,
        election.refresh_interval,
        election.join_grace,
        election.listen_time,
        election.settle_after,
        settings.watermark_interval,
        settings.presence_interval,
    ];
    let within = [
        settings.overlay.shuffle_interval,
        gossip.announce_interval,
        gossip.graft_timeout,
        gossip.want_timeout,
        commands.skew,
        commands.redial,
        settings.gather,
        settings.recovery,
    ];
    if again.iter().any(Duration::is_zero) {
        return Err(Damaged("a time of zero in the settings"));
    }
    if again.iter().chain(&within).any(|time| *time > TIME_MAX) {
        return Err(Damaged("a time in the settings without an end"));
    }
    let mut lengths = settings.uplinks.iter().flat_map(|u| &u.windows.lengths);
    let is_length = |length: &Duration| {
        !length.is_zero()
            && *length <= TIME_MAX
            && length.subsec_nanos().is_multiple_of(NANOS_PER_MILLI)
    };
    if !lengths.all(is_length) {
        return Err(Damaged("the length of a window"));
    }
    Ok(())
}

fn signatures() -> Arc<dyn Signatures> {
    engine::Config::default().signatures
}

fn write_policy<S: Serializer>(policy: &Policy, to: S) -> Result<S::Ok, S::Error> {
    of_policy(policy).serialize(to)
}

fn read_policy<'de, D: Deserializer<'de>>(from: D) -> Result<Policy, D::Error> {
    policy(PlainPolicy::deserialize(from)?).map_err(D::Error::custom)
}

fn write_uplinks<S: Serializer>(uplinks: &[UplinkConfig], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(uplinks.iter().map(of_uplink))
}

fn read_uplinks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<UplinkConfig>, D::Error> {
    let plain = Vec::<Uplink>::deserialize(from)?.into_iter();
    let uplinks = plain.map(uplink).collect::<Result<_, _>>();
    uplinks.map_err(D::Error::custom)
}

fn write_interest<S: Serializer>(interest: &Interest, to: S) -> Result<S::Ok, S::Error> {
    let site = interest.site().map(ToString::to_string);
    let patterns: Vec<_> = interest.patterns().map(ToString::to_string).collect();
    (site, patterns).serialize(to)
}

fn read_interest<'de, D: Deserializer<'de>>(from: D) -> Result<Interest, D::Error> {
    interest(Deserialize::deserialize(from)?).map_err(D::Error::custom)
}

/// Longest time. Source: a node's clock shows no more, some 584 years.
const TIME_MAX: Duration = Duration::from_nanos(u64::MAX);
const NANOS_PER_MILLI: u32 = 1_000_000;
/// The version of this program, of which a recording is.
pub(crate) const PROGRAM: &str = env!("CARGO_PKG_VERSION");
