//! One machine of a testnet: its process, as the testnet sees it and as it runs.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use fieldmesh::recorder::RecordTo;
use proto::v1::GetStatusRequest;
use proto::v1::mesh_client::MeshClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

use crate::description::NodeDescription;
use crate::faults::{FaultLayer, FaultTable};

/// A running machine. Its process ends when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    orders: ChildStdin,
}

impl Process {
    /// Starts a machine, with what is wrong with its links from the start.
    ///
    /// # Errors
    ///
    /// If the process or its log cannot be made.
    pub async fn start(node: &NodeDescription, faults: &FaultTable) -> anyhow::Result<Self> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&node.log)
            .with_context(|| format!("cannot write {}", node.log.display()))?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = match &node.netns {
            Some(netns) => {
                let mut command = Command::new("ip"); // It becomes the program, with its process id.
                command.args(["netns", "exec", netns]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("machine").arg("--config").arg(&node.config);
        if let Some(recording) = &node.recording {
            command.arg("--record").arg(recording);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0) // An interrupt at the terminal is the testnet's to pass on.
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", node.name))?;
        let orders = child
            .stdin
            .take()
            .context("a piped standard input is there")?;
        let mut process = Self { child, orders };
        process.set_faults(faults).await?;
        Ok(process)
    }

    /// Its process id; `None` once it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Tells it what is wrong with its links.
    ///
    /// # Errors
    ///
    /// If it does not run any more.
    pub async fn set_faults(&mut self, faults: &FaultTable) -> anyhow::Result<()> {
        let line = format!("{}\n", serde_json::to_string(faults)?);
        let sent = tokio::time::timeout(ORDER_TIMEOUT, self.orders.write_all(line.as_bytes()));
        sent.await
            .context("the machine does not read its orders")?
            .context("the machine ended")
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// If it does not run any more.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self
            .pid()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        kill_process(pid.context("it does not run")?, signal).context("cannot signal it")
    }

    /// Ends it at once and waits until it is gone.
    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
    }

    /// Ends it in order, also if it was frozen, and with force if that takes too long. Returns
    /// whether it ended by itself, with success.
    pub async fn end(mut self) -> bool {
        let _ = self.signal(Signal::CONT);
        let _ = self.signal(Signal::TERM);
        let status = tokio::time::timeout(END_TIMEOUT, self.child.wait()).await;
        match status {
            Ok(Ok(status)) => status.success(),
            Ok(Err(_)) | Err(_) => {
                let _ = self.child.kill().await;
                false
            }
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(status.to_string())
    }
}

/// How many machines a machine knows of; `None` while it is not ready.
pub async fn machines_known(node: &NodeDescription) -> Option<u32> {
    let mut client = MeshClient::connect(node.grpc_uri()).await.ok()?;
    let status = client
        .get_status(GetStatusRequest {})
        .await
        .ok()?
        .into_inner();
    status.ready.then_some(status.machines)
}

/// Runs one machine in this process: a node with the fault layer, ended by SIGTERM or by the end
/// of the testnet, which closes its standard input.
///
/// # Errors
///
/// What ends a node with an error.
pub async fn run(config: &Path, record: Option<&Path>) -> anyhow::Result<()> {
    let (tables, table) = watch::channel(FaultTable::default());
    let hooks = fieldmesh::run::Hooks {
        socket_layer: Some(Arc::new(FaultLayer::new(table))),
        record: record.map(|path| RecordTo {
            path: path.to_owned(),
            bytes_max: RECORDING_BYTES_MAX,
        }),
    };
    let orders = async move {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match serde_json::from_str(&line) {
                Ok(table) => _ = tables.send_replace(table),
                Err(error) => tracing::warn!(%error, "an order of the testnet is damaged"),
            }
        }
    };
    fieldmesh::run::run_until(config, hooks, orders).await
}

/// Largest recording of a machine. Unit: bytes. Source: guess; some hours of the default testnet.
const RECORDING_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Longest time that a running machine takes to read a line.
const ORDER_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time that a machine may take to end in order.
const END_TIMEOUT: Duration = Duration::from_secs(10);
