//! What developers and CI run: `cargo xtask ci`, `cargo xtask test` and `cargo xtask tidy`.
//!
//! Start at [`run`]. Nothing here is skipped quietly: a check either holds or fails, and one that
//! cannot be made says so.

mod ci;
mod command;
mod counterparts;
mod seeds;
mod suite;
mod tidy;
mod workspace;

use anyhow::Result;

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
    }
}
