//! What the services ask of a node.

use std::sync::Arc;
use std::time::Duration;

use engine::{AckLevel, AdminReply, AdminRequest, Published, Rights};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use model::{
    Epoch, MachineId, NewReading, Pattern, PublisherMark, Quality, Sequence, SeriesDefinition,
    Timestamp, Value,
};
use proto::v1 as pb;

use crate::{CommandBackend, Refusal};

/// What the services ask of a node. Arguments have been checked.
///
/// Futures and streams are dropped when the client goes away; a backend must not go on working for
/// them then. Streams are read only as fast as the client reads.
pub trait Backend: CommandBackend {
    /// The wall clock, for readings that come without a time.
    fn now(&self) -> Timestamp;

    /// Publishes a batch as a whole or not at all, and answers when its level is reached.
    ///
    /// Batches of one client are first polled in the order in which they came.
    fn publish(&self, batch: Batch) -> BoxFuture<'static, Result<Published, Refusal>>;

    /// The latest reading by time of every series that fits.
    fn latest(&self, pattern: Pattern) -> ReadingStream;

    /// The held readings that fit, in the order of origin, epoch, sequence and index.
    fn query(&self, query: Query) -> ReadingStream;

    /// Readings that fit as they are delivered, each once; with `since`, those held from that time
    /// on come first. Never ends by itself. [`crate::Feed`] does the part after `since`.
    fn watch(&self, pattern: Pattern, since: Option<Timestamp>) -> ReadingStream;

    /// The known series that fit, or all.
    fn series(
        &self,
        pattern: Option<Pattern>,
    ) -> BoxFuture<'static, Result<Vec<SeriesEntry>, Refusal>>;

    /// Does what an administrator asks.
    fn admin(&self, asked: AdminRequest) -> BoxFuture<'static, Result<AdminReply, Refusal>>;

    /// Makes a token by which a machine gets these rights, once, until `open_for` has passed.
    fn invite(
        &self,
        rights: Rights,
        open_for: Duration,
    ) -> BoxFuture<'static, Result<pb::CreateInvitationResponse, Refusal>>;

    /// Everyone whose membership the node knows.
    fn members(&self) -> BoxFuture<'static, Result<pb::ListMembersResponse, Refusal>>;

    /// The newest records of the audit log, of one category or of all, the oldest of them first.
    fn audit(
        &self,
        category: Option<String>,
        limit: usize,
    ) -> BoxFuture<'static, Result<pb::ListAuditResponse, Refusal>>;

    /// How the node is doing.
    fn status(&self) -> BoxFuture<'static, Result<pb::GetStatusResponse, Refusal>>;

    /// The machines and links that the node knows of.
    fn topology(&self) -> BoxFuture<'static, Result<pb::GetTopologyResponse, Refusal>>;

    /// The relays as the node sees them.
    fn relays(&self) -> BoxFuture<'static, Result<pb::ListRelaysResponse, Refusal>>;

    /// How the rules of this machine stand.
    fn rules(&self) -> BoxFuture<'static, Result<pb::ListRulesResponse, Refusal>>;

    /// Reads the rules again.
    fn reload_rules(&self) -> BoxFuture<'static, Result<pb::ReloadRulesResponse, Refusal>>;

    /// How the alarms stand, or only those that are not over and acknowledged.
    fn alarms(&self, all: bool) -> BoxFuture<'static, Result<pb::ListAlarmsResponse, Refusal>>;

    /// Acknowledges an alarm of a machine, which is given by name or id, durably.
    fn acknowledge(&self, machine: String, name: String)
    -> BoxFuture<'static, Result<(), Refusal>>;

    /// The newest records that sinks refuse for ever, of one uplink or of all, at most so many of
    /// each.
    fn set_aside(
        &self,
        uplink: Option<String>,
        limit: usize,
    ) -> BoxFuture<'static, Result<pb::ListSetAsideResponse, Refusal>>;
}

/// Held readings in parts of any size, none of them empty. An error ends it.
pub type ReadingStream = BoxStream<'static, Result<Vec<HeldReading>, Refusal>>;

/// Readings to publish, at most [`crate::READINGS_PER_REQUEST_MAX`] and at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The readings.
    pub readings: Vec<NewReading>,
    /// The publisher's own name and number of this batch.
    pub publisher: Option<PublisherMark>,
    /// When to answer.
    pub level: AckLevel,
}

/// A span of time of the series that a pattern fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which series.
    pub pattern: Pattern,
    /// The first time that fits.
    pub from: Timestamp,
    /// The first time that fits no more; [`Timestamp::MAX`] for no end. Not before `from`.
    pub to: Timestamp,
}

impl Query {
    /// Whether a reading of this time fits.
    #[must_use]
    pub fn covers(&self, time: Timestamp) -> bool {
        self.from <= time && (time < self.to || self.to == Timestamp::MAX)
    }
}

/// A machine whose readings are held; shared, because it has many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    machine: MachineId,
    id: String,
    name: String,
}

impl Origin {
    /// A machine and its display name, which is empty while its membership is not known.
    #[must_use]
    pub fn new(machine: MachineId, name: String) -> Self {
        Self {
            machine,
            id: machine.to_string(),
            name,
        }
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> MachineId {
        self.machine
    }

    /// Its id as text.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its display name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a pattern fits a series of this machine, by the machine's name or id.
    #[must_use]
    pub fn fits(&self, pattern: &Pattern, series: &SeriesDefinition) -> bool {
        let named = |machine| machine == self.name || machine == self.id;
        pattern.machine().is_none_or(named) && pattern.matches(&series.name)
    }
}

/// A reading as it is held, with everything that a reader needs to understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldReading {
    /// The machine that made it.
    pub origin: Arc<Origin>,
    /// Its series.
    pub series: Arc<SeriesDefinition>,
    /// When the source says that the value was true.
    pub time: Timestamp,
    /// When its block was sealed.
    pub received: Timestamp,
    /// The value.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
    /// The epoch of its log.
    pub epoch: Epoch,
    /// Its block there.
    pub sequence: Sequence,
    /// Its place in the block.
    pub index: u32,
}

/// A series of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesEntry {
    /// The machine.
    pub origin: Arc<Origin>,
    /// What it measures.
    pub series: Arc<SeriesDefinition>,
    /// The newest epoch in which the machine has defined it.
    pub epoch: Epoch,
}
