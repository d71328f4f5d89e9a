//! From settings as written to a configuration that holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use election::UplinkId;
use gossip::Interest;
use model::{Pattern, SeriesName, Unit};
use overlay::Address;
use uplink::{Access, ClientIdentity, Secret, SinkUrl};

use super::settings::{
    CostClass, ListenSettings, NetworkSettings, Profile, Settings, SourceSettings, StoreSettings,
    UplinkSettings, WhenSpent,
};
use super::{ConfigError, check_rules};

/// A configuration that holds: every value is typed and in its range, every path is absolute or
/// starts at the working directory.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The file that it was read from, to be read again on a reload.
    pub path: Option<PathBuf>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Key files.
    pub network: NetworkSettings,
    /// Multiaddresses to dial at the start.
    pub bootstrap: Vec<Address>,
    /// Where other machines connect, as multiaddresses: QUIC, then TCP.
    pub listen: Vec<Address>,
    /// Discovery on the LAN.
    pub mdns: bool,
    /// How long one address may take to become a link.
    pub dial_timeout: Duration,
    /// How long a link may be silent.
    pub idle_timeout: Duration,
    /// How often the round trip of a link is measured.
    pub ping_interval: Duration,
    /// Whether QUIC may probe how large datagrams may be.
    pub path_mtu_probes: bool,
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// The Unix socket of gRPC.
    pub socket: Option<PathBuf>,
    /// Where metrics are read.
    pub metrics: Option<SocketAddr>,
    /// Size of a sealed segment. Unit: bytes.
    pub segment_bytes: u64,
    /// Least free space. Unit: bytes.
    pub free_bytes_min: u64,
    /// What the store may give up.
    pub retention: RetentionLimits,
    /// How fast what is stored is read again. Unit: bytes a second.
    pub scrub_rate: u64,
    /// Local reactions to readings.
    pub rules: Vec<rule::Rule>,
    /// Settings of the protocols.
    pub engine: engine::Config,
    /// Where readings come from.
    pub sources: Vec<SourceConfig>,
    /// Where each of the engine's uplinks leads, in its order.
    pub uplinks: Vec<UplinkTarget>,
}

/// What the store may give up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// How long alarms are kept, if that is longer than the rest.
    pub alarms_age: Duration,
    /// What came longer ago than this and is uploaded.
    pub age_max: Option<Duration>,
    /// What makes the store larger than this. Unit: bytes.
    pub bytes_max: Option<u64>,
}

/// Where readings come from.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// Metrics of this machine.
    Host(HostSource),
    /// A recorded table.
    Csv(CsvSource),
}

/// Metrics of this machine.
#[derive(Clone, Debug)]
pub struct HostSource {
    /// What its series start with.
    pub prefix: SeriesName,
    /// How often.
    pub interval: Duration,
}

/// A recorded table.
#[derive(Clone, Debug)]
pub struct CsvSource {
    /// The table.
    pub file: PathBuf,
    /// Only rows with this in the column `machine`.
    pub machine: Option<String>,
    /// How many times faster than recorded.
    pub speed: f64,
    /// Start over at the end.
    pub repeat: bool,
    /// What its series start with.
    pub prefix: SeriesName,
    /// Units by column.
    pub units: BTreeMap<String, Unit>,
}

/// Where an uplink leads.
#[derive(Clone, Debug)]
pub struct UplinkTarget {
    /// Its name.
    pub id: UplinkId,
    /// Where to; relative file paths are resolved.
    pub url: SinkUrl,
    /// How this machine proves to the sink who it is.
    pub access: Access,
    /// Series that are sent first and given up last.
    pub urgent: Vec<Pattern>,
    /// Series that are given up first.
    pub expendable: Vec<Pattern>,
    /// Most that waiting records take. Unit: bytes.
    pub backlog_bytes_max: u64,
    /// Longest that a record waits.
    pub backlog_age_max: Duration,
    /// How fast a backlog is sent. Unit: records per second.
    pub backlog_rate: u32,
    /// What may go over the wire in a day. Unit: bytes.
    pub daily_bytes_max: Option<u64>,
    /// What happens once that is spent.
    pub when_spent: uplink::WhenSpent,
}

