//! The election's inputs and outputs.

use std::time::Duration;

use model::MachineId;
use statemachine::{Deadline, Instant, Rng, StateMachine};

use crate::{Candidacy, Message, UplinkId};

/// Times and sizes of the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Relays of one uplink. Range: 1..=16.
    pub relays_count: usize,
    /// How often candidates say that they are alive.
    pub heartbeat_interval: Duration,
    /// Silence after which a candidate is suspected.
    pub suspect_after: Duration,
    /// How long indirect probes may take before a suspect counts as dead.
    pub probe_timeout: Duration,
    /// Candidates that are asked about a suspect.
    pub probes: usize,
    /// A pause of this machine after which it stops uploading until it has read the states again.
    pub fence_after: Duration,
    /// How much better a challenger must score to take an incumbent's place. Unit: points, of
    /// which the priority makes 100 each; see `Election`.
    pub hysteresis: u32,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// What this machine's own way to an uplink is like now.
    OwnCandidacy(UplinkId, Candidacy),
    /// Another machine's state of kind `Candidacy`.
    Candidacy(MachineId, UplinkId, Candidacy),
    /// A machine whose log is known, this one included: somebody must serve it.
    Origin(MachineId),
    /// A link to a machine stands.
    LinkUp(MachineId),
    /// The last link to a machine is gone.
    LinkDown(MachineId),
    /// A valid message over an open link.
    Received(MachineId, Message),
    /// After [`Output::Reread`]: the states have been compared with those of a neighbour, or there
    /// is no neighbour.
    StatesRead,
    /// This machine is about to stop in order.
    Resign,
}

/// What the caller must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send over an open link.
    Send(MachineId, Message),
    /// Keep a link to this machine, a candidate like this one; dial it if need be.
    KeepLink(MachineId),
    /// The election has no use for the link any more.
    ReleaseLink(MachineId),
    /// Tell everyone, as a state.
    Announce(UplinkId, Candidacy),
    /// The relays of an uplink changed; in the order of their ids.
    Relays(UplinkId, Vec<MachineId>),
    /// Upload this origin's records from now on.
    Serve(UplinkId, MachineId),
    /// Stop uploading this origin's records.
    Yield(UplinkId, MachineId),
    /// This machine was paused and has fenced itself: compare states with a neighbour, then say
    /// [`Input::StatesRead`].
    Reread,
    /// The peer broke the protocol; the engine decides what follows.
    Misbehaved(MachineId, Fault),
}

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An answer to a probe that was not asked.
    Unasked,
}

/// The election of one machine.
#[derive(Debug)]
pub struct Election {}

impl Election {
    /// An election that knows of no candidate.
    #[must_use]
    pub fn new(own: MachineId, config: Config, rng: Rng) -> Self {
        let _ = (own, config, rng);
        Self {}
    }

    /// The relays of an uplink as this machine sees them, in the order of their ids.
    #[must_use]
    pub fn relays(&self, uplink: &UplinkId) -> Vec<MachineId> {
        let _ = uplink;
        Vec::new()
    }

    /// Who serves an origin at an uplink; `None` without a relay.
    #[must_use]
    pub fn relay_of(&self, uplink: &UplinkId, origin: &MachineId) -> Option<MachineId> {
        let _ = (uplink, origin);
        None
    }
}

impl StateMachine for Election {
    type Input = Input;
    type Output = Output;
    const OUTPUTS_PER_CALL_MAX: usize = 65_536;

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
