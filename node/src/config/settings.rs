//! The configuration file as written: every table, every key, nothing checked yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CommandsSettings, RuleSettings};

/// The whole file. [`Settings::check`] is the only way to a [`super::Configuration`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `[node]`.
    pub node: NodeSettings,
    /// `[network]`.
    pub network: NetworkSettings,
    /// `[listen]`.
    pub listen: ListenSettings,
    /// `[api]`.
    pub api: ApiSettings,
    /// `[overlay]`.
    pub overlay: OverlaySettings,
    /// `[store]`.
    pub store: StoreSettings,
    /// `[readings]`.
    pub readings: ReadingsSettings,
    /// `[relays]`.
    pub relays: RelaysSettings,
    /// `[commands]`.
    pub commands: CommandsSettings,
    /// `[[rule]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<RuleSettings>,
    /// `[[source]]`.
    pub source: Vec<SourceSettings>,
    /// `[[uplink]]`.
    pub uplink: Vec<UplinkSettings>,
}

/// `[node]`: the machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSettings {
    /// Where everything is kept.
    pub data_dir: PathBuf,
}

/// `[network]`: keys and first contacts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSettings {
    /// This machine's secret key.
    pub machine_key_file: PathBuf,
    /// The network's secret.
    pub network_key_file: PathBuf,
    /// The operator's public key.
    pub operator_file: PathBuf,
    /// This machine's membership.
    pub membership_file: PathBuf,
    /// Multiaddresses to dial at the start.
    pub bootstrap: Vec<String>,
    /// Names of sites whose logs are held, too, or `*`.
    pub subscribe: Vec<String>,
    /// How much longer an expired membership counts, as a duration.
    pub grace: String,
}

/// `[listen]`: where other machines connect.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenSettings {
    /// IP:PORT, or multiaddress, for QUIC.
    pub quic: Vec<String>,
    /// IP:PORT, or multiaddress, for TCP.
    pub tcp: Vec<String>,
    /// Discovery on the LAN.
    pub mdns: bool,
}

/// `[api]`: where programs connect.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSettings {
    /// IP:PORT of gRPC.
    pub grpc: String,
    /// Path of a Unix socket, empty for none.
    pub socket: PathBuf,
    /// IP:PORT of `/metrics`, empty for none.
    pub metrics: String,
}

/// `[overlay]`: how many machines to keep in touch with.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverlaySettings {
    /// Neighbours to keep. Range: 1..=64.
    pub active_max: usize,
    /// Machines to remember. Range: 8..=1024.
    pub passive_max: usize,
    /// Whether this machine stays unmentioned while it only listens.
    pub quiet: bool,
}

/// `[store]`: the disk.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// Size of a sealed segment. Unit: MiB. Range: 1..=1024.
    pub segment_mib: u64,
    /// Least free space. Unit: MiB.
    pub free_mib_min: u64,
    /// How long readings are kept after they came, as a duration; zero is without end.
    pub retention_age: String,
    /// Largest store. Unit: MiB. Zero is without end.
    pub retention_mib: u64,
    /// How long alarms are kept, if that is longer than the rest, as a duration.
    pub alarms_age: String,
    /// How fast what is stored is read again to find damage. Unit: KiB a second. Zero is not at
    /// all.
    pub scrub_kib: u64,
}

/// `[readings]`: what holds for all sources.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadingsSettings {
    /// Disorder that is not late, as a duration.
    pub watermark_delay: String,
}

/// `[relays]`: the election.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RelaysSettings {
    /// Relays of one uplink. Range: 1..=16.
    pub count: usize,
    /// What lies between the machines: how soon a silent relay is replaced, how links behave.
    pub profile: Profile,
}

/// How soon a silent relay is replaced.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Suspected after 300 ms.
    Lan,
    /// Suspected after 2 s.
    Wan,
    /// Suspected after 30 s.
    Thin,
}

/// `[[source]]`: where readings come from.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum SourceSettings {
    /// Metrics of this machine.
    Host {
        /// Its name, which its series start with.
        name: String,
        /// How often, as a duration.
        #[serde(default = "interval_default")]
        interval: String,
    },
    /// A recorded table.
    Csv {
        /// Its name, which its series start with unless there is a prefix.
        name: String,
        /// The table, `.csv` or `.csv.gz`.
        file: PathBuf,
        /// Only rows with this in the column `machine`.
        #[serde(default)]
        machine: Option<String>,
        /// How many times faster than recorded.
        #[serde(default = "speed_default")]
        speed: f64,
        /// Start over at the end.
        #[serde(default = "repeat_default")]
        repeat: bool,
        /// Put before the names of the columns.
        #[serde(default)]
        prefix: Option<String>,
        /// Units by column.
        #[serde(default)]
        units: BTreeMap<String, String>,
    },
}

