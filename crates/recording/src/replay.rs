//! A recorded run again, step by step.

use std::io::Read;

use engine::{Node, NodeIdentity, Output};
use identity::Trust;
use statemachine::{Instant, Rng, StateMachine as _};

use crate::error::{Damaged, Difference, ReplayError};
use crate::event::Event;
use crate::file::{Entries, Entry, EntryError, Outcome};
use crate::held::Start;
use crate::key::{Answers, Played};
use crate::plain;
use crate::recorded::OutputDigest;
use crate::settings::{self, PROGRAM};

/// A node that is given what a recorded one was given.
#[derive(Debug)]
pub struct Replay<R> {
    entries: Entries<R>,
    node: Node,
    trust: Trust,
    answers: Answers,
    digest: OutputDigest,
    summary: Summary,
}

/// One step that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which one, from 1.
    pub number: u64,
    /// When it was, on the recorded node's clock.
    pub at: Instant,
    /// Whether the recording says what came of it; only the last one may lack that.
    pub was_checked: bool,
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many steps gave what they gave when they were recorded.
    pub checked: u64,
    /// How many steps were taken; the last one may have no outcome in the recording.
    pub steps: u64,
    /// How many outputs there were.
    pub outputs: u64,
    /// When the last step was, on the recorded node's clock.
    pub last: Instant,
    /// How many bytes at the end of the recording are no whole entry.
    pub cut: u64,
}

impl<R: Read> Replay<R> {
    /// Reads how the recorded node started, and starts it again.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] if this is no recording of this version, or the start differs already.
    pub fn open(from: R) -> Result<Self, ReplayError> {
        let mut entries = Entries::open(from)?;
        let start = match next(&mut entries, 0)? {
            Some(Entry::Start(start)) => start,
            Some(Entry::Held(_) | Entry::Step(..) | Entry::Outcome(_)) => {
                return Err(damaged(&entries, 0, Damaged("no start")));
            }
            None => return Err(ReplayError::TooShort),
        };
        if start.program != PROGRAM {
            let recorded = start.program;
            return Err(ReplayError::Program { recorded });
        }
        let mut recovered = start.recovered();
        let outcome = loop {
            match next(&mut entries, 0)? {
                Some(Entry::Held(held)) => held
                    .add_to(&mut recovered)
                    .map_err(|what| damaged(&entries, 0, what))?,
                Some(Entry::Outcome(outcome)) => break outcome,
                Some(Entry::Start(_) | Entry::Step(..)) => {
                    return Err(damaged(&entries, 0, Damaged("a start without its outcome")));
                }
                None => return Err(ReplayError::TooShort),
            }
        };
        let answers = Answers::default();
        answers.set(outcome.answers.clone());
        let identity = identity(&start, &answers).map_err(|what| damaged(&entries, 0, what))?;
        settings::check(&start.settings).map_err(|what| damaged(&entries, 0, what))?;
        let trust = start.trust();
        let rng = Rng::from_seed(start.seed);
        let mut replay = Self {
            entries,
            node: Node::new(identity, start.settings, recovered, rng),
            trust,
            answers,
            digest: OutputDigest::default(),
            summary: Summary::default(),
        };
        replay.compare(&outcome, || "the start".to_owned())?;
        Ok(replay)
    }

    /// Takes the next step; `None` at the end of what is whole.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] if it cannot be read, or the node does something else than it did.
    pub fn step(&mut self) -> Result<Option<Step>, ReplayError> {
        let number = self.summary.steps + 1;
        let (at, event) = match next(&mut self.entries, number)? {
            Some(Entry::Step(at, event)) => (Instant::from_nanos(at), event),
            Some(Entry::Start(_) | Entry::Held(_) | Entry::Outcome(_)) => {
                return Err(damaged(&self.entries, number, Damaged("no step")));
            }
            None => {
                self.summary.cut = self.entries.cut();
                return Ok(None);
            }
        };
        if at < self.summary.last {
            let what = Damaged("a step before the one before it");
            return Err(damaged(&self.entries, number, what));
        }
        let outcome = match next(&mut self.entries, number)? {
            Some(Entry::Outcome(outcome)) => Some(outcome),
            Some(Entry::Start(_) | Entry::Held(_) | Entry::Step(..)) => {
                let what = Damaged("a step without its outcome");
                return Err(damaged(&self.entries, number, what));
            }
            None => None,
        };
        let was_checked = outcome.is_some();
        self.take(at, event, outcome)?;
        Ok(Some(Step {
            number,
            at,
            was_checked,
        }))
    }

    /// How far it has come.
    #[must_use]
    pub const fn summary(&self) -> Summary {
        self.summary
    }

    /// The node, to be looked at.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The digest of all outputs so far, as hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = self.digest.get();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn take(
        &mut self,
        at: Instant,
        event: Event,
        outcome: Option<Outcome>,
    ) -> Result<(), ReplayError> {
        let number = self.summary.steps + 1;
        let input = event.clone().into_input(&self.trust);
        let input = input.map_err(|what| damaged(&self.entries, number, what))?;
        let answers = outcome.as_ref().map(|outcome| outcome.answers.clone());
        self.answers.set(answers.unwrap_or_default());
        self.summary.steps = number;
        self.summary.last = at;
        match input {
            Some(input) => self.node.handle(at, input),
            None => self.node.handle_timeout(at),
        }
        let Some(outcome) = outcome else {
            return Ok(()); // Whoever recorded it did not come so far.
        };
        let trust = self.trust;
        self.compare(&outcome, || match event.into_input(&trust) {
            Ok(Some(input)) => format!("{input:?}"),
            Ok(None) => "timers are due".to_owned(),
            Err(what) => what.to_string(),
        })?;
        self.summary.checked += 1;
        Ok(())
    }

    /// Takes what the node gave for a step, and holds it against what it gave then.
    fn compare(
        &mut self,
        outcome: &Outcome,
        input: impl FnOnce() -> String,
    ) -> Result<(), ReplayError> {
        let outputs: Vec<Output> = std::iter::from_fn(|| self.node.poll_output()).collect();
        let digest = self.digest.add(outputs.iter());
        self.summary.outputs += u64::try_from(outputs.len()).unwrap_or(u64::MAX);
        if digest == outcome.digest {
            return Ok(());
        }
        Err(ReplayError::Differs(Box::new(Difference {
            step: self.summary.steps,
            at: self.summary.last,
            input: input(),
            outputs_recorded: outcome.outputs,
            outputs: outputs.iter().map(|output| format!("{output:?}")).collect(),
        })))
    }
}

fn identity(start: &Start, answers: &Answers) -> Result<NodeIdentity<Played>, Damaged> {
    Ok(NodeIdentity {
        keypair: Played {
            machine: plain::machine(start.machine),
            answers: answers.clone(),
        },
        membership: start.membership()?,
        trust: start.trust(),
    })
}

fn next<R: Read>(entries: &mut Entries<R>, step: u64) -> Result<Option<Entry>, ReplayError> {
    entries.next().map_err(|error| match error {
        EntryError::Read(error) => ReplayError::Read(error),
        EntryError::Damaged(what) => damaged(entries, step, what),
    })
}

const fn damaged<R: Read>(entries: &Entries<R>, step: u64, what: Damaged) -> ReplayError {
    ReplayError::Damaged {
        offset: entries.offset(),
        step,
        what,
    }
}
