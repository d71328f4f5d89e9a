//! The simulator's command line.

mod abreast;

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use sim::{Replayed, Scenario};

use crate::abreast::Runs;

/// Runs real nodes over a simulated network, each seed twice; as many seeds at a time as there are
/// cores.
#[derive(Debug, Parser)]
struct Arguments {
    /// Its name, or `all` for those that take seconds; one that there is not is answered with all
    /// names.
    #[arg(long, default_value = "churn", value_parser = chosen)]
    scenario: Chosen,
    /// How many machines.
    #[arg(long, default_value_t = 5)]
    nodes: usize,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, counted up from the first.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Run each seed once, without comparing two traces.
    #[arg(long)]
    once: bool,
    /// Run the scenario growth with 10, 100 and so on up to `--nodes` machines, each once, and
    /// print what it costs to grow; of the scenario many-sites, with 2, 8, 32 and so on sites of
    /// ten.
    #[arg(long)]
    growth: bool,
    /// One JSON object a line instead of text.
    #[arg(long)]
    json: bool,
    /// Print what happened in the first seed, line by line, instead of the outcome.
    #[arg(long)]
    log: bool,
    /// Replay the run of a real node instead, recorded by `fieldmesh run --record FILE`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "growth", "log"])]
    replay: Option<PathBuf>,
}

/// The scenarios that a name stands for.
#[derive(Clone, Debug)]
struct Chosen(Vec<Scenario>);

fn chosen(name: &str) -> Result<Chosen, String> {
    if name == "all" {
        let all = Scenario::ALL.into_iter();
        return Ok(Chosen(all.filter(|s| !s.takes_minutes()).collect()));
    }
    Ok(Chosen(vec![name.parse()?]))
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    anyhow::ensure!(
        arguments.nodes > 0,
        "a network has at least one machine; give --nodes 1 or more"
    );
    let mut out = std::io::stdout().lock();
    if let Some(path) = arguments.replay {
        let replayed = replay(&path)?;
        match arguments.json {
            true => writeln!(out, "{}", replayed.to_json())?,
            false => writeln!(out, "{replayed}")?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Chosen(scenarios) = arguments.scenario;
    if arguments.log {
        for line in (scenarios.iter()).flat_map(|s| sim::log(*s, arguments.nodes, arguments.seed)) {
            writeln!(out, "{line}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let run = if arguments.once || arguments.growth {
        sim::run_once
    } else {
        sim::run
    };
    let mut failed = false;
    if arguments.growth {
        let mut growth = sim::Growth::default();
        let grown = match scenarios[..] {
            [Scenario::ManySites] => Scenario::ManySites,
            _ => Scenario::Growth,
        };
        for nodes in sim::Growth::sizes(grown, arguments.nodes) {
            let report = run(grown, nodes, arguments.seed);
            failed |= report.failure.is_some();
            writeln!(out, "{}", growth.add(&report))?;
        }
        writeln!(out, "{}", growth.exponents())?;
        return Ok(exit_code(failed));
    }
    let runs = Runs {
        scenarios,
        nodes: arguments.nodes,
        seed: arguments.seed,
        seeds: arguments.seeds,
    };
    runs.each(run, |report| {
        failed |= report.failure.is_some();
        match arguments.json {
            true => writeln!(out, "{}", report.to_json()),
            false => writeln!(out, "{}", report.to_text()),
        }
    })?;
    Ok(exit_code(failed))
}

fn replay(path: &Path) -> anyhow::Result<Replayed> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let replayed = sim::replay(BufReader::new(file));
    replayed.with_context(|| format!("{} does not replay", path.display()))
}

const fn exit_code(failed: bool) -> ExitCode {
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
