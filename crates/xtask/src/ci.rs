//! `cargo xtask ci`: all that must hold before a change is merged, the quick checks first.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::command::{cargo, execute, output, say, succeeds};
use crate::workspace::Workspace;
use crate::{seeds, suite, tidy};

/// Runs every check, up to the first that fails.
///
/// # Errors
///
/// The first check that fails.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    run_cargo(&root, &["fmt", "--all", "--check"])?;
    tidy::run(workspace)?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked"];
    run_cargo(&root, &[&clippy[..], &["--", "-D", "warnings"]].concat())?;
    let doc = ["doc", "--workspace", "--no-deps", "--locked"];
    execute(cargo(&root, &doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    deny(&root)?;
    suite::run(workspace)?;
    simulate(&root)?;
    say("ci: everything holds");
    Ok(())
}

/// Licences, banned crates and where crates come from; known weaknesses if their list can be had.
fn deny(root: &Path) -> Result<()> {
    if !succeeds(&mut cargo(root, &["deny", "--version"])) {
        run_cargo(root, &["install", "--locked", "cargo-deny"])?;
    }
    run_cargo(root, &["deny", "check", "bans", "licenses", "sources"])?;
    if succeeds(&mut cargo(root, &["deny", "fetch", "db"])) {
        run_cargo(root, &["deny", "check", "advisories"])?;
    } else {
        say("ci: NOT checked: advisories, because the advisory database cannot be fetched here");
    }
    Ok(())
}

/// The simulator on seeds that failed once, and on fresh ones.
fn simulate(root: &Path) -> Result<()> {
    let path = root.join("crates/sim/seeds.txt");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut runs = seeds::kept(&text).with_context(|| path.display().to_string())?;
    let commit = output(
        Command::new("git")
            .args(["rev-parse", "HEAD"])
            .current_dir(root),
    )?;
    runs.extend(seeds::fresh(commit.trim())?);
    let mut took = Duration::ZERO;
    for runs in runs {
        let mut command = cargo(root, &["run", "--quiet", "--package", "sim", "--"]);
        took += execute(command.args(runs.arguments()))?;
    }
    say(&format!("ci: simulated for {} s", took.as_secs()));
    Ok(())
}

fn run_cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    let took = execute(&mut cargo(root, arguments))?;
    say(&format!("    took {} s", took.as_secs()));
    Ok(())
}
