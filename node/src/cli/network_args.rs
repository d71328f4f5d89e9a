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
    /// Make a one-time token by which a machine becomes a member: `fieldmesh join TOKEN`.
    Invite(InviteArgs),
    /// Throw a machine out, for good.
    Revoke(RevokeArgs),
    /// Give machines whose memberships end soon newer ones.
    Renew(RenewArgs),
    /// Make a new network key, and give it to every member.
    RotateKey(RotateKeyArgs),
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
    /// What it may do, where, and for how long from now on.
    #[command(flatten)]
    pub rights: RightsArgs,
    /// With the role admit: the roles that it may give to others.
    #[arg(
        long = "grant-role", value_name = "ROLE", value_delimiter = ',', value_parser = role,
        default_values = ["publish", "relay", "command", "observe"]
    )]
    pub grant_roles: Vec<Role>,
    /// With the role admit: the commands that it may allow to others, as patterns.
    #[arg(long = "grant-command", value_name = "PATTERN")]
    pub grant_commands: Vec<String>,
    /// With the role admit: how long a membership of its own making may be valid.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "90d")]
    pub grant_valid: Duration,
    /// Let the node at --grpc sign, as an admitter of its site; no operator's key is needed then.
    #[arg(long, requires = "grpc", conflicts_with_all = ["site", "dir"])]
    pub delegated: bool,
    /// HOST:PORT or unix:PATH of that node's gRPC.
    #[arg(long, value_name = "ADDR", env = "FIELDMESH_GRPC")]
    pub grpc: Option<String>,
    /// Where to write the membership; NAME.membership in the operator's directory by default.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where the operator's files are.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// What a machine may do.
#[derive(Debug, Args)]
pub struct RightsArgs {
    /// Its site; with --delegated the site of the node that signs.
    #[arg(long, required_unless_present = "delegated")]
    pub site: Option<String>,
    /// What it may do; may be repeated or separated by commas.
    #[arg(
        long = "role", value_delimiter = ',', value_parser = role,
        default_values = ["publish", "relay", "command", "observe"]
    )]
    pub roles: Vec<Role>,
    /// Names of commands that it may send, as patterns; may be repeated.
    #[arg(long = "command", value_name = "PATTERN")]
    pub commands: Vec<String>,
    /// How long its membership is valid, e.g. 365d; an admitter cuts it to what it may grant.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "365d")]
    pub valid: Duration,
}

/// An invitation to make.
#[derive(Debug, Args)]
pub struct InviteArgs {
    /// What its redeemer may do, where, and for how long from then on.
    #[command(flatten)]
    pub rights: RightsArgs,
    /// For how long the token can be redeemed, e.g. 1d.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "1d")]
    pub open_for: Duration,
    /// Address of a running machine that may admit, like /ip4/192.0.2.7/udp/4001/quic/noise; may be
    /// repeated.
    #[arg(
        long = "address",
        value_name = "MULTIADDR",
        required_unless_present = "delegated",
        conflicts_with = "delegated"
    )]
    pub addresses: Vec<String>,
    /// Let the node at --grpc sign, as an admitter of its site; no operator's key is needed then.
    #[arg(long, requires = "grpc", conflicts_with_all = ["site", "dir"])]
    pub delegated: bool,
    /// HOST:PORT or unix:PATH of that node's gRPC.
    #[arg(long, value_name = "ADDR", env = "FIELDMESH_GRPC")]
    pub grpc: Option<String>,
    /// Where the operator's files are.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// An invitation to redeem.
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// What `fieldmesh network invite` has printed; `-` reads it from standard input, so that
    /// nobody else on this computer sees it.
    pub token: String,
    /// Display name of this machine, unique in the network; its host name by default.
    #[arg(long)]
    pub name: Option<String>,
    /// Directory of the machine's files.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
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

/// Memberships to renew.
#[derive(Debug, Args)]
pub struct RenewArgs {
    /// The machines, by name or id; everyone whose membership ends soon if none is named.
    pub machines: Vec<String>,
    /// How soon that is, e.g. 60d.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "60d")]
    pub within: Duration,
    /// How long the newer memberships are valid from now on, e.g. 365d.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "365d")]
    pub valid: Duration,
    /// Which node knows the members, and passes the newer memberships on.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Where the operator's files are.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// A network key to make.
#[derive(Debug, Args)]
pub struct RotateKeyArgs {
    /// Which node knows the members, and passes the key on, sealed to each of them.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Where the operator's files are.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// What to give to a node.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Files that `network revoke`, `renew` and `rotate-key` have written.
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
