//! What tests talk to and we do not build: brokers, stores, and clients written in Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{execute, find, succeeds};

/// Makes sure that the servers and clients are installed that come as Debian packages.
///
/// # Errors
///
/// If one is missing and cannot be installed.
pub(crate) fn servers() -> Result<()> {
    for (program, package) in [
        ("faketime", "faketime"),
        ("mosquitto", "mosquitto"),
        ("mosquitto_sub", "mosquitto-clients"),
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("influxd", "influxdb"),
        ("victoria-metrics", "victoria-metrics"),
    ] {
        if find(program).is_none() {
            install(package).with_context(|| format!("tests need the program `{program}`"))?;
        }
    }
    Ok(())
}

/// Returns a Python interpreter that has every package of the requirements, from an environment of
/// its own below the target directory.
///
/// # Errors
///
/// If there is no Python 3, or the packages cannot be installed.
pub(crate) fn python(target: &Path, requirements: &Path) -> Result<PathBuf> {
    let dir = target.join("python");
    let interpreter = dir.join("bin/python3");
    let wanted = std::fs::read_to_string(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let stamp = dir.join("installed.txt");
    let is_ready = || std::fs::read_to_string(&stamp).is_ok_and(|had| had == wanted);
    if is_ready() && succeeds(Command::new(&interpreter).arg("--version")) {
        return Ok(interpreter);
    }
    if find("python3").is_none() {
        install("python3").context("tests need Python 3")?;
    }
    if !succeeds(Command::new("python3").args(["-c", "import ensurepip"])) {
        install("python3-venv").context("tests need Python's module `venv`")?;
    }
    execute(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&dir),
    )?;
    execute(
        Command::new(&interpreter)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .arg("--requirement")
            .arg(requirements),
    )
    .context("tests need these Python packages; is a package index reachable?")?;
    std::fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(interpreter)
}

/// Installs a Debian package, as root or by `sudo` without a password.
fn install(package: &str) -> Result<()> {
    if find("apt-get").is_none() {
        bail!("there is no apt-get here; please install `{package}` by hand");
    }
    let is_root = succeeds(Command::new("sh").args(["-c", "test \"$(id -u)\" = 0"]));
    let apt = |arguments: &[&str]| {
        let mut command = if is_root {
            Command::new("apt-get")
        } else {
            let mut command = Command::new("sudo");
            command.args(["--non-interactive", "apt-get"]);
            command
        };
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments);
        execute(&mut command)
    };
    let install = ["install", "--yes", "--no-install-recommends", package];
    if apt(&install).is_err() {
        // The list of packages may be missing or old.
        apt(&["update"])?;
        apt(&install).with_context(|| format!("please install `{package}` by hand"))?;
    }
    Ok(())
}
