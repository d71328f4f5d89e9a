//! A running testnet: starts machines, carries out faults, ends everything it started.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::Table;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::UpArgs;
use crate::control::{Reply, Request, socket_path};
use crate::description::{Description, NodeDescription};
use crate::faults::FaultTable;
use crate::layout;
use crate::machine::{self, Process};
use crate::namespaces::Namespaces;

/// A running testnet.
#[derive(Debug)]
pub(crate) struct Testnet {
    description: Description,
    processes: Vec<Option<Process>>,
    faults: Vec<FaultTable>,
    /// Go after all machines have ended.
    namespaces: Option<Namespaces>,
}

/// Starts machines, says what runs where, and ends them when it is time.
///
/// # Errors
///
/// If the testnet cannot be laid out, a machine does not get ready, or one did not end in order.
pub async fn up(args: &UpArgs) -> anyhow::Result<()> {
    // From here on signals end the testnet in order, also while it starts.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let temporary = match &args.dir {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("fieldmesh-").tempdir()?),
    };
    let dir = args
        .dir
        .clone()
        .or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned()));
    let mut testnet = Testnet::lay_out(args, &dir.unwrap_or_else(|| PathBuf::from(".")))?;
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(stop);
    let started = tokio::select! {
        started = testnet.start() => started.map(|()| true),
        () = &mut stop => Ok(false),
    };
    let ran = match started {
        Ok(true) => match testnet.introduce() {
            Ok(()) => testnet.serve(args.duration, stop).await,
            Err(error) => Err(error),
        },
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    let ended = testnet.end().await;
    ran.and(ended)
}

impl Testnet {
    /// Lays out what the machines need; none of them runs yet.
    pub(crate) fn lay_out(args: &UpArgs, dir: &Path) -> anyhow::Result<Self> {
        let description = layout::lay_out(args, dir)?;
        let names = description.nodes.iter().map(|node| node.name.as_str());
        let namespaces = args.netns.then(|| Namespaces::make(names)).transpose()?;
        let faults = vec![FaultTable::default(); description.nodes.len()];
        Ok(Self {
            description,
            processes: Vec::new(),
            faults,
            namespaces,
        })
    }

