//! A run of a real node again: the file that `fieldmesh run --record` has written, read by the
//! simulator, which gives a node of its own the same inputs and demands the same outputs.

use std::fmt;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use model::MachineId;
use recording::{Replay, ReplayError, Summary};

/// A run that was the same again.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Whose run it was.
    pub machine: MachineId,
    /// What there was of it.
    pub summary: Summary,
    /// The digest of everything that the node gave out, as hexadecimal digits.
    pub digest: String,
}

/// Why a run was not the same again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayFailure {
    /// It cannot be read, or the node did something else.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The node panicked, as the recorded one may have: a panic is the last thing that a node does.
    #[error("the node panics in step {step} of the recording; what it says stands above")]
    Panicked {
        /// The step.
        step: u64,
    },
}

/// Replays the recording of a run, of all steps that it holds whole.
///
/// # Errors
///
/// [`ReplayFailure`] at the first step that is not the same.
pub fn replay(from: impl Read) -> Result<Replayed, ReplayFailure> {
    let opened = catch_unwind(AssertUnwindSafe(|| Replay::open(from)));
    let mut replay = opened.map_err(|_| ReplayFailure::Panicked { step: 0 })??;
    loop {
        let step = catch_unwind(AssertUnwindSafe(|| replay.step()));
        let step = step.map_err(|_| ReplayFailure::Panicked {
            step: replay.summary().steps,
        })?;
        if step?.is_none() {
            return Ok(Replayed {
                machine: replay.node().machine(),
                summary: replay.summary(),
                digest: replay.digest(),
            });
        }
    }
}

impl Replayed {
    /// The outcome as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let Summary { last, .. } = self.summary;
        serde_json::json!({
            "machine": self.machine.to_string(),
            "steps": self.summary.steps,
            "checked": self.summary.checked,
            "outputs": self.summary.outputs,
            "span_s": Duration::from_nanos(last.as_nanos()).as_secs_f64(),
            "cut_bytes": self.summary.cut,
            "digest": self.digest,
        })
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            checked,
            steps,
            outputs,
            last,
            cut,
        } = self.summary;
        write!(
            f,
            "machine {}: {checked} steps to {last}, each with the outputs that were recorded: \
             {outputs} outputs, digest {}",
            self.machine, self.digest
        )?;
        if steps > checked {
            write!(
                f,
                "\nthe recording ends in step {steps}, before what came of it: not compared"
            )?;
        }
        if cut > 0 {
            write!(
                f,
                "\nthe last {cut} bytes are no whole entry: the process was killed while it wrote"
            )?;
        }
        Ok(())
    }
}
