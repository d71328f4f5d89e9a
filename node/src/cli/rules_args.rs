//! The arguments of `rules` and `alarms`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::NodeArgs;

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Say what is wrong with the rules of a file, and where, if anything is.
    Check(RulesFileArgs),
    /// Show how the rules of a node stand.
    List(NodeArgs),
    /// Have a node read its rules again.
    Reload(NodeArgs),
    /// Say what rules would have done, had they heard recorded readings.
    Test(RulesTestArgs),
}

/// A file with rules.
#[derive(Debug, Args)]
pub struct RulesFileArgs {
    /// The file: a configuration, or only its `[[rule]]` tables.
    pub file: PathBuf,
}

/// Rules and recorded readings.
#[derive(Debug, Args)]
pub struct RulesTestArgs {
    /// The file: a configuration, or only its `[[rule]]` tables.
    pub file: PathBuf,
    /// Recorded readings: one JSON object per line, as `fieldmesh query --output json` prints
    /// them, in any order.
    #[arg(long, value_name = "DATA")]
    pub against: PathBuf,
    /// The machine on which the rules run, by name or id: whose series they mean when they name
    /// no machine. Not needed if the data is of one machine.
    #[arg(long, value_name = "MACHINE")]
    pub machine: Option<String>,
    /// Only this rule.
    #[arg(long, value_name = "NAME")]
    pub rule: Option<String>,
}

/// Which alarms to show.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AlarmsArgs {
    /// What to do instead of showing them.
    #[command(subcommand)]
    pub command: Option<AlarmsCommand>,
    /// Also those that are over and acknowledged.
    #[arg(long)]
    pub all: bool,
    /// Which node to ask.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// What to do with alarms.
#[derive(Debug, Subcommand)]
pub enum AlarmsCommand {
    /// Acknowledge an alarm, for everyone.
    Ack(AckArgs),
}

/// Which alarm to acknowledge.
#[derive(Debug, Args)]
pub struct AckArgs {
    /// The alarm, as the list names it: MACHINE:NAME.
    pub alarm: String,
    /// Which node to ask.
    #[command(flatten)]
    pub node: NodeArgs,
}
