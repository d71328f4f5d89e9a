//! Entry point.

use std::process::ExitCode;

use clap::Parser as _;

/// What developers and CI run.
#[derive(Debug, clap::Parser)]
struct Arguments {
    #[command(subcommand)]
    task: xtask::Task,
}

fn main() -> ExitCode {
    match xtask::run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
