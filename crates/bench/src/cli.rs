//! The command line.

use std::future::Future;
use std::io::Write as _;

use clap::{CommandFactory as _, Parser, Subcommand};
use testnet::args::{MachineArgs, UpArgs};
use testnet::{machine, up};

use crate::measure::Report;
use crate::{
    aggregate, codec, command, failover, fanout, footprint, handshake, ingest, query, react, rtt,
    rules, stalled, throughput,
};

/// Benchmarks of Fieldmesh.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    /// What to measure.
    #[command(subcommand)]
    command: Command,
    /// One JSON object per result instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Name the benchmarks.
    List,
    /// Bytes and nanoseconds per reading of sealing and of checking and reading blocks.
    Codec(codec::Args),
    /// Readings per second that one core folds into windows.
    Aggregate(aggregate::Args),
    /// Durable readings per second of one node, bytes written and memory.
    Ingest(ingest::Args),
    /// From nothing to the first answer: time, CPU and bytes of the link and of others.
    Handshake(handshake::Args),
    /// A 64-byte frame there and back between two machines, and raw TCP beside it.
    Rtt(rtt::Args),
    /// A command to a neighbour and to a machine that must be dialled, and a bare frame beside it.
    #[command(name = "command")]
    Send(command::Args),
    /// From a publisher to every other machine: latency, copies, bytes, CPU.
    Fanout(fanout::Args),
    /// Readings per second that one machine publishes and three others hold.
    Throughput(throughput::Args),
    /// From the death of a relay to its successor's first upload.
    Failover(failover::Args),
    /// Memory of an idle node, and the size of the program.
    Footprint(footprint::Args),
    /// Memory of a machine while a neighbour does not read.
    Stalled(stalled::Args),
    /// Stored readings answered per second.
    Query(query::Args),
    /// Readings that one core brings to its rules and judges, per second.
    Rules(rules::Args),
    /// From a reading on one machine to what a rule of another does about it.
    React(react::Args),
    /// Run a testnet of this program; benchmarks start it.
    #[command(hide = true)]
    Up(UpArgs),
    /// Run one machine; the testnet starts these.
    #[command(hide = true)]
    Machine(MachineArgs),
}

/// Does what the command line asks for.
///
/// # Errors
///
/// What kept a benchmark from measuring.
pub fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut report = Report::new(cli.json);
    match cli.command {
        Command::List => return list(),
        Command::Codec(args) => codec::run(&args, &mut report)?,
        Command::Aggregate(args) => aggregate::run(&args, &mut report)?,
        Command::Ingest(args) => ingest::run(&args, &mut report)?,
        Command::Handshake(args) => block_on(handshake::run(&args, &mut report))?,
        Command::Rtt(args) => rtt::run(&args, &mut report)?,
        Command::Send(args) => command::run(&args, &mut report)?,
        Command::Fanout(args) => block_on(fanout::run(&args, &mut report))?,
        Command::Throughput(args) => block_on(throughput::run(&args, &mut report))?,
        Command::Failover(args) => block_on(failover::run(&args, &mut report))?,
        Command::Footprint(args) => block_on(footprint::run(&args, &mut report))?,
        Command::Stalled(args) => block_on(stalled::run(&args, &mut report))?,
        Command::Query(args) => block_on(query::run(&args, &mut report))?,
        Command::Rules(args) => rules::run(&args, &mut report)?,
        Command::React(args) => block_on(react::run(&args, &mut report))?,
        Command::Up(args) => return block_on(up::up(&args)),
        Command::Machine(args) => {
            return block_on(machine::run(&args.config, args.record.as_deref()));
        }
    }
    report.finish()
}

/// Runs on one thread, as a node does.
fn block_on(future: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background(); // A machine's read of its orders never ends by itself.
    result
}

fn list() -> anyhow::Result<()> {
    let command = Cli::command();
    let is_benchmark = |command: &&clap::Command| {
        !command.is_hide_set() && !["list", "help"].contains(&command.get_name())
    };
    for benchmark in command.get_subcommands().filter(is_benchmark) {
        let about = benchmark.get_about().cloned().unwrap_or_default();
        writeln!(std::io::stdout(), "{:<10} {about}", benchmark.get_name())?;
    }
    Ok(())
}
