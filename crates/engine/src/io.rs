//! What a node is told and what it asks for.

use std::time::Duration;

use aggregate::Record;
use command::{
    Argument, Attempt, Call, CallId, Command, HandlerId, Note, NoteWrite, Offer, Policy, RunId,
    Status,
};
use election::UplinkId;
use gossip::{FrontierEntry, Span, Write};
use identity::{CredentialError, EpochKey, Equivocation, InvitationId, Membership, Revocation};
use model::{
    Block, BlockHash, BlockId, ClockState, Epoch, LogId, MachineId, NewReading, Position,
    PublisherMark, Sequence, SeriesName, State, Timestamp,
};
use overlay::{Address, Contact};
use statemachine::Ticket;
use wire::Frame;

use crate::{AdminError, AdminReply, AdminRequest};

/// Names a request of the application and its one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names a record that was handed to an uplink, until the uplink has answered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UploadId(pub u64);

/// When readings count as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AckLevel {
    /// They are in a block that is on its way to disk and neighbours.
    Accepted,
    /// They are on this machine's disk.
    Durable,
    /// They are on this machine's disk and on those of this many direct neighbours.
    Replicated(u8),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The wall clock says this now. Given before anything else, then about every second and when
    /// the clock has been set; in between the node counts on by itself.
    WallClock(Timestamp, ClockState),
    /// This machine's own addresses; replaces those before.
    OwnAddresses(Vec<Address>),
    /// Discovery found a machine.
    Discovered(Contact),
    /// An authenticated link stands, to a machine that showed this membership.
    LinkUp(Box<Membership>),
    /// A link has moved to a fresh connection, for which the machine showed this membership.
    LinkMoved(Box<Membership>),
    /// The last link to a machine is gone.
    LinkDown(MachineId),
    /// A dial led nowhere.
    DialFailed(MachineId),
    /// A round trip over a link was measured.
    RoundTrip(MachineId, Duration),
    /// A frame that decoded, over an open link. Its signatures have not been checked.
    Received(MachineId, Frame),
    /// The send queue to a machine is full: what was given since is dropped.
    Congested(MachineId),
    /// The send queue has room again.
    Drained(MachineId),
    /// The application publishes readings, at most [`model::Block::READINGS_MAX`]; they go into one
    /// block.
    Publish {
        /// Names the answer.
        request: RequestId,
        /// The readings.
        readings: Vec<NewReading>,
        /// The publisher's own name and number of this batch, which make sending it again safe.
        publisher: Option<PublisherMark>,
        /// When to answer.
        level: AckLevel,
    },
    /// [`Output::Persist`] is on disk.
    Persisted(Ticket),
    /// [`Output::Persist`] failed.
    PersistFailed(Ticket),
    /// The answer to [`Output::Read`]: blocks in the order of their sequences; what could not be
    /// read is left out.
    BlocksRead(Ticket, Vec<Block>),
    /// The answer to [`Output::Search`]: what was found in the order of sequences, and the last
    /// sequence up to which nothing was overlooked, because it was unreadable or the answer is
    /// full; one before the span if that is so from its beginning.
    BlocksFound(Ticket, Vec<Block>, Sequence),
    /// An uplink can be reached, or cannot any more.
    UplinkReachable(UplinkId, bool),
    /// How busy this machine is. Unit: percent, more counts as 100.
    Load(u8),
    /// An uplink has done with these records: acknowledged by the sink, or set aside for good.
    Uploaded(UplinkId, Vec<UploadId>),
    /// An uplink has lost these records without delivering them: they are to be uploaded again.
    UploadLost(UplinkId, Vec<UploadId>),
    /// Commands: what the application and its handlers do.
    Command(CommandInput),
    /// The store keeps a log from this block on only.
    FloorMoved(LogId, Sequence),
    /// Durable blocks do not read back any more. May be said again while that is so.
    Lost(Vec<BlockId>),
    /// An administrator asks for something, answered by [`Output::AdminReply`].
    Admin(RequestId, Box<AdminRequest>),
    /// Stop in order: seal what is gathered, resign, then say [`Output::Stopped`].
    Stop,
}

