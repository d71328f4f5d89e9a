//! What a swarm says.

use std::time::Duration;

use bytes::Bytes;
use identity::{Claim, Membership};
use model::MachineId;
use overlay::{Address, Contact};

use crate::RefusalReason;
use crate::enrolment::EnrolmentId;
use crate::ways::Way;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A link to an admitted machine stands.
    LinkUp {
        /// The machine.
        machine: MachineId,
        /// What it may do.
        membership: Box<Membership>,
        /// What the link is made of.
        way: Way,
    },
    /// The link goes on over another connection; no frame was lost or reordered.
    LinkMoved {
        /// The machine.
        machine: MachineId,
        /// What it may do, judged anew.
        membership: Box<Membership>,
        /// What the link is made of now.
        way: Way,
    },
    /// The link is gone, for whatever reason, [`crate::Swarm::release`] included.
    LinkDown(MachineId),
    /// A dial led to no link.
    DialFailed(MachineId),
    /// A frame over a link.
    Received(MachineId, Bytes),
    /// After [`crate::Sending::Full`]: at least half of the room is free on both lanes.
    Drained(MachineId),
    /// A round trip over a link was measured.
    RoundTrip(MachineId, Duration),
    /// A machine was found by mDNS (which proves nothing), or answered at a bootstrap address.
    Discovered(Contact),
    /// This machine can be reached here; replaces what was said before.
    OwnAddresses(Vec<Address>),
    /// A machine wants to become a member; [`crate::Swarm::answer`] tells it.
    Claimed {
        /// Names it until then.
        enrolment: EnrolmentId,
        /// What it has shown; its signatures hold.
        claim: Box<Claim>,
        /// Where it came from.
        address: Option<Address>,
    },
    /// A connection was refused before it reached the swarm.
    Refused {
        /// Who it was, if that was proved.
        machine: Option<MachineId>,
        /// Where it came from or was dialled.
        address: Option<Address>,
        /// Why.
        reason: RefusalReason,
    },
}

/// What the swarm has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Links that were up.
    pub links_made: u64,
    /// Links that have moved to a fresh connection.
    pub links_moved: u64,
    /// Dials that led to no link.
    pub dials_failed: u64,
    /// Connections refused before they reached the swarm.
    pub refusals: u64,
    /// Dials that got through over TCP while they did not over QUIC.
    pub tcp_fallbacks: u64,
    /// What QUIC has dropped without a word.
    pub quic: transport::Stats,
    /// Frames that were dropped because there was no room for them.
    pub frames_dropped: u64,
}
