//! A node as its loop sees it, and whoever writes down what happens to it.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::ops::Deref;

use engine::{Config, Input, MachineKey, Node, NodeIdentity, Output, Recovered};
use gossip::Write;
use sha2::{Digest as _, Sha256};
use statemachine::{Deadline, Instant, Rng, StateMachine};

use crate::error::Unrecordable;
use crate::event::Event;
use crate::file::{Entry, Outcome, header};
use crate::held::{Held, Start};
use crate::key::{Answers, Witnessed};

/// Where a recording goes.
pub trait Sink: fmt::Debug + Send {
    /// Takes bytes before the node runs; may wait for a disk. Returns whether it wants more.
    fn begin(&mut self, bytes: Vec<u8>) -> bool;

    /// Takes bytes while the node runs; never waits. Returns whether it wants more; if not, it has
    /// said so to whoever looks after the node.
    fn put(&mut self, bytes: Vec<u8>) -> bool;

    /// Hears why the recording ends before something that has no place in it.
    fn give_up(&mut self, why: Unrecordable);
}

/// A node; what it takes in and gives out is written down, if somebody wants it. Nothing else
/// reaches the node: it can be looked at, but is changed by [`StateMachine`] alone.
#[derive(Debug)]
pub struct Recorded {
    node: Node,
    /// Outputs that were counted and not taken yet.
    outputs: VecDeque<Output>,
    tape: Option<Tape>,
}

#[derive(Debug)]
struct Tape {
    sink: Box<dyn Sink>,
    answers: Answers,
    digest: OutputDigest,
}

impl Recorded {
    /// A node that is not recorded.
    #[must_use]
    pub const fn not(node: Node) -> Self {
        Self {
            node,
            outputs: VecDeque::new(),
            tape: None,
        }
    }

    /// Starts a node whose randomness is drawn from `seed`, and writes down how.
    #[must_use]
    pub fn start<K: MachineKey + 'static>(
        identity: NodeIdentity<K>,
        settings: Config,
        recovered: Recovered,
        seed: [u8; 32],
        mut sink: Box<dyn Sink>,
    ) -> Self {
        let answers = Answers::default();
        let is_taken = begin(&mut *sink, &identity, &settings, &recovered, seed);
        answers.set(Vec::new());
        let identity = NodeIdentity {
            keypair: Witnessed {
                key: identity.keypair,
                answers: answers.clone(),
            },
            membership: identity.membership,
            trust: identity.trust,
        };
        let tape = Tape {
            sink,
            answers,
            digest: OutputDigest::default(),
        };
        let mut recorded = Self {
            node: Node::new(identity, settings, recovered, Rng::from_seed(seed)),
            outputs: VecDeque::new(),
            tape: Some(tape),
        };
        if is_taken {
            recorded.write_outcome();
        } else {
            recorded.end();
        }
        recorded
    }

    /// Whether what happens is written down.
    #[must_use]
    pub const fn is_recording(&self) -> bool {
        self.tape.is_some()
    }

    fn write(&mut self, entry: Result<Entry, Unrecordable>) {
        let Some(tape) = &mut self.tape else { return };
        let is_taken = match entry.and_then(|entry| entry.encode()) {
            Ok(bytes) => tape.sink.put(bytes),
            Err(why) => {
                tape.sink.give_up(why);
                false
            }
        };
        if !is_taken {
            self.end();
        }
    }

    fn write_outcome(&mut self) {
        let Some(tape) = &mut self.tape else { return };
        let before = self.outputs.len();
        self.outputs
            .extend(std::iter::from_fn(|| self.node.poll_output()));
        let outcome = Outcome {
            outputs: u32::try_from(self.outputs.len() - before).unwrap_or(u32::MAX),
            digest: tape.digest.add(self.outputs.range(before..)),
            answers: tape.answers.take(),
        };
        self.write(Ok(Entry::Outcome(outcome)));
    }

    fn end(&mut self) {
        if let Some(tape) = self.tape.take() {
            tape.answers.close();
        }
    }
}

/// Writes the start; returns whether all of it was taken.
fn begin<K: MachineKey>(
    sink: &mut dyn Sink,
    identity: &NodeIdentity<K>,
    settings: &Config,
    recovered: &Recovered,
    seed: [u8; 32],
) -> bool {
    let start = Entry::Start(Box::new(Start::of(identity, settings, recovered, seed)));
    let parts = Held::parts(recovered).map(Entry::Held);
    if !sink.begin(header()) {
        return false;
    }
    for entry in std::iter::once(start).chain(parts) {
        let is_taken = match entry.encode() {
            Ok(bytes) => sink.begin(bytes),
            Err(why) => {
                sink.give_up(why);
                false
            }
        };
        if !is_taken {
            return false;
        }
    }
    true
}

impl Deref for Recorded {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl StateMachine for Recorded {
    type Input = Input;
    type Output = Output;
    const OUTPUTS_PER_CALL_MAX: usize = Node::OUTPUTS_PER_CALL_MAX;

    /// The step is written before it is taken: if the node panics in it, it is the last one.
    fn handle(&mut self, now: Instant, input: Input) {
        if self.tape.is_some() {
            self.write(Event::of(&input).map(|event| Entry::Step(now.as_nanos(), event)));
        }
        self.node.handle(now, input);
        self.write_outcome();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.write(Ok(Entry::Step(now.as_nanos(), Event::TimersDue)));
        self.node.handle_timeout(now);
        self.write_outcome();
    }

    fn poll_output(&mut self) -> Option<Output> {
        let counted = self.outputs.pop_front();
        counted.or_else(|| self.node.poll_output())
    }

    fn next_deadline(&self) -> Option<Deadline> {
        self.node.next_deadline()
    }
}

/// The digest of all outputs so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct OutputDigest([u8; 32]);

impl OutputDigest {
    /// Adds the outputs of a step.
    pub(crate) fn add<'a>(&mut self, outputs: impl Iterator<Item = &'a Output>) -> [u8; 16] {
        let mut hash = Sha256::new_with_prefix(self.0);
        for output in outputs {
            add(&mut hash, output);
        }
        self.0 = hash.finalize().into();
        self.get()
    }

    /// Half of it, which is enough to tell two runs apart.
    pub(crate) fn get(&self) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&self.0[..16]);
        half
    }
}

/// What is large goes in as its bytes, everything else as it prints.
fn add(hash: &mut Sha256, output: &Output) {
    let mut add = |what: fmt::Arguments<'_>, bytes: &[u8]| {
        let written = write!(Text(hash), "{what} {}:", bytes.len());
        debug_assert!(written.is_ok(), "a hash takes everything");
        hash.update(bytes);
    };
    if let Output::Send(to, frame) = output {
        add(format_args!("Send {to}"), &wire::encode(frame));
    } else if let Output::Deliver(block) = output {
        add(format_args!("Deliver"), block.as_bytes());
    } else if let Output::Persist(ticket, Write::Block(block)) = output {
        add(format_args!("Persist {ticket}"), block.as_bytes());
    } else {
        add(format_args!("{output:?}"), &[]);
    }
}

struct Text<'a>(&'a mut Sha256);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}
