//! The whole command tree, as `clap` reads it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use model::{Pattern, SeriesName, Timestamp, Unit};

use super::network_args::{InitArgs, JoinArgs, NetworkCommand};
use super::rules_args::{AlarmsArgs, RulesCommand};
use crate::recorder::RecordTo;

/// Machines that share readings without a broker, and elect the one that forwards them.
#[derive(Debug, Parser)]
#[command(name = "fieldmesh", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to print what is found.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a network and admit machines to it; done where the operator's key is kept.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Make this machine's key and print its machine id.
    Init(InitArgs),
    /// Become a member by the token of an invitation.
    Join(JoinArgs),
    /// Run a node.
    Run(RunArgs),
    /// Show how a node is doing.
    Status(NodeArgs),
    /// List the neighbours of a node.
    Peers(NodeArgs),
    /// Show the machines and links that a node knows of.
    Topology(NodeArgs),
    /// List the relays and the origins that each one serves.
    Relays(NodeArgs),
    /// Show how the uplinks of a node are doing, or what their sinks refuse for ever.
    Uplink(UplinkArgs),
    /// Check rules, show them, or try them on recorded readings.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Show the alarms of every machine, or acknowledge one.
    Alarms(AlarmsArgs),
    /// Show whom a node has let in, refused or thrown out, and on whose word.
    Audit(AuditArgs),
    /// List the series that a node knows.
    Series(SeriesArgs),
    /// Publish readings as the machine of a node.
    Publish(PublishArgs),
    /// Show the latest reading of each series.
    Latest(LatestArgs),
    /// Show the readings of a span of time.
    Query(QueryArgs),
    /// Show readings as they arrive, until interrupted.
    Watch(WatchArgs),
    /// Send a command to a machine and print its answer.
    Send(SendArgs),
    /// Print or check configuration files.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
}

/// How to print what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: one JSON object per line.
    Json,
}

/// A node to run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Its configuration file.
    #[arg(long, value_name = "FILE", default_value = "fieldmesh.toml")]
    pub config: PathBuf,
    /// Write down all that the node takes in, for a replay with `sim --replay FILE`. It holds no
    /// keys, but readings and commands in clear.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Most that the recording takes; when it is full, it ends and the node goes on. Unit: MiB.
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 1024,
        value_parser = clap::value_parser!(u64).range(1..=1_048_576),
        requires = "record"
    )]
    pub record_max: u64,
}

impl RunArgs {
    /// Where the node is to be recorded, if it is.
    #[must_use]
    pub fn recording(&self) -> Option<RecordTo> {
        self.record.clone().map(|path| RecordTo {
            path,
            bytes_max: self.record_max * 1024 * 1024,
        })
    }
}

/// Which node to ask.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// HOST:PORT or unix:PATH of the node's gRPC.
    #[arg(
        long,
        value_name = "ADDR",
        env = "FIELDMESH_GRPC",
        default_value = "127.0.0.1:50051"
    )]
    pub grpc: String,
}

/// What to send to whom.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The node that sends it.
    #[command(flatten)]
    pub node: NodeArgs,
    /// To whom: a machine's name or id, or `self`.
    pub machine: String,
    /// What, e.g. `ping`, `identify`, `reload`, `heating/set`.
    pub name: String,
    /// With what, as JSON; `-` reads it from standard input.
    #[arg(allow_hyphen_values = true)]
    pub arguments: Option<String>,
    /// Time until the deadline: 5s unless said otherwise, at most 1h; with --when-reachable 1h and
    /// at most 7d.
    #[arg(long, value_parser = humantime::parse_duration)]
    pub deadline: Option<Duration>,
    /// The machine may be away: the others carry the command to it, sealed, and its answer back.
    #[arg(long)]
    pub when_reachable: bool,
    /// The id of a command that was sent before: asks what became of it, and never has it carried
    /// out twice.
    #[arg(long, value_name = "ULID")]
    pub id: Option<String>,
}

