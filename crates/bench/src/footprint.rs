//! Memory of an idle node, and the size of the program.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::known;
use crate::measure::{Measure, Report, Sample, length, number};
use crate::process::Process;
use crate::site::Site;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many machines.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=100))]
    nodes: u8,
    /// How many machines a node with 16 neighbours hears of beside that.
    #[arg(long, default_value_t = 10_000)]
    known: u32,
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    report_known(args.known, report)?;
    let site = Site::start(args.nodes, "10s").await?;
    tokio::time::sleep(IDLE_TIME).await;
    let (mut resident, mut proportional) = (Sample::default(), Sample::default());
    for pid in site.pids()? {
        resident.push(mebibytes(Process::Id(pid).resident()?));
        proportional.push(mebibytes(Process::Id(pid).proportional()?));
    }
    let case = |what: &str| format!("{what}, {} machines", args.nodes);
    let note = "idle, store empty, an uplink open; the program's own pages are part of it, and \
                this program holds more than `fieldmesh` does";
    report.add(MEMORY, case("resident"), &resident, note)?;
    let note = "pages that the machines share are divided among them";
    report.add(MEMORY, case("proportional"), &proportional, note)?;
    site.stop().await?;
    report_binary(report)
}

/// What comes on top of an idle node when it knows a large site.
fn report_known(machines: u32, report: &mut Report) -> anyhow::Result<()> {
    let (alone, all) = known::memory_of(machines)?;
    let sample = |bytes: u64| Sample::from_iter([mebibytes(bytes)]);
    let note = "its protocols alone, in this process: on top of the idle process below";
    let case = "protocols, 16 neighbours".to_owned();
    report.add(MEMORY, case, &sample(alone), note)?;
    let case = format!("protocols, 16 neighbours, {machines} known machines");
    let note = "each with its membership and its presence, two addresses and five neighbours";
    report.add(MEMORY, case, &sample(all), note)
}

/// The program `fieldmesh` beside this one, as it is and without symbols.
fn report_binary(report: &mut Report) -> anyhow::Result<()> {
    let path = std::env::current_exe()?.with_file_name("fieldmesh");
    anyhow::ensure!(
        path.exists(),
        "no {}; build it for its size: cargo build --release -p fieldmesh",
        path.display()
    );
    let size = |path: &Path| -> anyhow::Result<Sample> {
        Ok(Sample::from_iter([mebibytes(
            std::fs::metadata(path)?.len(),
        )]))
    };
    report.add(MEMORY, "binary as built", &size(&path)?, "with symbols")?;
    let stripped = tempfile::NamedTempFile::new()?;
    let strip = Command::new("strip")
        .arg("-o")
        .arg(stripped.path())
        .arg(&path)
        .status();
    if strip.is_ok_and(|status| status.success()) {
        let note =
            "what a package installs; limited by libp2p, tonic and sled, and code for all sources";
        report.add(MEMORY, "binary, stripped", &size(stripped.path())?, note)?;
    }
    Ok(())
}

fn mebibytes(bytes: u64) -> f64 {
    number(bytes) / length(1 << 20)
}

const MEMORY: Measure = Measure::lower("footprint", "MiB");
/// After this a node has done what it does at its start.
const IDLE_TIME: Duration = Duration::from_secs(5);
