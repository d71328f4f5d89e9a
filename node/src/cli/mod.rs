//! The command line: `fieldmesh SUBCOMMAND`.
//!
//! [`main`] reads the arguments, does what they say and returns the exit code: 0 done, 1 failed,
//! 2 usage, 3 unreachable, 4 refused. Commands that ask a node go over gRPC like any program;
//! those that make or check files never do.
//!
//! # Not here
//!
//! Running a node (`run`), key files (`keys`), configuration (`config`).

mod args;
mod audit;
mod client;
mod commands;
mod failure;
mod hand_out;
mod invite;
mod join;
mod local;
mod mesh;
mod network;
mod network_args;
mod publish;
mod readings;
mod render;
mod rules;
mod rules_args;
mod set_aside;
mod table;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser as _;

pub use args::{
    Ack, AuditArgs, CheckArgs, Cli, Command, CompletionsArgs, ConfigCommand, Format, LatestArgs,
    NodeArgs, Output, PublishArgs, QueryArgs, RunArgs, SendArgs, SeriesArgs, Time, ValueKind,
    WatchArgs,
};
use failure::{Failure, Kind};
pub use network_args::{
    AdmitArgs, InitArgs, InviteArgs, JoinArgs, NetworkCommand, OperatorArgs, PushArgs, RenewArgs,
    RevokeArgs, RightsArgs, RotateKeyArgs,
};

pub use rules_args::{
    AckArgs, AlarmsArgs, AlarmsCommand, RulesCommand, RulesFileArgs, RulesTestArgs,
};

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print(); // Nowhere is left to complain.
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Kind::Usage as u8));
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.code() != 0 {
                let _ = writeln!(io::stderr(), "fieldmesh: {failure}");
            }
            failure.exit_code()
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let (output, out) = (cli.output, &mut io::stdout());
    match cli.command {
        Command::Network(command) => network(command, output, out),
        Command::Init(args) => network::init(&args, output, out),
        Command::Join(args) => ask(join::join(args, output, out)),
        Command::Run(args) => Ok(crate::run::run(&args.config, args.recording())?),
        Command::Status(args) => ask(mesh::status(args, output, out)),
        Command::Peers(args) => ask(mesh::peers(args, output, out)),
        Command::Topology(args) => ask(mesh::topology(args, output, out)),
        Command::Relays(args) => ask(mesh::relays(args, output, out)),
        Command::Uplink(args) => ask(mesh::uplink(args, output, out)),
        Command::Rules(command) => rules::rules(command, output, out),
        Command::Alarms(args) => ask(rules::alarms(args, output, out)),
        Command::Audit(args) => ask(audit::audit(args, output, out)),
        Command::Series(args) => ask(readings::series(args, output, out)),
        Command::Publish(args) => ask(publish::publish(args, output, out)),
        Command::Latest(args) => ask(readings::latest(args, output, out)),
        Command::Query(args) => ask(readings::query(args, output, out)),
        Command::Watch(args) => ask(readings::watch(args, output, out)),
        Command::Send(args) => ask(commands::send(args, output, out)),
        Command::Config(ConfigCommand::Default) => local::print_default(out),
        Command::Config(ConfigCommand::Check(args)) => local::check(&args, out),
        Command::Completions(args) => local::completions(&args, out),
    }
}

fn network(
    command: NetworkCommand,
    output: Output,
    out: &mut impl io::Write,
) -> Result<(), Failure> {
    match command {
        NetworkCommand::Create(args) => network::create(&args, output, out),
        NetworkCommand::Admit(args) => ask(network::admit(args, output, out)),
        NetworkCommand::Invite(args) => ask(invite::invite(args, output, out)),
        NetworkCommand::Revoke(args) => ask(network::revoke(args, output, out)),
        NetworkCommand::Renew(args) => ask(hand_out::renew(args, output, out)),
        NetworkCommand::RotateKey(args) => ask(hand_out::rotate_key(args, output, out)),
        NetworkCommand::Push(args) => ask(network::push(args, output, out)),
        NetworkCommand::Members(args) => ask(network::members(args, output, out)),
        NetworkCommand::Show(args) => network::show(&args, output, out),
    }
}

/// Runs a command that asks a node.
fn ask(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(command)
}
