//! What developers and CI run: `cargo xtask ci`, `cargo xtask test`, `cargo xtask tidy` and, for
//! longer than CI has time, `cargo xtask schedules`.
//!
//! Start at [`run`]. Nothing here is skipped quietly: a check either holds or fails, and one that
//! cannot be made says so.

mod ci;
mod command;
mod counterparts;
mod schedules;
mod seeds;
mod suite;
mod tidy;
mod workspace;

use anyhow::Result;

use schedules::Schedules;
use workspace::Workspace;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Task {
    /// All that must hold before a change is merged.
    Ci,
    /// Sets up what tests talk to, then runs every test.
    Test,
    /// Compares the workspace with the rules of the house.
    Tidy,
    /// Lives of the store on disks that fail, more than CI has time for.
    Schedules(Schedules),
}

/// Does it.
///
/// # Errors
///
/// If anything does not hold, or a tool that is needed is missing and cannot be installed.
pub fn run(task: &Task) -> Result<()> {
    let workspace = Workspace::read()?;
    match task {
        Task::Ci => ci::run(&workspace),
        Task::Test => suite::run(&workspace),
        Task::Tidy => tidy::run(&workspace),
        Task::Schedules(schedules) => schedules::run(&workspace, *schedules),
    }
}
