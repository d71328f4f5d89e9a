//! A testnet that this program runs beside itself: real processes, real sockets.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testnet::control::{Request, ask};
use testnet::description::{Description, NodeDescription};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// A running testnet without sources of its own. It ends when this is dropped, in order if
/// [`Site::stop`] is called.
#[derive(Debug)]
pub(crate) struct Site {
    child: Child,
    dir: TempDir,
    description: Description,
}

impl Site {
    /// Starts machines and waits until all of them know each other.
    ///
    /// # Errors
    ///
    /// What the testnet said if it did not start.
    pub(crate) async fn start(nodes: u8, window: &str) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("fieldmesh-bench-")
            .tempdir()?;
        let log = dir.path().join(LOG);
        let mut child = Command::new(std::env::current_exe()?)
            .args([
                "up",
                "--quiet-sources",
                "--subnet",
                SUBNET,
                "--window",
                window,
            ])
            .args(["--nodes", &nodes.to_string(), "--for", LIFETIME, "--dir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start this program as a testnet")?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let description = serde_json::from_str(&line).with_context(|| {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            format!("the testnet did not start: {said}")
        })?;
        Ok(Self {
            child,
            dir,
            description,
        })
    }

    /// Its machines; process ids as of the start.
    pub(crate) fn nodes(&self) -> &[NodeDescription] {
        &self.description.nodes
    }

    /// The process ids of its running machines now.
    pub(crate) fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let now = Description::read(self.dir.path())?;
        let pids = now.nodes.iter().map(|node| node.pid);
        Ok(pids.filter(|pid| *pid != 0).collect())
    }

    /// Where its relays put records.
    pub(crate) fn sink(&self) -> PathBuf {
        self.dir.path().join("uplink")
    }

    /// Gives an order and waits until it is carried out; everything else goes on meanwhile.
    ///
    /// # Errors
    ///
    /// If the testnet could not do it.
    pub(crate) async fn order(&self, request: Request) -> anyhow::Result<()> {
        let dir: PathBuf = self.dir.path().to_owned();
        tokio::task::spawn_blocking(move || ask(&dir, &request)).await?
    }

    /// Ends it in order.
    ///
    /// # Errors
    ///
    /// What went wrong with its machines.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        kill_process(pid.context("the testnet has ended already")?, Signal::TERM)?;
        let status = tokio::time::timeout(END_TIMEOUT, self.child.wait()).await;
        let status = status.context("the testnet does not end")??;
        let said = std::fs::read_to_string(self.dir.path().join(LOG)).unwrap_or_default();
        let last = said.lines().last().unwrap_or_default();
        anyhow::ensure!(status.success(), "the testnet failed ({status}): {last}");
        Ok(())
    }
}

/// The counters of a machine, by their names.
///
/// # Errors
///
/// If it does not answer.
pub(crate) async fn counter(node: &NodeDescription, name: &str) -> anyhow::Result<u64> {
    let url = node
        .metrics
        .strip_prefix("http://")
        .unwrap_or(&node.metrics);
    let (address, path) = url.split_once('/').context("a URL has a path")?;
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.with_context(|| format!("{} shows no {name}", node.metrics))?;
    Ok(value.trim().parse()?)
}

/// The counter of what a machine's links have sent, as UDP payload. Unit: bytes.
pub(crate) const LINK_BYTES: &str = "fieldmesh_quic_sent_bytes_total";
/// Its machines' addresses: away from those of testnets that somebody runs by hand.
const SUBNET: &str = "127.0.77";
/// What the testnet says, in its directory.
const LOG: &str = "testnet.log";
/// The testnet ends by itself after this, should this program die.
const LIFETIME: &str = "20m";
/// Longest time that all machines take to end in order.
const END_TIMEOUT: Duration = Duration::from_secs(20);
