//! What a node is told, as plain data and back. What is bytes between machines or on disk is these
//! very bytes here, and goes through the same checks when it is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::{AckLevel, AdminRequest, Input, RequestId, Rights, UploadId};
use identity::{InvitationId, Role, Trust};
use model::{
    ClockState, Labels, NewReading, Quality, SeriesDefinition, Timestamp, Value, ValueType,
};
use serde::{Deserialize, Serialize};
use statemachine::Ticket;

use crate::commands::PlainCommand;
use crate::error::{Damaged, Unrecordable};
use crate::plain::{self, PlainContact, PlainLog, PlainMachine, PlainMark};

/// An [`Input`], or that timers are due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    TimersDue,
    WallClock(i64, #[serde(with = "PlainClockState")] ClockState),
    OwnAddresses(Vec<String>),
    Discovered(PlainContact),
    LinkUp(Bytes),
    LinkMoved(Bytes),
    LinkDown(PlainMachine),
    DialFailed(PlainMachine),
    RoundTrip(PlainMachine, Duration),
    Received(PlainMachine, Bytes),
    Congested(PlainMachine),
    Drained(PlainMachine),
    Publish(Publish),
    Persisted(u64),
    PersistFailed(u64),
    BlocksRead(u64, Vec<Bytes>),
    BlocksFound(u64, Vec<Bytes>, u64),
    UplinkReachable(String, bool),
    Load(u8),
    Uploaded(String, Vec<u64>),
    UploadLost(String, Vec<u64>),
    Command(PlainCommand),
    FloorMoved(PlainLog, u64),
    Lost(Vec<(PlainLog, u64)>),
    Admin(u64, PlainRequest),
    Stop,
}

/// [`Input::Publish`]; each series stands there once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Publish {
    request: u64,
    series: Vec<PlainSeries>,
    readings: Vec<PlainReading>,
    publisher: Option<PlainMark>,
    #[serde(with = "PlainAckLevel")]
    level: AckLevel,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PlainSeries {
    name: String,
    unit: String,
    value_type: u8,
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PlainReading {
    /// Its place among the series of this batch.
    series: usize,
    time: i64,
    #[serde(with = "PlainValue")]
    value: Value,
    quality: u8,
}

/// An [`AdminRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum PlainRequest {
    Relay(Bytes),
    Revoke(PlainMachine, String),
    Admit(PlainMachine, String, PlainRights),
    Invite([u8; 32], PlainRights, Duration),
    Redeem(Bytes),
}

/// [`Rights`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlainRights {
    roles: Vec<String>,
    commands: Vec<String>,
    lifetime: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ClockState")]
enum PlainClockState {
    Unsynchronised,
    Coarse,
    Synchronised,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AckLevel")]
enum PlainAckLevel {
    Accepted,
    Durable,
    Replicated(u8),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Value")]
enum PlainValue {
    Null,
    F64(f64),
    I64(i64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
}

impl Event {
    /// An input as plain data.
    pub(crate) fn of(input: &Input) -> Result<Self, Unrecordable> {
        let ids = |ids: &[UploadId]| ids.iter().map(|id| id.0).collect();
        Ok(match input {
            Input::WallClock(time, state) => Self::WallClock(time.as_nanos(), *state),
            Input::OwnAddresses(addresses) => Self::OwnAddresses(plain::of_addresses(addresses)),
            Input::Discovered(contact) => Self::Discovered(plain::of_contact(contact)),
            Input::LinkUp(membership) => Self::LinkUp(membership.as_bytes().clone()),
            Input::LinkMoved(membership) => Self::LinkMoved(membership.as_bytes().clone()),
            Input::LinkDown(machine) => Self::LinkDown(plain::of_machine(*machine)),
            Input::DialFailed(machine) => Self::DialFailed(plain::of_machine(*machine)),
            Input::RoundTrip(machine, time) => Self::RoundTrip(plain::of_machine(*machine), *time),
            Input::Received(machine, frame) => {
                Self::Received(plain::of_machine(*machine), wire::encode(frame))
            }
            Input::Congested(machine) => Self::Congested(plain::of_machine(*machine)),
            Input::Drained(machine) => Self::Drained(plain::of_machine(*machine)),
            Input::Publish {
                request,
                readings,
                publisher,
                level,
            } => {
                let publisher = publisher.as_ref().map(plain::of_mark);
                Self::Publish(Publish::of(request.0, readings, publisher, *level))
            }
            Input::Persisted(ticket) => Self::Persisted(ticket.number()),
            Input::PersistFailed(ticket) => Self::PersistFailed(ticket.number()),
            Input::BlocksRead(ticket, blocks) => {
                Self::BlocksRead(ticket.number(), plain::of_blocks(blocks))
            }
            Input::BlocksFound(ticket, blocks, searched) => {
                Self::BlocksFound(ticket.number(), plain::of_blocks(blocks), *searched)
            }
            Input::UplinkReachable(uplink, reachable) => {
                Self::UplinkReachable(uplink.to_string(), *reachable)
            }
            Input::Load(percent) => Self::Load(*percent),
            Input::Uploaded(uplink, done) => Self::Uploaded(uplink.to_string(), ids(done)),
            Input::UploadLost(uplink, lost) => Self::UploadLost(uplink.to_string(), ids(lost)),
            Input::Command(command) => Self::Command(PlainCommand::of(command)?),
            Input::FloorMoved(log, floor) => Self::FloorMoved(plain::of_log(log), *floor),
            Input::Lost(blocks) => Self::Lost(blocks.iter().map(plain::of_block_id).collect()),
            Input::Admin(request, asked) => Self::Admin(request.0, PlainRequest::of(asked)),
            Input::Stop => Self::Stop,
        })
    }