impl Settings {
    /// Checks every value; relative paths start at `base`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Value`] for the first value that is refused.
    pub fn check(&self, base: &Path) -> Result<Configuration, ConfigError> {
        let mut network = self.network.clone();
        for path in [
            &mut network.machine_key_file,
            &mut network.network_key_file,
            &mut network.operator_file,
            &mut network.membership_file,
        ] {
            *path = base.join(&path);
        }
        let mut uplinks = Vec::new();
        let mut targets = Vec::new();
        for uplink in &self.uplink {
            let (config, target) = check_uplink(uplink, base)?;
            if targets
                .iter()
                .any(|other: &UplinkTarget| other.id == target.id)
            {
                return Err(ConfigError::value(
                    "uplink.id",
                    format!("{} stands twice", target.id),
                ));
            }
            uplinks.push(config);
            targets.push(target);
        }
        let mut engine = engine::Config {
            uplinks,
            ..engine::Config::default()
        };
        engine.gossip.interest = check_subscribe(&self.network.subscribe)?;
        engine.grace = duration("network.grace", &self.network.grace)?;
        engine.watermark_delay =
            duration("readings.watermark_delay", &self.readings.watermark_delay)?;
        engine.overlay.active_max = within("overlay.active_max", self.overlay.active_max, 1, 64)?;
        engine.overlay.passive_max =
            within("overlay.passive_max", self.overlay.passive_max, 8, 1024)?;
        engine.quiet = self.overlay.quiet;
        engine.policy = self.commands.check()?;
        if self.relays.profile == Profile::Thin {
            engine.presence_interval = THIN_INTERVAL;
            engine.watermark_interval = THIN_WATERMARK_INTERVAL;
            engine.overlay.shuffle_interval = THIN_INTERVAL;
            engine.gossip.past_bytes_per_second = Some(THIN_PAST_RATE);
            engine.gossip.want_timeout = THIN_WANT_TIMEOUT;
        }
        engine.election = election::Config::of(profile_of(self.relays.profile));
        engine.election.relays_count = within("relays.count", self.relays.count, 1, 16)?;
        Ok(Configuration {
            path: None,
            rules: check_rules(&self.rule)?,
            data_dir: base.join(&self.node.data_dir),
            network,
            bootstrap: check_bootstrap(&self.network.bootstrap)?,
            listen: check_listen(&self.listen)?,
            mdns: self.listen.mdns,
            dial_timeout: dial_timeout_of(self.relays.profile),
            idle_timeout: idle_timeout_of(self.relays.profile),
            ping_interval: ping_interval_of(self.relays.profile),
            path_mtu_probes: self.relays.profile != Profile::Thin,
            grpc: loopback("api.grpc", &self.api.grpc)?,
            socket: (!self.api.socket.as_os_str().is_empty()).then(|| base.join(&self.api.socket)),
            metrics: match self.api.metrics.as_str() {
                "" => None,
                text => Some(loopback("api.metrics", text)?),
            },
            segment_bytes: within("store.segment_mib", self.store.segment_mib, 1, 1024)? << 20,
            free_bytes_min: within("store.free_mib_min", self.store.free_mib_min, 0, 1 << 20)?
                << 20,
            retention: check_retention(&self.store)?,
            scrub_rate: within("store.scrub_kib", self.store.scrub_kib, 0, 1 << 20)? << 10,
            engine,
            sources: self.check_sources(base)?,
            uplinks: targets,
        })
    }

    fn check_sources(&self, base: &Path) -> Result<Vec<SourceConfig>, ConfigError> {
        let mut names = BTreeSet::new();
        let mut sources = Vec::new();
        for source in &self.source {
            let (SourceSettings::Host { name, .. } | SourceSettings::Csv { name, .. }) = source;
            parse::<SeriesName>("source.name", name)?; // Series may start with it.
            if !names.insert(name) {
                return Err(ConfigError::value(
                    "source.name",
                    format!("{name} stands twice"),
                ));
            }
            sources.push(check_source(source, base)?);
        }
        Ok(sources)
    }
}

