//! The overlay's inputs and outputs.

use std::time::Duration;

use model::MachineId;
use statemachine::{Deadline, Instant, Rng, StateMachine};

use crate::{Address, Contact, Message};

/// Sizes and times of the overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Neighbours to keep. Range: 1..=64. HyParView suggests log₁₀(n) + 1.
    pub active_max: usize,
    /// Machines to remember for repair. Range: 8..=1024.
    pub passive_max: usize,
    /// How often views are refreshed.
    pub shuffle_interval: Duration,
}

/// What the overlay remembers from before the start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The stored address book.
    pub contacts: Vec<Contact>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// This machine's own addresses, as far as known; replaces those before.
    OwnAddresses(Vec<Address>),
    /// Discovery (mDNS, a bootstrap address that answered) found a machine.
    Discovered(Contact),
    /// An authenticated link to a machine stands, whoever opened it and for whatever reason.
    LinkUp(MachineId),
    /// The last link to a machine is gone.
    LinkDown(MachineId),
    /// None of the addresses of [`Output::Dial`] led to the machine.
    DialFailed(MachineId),
    /// A round trip over a link was measured.
    RoundTrip(MachineId, Duration),
    /// A valid message over an open link.
    Received(MachineId, Message),
}

/// What the caller must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a link.
    Dial(Contact),
    /// Send over an open link.
    Send(MachineId, Message),
    /// A machine is a neighbour from now on.
    NeighbourUp(MachineId),
    /// A machine is no neighbour any more.
    NeighbourDown(MachineId),
    /// The overlay has no use for the link; whoever else keeps it may go on.
    Release(MachineId),
    /// A contact worth keeping over a restart.
    Learned(Contact),
    /// The peer broke the protocol; the engine decides what follows.
    Misbehaved(MachineId, Fault),
}

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A walk longer than allowed.
    WalkTooLong,
    /// An answer to a question that was not asked.
    Unasked,
}

/// The overlay of one machine.
#[derive(Debug)]
pub struct Overlay {}

impl Overlay {
    /// An overlay that knows what it knew before the last stop.
    #[must_use]
    pub fn new(own: MachineId, config: Config, recovered: Recovered, rng: Rng) -> Self {
        let _ = (own, config, recovered, rng);
        Self {}
    }

    /// The neighbours in the order of their ids.
    pub fn neighbours(&self) -> impl Iterator<Item = MachineId> {
        std::iter::empty()
    }

    /// The last measured round trip to a neighbour.
    #[must_use]
    pub fn round_trip(&self, neighbour: &MachineId) -> Option<Duration> {
        let _ = neighbour;
        None
    }

    /// How many machines are known, neighbours included.
    #[must_use]
    pub fn known(&self) -> usize {
        0
    }
}

impl StateMachine for Overlay {
    type Input = Input;
    type Output = Output;
    const OUTPUTS_PER_CALL_MAX: usize = 64;

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
