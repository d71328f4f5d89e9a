//! Entry point.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use testnet::args::{Cli, Command};
use testnet::control::{Request, ask};
use testnet::{machine, scenario, up};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli));
            runtime.shutdown_background(); // A machine's read of its orders never ends by itself.
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "testnet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command.unwrap_or(Command::Up(cli.up)) {
        Command::Up(args) => up::up(&args).await,
        Command::Kill(args) => ask(&args.dir, &Request::Kill(args.names)),
        Command::Stop(args) => ask(&args.dir, &Request::Stop(args.names)),
        Command::Continue(args) => ask(&args.dir, &Request::Continue(args.names)),
        Command::Restart(args) => ask(&args.dir, &Request::Restart(args.names)),
        Command::Partition(args) => ask(&args.dir, &Request::Partition(args.names)),
        Command::Heal(args) => ask(&args.dir, &Request::Heal),
        Command::Slow(args) => ask(
            &args.fault.dir,
            &Request::Slow(args.fault.names, args.delay),
        ),
        Command::Scenario(args) => scenario::run::run(&args).await,
        Command::Machine(args) => machine::run(&args.config, args.record.as_deref()).await,
    }
}