fn check_source(source: &SourceSettings, base: &Path) -> Result<SourceConfig, ConfigError> {
    match source {
        SourceSettings::Host { name, interval } => {
            let interval = duration("source.interval", interval)?;
            if interval < HOST_INTERVAL_MIN {
                let problem = format!("must be at least {HOST_INTERVAL_MIN:?}");
                return Err(ConfigError::value("source.interval", problem));
            }
            let prefix = parse("source.name", name)?;
            Ok(SourceConfig::Host(HostSource { prefix, interval }))
        }
        SourceSettings::Csv {
            name,
            file,
            machine,
            speed,
            repeat,
            prefix,
            units,
        } => {
            if !(speed.is_finite() && *speed > 0.0) {
                return Err(ConfigError::value(
                    "source.speed",
                    "must be greater than zero",
                ));
            }
            let prefix = parse("source.prefix", prefix.as_ref().unwrap_or(name))?;
            let mut checked = BTreeMap::new();
            for (column, unit) in units {
                let key = format!("source.units.{column}");
                let unit = unit
                    .parse()
                    .map_err(|error| ConfigError::value(key, error))?;
                checked.insert(column.clone(), unit);
            }
            Ok(SourceConfig::Csv(CsvSource {
                file: base.join(file),
                machine: machine.clone(),
                speed: *speed,
                repeat: *repeat,
                prefix,
                units: checked,
            }))
        }
    }
}

fn check_uplink(
    settings: &UplinkSettings,
    base: &Path,
) -> Result<(engine::UplinkConfig, UplinkTarget), ConfigError> {
    let id: UplinkId = parse("uplink.id", &settings.id)?;
    let key = |name: &str| format!("uplink.{name} of {id}");
    let mut lengths = Vec::new();
    for text in &settings.windows {
        let length = duration(&key("windows"), text)?;
        if length < WINDOW_MIN || length.subsec_nanos() % 1_000_000 != 0 {
            let problem = format!("{text}: whole milliseconds, at least {WINDOW_MIN:?}");
            return Err(ConfigError::value(key("windows"), problem));
        }
        lengths.push(length);
    }
    if lengths.is_empty() {
        return Err(ConfigError::value(
            key("windows"),
            "at least one length, like \"10s\"",
        ));
    }
    let patterns = |name: &str, texts: &[String]| -> Result<Vec<Pattern>, ConfigError> {
        texts.iter().map(|text| parse(&key(name), text)).collect()
    };
    let mut url = parse(&key("url"), &settings.url)?;
    if let SinkUrl::File(dir) = &mut url {
        *dir = base.join(&dir);
    }
    let config = engine::UplinkConfig {
        id: id.clone(),
        windows: aggregate::Config {
            lengths,
            allowed_lateness: duration(&key("allowed_lateness"), &settings.allowed_lateness)?,
            windows_max: WINDOWS_MAX,
        },
        patterns: patterns("patterns", &settings.patterns)?,
        raw: patterns("raw", &settings.raw)?,
        exclude: patterns("exclude", &settings.exclude)?,
        priority: settings.priority,
        cost_class: match settings.cost_class {
            CostClass::Wired => 0,
            CostClass::Wireless => 1,
            CostClass::Metered => 2,
        },
        partial_after: duration(&key("partial_after"), &settings.partial_after)?,
    };
    let daily_kb = within(&key("daily_kb"), settings.daily_kb, 0, DAILY_KB_MAX)?;
    let backlog_mib = within(&key("backlog_mib"), settings.backlog_mib, 1, 65_536)?;
    let target = UplinkTarget {
        url,
        access: check_access(settings, &id, base)?,
        urgent: patterns("urgent", &settings.urgent)?,
        expendable: patterns("expendable", &settings.expendable)?,
        backlog_bytes_max: backlog_mib << 20,
        backlog_age_max: duration(&key("backlog_age"), &settings.backlog_age)?,
        backlog_rate: within(&key("replay_rate"), settings.replay_rate, 1, 1_000_000)?,
        daily_bytes_max: (daily_kb > 0).then_some(daily_kb * 1_000),
        when_spent: match settings.when_spent {
            WhenSpent::Hold => uplink::WhenSpent::Hold,
            WhenSpent::UrgentOnly => uplink::WhenSpent::UrgentOnly,
        },
        id,
    };
    Ok((config, target))
}