/// What the application and its handlers do about commands.
#[derive(Clone, Debug)]
pub enum CommandInput {
    /// Send a command; answered by [`CommandOutput::Answer`] and [`CommandOutput::Finished`].
    Call(CallId, Call),
    /// Have a command carried to its target sealed, by all machines, for as long as its deadline
    /// is away; answered like [`Self::Call`]. An id that is on its way already is waited for.
    Post(CallId, Call),
    /// The application does not wait for it any more; what was posted stays on its way.
    Abandon(CallId),
    /// A handler serves commands from now on.
    HandlerUp(HandlerId, Offer),
    /// A handler is gone.
    HandlerDown(HandlerId),
    /// A handler gives a value of the answer.
    Item(RunId, Argument),
    /// A handler has ended a command.
    Ended(RunId, Status),
    /// What this machine lets others do, in place of what it did before.
    Policy(Policy),
}

/// What the application and its handlers hear of commands.
#[derive(Clone, Debug)]
pub enum CommandOutput {
    /// Have a handler carry a command out.
    Run(RunId, HandlerId, Command),
    /// Tell a handler that nobody waits for a run any more.
    Cancel(RunId, HandlerId),
    /// A handler cannot serve.
    Declined(HandlerId, Status),
    /// A value of the answer to a command.
    Answer(CallId, Argument),
    /// A command has ended.
    Finished(CallId, Status),
    /// For the audit log.
    Attempted(Attempt),
}

/// What the caller must do, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Open a link.
    Dial(Contact),
    /// Queue a frame; if there is no room, drop it and say [`Input::Congested`].
    Send(MachineId, Frame),
    /// Nobody needs the link: close it.
    Release(MachineId),
    /// The machine does not count as a member any more: close every connection to it, now.
    Expel(MachineId),
    /// [`crate::Node::roll`] has changed: new connections are to be judged by what it says now.
    RollChanged,
    /// This machine has a newer membership: show it from now on, and keep it over a restart.
    Renewed(Box<Membership>),
    /// The operator has given this machine a network key: if it is newer than the current one, dial
    /// with it from now on, and keep it over a restart.
    NetworkKey(EpochKey),
    /// Keep a contact over a restart.
    Learned(Contact),
    /// Write, then say [`Input::Persisted`] or [`Input::PersistFailed`].
    Persist(Ticket, Write),
    /// Write to the file of notes on commands, then say [`Input::Persisted`] or
    /// [`Input::PersistFailed`].
    Note(Ticket, NoteWrite),
    /// Commands: what concerns the application and its handlers.
    Command(CommandOutput),
    /// Read blocks and say [`Input::BlocksRead`].
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
    /// Find blocks with readings of these times and say [`Input::BlocksFound`].
    Search {
        /// Names the answer.
        ticket: Ticket,
        /// Their log.
        log: LogId,
        /// Where in it.
        span: Span,
        /// The earliest time that is looked for, and the one after the last; every block if `None`.
        times: Option<(Timestamp, Timestamp)>,
        /// Stop before the encoded blocks exceed this, but give at least one. Unit: bytes.
        bytes_max: usize,
    },
    /// A block that is durable now, at most once each, own blocks included.
    Deliver(Block),
    /// A state that replaces the one with its key.
    StateChanged(State),
    /// The answer to a request.
    Reply(RequestId, Result<Published, PublishError>),
    /// The answer to [`Input::Admin`].
    AdminReply(RequestId, Box<Result<AdminReply, AdminError>>),
    /// A new epoch starts: note its counter durably before the next own block is written.
    EpochStarted(Epoch),
    /// Give a record to an uplink's outbox.
    Upload {
        /// Which uplink.
        uplink: UplinkId,
        /// Names the record until [`Input::Uploaded`].
        id: UploadId,
        /// The record.
        record: Box<Record>,
    },
    /// Another relay serves this origin now: drop its records that are not delivered.
    Withdraw(UplinkId, MachineId),
    /// Something worth a log line.
    Event(Event),
    /// The last output: all is written that was accepted.
    Stopped(CleanStop),
}

