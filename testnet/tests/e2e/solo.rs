//! A network of one machine, made and run with `fieldmesh` alone, as an operator would.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::client::Client;
use crate::program::{self, Ended, Running};
use crate::wait::until;

/// A machine and its files. Its directory stays if the test fails.
#[derive(Debug)]
pub(crate) struct Solo {
    /// The running node. Before `dir`, so that it ends before its files go.
    pub(crate) node: Option<Running>,
    dir: TempDir,
    ip: String,
}

impl Solo {
    /// Makes a network, a machine of it at `ip`, and its configuration.
    pub(crate) async fn new(ip: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("fieldmesh-e2e-").tempdir();
        let dir = dir.expect("a temporary directory");
        let solo = Self {
            node: None,
            dir,
            ip: ip.to_owned(),
        };
        let home = solo.path("");
        solo.create_network("operator").await;
        program::ask(&["init", "--dir", &home]).await.done();
        solo.admit("operator", "membership").await;
        solo.configure("");
        solo
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Where its gRPC services listen.
    pub(crate) fn grpc(&self) -> String {
        format!("{}:50051", self.ip)
    }

    /// Where it takes links.
    pub(crate) fn tcp(&self) -> String {
        format!("{}:4001", self.ip)
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.grpc())
    }

    /// Makes a network in a directory.
    pub(crate) async fn create_network(&self, operator: &str) {
        program::ask(&["network", "create", "--dir", &self.path(operator)])
            .await
            .done();
    }

    /// Lets the operator in a directory admit the machine.
    pub(crate) async fn admit(&self, operator: &str, file: &str) {
        let home = self.path("");
        let machine = program::ask(&["init", "--dir", &home, "--output", "json"])
            .await
            .done();
        let machine: serde_json::Value = serde_json::from_str(&machine).expect("JSON");
        let machine = machine["machine_id"].as_str().expect("its id");
        let (operator, file) = (self.path(operator), self.path(file));
        let names = ["--name", "press-1", "--site", "hall-3"];
        let files = ["--dir", &operator, "--out", &file];
        program::ask(&[&["network", "admit", machine], &names[..], &files].concat())
            .await
            .done();
    }

    /// Writes the configuration, with more at its end.
    pub(crate) fn configure(&self, more: &str) {
        let text = format!(
            "[node]\ndata_dir = \"data\"\n\
             [network]\nnetwork_key_file = \"operator/network.key\"\n\
             operator_file = \"operator/operator.pub\"\n\
             [listen]\nquic = [\"{}\"]\ntcp = [\"{}\"]\nmdns = false\n\
             [api]\ngrpc = \"{}\"\nmetrics = \"\"\n{more}",
            self.tcp(),
            self.tcp(),
            self.grpc(),
        );
        std::fs::write(self.path(CONFIG), text).expect("a configuration");
    }

    /// The command that runs it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(program::fieldmesh());
        command.args(["run", "--config", &self.path(CONFIG)]);
        command
    }

    /// Runs it to its end, which is near.
    pub(crate) async fn run(&self) -> Ended {
        program::ask(&["run", "--config", &self.path(CONFIG)]).await
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.start_with(self.command()).await;
    }

    /// Starts it by a command that ends in its own and waits until it is ready.
    pub(crate) async fn start_with(&mut self, mut command: Command) {
        let log = PathBuf::from(self.path("log"));
        let node = self.node.insert(Running::start(&mut command, &log));
        let client = Client::new(&format!("{}:50051", self.ip));
        until("the node is ready", START_TIMEOUT, async || {
            if let Some(status) = node.ended() {
                panic!("the node ended ({status})");
            }
            let status = client.status().await.map_err(|status| status.to_string())?;
            if status.ready {
                Ok(())
            } else {
                Err("not ready".to_owned())
            }
        })
        .await;
    }

    /// Ends it with a signal; returns its exit code, or the negative signal.
    pub(crate) fn end(&mut self, signal: Signal) -> i32 {
        let mut node = self.node.take().expect("it runs");
        node.signal(signal);
        node.wait()
    }

    /// Asks it by the command line.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> Ended {
        self.ask_fed(arguments, "").await
    }

    /// Asks it by the command line, with `input` on standard input.
    pub(crate) async fn ask_fed(&self, arguments: &[&str], input: &str) -> Ended {
        let grpc = self.grpc();
        let arguments = [arguments, &["--grpc", &grpc]].concat();
        program::run(&program::fieldmesh(), &arguments, input).await
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!(
                "--- everything of the node is in {}",
                self.dir.path().display()
            );
        }
    }
}

/// The configuration's file.
const CONFIG: &str = "fieldmesh.toml";
/// Longest time until a node of its own is ready. Source: guess.
const START_TIMEOUT: Duration = Duration::from_secs(20);