fn check_access(
    settings: &UplinkSettings,
    id: &UplinkId,
    base: &Path,
) -> Result<Access, ConfigError> {
    let at_base = |path: &Option<PathBuf>| path.as_ref().map(|path| base.join(path));
    let identity = match (at_base(&settings.cert_file), at_base(&settings.key_file)) {
        (Some(cert_file), Some(key_file)) => Some(ClientIdentity {
            cert_file,
            key_file,
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            let problem = "a certificate needs its key, and a key its certificate: set both";
            return Err(ConfigError::value(
                format!("uplink.cert_file of {id}"),
                problem,
            ));
        }
    };
    Ok(Access {
        user: settings.user.clone(),
        password: at_base(&settings.password_file).map(Secret::File),
        ca_file: at_base(&settings.ca_file),
        identity,
    })
}

fn check_subscribe(texts: &[String]) -> Result<Interest, ConfigError> {
    let patterns = texts.iter().map(|text| parse("network.subscribe", text));
    let patterns = patterns.collect::<Result<Vec<Pattern>, _>>()?;
    Interest::new(None, patterns)
        .map_err(|error| ConfigError::value("network.subscribe", error.to_string()))
}

fn check_bootstrap(texts: &[String]) -> Result<Vec<Address>, ConfigError> {
    let check = |text: &String| {
        let address = Address::new(text.clone()).filter(|_| text.starts_with('/'));
        address.ok_or_else(|| {
            let problem = format!("{text:?} is no multiaddress; write \"{EXAMPLE}\"");
            ConfigError::value("network.bootstrap", problem)
        })
    };
    texts.iter().map(check).collect()
}

fn check_listen(listen: &ListenSettings) -> Result<Vec<Address>, ConfigError> {
    if listen.quic.is_empty() && listen.tcp.is_empty() {
        return Err(ConfigError::value(
            "listen.quic",
            "neither it nor listen.tcp has an address; write at least one, like \"0.0.0.0:4001\"",
        ));
    }
    let quic = listen.quic.iter();
    let quic = quic.map(|text| listen_address("listen.quic", text, "udp", "/quic/noise"));
    let tcp = listen.tcp.iter();
    let tcp = tcp.map(|text| listen_address("listen.tcp", text, "tcp", ""));
    quic.chain(tcp).collect()
}

/// An address that is written as IP:PORT or as the multiaddress that it stands for.
fn listen_address(key: &str, text: &str, over: &str, end: &str) -> Result<Address, ConfigError> {
    let multiaddress = |socket: SocketAddr| {
        let kind = if socket.is_ipv4() { "ip4" } else { "ip6" };
        format!("/{kind}/{}/{over}/{}{end}", socket.ip(), socket.port())
    };
    let written = match text.strip_prefix('/') {
        None => multiaddress(socket_address(key, text)?),
        Some(rest) => {
            let mut parts = rest.split('/').skip(1).step_by(2);
            let (ip, port) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let socket = parse_socket(ip, port).map(multiaddress);
            let socket = socket.filter(|canonical| canonical == text);
            socket.ok_or_else(|| {
                let example = multiaddress(SocketAddr::from(([0, 0, 0, 0], 4001)));
                let problem = format!("{text:?} is no address for this; write \"{example}\"");
                ConfigError::value(key, problem)
            })?
        }
    };
    Ok(Address::new(written).expect("an address of this kind is short"))
}

fn parse_socket(ip: &str, port: &str) -> Option<SocketAddr> {
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

fn profile_of(profile: Profile) -> election::Profile {
    match profile {
        Profile::Lan => election::Profile::Lan,
        Profile::Wan => election::Profile::Wan,
        Profile::Thin => election::Profile::Thin,
    }
}

/// A dial that hangs keeps a machine from being dialled again, so that it must not take longer than
/// a link on such a network needs.
fn dial_timeout_of(profile: Profile) -> Duration {
    match profile {
        Profile::Lan => Duration::from_secs(1),
        Profile::Wan => Duration::from_secs(3),
        Profile::Thin => Duration::from_secs(10),
    }
}

/// Round trips are for people and for choosing neighbours, so that they may be old.
fn ping_interval_of(profile: Profile) -> Duration {
    match profile {
        Profile::Lan | Profile::Wan => Duration::from_secs(15),
        Profile::Thin => THIN_INTERVAL,
    }
}

/// A link on such a network may be silent for as long; a third of it is between signs of life.
fn idle_timeout_of(profile: Profile) -> Duration {
    match profile {
        Profile::Lan => Duration::from_secs(8),
        Profile::Wan => Duration::from_secs(20),
        Profile::Thin => Duration::from_secs(75),
    }
}

fn socket_address(key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        ConfigError::value(
            key,
            format!("{text:?} is no IP:PORT; write \"127.0.0.1:4001\""),
        )
    })
}

