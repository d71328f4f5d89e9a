//! The trace of a run: as one number, in which two runs of a seed that differ anywhere differ, and
//! on demand as lines.

use std::collections::VecDeque;
use std::fmt;

use sha2::{Digest as _, Sha256};
use statemachine::Instant;

/// What happened so far.
#[derive(Debug)]
pub(crate) struct Trace {
    digest: Sha256,
    /// The last of it in words; `None` if nobody wants to read it.
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// A trace of nothing, which keeps lines or not.
    pub(crate) fn new(readable: bool) -> Self {
        Self {
            digest: Sha256::new(),
            lines: readable.then(VecDeque::new),
        }
    }

    /// Something happened to a machine.
    pub(crate) fn note(&mut self, now: Instant, machine: usize, what: &str, detail: &str) {
        self.note_bytes(now, machine, what, detail.as_bytes(), || detail.to_owned());
    }

    /// Something with bytes happened to a machine; the words for it are only asked for if somebody
    /// reads them.
    pub(crate) fn note_bytes(
        &mut self,
        now: Instant,
        machine: usize,
        what: &str,
        bytes: &[u8],
        words: impl FnOnce() -> String,
    ) {
        self.digest.update(now.as_nanos().to_le_bytes());
        self.digest.update(machine.to_le_bytes());
        self.digest.update(what.as_bytes());
        self.digest.update(bytes);
        if let Some(lines) = &mut self.lines {
            if lines.len() >= LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(format!("{now} machine {machine}: {what} {}", words()));
        }
    }

    /// The digest.
    pub(crate) fn hash(&self) -> TraceHash {
        let digest = self.digest.clone().finalize();
        let (first, _) = digest
            .split_first_chunk::<8>()
            .expect("SHA-256 gives 32 bytes");
        TraceHash(u64::from_be_bytes(*first))
    }

    /// The lines that were kept.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default().into()
    }
}

/// The trace of a whole run as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHash(u64);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Most lines that are kept; the oldest go first. Source: guess, some 100 MB.
const LINES_MAX: usize = 500_000;
