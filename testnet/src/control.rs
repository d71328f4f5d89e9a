//! The Unix socket by which commands reach a running testnet: one JSON line each way.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// What a running testnet is asked to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// End machines with SIGKILL.
    Kill(Vec<String>),
    /// Freeze machines with SIGSTOP.
    Stop(Vec<String>),
    /// Let them go on with SIGCONT.
    Continue(Vec<String>),
    /// End machines in order if they run, and start them again.
    Restart(Vec<String>),
    /// Cut the links between these machines and all others.
    Partition(Vec<String>),
    /// Mend all links.
    Heal,
    /// Delay what these machines send and receive.
    Slow(Vec<String>, Duration),
}

/// What came of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// It is done.
    Done,
    /// It is not, and why.
    Failed(String),
}

/// Where the socket is. Its path must be short, so it lies in the testnet's directory itself.
#[must_use]
pub fn socket_path(dir: &Path) -> PathBuf {
    dir.join("control.sock")
}

/// Asks the testnet that runs in `dir`, and waits until it is done.
///
/// # Errors
///
/// If no testnet runs there, or it could not do it.
pub fn ask(dir: &Path, request: &Request) -> anyhow::Result<()> {
    let path = socket_path(dir);
    let mut stream = UnixStream::connect(&path)
        .with_context(|| format!("no testnet runs in {}", dir.display()))?;
    stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
    writeln!(stream, "{}", serde_json::to_string(request)?)?;
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .context("the testnet did not answer")?;
    match serde_json::from_str(&line).context("the testnet ended before it answered")? {
        Reply::Done => Ok(()),
        Reply::Failed(why) => anyhow::bail!(why),
    }
}

/// Longest wait for an answer: a restart ends a machine in order and waits until it is ready.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);