    /// The input; `None` if timers are due.
    pub(crate) fn into_input(self, trust: &Trust) -> Result<Option<Input>, Damaged> {
        let membership = |bytes| {
            let membership = trust.read(bytes);
            membership
                .map(Box::new)
                .map_err(|_| Damaged("a membership"))
        };
        let uplink = |id: String| id.parse().map_err(|_| Damaged("an uplink id"));
        let ids = |ids: Vec<u64>| ids.into_iter().map(UploadId).collect();
        let ticket = Ticket::from_number;
        Ok(Some(match self {
            Self::TimersDue => return Ok(None),
            Self::WallClock(time, state) => Input::WallClock(Timestamp::from_nanos(time), state),
            Self::OwnAddresses(addresses) => Input::OwnAddresses(plain::addresses(addresses)?),
            Self::Discovered(contact) => Input::Discovered(plain::contact(contact)?),
            Self::LinkUp(bytes) => Input::LinkUp(membership(bytes)?),
            Self::LinkMoved(bytes) => Input::LinkMoved(membership(bytes)?),
            Self::LinkDown(machine) => Input::LinkDown(plain::machine(machine)),
            Self::DialFailed(machine) => Input::DialFailed(plain::machine(machine)),
            Self::RoundTrip(machine, time) => Input::RoundTrip(plain::machine(machine), time),
            Self::Received(machine, frame) => {
                let frame = wire::decode(frame).map_err(|_| Damaged("a frame"))?;
                Input::Received(plain::machine(machine), frame)
            }
            Self::Congested(machine) => Input::Congested(plain::machine(machine)),
            Self::Drained(machine) => Input::Drained(plain::machine(machine)),
            Self::Publish(publish) => publish.into_input()?,
            Self::Persisted(number) => Input::Persisted(ticket(number)),
            Self::PersistFailed(number) => Input::PersistFailed(ticket(number)),
            Self::BlocksRead(number, blocks) => {
                Input::BlocksRead(ticket(number), plain::blocks(blocks)?)
            }
            Self::BlocksFound(number, blocks, searched) => {
                Input::BlocksFound(ticket(number), plain::blocks(blocks)?, searched)
            }
            Self::UplinkReachable(id, is_so) => Input::UplinkReachable(uplink(id)?, is_so),
            Self::Load(percent) => Input::Load(percent),
            Self::Uploaded(id, done) => Input::Uploaded(uplink(id)?, ids(done)),
            Self::UploadLost(id, lost) => Input::UploadLost(uplink(id)?, ids(lost)),
            Self::Command(command) => Input::Command(command.into_input()?),
            Self::FloorMoved(log, floor) => Input::FloorMoved(plain::log(log), floor),
            Self::Lost(blocks) => Input::Lost(blocks.into_iter().map(plain::block_id).collect()),
            Self::Admin(request, asked) => {
                Input::Admin(RequestId(request), Box::new(asked.into_request(trust)?))
            }
            Self::Stop => Input::Stop,
        }))
    }
}

impl Publish {
    fn of(
        request: u64,
        readings: &[NewReading],
        publisher: Option<PlainMark>,
        level: AckLevel,
    ) -> Self {
        let mut series: Vec<PlainSeries> = Vec::new();
        let mut places = BTreeMap::new();
        let readings = readings.iter().map(|reading| PlainReading {
            series: *places.entry(&reading.series).or_insert_with(|| {
                series.push(PlainSeries::of(&reading.series));
                series.len() - 1
            }),
            time: reading.time.as_nanos(),
            value: reading.value.clone(),
            quality: reading.quality.code(),
        });
        let readings = readings.collect();
        Self {
            request,
            series,
            readings,
            publisher,
            level,
        }
    }