    /// Its machines.
    pub(crate) fn nodes(&self) -> &[NodeDescription] {
        &self.description.nodes
    }

    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        let count = self.description.nodes.len();
        for (node, faults) in self.description.nodes.iter().zip(&self.faults) {
            let process = Process::start(node, faults).await?;
            self.processes.push(Some(process));
            progress(&format!(
                "started {} of {count} machines",
                self.processes.len()
            ));
        }
        self.wait_until_ready(&(0..count).collect::<Vec<_>>(), START_TIMEOUT)
            .await?;
        progress_done(&format!("{count} machines are ready and know each other"));
        self.write_description()
    }

    /// Says what runs where.
    fn introduce(&self) -> anyhow::Result<()> {
        print_line(&serde_json::to_string(&self.description)?);
        eprint_text(&self.guide());
        Ok(())
    }

    /// Waits until these machines are ready and know all machines whose readings they hold.
    async fn wait_until_ready(&mut self, which: &[usize], limit: Duration) -> anyhow::Result<()> {
        let waiting = async {
            loop {
                let mut ready = 0;
                for index in which {
                    let node = &self.description.nodes[*index];
                    if let Some(how) = self.processes[*index].as_mut().and_then(Process::ended) {
                        anyhow::bail!("{} ended ({how}):\n{}", node.name, log_tail(node));
                    }
                    let known = machine::machines_known(node).await;
                    let others = self.description.nodes.iter();
                    let all = others.filter(|other| *index == 0 || other.site == node.site);
                    let all = u32::try_from(all.count())?;
                    ready += usize::from(known.is_some_and(|known| known >= all));
                }
                if ready == which.len() {
                    return Ok(());
                }
                progress(&format!(
                    "{ready} of {} machines know all others",
                    which.len()
                ));
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(limit, waiting)
            .await
            .with_context(|| format!("the machines were not ready within {limit:?}"))?
    }

    /// Carries out requests until it is time to end.
    async fn serve(
        &mut self,
        duration: Option<Duration>,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let path = socket_path(&self.description.dir);
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        let time_is_up = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(time_is_up, stop);
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = &mut time_is_up => return Ok(()),
                Ok((stream, _)) = listener.accept() => self.answer(stream).await,
                () = tokio::time::sleep(WATCH_INTERVAL) => self.report_ended()?,
            }
        }
    }

    async fn answer(&mut self, mut stream: UnixStream) {
        let mut line = String::new();
        let read = BufReader::new(&mut stream).read_line(&mut line).await;
        let request = read
            .ok()
            .and_then(|_| serde_json::from_str::<Request>(&line).ok());
        let result = match request {
            Some(request) => self.carry_out(request).await,
            None => Err(anyhow::anyhow!("the request is damaged")),
        };
        let reply = match result.and_then(|()| self.write_description()) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(format!("{error:#}")),
        };
        if let Ok(text) = serde_json::to_string(&reply) {
            let _ = stream.write_all(format!("{text}\n").as_bytes()).await;
        }
    }

    pub(crate) async fn carry_out(&mut self, request: Request) -> anyhow::Result<()> {
        match request {
            Request::Kill(names) => {
                for index in self.find(&names)? {
                    if let Some(process) = self.processes[index].take() {
                        process.kill().await;
                    }
                }
                Ok(())
            }
            Request::Stop(names) => self.signal(&names, Signal::STOP),
            Request::Continue(names) => self.signal(&names, Signal::CONT),
            Request::Restart(names) => self.restart(&names).await,
            Request::Partition(names) => {
                self.partition(&names)?;
                self.apply_faults().await
            }
            Request::Heal => {
                self.faults.fill(FaultTable::default());
                self.apply_faults().await
            }
            Request::Slow(names, delay) => {
                self.slow(&names, delay)?;
                self.apply_faults().await
            }
        }
    }

    fn signal(&self, names: &[String], signal: Signal) -> anyhow::Result<()> {
        for index in self.find(names)? {
            let name = &self.description.nodes[index].name;
            let process = self.processes[index].as_ref();
            process
                .with_context(|| format!("{name} does not run"))?
                .signal(signal)?;
        }
        Ok(())
    }

    async fn restart(&mut self, names: &[String]) -> anyhow::Result<()> {
        let which = self.find(names)?;
        for index in &which {
            if let Some(process) = self.processes[*index].take() {
                process.end().await;
            }
            let node = &self.description.nodes[*index];
            self.processes[*index] = Some(Process::start(node, &self.faults[*index]).await?);
        }
        for index in which {
            self.wait_until_answers(index).await?;
        }
        Ok(())
    }

    /// Waits until a machine answers; it may be cut off from others.
    async fn wait_until_answers(&mut self, index: usize) -> anyhow::Result<()> {
        let waiting = async {
            let node = &self.description.nodes[index];
            while machine::machines_known(node).await.is_none() {
                if let Some(how) = self.processes[index].as_mut().and_then(Process::ended) {
                    anyhow::bail!("{} ended ({how}):\n{}", node.name, log_tail(node));
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            Ok(())
        };
        tokio::time::timeout(START_TIMEOUT, waiting)
            .await
            .context("it did not get ready")?
    }

    fn partition(&mut self, names: &[String]) -> anyhow::Result<()> {
        let here: BTreeSet<usize> = self.find(names)?.into_iter().collect();
        for index in 0..self.faults.len() {
            for other in 0..self.faults.len() {
                if here.contains(&index) != here.contains(&other) {
                    let address = self.address(other)?;
                    self.faults[index].cut.insert(address);
                }
            }
        }
        Ok(())
    }

    fn slow(&mut self, names: &[String], delay: Duration) -> anyhow::Result<()> {
        let delay_ms = u64::try_from(delay.as_millis())?;
        for slow in self.find(names)? {
            for other in (0..self.faults.len()).filter(|other| *other != slow) {
                let (here, there) = (self.address(slow)?, self.address(other)?);
                self.faults[slow].delay_ms.insert(there, delay_ms);
                self.faults[other].delay_ms.insert(here, delay_ms);
            }
        }
        Ok(())
    }

    async fn apply_faults(&mut self) -> anyhow::Result<()> {
        for (process, faults) in self.processes.iter_mut().zip(&self.faults) {
            if let Some(process) = process {
                process.set_faults(faults).await?;
            }
        }
        Ok(())
    }

    fn address(&self, index: usize) -> anyhow::Result<IpAddr> {
        let address: std::net::SocketAddr = self.description.nodes[index].quic.parse()?;
        Ok(address.ip())
    }

    fn find(&self, names: &[String]) -> anyhow::Result<Vec<usize>> {
        let nodes = &self.description.nodes;
        anyhow::ensure!(!names.is_empty(), "name machines, like {}", nodes[0].name);
        let find = |name: &String| {
            let found = nodes.iter().position(|node| node.name == *name);
            found.with_context(|| {
                format!(
                    "no machine {name}; there are machine-1 to machine-{}",
                    nodes.len()
                )
            })
        };
        names.iter().map(find).collect()
    }

    fn write_description(&mut self) -> anyhow::Result<()> {
        for (node, process) in self.description.nodes.iter_mut().zip(&self.processes) {
            node.pid = process.as_ref().and_then(Process::pid).unwrap_or(0);
        }
        self.description.write()
    }

    /// Says which machines ended by themselves.
    fn report_ended(&mut self) -> anyhow::Result<()> {
        let mut any = false;
        for (node, process) in self.description.nodes.iter().zip(&mut self.processes) {
            if let Some(how) = process.as_mut().and_then(Process::ended) {
                eprint_text(&format!(
                    "{} ended ({how}); see {}\n",
                    node.name,
                    node.log.display()
                ));
                *process = None;
                any = true;
            }
        }
        if any {
            self.write_description()
        } else {
            Ok(())
        }
    }

    /// Ends every machine at the same time, in order.
    pub(crate) async fn end(&mut self) -> anyhow::Result<()> {
        progress("ending all machines");
        let mut ending = tokio::task::JoinSet::new();
        for (node, process) in self.description.nodes.iter().zip(&mut self.processes) {
            if let Some(process) = process.take() {
                let name = node.name.clone();
                ending.spawn(async move { (name, process.end().await) });
            }
        }
        let mut forced = Vec::new();
        while let Some(result) = ending.join_next().await {
            let (name, in_order) = result?;
            if !in_order {
                forced.push(name);
            }
        }
        let _ = std::fs::remove_file(socket_path(&self.description.dir));
        self.write_description()?;
        progress_done("all machines have ended");
        anyhow::ensure!(
            forced.is_empty(),
            "{} did not end in order",
            forced.join(", ")
        );
        Ok(())
    }

    /// What runs where and what to try.
    fn guide(&self) -> String {
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        let mut header = vec!["machine", "id", "links", "grpc", "metrics"];
        header.extend(self.namespaces.as_ref().map(|_| "namespace"));
        table.set_header(header);
        for node in &self.description.nodes {
            let id = &node.machine_id[node.machine_id.len().saturating_sub(8)..];
            let mut row = vec![
                node.name.as_str(),
                id,
                &node.quic,
                &node.grpc,
                &node.metrics,
            ];
            row.extend(node.netns.as_deref());
            table.add_row(row);
        }
        let dir = self.description.dir.display();
        let grpc = &self.description.nodes[self.description.nodes.len() - 1].grpc;
        let first = &self.description.nodes[0].name;
        format!(
            "\n{table}\n\nuplinks: {}\n\nTry, in another terminal:\n\
             \x20 cargo run --release -p fieldmesh -- latest --grpc {grpc}\n\
             \x20 cargo run --release -p fieldmesh -- watch 'turbine/**' --grpc {grpc}\n\
             \x20 cargo run --release -p fieldmesh -- relays --grpc {grpc}\n\
             \x20 cargo run --release -p fieldmesh -- publish --series test/temperature --unit Cel 21.5 --grpc {grpc}\n\
             \x20 cargo run --release -p testnet -- kill --dir {dir} {first}\n\
             \x20 cargo run --release -p testnet -- restart --dir {dir} {first}\n\
             Ctrl-C ends it.\n\n",
            self.description.uplinks.join(", "),
        )
    }
}

fn log_tail(node: &NodeDescription) -> String {
    let log = std::fs::read_to_string(&node.log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

fn progress(text: &str) {
    let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
}

fn progress_done(text: &str) {
    let _ = writeln!(std::io::stderr(), "\r\x1b[K{text}");
}

pub(crate) fn eprint_text(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Longest time until every machine knows all others. Source: guess, for 100 machines on two cores.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a starting machine is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How often machines are looked after.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Lines of a log that are shown when its machine ends while starting.
const LOG_LINES: usize = 5;