/// `[[uplink]]`: a way to the internet.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkSettings {
    /// Its name, equal on all machines that share it.
    pub id: String,
    /// Where to.
    pub url: String,
    /// Lengths of its windows, as durations.
    #[serde(default = "windows_default")]
    pub windows: Vec<String>,
    /// The series whose windows are uploaded; none stands for all.
    #[serde(default)]
    pub patterns: Vec<String>,
    /// The series whose readings are uploaded one by one instead.
    #[serde(default)]
    pub raw: Vec<String>,
    /// The series of which nothing is uploaded.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Series that are sent first and given up last.
    #[serde(default)]
    pub urgent: Vec<String>,
    /// Series that are given up first.
    #[serde(default)]
    pub expendable: Vec<String>,
    /// Who logs in, unless it stands in the URL.
    #[serde(default)]
    pub user: Option<String>,
    /// The file with the password or token.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificates of those who may sign the sink's, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// This machine's certificate, as PEM.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate, as PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Most that waiting records take. Unit: MiB. Range: 1..=65536.
    #[serde(default = "backlog_mib_default")]
    pub backlog_mib: u64,
    /// Longest that a record waits, as a duration.
    #[serde(default = "week_default")]
    pub backlog_age: String,
    /// How fast a backlog is sent. Unit: records per second. Range: 1..=1000000.
    #[serde(default = "replay_rate_default")]
    pub replay_rate: u32,
    /// What may go over the wire in a day. Unit: kB; 0 for no limit.
    #[serde(default)]
    pub daily_kb: u64,
    /// What happens once that is spent.
    #[serde(default)]
    pub when_spent: WhenSpent,
    /// Preference for this machine.
    #[serde(default)]
    pub priority: u8,
    /// What the way costs.
    #[serde(default)]
    pub cost_class: CostClass,
    /// How long a window still takes late readings, as a duration.
    #[serde(default = "minute_default")]
    pub allowed_lateness: String,
    /// Silence after which windows are sent as partial, as a duration.
    #[serde(default = "minute_default")]
    pub partial_after: String,
}

/// What happens once the budget of a day is spent.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenSpent {
    /// Everything waits, or goes by another machine.
    #[default]
    Hold,
    /// What is urgent still goes.
    UrgentOnly,
}

/// What a way to the internet costs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostClass {
    /// By the hour or not at all.
    #[default]
    Wired,
    /// Shared air.
    Wireless,
    /// By the byte.
    Metered,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
        }
    }
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self {
            machine_key_file: "machine.key".into(),
            network_key_file: "network.key".into(),
            operator_file: "operator.pub".into(),
            membership_file: "membership".into(),
            bootstrap: Vec::new(),
            subscribe: Vec::new(),
            grace: "30days".to_owned(),
        }
    }
}

impl Default for ListenSettings {
    fn default() -> Self {
        Self {
            quic: vec!["0.0.0.0:4001".to_owned()],
            tcp: vec!["0.0.0.0:4001".to_owned()],
            mdns: true,
        }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            grpc: "127.0.0.1:50051".to_owned(),
            socket: PathBuf::new(),
            metrics: "127.0.0.1:9464".to_owned(),
        }
    }
}

impl Default for OverlaySettings {
    fn default() -> Self {
        Self {
            active_max: 5,
            passive_max: 64,
            quiet: false,
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            segment_mib: 64,
            free_mib_min: 64,
            retention_age: "0s".to_owned(),
            retention_mib: 0,
            alarms_age: "365d".to_owned(),
            scrub_kib: 256,
        }
    }
}

impl Default for ReadingsSettings {
    fn default() -> Self {
        Self {
            watermark_delay: "200ms".to_owned(),
        }
    }
}

impl Default for RelaysSettings {
    fn default() -> Self {
        Self {
            count: 1,
            profile: Profile::Lan,
        }
    }
}

fn interval_default() -> String {
    "1s".to_owned()
}

fn speed_default() -> f64 {
    600.0
}

fn repeat_default() -> bool {
    true
}

fn windows_default() -> Vec<String> {
    vec!["10s".to_owned()]
}

impl UplinkSettings {
    /// An uplink with the defaults for everything else.
    #[must_use]
    pub fn new(id: String, url: String) -> Self {
        Self {
            id,
            url,
            windows: windows_default(),
            patterns: Vec::new(),
            raw: Vec::new(),
            exclude: Vec::new(),
            urgent: Vec::new(),
            expendable: Vec::new(),
            user: None,
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            backlog_mib: backlog_mib_default(),
            backlog_age: week_default(),
            replay_rate: replay_rate_default(),
            daily_kb: 0,
            when_spent: WhenSpent::Hold,
            priority: 0,
            cost_class: CostClass::Wired,
            allowed_lateness: minute_default(),
            partial_after: minute_default(),
        }
    }
}

fn backlog_mib_default() -> u64 {
    64
}

fn week_default() -> String {
    "7days".to_owned()
}

fn replay_rate_default() -> u32 {
    2_000
}

fn minute_default() -> String {
    "60s".to_owned()
}
