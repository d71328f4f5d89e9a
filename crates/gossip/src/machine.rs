//! The gossip's inputs and outputs.

use std::time::Duration;

use identity::Trust;
use model::{Block, LogId, MachineId, State};
use statemachine::{Deadline, Instant, Rng, StateMachine, Ticket};

use crate::{Frontier, FrontierEntry, Message, Span};

/// Times and sizes of gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long announcements are gathered before they are sent.
    pub announce_interval: Duration,
    /// How long an announced block may take to arrive over the tree before it is asked for.
    pub graft_timeout: Duration,
    /// How long a wanted block may take before another neighbour is asked.
    pub want_timeout: Duration,
    /// Most bytes asked of one neighbour and not arrived yet.
    pub want_bytes_max: usize,
    /// Most logs that are kept track of.
    pub logs_max: usize,
    /// Most states that are kept.
    pub states_max: usize,
}

/// What gossip knew before the start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// What the store holds.
    pub frontier: Vec<FrontierEntry>,
    /// The states that were stored, in any order.
    pub states: Vec<State>,
}

/// Something that must be on disk before its [`Input::Persisted`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Append a block.
    Block(Block),
    /// Keep a state in place of the one with the same key.
    State(State),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A machine became a neighbour.
    NeighbourUp(MachineId),
    /// A neighbour is gone; what it announced is asked from others.
    NeighbourDown(MachineId),
    /// The neighbour's send queue is full: announce to it, push nothing.
    Congested(MachineId),
    /// The neighbour's send queue has room again.
    Drained(MachineId),
    /// A valid message from a neighbour; its signatures have not been checked.
    Received(MachineId, Message),
    /// A block of this machine, sealed just now.
    Publish(Block),
    /// A state of this machine, sealed just now.
    PublishState(State),
    /// [`Output::Persist`] is on disk.
    Persisted(Ticket),
    /// [`Output::Persist`] could not be written.
    PersistFailed(Ticket),
    /// The answer to [`Output::Read`]; blocks that could not be read are left out.
    BlocksRead(Ticket, Vec<Block>),
    /// Retention dropped the blocks of a log before this one.
    FloorMoved(LogId, model::Sequence),
}

/// What the caller must do, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Queue a message to a neighbour.
    Send(MachineId, Message),
    /// Write, then say [`Input::Persisted`] or [`Input::PersistFailed`] with the ticket.
    Persist(Ticket, Write),
    /// Read blocks and say [`Input::BlocksRead`] with the ticket.
    Read {
        /// Names the answer.
        ticket: Ticket,
        /// Their log.
        log: LogId,
        /// Which ones.
        span: Span,
        /// Stop before the encoded blocks exceed this, but give at least one. Unit: bytes.
        bytes_max: usize,
    },
    /// A block that is durable now, at most once per (log, sequence), own blocks included.
    Deliver(Block),
    /// A state that is newer than the one before it, own states included. Not necessarily durable.
    DeliverState(State),
    /// A block or state could not be written. For an own block: its readings are not acknowledged.
    NotPersisted(Write),
    /// The peer broke the protocol; the engine decides what follows.
    Misbehaved(MachineId, Fault),
}

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A signature is not of the origin that it names.
    Signature,
    /// A membership that the network's operator did not sign.
    Membership,
    /// A block whose columns do not decode.
    Columns,
    /// A frontier entry or span whose ends contradict each other.
    Frontier,
}

/// The gossip of one machine.
#[derive(Debug)]
pub struct Gossip {}

impl Gossip {
    /// A gossip that knows what it knew before the last stop.
    #[must_use]
    pub fn new(
        own: MachineId,
        trust: Trust,
        config: Config,
        recovered: Recovered,
        rng: Rng,
    ) -> Self {
        let _ = (own, trust, config, recovered, rng);
        Self {}
    }

    /// What is held durably.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        unimplemented!()
    }
}

impl StateMachine for Gossip {
    type Input = Input;
    type Output = Output;
    const OUTPUTS_PER_CALL_MAX: usize = 4_096;

    fn handle(&mut self, now: Instant, input: Input) {
        let _ = (now, input);
        unimplemented!()
    }

    fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        unimplemented!()
    }

    fn poll_output(&mut self) -> Option<Output> {
        unimplemented!()
    }

    fn next_deadline(&self) -> Option<Deadline> {
        unimplemented!()
    }
}
