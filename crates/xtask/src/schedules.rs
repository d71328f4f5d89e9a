//! `cargo xtask schedules`: the promise that no acknowledged reading is lost, on as many drawn
//! lives of a store as one has time for. The suite itself runs a hundred.

use anyhow::Result;

use crate::command::{cargo, execute};
use crate::workspace::Workspace;

/// How many.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Schedules {
    /// Lives of a store; in each up to four stops and something that goes wrong with the disk.
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

/// Runs them.
///
/// # Errors
///
/// If one loses a reading or uses a number twice; its seed is printed.
pub(crate) fn run(workspace: &Workspace, schedules: Schedules) -> Result<()> {
    let arguments = [
        "test",
        "--release",
        "-p",
        "store",
        "--lib",
        TEST,
        "--",
        "--nocapture",
    ];
    let mut command = cargo(&workspace.root(), &arguments);
    let Schedules { count, first } = schedules;
    command.env(
        "FIELDMESH_SCHEDULES",
        format!("{first}..{}", first.saturating_add(count)),
    );
    execute(&mut command).map(drop)
}

/// The test that draws them.
const TEST: &str = "adversarial_40_nothing_is_lost";
