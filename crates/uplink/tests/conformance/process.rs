//! Servers that tests start: on loopback ports of their own, ended by the handle.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

/// A server, that ends with this value.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program and waits until it listens.
    pub(crate) async fn start(name: &str, arguments: &[&str], port: u16) -> Self {
        let child = Command::new(program(name))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let process = Self(child.unwrap_or_else(|error| panic!("{name}: {error}")));
        let answers = async {
            while TcpStream::connect(("127.0.0.1", port)).is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let answers = timeout(Duration::from_secs(30), answers).await;
        answers.unwrap_or_else(|_| panic!("{name} does not listen"));
        process
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("signalled");
    }

    /// Ends it in order.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        self.0.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Where a program is: in the search path, or where Debian keeps servers.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let mut found = dirs.iter().map(|dir| dir.join(name));
    let found = found.find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing; `cargo xtask test` installs it"))
}

/// Runs a program to its end.
pub(crate) fn run(name: &str, arguments: &[&Path]) {
    let status = Command::new(program(name)).args(arguments).status();
    assert!(status.expect("it starts").success(), "{name} failed");
}
