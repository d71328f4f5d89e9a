//! The election's inputs and outputs.

use model::MachineId;

use crate::{Candidacy, Message, UplinkId};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// What this machine's own way to an uplink is like now.
    OwnCandidacy(UplinkId, Candidacy),
    /// Another machine's state of kind `Candidacy`, also if it only repeats what is known.
    Candidacy(MachineId, UplinkId, Candidacy),
    /// A machine whose log is known, this one included: somebody must serve it.
    Origin(MachineId),
    /// A link to a machine stands.
    LinkUp(MachineId),
    /// The last link to a machine is gone.
    LinkDown(MachineId),
    /// The machine was thrown out: its candidacies do not count.
    Barred(MachineId),
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
    /// Keep a link to this machine, a candidate like this one; dial it if need be. Said again
    /// every refresh interval while the link is missing.
    KeepLink(MachineId),
    /// The election has no use for the link any more.
    ReleaseLink(MachineId),
    /// A candidate has fallen silent, or its link is gone; others are asked about it. Nobody needs
    /// to wait for it meanwhile.
    Suspected(MachineId),
    /// Tell everyone, as a state.
    Announce(UplinkId, Candidacy),
    /// The relays of an uplink changed; in the order of their ids.
    Relays(UplinkId, Vec<MachineId>),
    /// Upload this origin's records from now on.
    Serve(UplinkId, MachineId),
    /// Stop uploading this origin's records.
    Yield(UplinkId, MachineId),
    /// This machine begins to stand, or was paused and has fenced itself: compare states with a
    /// neighbour, then say [`Input::StatesRead`]. Until then it serves nothing.
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

/// What the election counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Candidates that were silent or cut off, so that others were asked.
    pub suspicions: u64,
    /// Suspects that nobody found alive.
    pub deaths: u64,
    /// Pauses of this machine after which it stopped serving until it had read the states.
    pub fences: u64,
    /// Uplinks that were not taken note of because there are too many.
    pub uplinks_over_limit: u64,
    /// Candidacies that were not taken note of because there are better ones enough.
    pub candidacies_over_limit: u64,
    /// Origins that nobody serves because there are too many.
    pub origins_over_limit: u64,
    /// Probes that were not sent because too many were open.
    pub probes_over_limit: u64,
}
