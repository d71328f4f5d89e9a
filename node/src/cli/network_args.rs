//! Arguments of `fieldmesh network …`, `init` and `join`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use identity::Role;
use model::MachineId;

use super::args::NodeArgs;

/// What to do with a network.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Make a network: the operator's key, its public half and the network's key.
    Create(OperatorArgs),
    /// Sign a machine's membership.
    Admit(AdmitArgs),
    /// Throw a machine out, for good.
    Revoke(RevokeArgs),
    /// Give a node what was signed before, to pass it on to every machine.
    Push(PushArgs),
    /// List every machine that a node knows the membership of.
    Members(NodeArgs),
    /// Print the network's id and the operator's public key.
    Show(OperatorArgs),
}

/// Where the operator's files are.
#[derive(Debug, Args)]
pub struct OperatorArgs {
    /// Directory of the operator's files.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
}

/// A membership to sign.
#[derive(Debug, Args)]
pub struct AdmitArgs {
    /// The machine, as `fieldmesh init` printed it there.
    pub machine: MachineId,
    /// Its display name, unique in the network.
    #[arg(long)]
    pub name: String,
    /// Its site.
    #[arg(long)]
    pub site: String,
    /// What it may do; may be repeated or separated by commas.
    #[arg(
        long = "role", value_delimiter = ',', value_parser = role,
        default_values = ["publish", "relay", "command", "observe"]
    )]
    pub roles: Vec<Role>,
    /// Names of commands that it may send, as patterns; may be repeated.
    #[arg(long = "command", value_name = "PATTERN")]
    pub commands: Vec<String>,
    /// How long the membership is valid from now on, e.g. 365d.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "365d")]
    pub valid: Duration,
    /// With the role admit: the roles that it may give to others.
    #[arg(
        long = "grant-role", value_name = "ROLE", value_delimiter = ',', value_parser = role,
        default_values = ["publish", "observe"]
    )]
    pub grant_roles: Vec<Role>,
    /// With the role admit: the commands that it may allow to others, as patterns.
    #[arg(long = "grant-command", value_name = "PATTERN")]
    pub grant_commands: Vec<String>,
    /// With the role admit: how long a membership of its own making may be valid.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "90d")]
    pub grant_valid: Duration,
    /// Where to write the membership; NAME.membership in the operator's directory by default.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where the operator's files are.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// A machine to throw out.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The machine: its id, or the name of its membership in the operator's directory.
    pub machine: String,
    /// Why; every machine and its logs will show it.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Give it at once to the node at this HOST:PORT or unix:PATH, which passes it on.
    #[arg(long, value_name = "ADDR", env = "FIELDMESH_GRPC")]
    pub grpc: Option<String>,
    /// Let that node sign, as the admitter of the machine; no operator's key is needed then.
    #[arg(long, requires = "grpc", conflicts_with_all = ["dir", "out"])]
    pub delegated: bool,
    /// Where to write the revocation; MACHINE.revocation in the operator's directory by default.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where the operator's files are.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// What to give to a node.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Files that `network revoke` and `network rotate-key` have written.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Which node to give them to.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Where this machine's key goes.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Directory of the machine's files.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
}

pub(super) fn role(text: &str) -> Result<Role, String> {
    Role::from_name(text).ok_or_else(|| "use publish, relay, command, observe or admit".to_owned())
}
