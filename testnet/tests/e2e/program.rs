//! Programs: where they are, what they are told, what they say, and that they end.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt as _;

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

impl Ended {
    /// Its standard output, if it did what it was asked.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// Its standard error, if it ended with `code` and a complaint.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.trim().is_empty(), "it failed without a word");
        self.stderr
    }
}

/// The program `testnet`.
pub(crate) fn testnet() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_testnet"))
}

/// The program `fieldmesh`: in `FIELDMESH_BIN_DIR`, or beside `testnet`.
pub(crate) fn fieldmesh() -> PathBuf {
    let beside = || {
        testnet()
            .parent()
            .expect("a program lies in a directory")
            .to_owned()
    };
    let dir = std::env::var_os("FIELDMESH_BIN_DIR").map_or_else(beside, PathBuf::from);
    let path = dir.join("fieldmesh");
    assert!(
        path.exists(),
        "no {}; build it: cargo build -p fieldmesh",
        path.display()
    );
    path
}

/// Runs `fieldmesh` to its end.
pub(crate) async fn ask(arguments: &[&str]) -> Ended {
    run(&fieldmesh(), arguments, "").await
}

/// Runs a program to its end, with `input` on its standard input.
pub(crate) async fn run(program: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    let mut stdin = child.stdin.take().expect("a piped standard input is there");
    let feed = async {
        let _ = stdin.write_all(input.as_bytes()).await; // It need not read all of it.
        drop(stdin);
    };
    let whole = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(RUN_TIMEOUT, whole)
        .await
        .unwrap_or_else(|_| panic!("{} {arguments:?} does not end", program.display()))
        .expect("its output is read");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A program that runs beside the test, and ends with it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program whose standard output and error go to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log);
        let file = file.unwrap_or_else(|error| panic!("cannot write {}: {error}", log.display()));
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        signal_process(self.pid(), signal);
    }

    /// Waits for its end; returns the exit code, or the negative signal.
    pub(crate) fn wait(&mut self) -> i32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status
                    .code()
                    .or_else(|| status.signal().map(|signal| -signal))
                    .unwrap_or(0);
            }
            let said = tail(&self.log, TAIL_LINES);
            assert!(start.elapsed() < RUN_TIMEOUT, "it does not end:\n{said}");
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- {}\n{}",
                self.log.display(),
                tail(&self.log, TAIL_LINES)
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that the test started.
pub(crate) fn signal_process(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process id"), signal).expect("it runs");
}

/// Whether a process exists.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Longest time that a program may take that answers a question, or that ends.
const RUN_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a program's end is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Lines of a log that a failed test shows.
const TAIL_LINES: usize = 20;
