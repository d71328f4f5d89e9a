//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches as _, Parser, Subcommand};

/// Local testnets of Fieldmesh: real nodes on this computer, real readings, faults by command.
#[derive(Debug, Parser)]
#[command(name = "testnet", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `up` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// What `up` is asked for.
    #[command(flatten)]
    pub up: UpArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start machines, and end them on SIGINT, SIGTERM or after `--for`.
    Up(UpArgs),
    /// End machines at once, as a power cut would (SIGKILL).
    Kill(FaultArgs),
    /// Freeze machines (SIGSTOP).
    Stop(FaultArgs),
    /// Let frozen machines go on (SIGCONT).
    Continue(FaultArgs),
    /// End machines in order if they run, and start them again.
    Restart(FaultArgs),
    /// Cut the links between the named machines and all others.
    Partition(FaultArgs),
    /// Mend all cut and slowed links.
    Heal(FaultArgs),
    /// Delay everything that the named machines send and receive.
    Slow(SlowArgs),
    /// Run a scenario from its start to its end: `heating`, or a file.
    Scenario(ScenarioArgs),
    /// Run one machine; `up` starts these.
    #[command(hide = true)]
    Machine(MachineArgs),
}

/// What `up` is asked for.
#[derive(Clone, Debug, Args)]
pub struct UpArgs {
    /// How many machines.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub nodes: u8,
    /// Where keys, configurations, logs and data go; a fresh temporary directory by default, which
    /// is removed at the end.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// End after this time, like `30s` or `5m`; by default when interrupted.
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Readings to replay at machine-1, and machine-2 if the table names two machines; the two
    /// wind turbines by default.
    #[arg(long)]
    pub replay: Option<PathBuf>,
    /// How many times faster than recorded readings are replayed.
    #[arg(long, default_value_t = 600.0)]
    pub speed: f64,
    /// Where relays send aggregates: `file:DIR` or `mqtt://HOST:PORT`; `file:` below DIR by
    /// default.
    #[arg(long = "uplink")]
    pub uplinks: Vec<String>,
    /// Length of the windows that are sent.
    #[arg(long, default_value = "10s")]
    pub window: String,
    /// Neighbours that each machine keeps.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub neighbours: u8,
    /// How many sites the machines belong to, in turn; machine-1 subscribes to all of them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=200))]
    pub sites: u8,
    /// No replay and no host metrics: only what is published from outside.
    #[arg(long)]
    pub quiet_sources: bool,
    /// The first three numbers of the machines' loopback addresses, so that two testnets fit on
    /// one computer.
    #[arg(long, default_value = "127.0.1", value_parser = subnet)]
    pub subnet: String,
    /// A network namespace for each machine, on a network that this computer is no part of; their
    /// gRPC is served on Unix sockets. Needs root and `ip` (iproute2).
    #[arg(long, conflicts_with = "subnet")]
    pub netns: bool,
    /// Write down all that each machine takes in, for `sim --replay`, in DIR/MACHINE/recording.
    #[arg(long)]
    pub record: bool,
    /// Names and configurations of the machines; machine-1, machine-2 and so on if there are none.
    #[arg(skip)]
    pub machines: Vec<MachinePlan>,
}

/// A machine that is not like the others.
#[derive(Clone, Debug)]
pub struct MachinePlan {
    /// Its name.
    pub name: String,
    /// What stands at the end of its configuration.
    pub config: String,
}

/// Which scenario.
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    /// `heating`, or a file.
    pub scenario: String,
    /// Where keys, configurations, logs and data go; a fresh temporary directory by default, which
    /// is removed at the end unless the scenario fails.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The first three numbers of the machines' loopback addresses.
    #[arg(long, default_value = "127.0.1", value_parser = subnet)]
    pub subnet: String,
}

impl Default for UpArgs {
    fn default() -> Self {
        let command = Self::augment_args(clap::Command::new("up")).no_binary_name(true);
        let matches = command.get_matches_from(std::iter::empty::<&str>());
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Which machines of a running testnet.
#[derive(Debug, Args)]
pub struct FaultArgs {
    /// The directory of the running testnet.
    #[arg(long)]
    pub dir: PathBuf,
    /// Names of machines, like machine-1.
    pub names: Vec<String>,
}

/// Which machines of a running testnet to slow down, and by how much.
#[derive(Debug, Args)]
pub struct SlowArgs {
    /// Which machines.
    #[command(flatten)]
    pub fault: FaultArgs,
    /// How long everything is held back in each direction.
    #[arg(long, default_value = "100ms", value_parser = humantime::parse_duration)]
    pub delay: Duration,
}

/// One machine.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Its configuration.
    #[arg(long)]
    pub config: PathBuf,
    /// Where all that it takes in is written down.
    #[arg(long)]
    pub record: Option<PathBuf>,
}

fn subnet(text: &str) -> Result<String, String> {
    let address = format!("{text}.1").parse::<std::net::Ipv4Addr>();
    match address {
        Ok(address) if address.is_loopback() => Ok(text.to_owned()),
        _ => Err("three numbers of a loopback network, like 127.0.2".to_owned()),
    }
}