/// What is worth a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A machine became a neighbour.
    NeighbourUp(MachineId),
    /// A machine is no neighbour any more.
    NeighbourDown(MachineId),
    /// The relays of an uplink changed.
    Relays(UplinkId, Vec<MachineId>),
    /// This machine serves an origin at an uplink from now on.
    Serving(UplinkId, MachineId),
    /// This machine serves an origin no longer.
    Yielded(UplinkId, MachineId),
    /// This machine holds its uploads back until it has read its neighbours' states: it has just
    /// begun to stand for election, or was paused for longer than relays may be.
    Fenced,
    /// The operator or an admitter has thrown out a machine, perhaps this one.
    Revoked(Revocation),
    /// Several machines have redeemed one invitation; only the first of them counts.
    RedeemedTwice {
        /// Which one.
        invitation: InvitationId,
        /// Who redeemed it first.
        counts: MachineId,
        /// A machine that does not count as a member by it.
        too_late: MachineId,
    },
    /// It is proved that a machine has signed two different blocks of one number, perhaps this one.
    Equivocated(Equivocation),
    /// The link to a machine was closed because of what its membership is, or is not any more.
    Expelled(MachineId, CredentialError),
    /// This machine has a newer membership, which ends then.
    Renewed(Timestamp),
    /// This machine's membership ends soon, and nobody has renewed it yet. Once a day.
    MembershipEnds(Timestamp),
    /// The operator's newer network key cannot be opened: why.
    NetworkKeyRefused(String),
    /// A peer broke a protocol: which one, and how.
    Misbehaved(MachineId, String),
    /// A neighbour does not give the blocks that it says it holds, although its link works: another
    /// machine gets its place. It means ill, or its disk is broken.
    Withholds(MachineId),
    /// A block or state could not be written.
    NotPersisted(String),
    /// An origin's aggregation started over, because it had read blocks that its log left behind.
    Rewound(UplinkId, MachineId),
}

/// What was done with published readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// How many readings were stored by this request; zero if it had been stored before.
    pub readings: usize,
    /// The publisher had sent the same before; it is stored once.
    pub repeated: bool,
}

/// Why readings were not published. Nothing of them is kept, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The membership of this machine lacks the role `publish`.
    #[error(
        "this machine's membership lacks the role `publish`; ask the operator to admit it anew"
    )]
    NotPermitted,
    /// More than fits into a block.
    #[error(
        "a batch of {readings} readings and {bytes} bytes does not fit into one block; send at most {readings_max} readings and {bytes_max} bytes at once"
    )]
    TooLarge {
        /// How many readings were given.
        readings: usize,
        /// Their size. Unit: bytes.
        bytes: usize,
        /// The most readings of one batch.
        readings_max: usize,
        /// The most bytes of one batch.
        bytes_max: usize,
    },
    /// A value that is not of its series' type.
    #[error("a value of series {series} is not of the series' type; null fits every type")]
    WrongType {
        /// The series.
        series: SeriesName,
    },
    /// More series than one machine may have.
    #[error(
        "more than {max} series in one epoch; put what varies into values or labels that repeat"
    )]
    TooManySeries {
        /// The most series.
        max: usize,
    },
    /// The disk does not keep up.
    #[error("the disk does not keep up; try again, and publish more readings per batch")]
    Busy,
    /// The disk refused a block that was sealed. It is written as soon as the disk takes it, so
    /// that a publisher that does not number its batches and sends them again stores them twice.
    #[error(
        "the readings are not on disk: it refused them, and they are tried again until it takes them; see the log of this node, and free space or replace the disk"
    )]
    NotPersisted,
    /// The disk refused a block, and until it takes that one, nothing else is taken.
    #[error(
        "the disk refuses to write; see the log of this node, free space or replace the disk, then send the readings again"
    )]
    DiskRefuses,
    /// `replicated:N` asks for more neighbours than this machine keeps.
    #[error("replicated:{asked} asks for more neighbours than the {max} that this machine keeps")]
    TooManyReplicas {
        /// What was asked for.
        asked: u8,
        /// The most that can be.
        max: usize,
    },
    /// The node stops.
    #[error("this node is stopping; send the readings again when it is back")]
    Stopping,
}

/// What must be kept over a stop in order, so that the epoch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanStop {
    /// The epoch that ended in order.
    pub epoch: Epoch,
    /// The last block in it; 0 if there was none.
    pub last_sequence: Sequence,
    /// The counter of the last own state.
    pub state_counter: u64,
}

/// What the disk knew at the start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// What is held of every log.
    pub frontier: Vec<FrontierEntry>,
    /// The persistent states.
    pub states: Vec<State>,
    /// The address book.
    pub contacts: Vec<Contact>,
    /// Present if the last stop was in order.
    pub clean: Option<CleanStop>,
    /// The highest counter of an own epoch that was ever started on this disk; 0 if none. Own
    /// blocks of later ones came back from others, after the disk before it was lost.
    pub epoch_counter_highest: u64,
    /// The last own block of the gap-free part of the newest own log.
    pub last_own: Option<(Position, BlockHash)>,
    /// Own blocks beyond gaps after that one, which neighbours may close: the first and the last
    /// block of each run, with the hash of the last.
    pub own_runs: Vec<(Position, Position, BlockHash)>,
    /// How far each numbering publisher had come in own blocks.
    pub publishers: Vec<PublisherMark>,
    /// The notes on commands, in the order in which they were written.
    pub notes: Vec<Note>,
}
