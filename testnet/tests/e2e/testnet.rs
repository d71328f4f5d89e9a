//! A testnet: the program `testnet`, its machines, and orders to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::testnet::description::{Description, NodeDescription};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::client::Client;
use crate::program::{self, Running, tail};
use crate::wait::until;

/// A running testnet. Its machines end when it is dropped, its directory stays if the test fails.
#[derive(Debug)]
pub(crate) struct Testnet {
    program: Running,
    dir: TempDir,
    description: Description,
}

impl Testnet {
    /// Starts machines and waits until all of them know each other.
    pub(crate) async fn start(subnet: &str, machines: u8, arguments: &[&str]) -> Self {
        Self::start_on(&["--subnet", subnet], machines, arguments).await
    }

    /// The same, with what says on which network.
    pub(crate) async fn start_on(network: &[&str], machines: u8, arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("fieldmesh-e2e-").tempdir();
        let dir = dir.expect("a temporary directory");
        let mut command = Command::new(program::testnet());
        command
            .args(["up", "--nodes", &machines.to_string()])
            .args(network)
            .arg("--dir")
            .arg(dir.path())
            .args(arguments);
        let program = Running::start(&mut command, &dir.path().join("testnet.log"));
        let nothing = Description {
            network: String::new(),
            dir: dir.path().to_owned(),
            nodes: Vec::new(),
            uplinks: Vec::new(),
        };
        // From here on a failure shows logs and ends the program.
        let mut testnet = Self {
            program,
            dir,
            description: nothing,
        };
        let description = until("the testnet is ready", START_TIMEOUT, async || {
            if let Some(status) = testnet.program.ended() {
                panic!("the testnet ended ({status}):\n{}", testnet.program.said());
            }
            Description::read(testnet.dir.path()).map_err(|error| format!("{error:#}"))
        });
        testnet.description = description.await;
        testnet
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where its relays put records, unless it was told otherwise.
    pub(crate) fn sink(&self) -> PathBuf {
        self.dir.path().join("uplink")
    }

    /// Its machines; process ids as of the start.
    pub(crate) fn nodes(&self) -> &[NodeDescription] {
        &self.description.nodes
    }

    /// Machine `number`, counted from 1.
    pub(crate) fn node(&self, number: usize) -> &NodeDescription {
        &self.description.nodes[number - 1]
    }

    /// The machine with this id.
    pub(crate) fn node_of(&self, machine_id: &str) -> &NodeDescription {
        let node = self
            .nodes()
            .iter()
            .find(|node| node.machine_id == machine_id);
        node.unwrap_or_else(|| panic!("no machine {machine_id}"))
    }

    /// Clients of all machines, in their order.
    pub(crate) fn clients(&self) -> Vec<Client> {
        self.nodes()
            .iter()
            .map(|node| Client::new(&node.grpc))
            .collect()
    }

    /// The process of a machine now; 0 if it does not run.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        let description = Description::read(self.dir()).expect("a description");
        let node = description.nodes.iter().find(|node| node.name == name);
        node.unwrap_or_else(|| panic!("no machine {name}")).pid
    }

    /// Gives an order, like `kill`, and waits until it is done.
    pub(crate) async fn order(&self, verb: &str, names: &[&str]) {
        let dir = self.dir().to_string_lossy();
        let arguments = [&[verb, "--dir", &dir], names].concat();
        program::run(program::testnet(), &arguments, "")
            .await
            .done();
    }

    /// Ends it as Ctrl-C does; returns the exit code.
    pub(crate) fn interrupt(&mut self) -> i32 {
        self.program.signal(Signal::INT);
        self.program.wait()
    }
}

impl Drop for Testnet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!(
                "--- the logs of all machines are in {}",
                self.dir.path().display()
            );
            for node in &self.description.nodes {
                eprintln!(
                    "--- {}\n{}",
                    node.log.display(),
                    tail(&node.log, TAIL_LINES)
                );
            }
        }
        if self.program.ended().is_none() {
            self.program.signal(Signal::TERM);
            self.program.wait();
        }
    }
}

/// Longest time until all machines know each other.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of each machine's log that a failed test shows.
const TAIL_LINES: usize = 5;