/// What to show of the uplinks.
#[derive(Debug, Args)]
pub struct UplinkArgs {
    /// List what was set aside: the newest records that a sink refuses for ever, of all uplinks or
    /// of this one.
    #[arg(long, value_name = "UPLINK")]
    pub set_aside: Option<Option<String>>,
    /// The newest so many of each uplink.
    #[arg(long, value_name = "N", requires = "set_aside", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub limit: u32,
    /// Which node to ask.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Which audit records to show.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// The newest so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Of one category only: admission, command, rule.
    #[arg(long, value_name = "NAME")]
    pub category: Option<String>,
    /// Which node to ask.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Which series to list.
#[derive(Debug, Args)]
pub struct SeriesArgs {
    /// Series to list: `*` is one level, `**` any number, MACHINE:PATTERN one machine's.
    pub pattern: Option<Pattern>,
    /// Which node to ask.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// What to publish.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["value", "stdin"])))]
pub struct PublishArgs {
    /// The value; `null` for none.
    #[arg(allow_negative_numbers = true, requires = "series")]
    pub value: Option<String>,
    /// Its series, e.g. press/oil/temperature.
    #[arg(long, value_name = "NAME")]
    pub series: Option<SeriesName>,
    /// Unit of the series as a UCUM code, e.g. Cel.
    #[arg(long, default_value = "")]
    pub unit: Unit,
    /// A label of the series; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// When the value was true: RFC 3339, or -5m for five minutes ago. The node's now by default.
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    pub time: Option<Time>,
    /// Type of the series; by default numbers are doubles, so that 21 and 21.5 fit into one series.
    #[arg(long = "type", value_enum, default_value_t = ValueKind::Auto)]
    pub kind: ValueKind,
    /// Read readings from standard input, one per line, as they come.
    #[arg(long, conflicts_with_all = ["value", "series", "unit", "labels", "time", "kind"])]
    pub stdin: bool,
    /// What the lines look like.
    #[arg(long, value_enum, default_value_t = Format::Ndjson, requires = "stdin")]
    pub format: Format,
    /// When readings count as published: accepted, durable or replicated:N.
    #[arg(long, default_value = "durable")]
    pub ack: Ack,
    /// How long to wait until one reading is acknowledged.
    #[arg(long, value_name = "DURATION", default_value = "30s", conflicts_with = "stdin",
        value_parser = humantime::parse_duration)]
    pub timeout: Duration,
    /// Which node to give them to.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Type of a value on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ValueKind {
    /// `true` and `false` are bool, numbers double, all else text.
    Auto,
    /// A double.
    Double,
    /// A signed integer.
    Integer,
    /// `true` or `false`.
    Bool,
    /// Text.
    Text,
}

/// What lines on standard input look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON object per line.
    Ndjson,
    /// A SenML pack per line.
    Senml,
    /// InfluxDB line protocol.
    Line,
}

/// When readings count as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// In a block that is on its way.
    Accepted,
    /// On the node's disk.
    Durable,
    /// On the node's disk and on those of this many neighbours.
    Replicated(u8),
}

impl FromStr for Ack {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let replicas = text.strip_prefix("replicated:");
        match (text, replicas.map(str::parse)) {
            ("accepted", _) => Ok(Self::Accepted),
            ("durable", _) => Ok(Self::Durable),
            (_, Some(Ok(replicas @ 1..=64))) => Ok(Self::Replicated(replicas)),
            _ => Err("use accepted, durable, or replicated:N with N from 1 to 64".to_owned()),
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Durable => f.write_str("durable"),
            Self::Replicated(replicas) => write!(f, "replicated:{replicas}"),
        }
    }
}

/// Which series to show.
#[derive(Debug, Args)]
pub struct LatestArgs {
    /// Series to show: `*` is one level, `**` any number, MACHINE:PATTERN one machine's.
    #[arg(default_value = "**")]
    pub pattern: Pattern,
    /// Which node to ask.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Which readings to show.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Series to show: `*` is one level, `**` any number, MACHINE:PATTERN one machine's.
    pub pattern: Pattern,
    /// The first time that fits: RFC 3339, or -1h for an hour ago. The beginning by default.
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    pub from: Option<Time>,
    /// The first time that fits no more: RFC 3339, -5m, or now. The end by default.
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    pub to: Option<Time>,
    /// Most readings to show.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Which node to ask.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Which readings to show as they arrive.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Series to show: `*` is one level, `**` any number, MACHINE:PATTERN one machine's.
    pub pattern: Pattern,
    /// Begin with what is held from this time on: RFC 3339, or -1h for an hour ago.
    #[arg(long, value_parser = time, allow_hyphen_values = true)]
    pub since: Option<Time>,
    /// Which node to ask.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// What to do with configuration files.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every key with its default and what it means.
    Default,
    /// Say what is wrong with a configuration file, if anything is.
    Check(CheckArgs),
}

/// A configuration file to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file.
    #[arg(default_value = "fieldmesh.toml")]
    pub file: PathBuf,
}

/// Whose completions to print.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

/// A time as written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// A point of time.
    At(Timestamp),
    /// So long before now.
    Ago(Duration),
}

impl Time {
    /// The point of time, if now is `now`.
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(duration) => now.saturating_sub(duration),
        }
    }
}

fn time(text: &str) -> Result<Time, String> {
    if text == "now" {
        return Ok(Time::Ago(Duration::ZERO));
    }
    if let Some(duration) = text.strip_prefix('-') {
        let duration = humantime::parse_duration(duration);
        return duration.map(Time::Ago).map_err(|error| error.to_string());
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "expected a time like 2026-03-01T08:00:00Z, -1h or now".to_owned())?;
    i64::try_from(time.as_nanosecond())
        .map(|nanos| Time::At(Timestamp::from_nanos(nanos)))
        .map_err(|_| "the time must lie between the years 1678 and 2262".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected KEY=VALUE, e.g. line=3")?;
    Ok((key.to_owned(), value.to_owned()))
}
