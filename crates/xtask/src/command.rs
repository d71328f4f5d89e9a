//! Running other programs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// The cargo that runs this.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root);
    command
}

/// Prints a command, runs it with this program's own output, and returns how long that took.
///
/// # Errors
///
/// If it cannot be started, or fails.
pub(crate) fn execute(command: &mut Command) -> Result<Duration> {
    let shown = show(command);
    say(&format!("==> {shown}"));
    let began = now();
    let status = command
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed with {status}");
    Ok(now().duration_since(began))
}

/// Whether a command can be started and succeeds; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What a command prints.
///
/// # Errors
///
/// If it cannot be started, fails, or prints something else than text.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(
        output.status.success(),
        "`{shown}` failed with {}",
        output.status
    );
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}` prints no text"))
}

/// Where a program is: in the search path, or where Debian keeps servers.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from(SERVERS_DIR)])
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// The search path with another place, and the one where Debian keeps servers, which users' paths
/// often lack.
///
/// # Errors
///
/// If the search path of this program cannot be extended.
pub(crate) fn search_path(first: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::iter::once(first.to_owned())
        .chain(std::env::split_paths(&path))
        .chain([PathBuf::from(SERVERS_DIR)]);
    std::env::join_paths(dirs).context("PATH cannot be extended")
}

/// Prints a line.
#[expect(clippy::print_stdout, reason = "a face: what developers and CI read")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "times how long a step takes, no more"
)]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

/// Where Debian installs servers. Source: Filesystem Hierarchy Standard 3.0, section 4.10.
const SERVERS_DIR: &str = "/usr/sbin";
