//! Servers that tests start: on loopback ports of their own, ended by the handle.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
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

    /// Starts one test of this program, with variables in its environment.
    pub(crate) fn start_this(test: &str, variables: &[(&str, &str)]) -> (Self, ChildStdout) {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args([test, "--exact", "--nocapture"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        (Self(child), stdout)
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

/// A process that hardly gets to work, until this value ends.
#[derive(Debug)]
pub(crate) struct Slowed {
    end: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Slowed {
    /// Slows a process down; this must end before the process does.
    pub(crate) fn process(process: &Process) -> Self {
        let pid = Pid::from_child(&process.0);
        Self::by(move |wait| {
            loop {
                kill_process(pid, Signal::STOP).expect("signalled");
                let is_over = wait(Duration::from_millis(95));
                kill_process(pid, Signal::CONT).expect("signalled");
                if is_over || wait(Duration::from_millis(5)) {
                    return;
                }
            }
        })
    }

    /// Runs something that makes a sink slow. It can wait, and hears whether it is to end.
    pub(crate) fn by(run: impl FnOnce(&dyn Fn(Duration) -> bool) + Send + 'static) -> Self {
        let (end, ended) = sync_channel(0);
        let thread = thread::Builder::new()
            .name("slow".to_owned())
            .spawn(move || {
                run(&|time| ended.recv_timeout(time) != Err(RecvTimeoutError::Timeout));
            });
        Self {
            end: Some(end),
            thread: Some(thread.expect("a thread")),
        }
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
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
