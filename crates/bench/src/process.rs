//! What the kernel knows of a process: memory, CPU time, bytes written.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

/// A process as `/proc` shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Process {
    /// This one.
    Own,
    /// The one with this id.
    Id(u32),
}

impl Process {
    fn path(self, file: &str) -> PathBuf {
        match self {
            Self::Own => PathBuf::from("/proc/self").join(file),
            Self::Id(id) => PathBuf::from(format!("/proc/{id}")).join(file),
        }
    }

    fn read(self, file: &str) -> anyhow::Result<String> {
        let path = self.path(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Resident memory. Unit: bytes.
    pub(crate) fn resident(self) -> anyhow::Result<u64> {
        kilobytes(&self.read("status")?, "VmRSS:")
    }

    /// Resident memory with shared pages divided among those that share them. Unit: bytes.
    pub(crate) fn proportional(self) -> anyhow::Result<u64> {
        kilobytes(&self.read("smaps_rollup")?, "Pss:")
    }

    /// Bytes that it made the disk write.
    pub(crate) fn bytes_written(self) -> anyhow::Result<u64> {
        field(&self.read("io")?, "write_bytes:")
    }

    /// CPU time that all its threads have used, in steps of 10 ms.
    pub(crate) fn cpu(self) -> anyhow::Result<Duration> {
        cpu_of(&self.read("stat")?)
    }

    /// What each of its threads has had of the cores, by their names.
    pub(crate) fn threads(self) -> anyhow::Result<Vec<(String, Share)>> {
        let mut threads = Vec::new();
        for thread in fs::read_dir(self.path("task"))? {
            let path = thread?.path();
            let (name, times) = (path.join("comm"), path.join("schedstat"));
            // A thread may end between being listed and being read.
            if let (Ok(name), Ok(times)) = (fs::read_to_string(name), fs::read_to_string(times)) {
                threads.push((name.trim().to_owned(), share_of(&times)?));
            }
        }
        Ok(threads)
    }
}

/// What a thread has had of the cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// It ran.
    pub(crate) running: Duration,
    /// It could have run, but others did.
    pub(crate) waiting: Duration,
}

/// The times in a line of `/proc/PID/schedstat`.
fn share_of(times: &str) -> anyhow::Result<Share> {
    let mut times = times.split_whitespace().map(str::parse);
    let mut next = || {
        times
            .next()
            .context("the kernel gives two times")?
            .map_err(anyhow::Error::from)
    };
    Ok(Share {
        running: Duration::from_nanos(next()?),
        waiting: Duration::from_nanos(next()?),
    })
}

/// User and system time of a line of `/proc/PID/stat`.
fn cpu_of(stat: &str) -> anyhow::Result<Duration> {
    // The name in parentheses may hold spaces; what follows it are numbers.
    let (_, numbers) = stat.rsplit_once(')').context("a process has a name")?;
    let mut times = numbers.split_whitespace().skip(TIMES_AFTER_NAME).take(2);
    let mut next = || times.next().and_then(|ticks| ticks.parse::<u64>().ok());
    let ticks = next().zip(next()).map(|(user, system)| user + system);
    let ticks = ticks.context("a process has used some time")?;
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(ticks * 1_000 / per_second))
}

fn field(text: &str, name: &str) -> anyhow::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    let value = value.with_context(|| format!("the kernel does not say {name}"))?;
    value
        .parse()
        .with_context(|| format!("{name} {value} is no number"))
}

fn kilobytes(text: &str, name: &str) -> anyhow::Result<u64> {
    Ok(field(text, name)? * 1_024)
}

/// Fields between the name and the user time. Source: proc(5).
const TIMES_AFTER_NAME: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_after_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b) S 1 1 1 0 -1 4194304 200 0 0 0 130 20 0 0 20 0 3 0";

        let per_second = rustix::param::clock_ticks_per_second();
        let expected = Duration::from_millis(150 * 1_000 / per_second);
        assert_eq!(cpu_of(stat).expect("two times"), expected);
    }
}