fn loopback(key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    let address = socket_address(key, text)?;
    let is_loopback = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    };
    if !is_loopback {
        let problem = format!(
            "{address} can be reached from other machines, which needs TLS and is not there yet; \
             use 127.0.0.1, and a tunnel from elsewhere"
        );
        return Err(ConfigError::value(key, problem));
    }
    Ok(address)
}

fn check_retention(settings: &StoreSettings) -> Result<RetentionLimits, ConfigError> {
    let age = duration("store.retention_age", &settings.retention_age)?;
    let mib = settings.retention_mib;
    if mib > 0 && mib < 4 * settings.segment_mib {
        return Err(ConfigError::value(
            "store.retention_mib",
            format!(
                "{mib} is less than four segments of store.segment_mib = {}; only whole segments \
                 are given up, so make it at least {}, or 0 for no limit",
                settings.segment_mib,
                4 * settings.segment_mib
            ),
        ));
    }
    Ok(RetentionLimits {
        alarms_age: duration("store.alarms_age", &settings.alarms_age)?,
        age_max: (!age.is_zero()).then_some(age),
        bytes_max: (mib > 0).then(|| mib.saturating_mul(1 << 20)),
    })
}

pub(super) fn duration(key: &str, text: &str) -> Result<Duration, ConfigError> {
    humantime::parse_duration(text).map_err(|error| {
        ConfigError::value(
            key,
            format!("{text:?}: {error}; write \"250ms\", \"10s\" or \"5m\""),
        )
    })
}

fn within<T: PartialOrd + std::fmt::Display>(
    key: &str,
    value: T,
    min: T,
    max: T,
) -> Result<T, ConfigError> {
    if value < min || value > max {
        return Err(ConfigError::value(
            key,
            format!("{value} is not in {min} to {max}"),
        ));
    }
    Ok(value)
}

fn parse<T: FromStr<Err: ToString>>(key: &str, text: &str) -> Result<T, ConfigError> {
    text.parse()
        .map_err(|error: T::Err| ConfigError::value(key, error))
}

/// How often machines say where they are, mix what they know and measure round trips where bytes
/// are paid for; changes are said at once anyway. Source: guess.
const THIN_INTERVAL: Duration = Duration::from_secs(300);
/// How often a machine that has nothing to say tells how far its time has come, where bytes are
/// paid for: windows complete that much later. Source: guess, half of what `partial_after` is by
/// default.
const THIN_WATERMARK_INTERVAL: Duration = Duration::from_secs(30);
/// How much of the past comes and goes where the link is thin. Unit: bytes a second. Source: guess,
/// a quarter of 1 Mbit/s; `cargo test -p wire --test repair` shows how late live blocks are beside
/// it.
const THIN_PAST_RATE: u32 = 32 * 1024;
/// How long a wanted block may take there. Source: the largest at that rate, and some more.
const THIN_WANT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most that a day's budget can be, ten terabytes. Unit: kB. Source: guess.
const DAILY_KB_MAX: u64 = 10_000_000_000;
/// Least time between two samples of the host: sysinfo needs 200 ms for a CPU figure.
const HOST_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Shortest window: the failover benchmark's.
const WINDOW_MIN: Duration = Duration::from_millis(100);
/// Open windows of one origin; beyond it the oldest are closed as they are. Source: guess.
const WINDOWS_MAX: usize = 65_536;
/// How addresses of machines are written.
const EXAMPLE: &str = "/ip4/192.0.2.7/udp/4001/quic/noise";