    fn into_input(self) -> Result<Input, Damaged> {
        let series = self.series.into_iter().map(PlainSeries::into_definition);
        let series = series.collect::<Result<Vec<_>, _>>()?;
        let reading = |plain: PlainReading| {
            let series = series.get(plain.series);
            Ok(NewReading {
                series: Arc::clone(series.ok_or(Damaged("the series of a reading"))?),
                time: Timestamp::from_nanos(plain.time),
                value: plain.value,
                quality: Quality::from_code(plain.quality).ok_or(Damaged("a quality"))?,
            })
        };
        let readings = self.readings.into_iter().map(reading);
        Ok(Input::Publish {
            request: RequestId(self.request),
            readings: readings.collect::<Result<_, Damaged>>()?,
            publisher: self.publisher.map(plain::mark).transpose()?,
            level: self.level,
        })
    }
}

impl PlainSeries {
    fn of(series: &SeriesDefinition) -> Self {
        let labels = series.labels.iter();
        Self {
            name: series.name.as_str().to_owned(),
            unit: series.unit.as_str().to_owned(),
            value_type: series.value_type.code(),
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        }
    }

    fn into_definition(self) -> Result<Arc<SeriesDefinition>, Damaged> {
        let damaged = Damaged("a series");
        Ok(Arc::new(SeriesDefinition {
            name: self.name.parse().map_err(|_| damaged)?,
            unit: self.unit.parse().map_err(|_| damaged)?,
            value_type: ValueType::from_code(self.value_type).ok_or(damaged)?,
            labels: Labels::new(self.labels).map_err(|_| damaged)?,
        }))
    }
}

impl PlainRequest {
    fn of(request: &AdminRequest) -> Self {
        match request {
            AdminRequest::Relay(state) => Self::Relay(state.as_bytes().clone()),
            AdminRequest::Revoke { machine, reason } => {
                Self::Revoke(plain::of_machine(*machine), reason.clone())
            }
            AdminRequest::Admit {
                machine,
                name,
                rights,
            } => {
                let machine = plain::of_machine(*machine);
                Self::Admit(machine, name.clone(), PlainRights::of(rights))
            }
            AdminRequest::Invite {
                id,
                rights,
                open_for,
            } => Self::Invite(id.0, PlainRights::of(rights), *open_for),
            AdminRequest::Redeem(claim) => Self::Redeem(claim.as_bytes().clone()),
        }
    }

    fn into_request(self, trust: &Trust) -> Result<AdminRequest, Damaged> {
        Ok(match self {
            Self::Relay(state) => AdminRequest::Relay(plain::state(state)?),
            Self::Revoke(machine, reason) => AdminRequest::Revoke {
                machine: plain::machine(machine),
                reason,
            },
            Self::Admit(machine, name, rights) => AdminRequest::Admit {
                machine: plain::machine(machine),
                name,
                rights: rights.into_rights()?,
            },
            Self::Invite(id, rights, open_for) => AdminRequest::Invite {
                id: InvitationId(id),
                rights: rights.into_rights()?,
                open_for,
            },
            Self::Redeem(claim) => {
                let claim = trust.read_claim(claim).map_err(|_| Damaged("a claim"))?;
                AdminRequest::Redeem(Box::new(claim))
            }
        })
    }
}

impl PlainRights {
    fn of(rights: &Rights) -> Self {
        let roles = rights.roles.iter();
        Self {
            roles: roles.map(|role| role.name().to_owned()).collect(),
            commands: rights.commands.clone(),
            lifetime: rights.lifetime,
        }
    }

    fn into_rights(self) -> Result<Rights, Damaged> {
        let role = |name: &String| Role::from_name(name).ok_or(Damaged("a role"));
        let roles = self.roles.iter().map(role);
        Ok(Rights {
            roles: roles.collect::<Result<_, _>>()?,
            commands: self.commands,
            lifetime: self.lifetime,
        })
    }
}
