//! What is recorded: who was let in, refused or thrown out, and who commanded whom.

use std::time::Duration;

use command::{Attempt, Code, Side};
use engine::Event;
use jiff::fmt::temporal::DateTimePrinter;
use model::{MachineId, Timestamp};
use proto::v1 as pb;
use serde::{Deserialize, Serialize};
use swarm::RefusalReason;

/// One line.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Record {
    /// When, as RFC 3339.
    pub time: String,
    /// Who caused it: a machine, or `administrator` for whoever may use this node's gRPC.
    pub source: String,
    /// What the type belongs to.
    category: Category,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Whom or what it happened to: a machine, an invitation, or a command.
    pub id: String,
    /// `ok`, or why not.
    pub result: String,
    /// Where from, for what words, under what name: whatever the others do not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How many of this type went unwritten since the one before, because they came too fast.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// What a record belongs to.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Who belongs to the network.
    Admission,
    /// What machines are told to do.
    Command,
    /// What machines do by themselves.
    Rule,
}

/// What happened.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A member has linked with this machine.
    Admitted,
    /// A machine that had proved its key was refused in the handshake.
    Refused,
    /// A link was closed because its machine does not count as a member any more.
    Expelled,
    /// A machine was thrown out of the network.
    Revoked,
    /// This machine has signed a membership.
    MembershipSigned,
    /// This machine has signed an invitation.
    Invited,
    /// A machine has redeemed an invitation here, or has tried to.
    Enrolled,
    /// Two machines had redeemed one invitation; this one is no member by it.
    RedeemedTwice,
    /// A machine has signed two different blocks of one number.
    Equivocated,
    /// This machine was given a newer membership.
    Renewed,
    /// This machine was given a newer network key.
    NetworkKey,
    /// A command of this machine has ended.
    Sent,
    /// A command to this machine has ended.
    Received,
    /// A command to this machine ended without having begun, by what is wrong with it.
    Declined,
    /// The rules of this machine were read again.
    RulesLoaded,
    /// A rule was stopped.
    RuleStopped,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 3] = [Self::Admission, Self::Command, Self::Rule];

    /// The name of its file in the data directory.
    #[must_use]
    pub const fn file(self) -> &'static str {
        match self {
            Self::Admission => "audit.jsonl",
            Self::Command => "audit-commands.jsonl",
            Self::Rule => "audit-rules.jsonl",
        }
    }

    /// Its name, also in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Command => "command",
            Self::Rule => "rule",
        }
    }
}

impl Kind {
    /// Its name, also in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused => "refused",
            Self::Expelled => "expelled",
            Self::Revoked => "revoked",
            Self::MembershipSigned => "membership-signed",
            Self::Invited => "invited",
            Self::Enrolled => "enrolled",
            Self::RedeemedTwice => "redeemed-twice",
            Self::Equivocated => "equivocated",
            Self::Renewed => "renewed",
            Self::NetworkKey => "network-key",
            Self::Sent => "sent",
            Self::Received => "received",
            Self::Declined => "declined",
            Self::RulesLoaded => "rules-loaded",
            Self::RuleStopped => "rule-stopped",
        }
    }

    /// The category.
    #[must_use]
    pub const fn category(self) -> Category {
        match self {
            Self::Admitted
            | Self::Refused
            | Self::Expelled
            | Self::Revoked
            | Self::MembershipSigned
            | Self::Invited
            | Self::Enrolled
            | Self::RedeemedTwice
            | Self::Equivocated
            | Self::Renewed
            | Self::NetworkKey => Category::Admission,
            Self::Sent | Self::Received | Self::Declined => Category::Command,
            Self::RulesLoaded | Self::RuleStopped => Category::Rule,
        }
    }

    /// What other machines can cause as often as they like is written at this interval, once a
    /// burst is used up.
    #[must_use]
    pub const fn pace(self) -> Option<Duration> {
        match self {
            Self::Admitted | Self::Refused | Self::Expelled | Self::Enrolled => {
                Some(ADMISSION_INTERVAL)
            }
            Self::Declined => Some(DECLINED_INTERVAL),
            Self::Sent
            | Self::Received
            | Self::Revoked
            | Self::MembershipSigned
            | Self::Invited
            | Self::RedeemedTwice
            | Self::Equivocated
            | Self::Renewed
            | Self::NetworkKey
            | Self::RulesLoaded
            | Self::RuleStopped => None,
        }
    }
}

impl Record {
    /// Something that went well.
    #[must_use]
    pub fn new(time: Timestamp, kind: Kind, source: impl ToString, id: impl ToString) -> Self {
        Self {
            time: text_of(time),
            source: source.to_string(),
            kind,
            category: kind.category(),
            id: id.to_string(),
            result: OK.to_owned(),
            detail: String::new(),
            left_out: 0,
        }
    }

    /// The same, refused.
    #[must_use]
    pub fn failed(self, why: impl ToString) -> Self {
        let result = why.to_string();
        Self { result, ..self }
    }

    /// The same, with a detail.
    #[must_use]
    pub fn with(self, detail: impl ToString) -> Self {
        let detail = detail.to_string();
        Self { detail, ..self }
    }

    /// What of the node's events is recorded.
    #[must_use]
    pub fn of_event(time: Timestamp, event: &Event) -> Option<Self> {
        match event {
            Event::Revoked(revocation) => {
                let record = Self::new(time, Kind::Revoked, revocation.signer, revocation.machine);
                Some(record.with(&revocation.reason))
            }
            Event::Expelled(machine, why) => {
                Some(Self::new(time, Kind::Expelled, machine, machine).failed(why))
            }
            Event::RedeemedTwice {
                invitation,
                counts,
                too_late,
            } => {
                let record = Self::new(time, Kind::RedeemedTwice, too_late, too_late);
                let record = record.failed("another machine had redeemed the invitation");
                Some(record.with(format!("invitation {invitation}, member {counts}")))
            }
            Event::Equivocated(proof) => {
                let (id, machine) = (proof.block(), proof.block().log.machine);
                let record = Self::new(time, Kind::Equivocated, machine, machine);
                let record = record.failed("two different blocks of one number bear its signature");
                Some(record.with(id))
            }
            Event::Renewed(_)
            | Event::MembershipEnds(_)
            | Event::NetworkKeyRefused(_)
            | Event::NeighbourUp(_)
            | Event::NeighbourDown(_)
            | Event::Relays(..)
            | Event::Serving(..)
            | Event::Yielded(..)
            | Event::Fenced
            | Event::Misbehaved(..)
            | Event::Withholds(..)
            | Event::NotPersisted(_)
            | Event::Rewound(..) => None,
        }
    }

    /// What of the swarm's events is recorded.
    #[must_use]
    pub fn of_swarm(time: Timestamp, event: &swarm::Event) -> Option<Self> {
        match event {
            swarm::Event::LinkUp { machine, way, .. }
            | swarm::Event::LinkMoved { machine, way, .. } => {
                Some(Self::new(time, Kind::Admitted, machine, machine).with(way.name()))
            }
            swarm::Event::Refused {
                machine: Some(machine),
                address,
                reason,
            } => Some(Self::of_refusal(time, *machine, address.as_ref(), reason)),
            swarm::Event::Refused { machine: None, .. }
            | swarm::Event::LinkDown(_)
            | swarm::Event::DialFailed(_)
            | swarm::Event::Received(..)
            | swarm::Event::Drained(_)
            | swarm::Event::RoundTrip(..)
            | swarm::Event::Discovered(_)
            | swarm::Event::OwnAddresses(_)
            | swarm::Event::Claimed { .. } => None,
        }
    }

    /// What is recorded of an attempt at a command, on the machine `own`.
    #[must_use]
    pub fn of_attempt(time: Timestamp, own: MachineId, attempt: &Attempt) -> Self {
        let status = &attempt.status;
        let kind = match attempt.side {
            Side::Caller => Kind::Sent,
            Side::Target if is_verdict(status.code) => Kind::Declined,
            Side::Target => Kind::Received,
        };
        let (caller, target) = match attempt.side {
            Side::Caller => (own, attempt.peer),
            Side::Target => (attempt.peer, own),
        };
        let name = attempt.name.as_ref();
        let name = name.map_or("a command", |name| name.as_str());
        let again = if attempt.repeated { " again" } else { "" };
        let record = Self::new(time, kind, caller, attempt.id);
        let record = record.with(format!("{name} to {target}{again}"));
        if status.code == Code::Ok {
            record
        } else {
            record.failed(status)
        }
    }

    /// The record as gRPC carries it.
    #[must_use]
    pub fn to_proto(&self) -> pb::AuditRecord {
        let time = self.time.parse::<jiff::Timestamp>().ok();
        pb::AuditRecord {
            time: time.map(|time| prost_types::Timestamp {
                seconds: time.as_second(),
                nanos: time.subsec_nanosecond(),
            }),
            source: self.source.clone(),
            category: self.category.name().to_owned(),
            r#type: self.kind.name().to_owned(),
            id: self.id.clone(),
            result: self.result.clone(),
            detail: self.detail.clone(),
            left_out: self.left_out,
        }
    }

    fn of_refusal(
        time: Timestamp,
        machine: MachineId,
        address: Option<&overlay::Address>,
        reason: &RefusalReason,
    ) -> Self {
        let address = address.map(overlay::Address::as_str).unwrap_or_default();
        Self::new(time, Kind::Refused, machine, machine)
            .failed(reason)
            .with(address)
    }
}

/// Whether a target that says so has found something wrong with the command itself.
const fn is_verdict(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
    )
}

fn text_of(time: Timestamp) -> String {
    let time = jiff::Timestamp::from_nanosecond(time.as_nanos().into());
    time.map_or_else(
        |_| String::new(),
        |time| {
            let printer = DateTimePrinter::new().precision(Some(9));
            printer.timestamp_to_string(&time)
        },
    )
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Whoever may use this node's gRPC.
pub const ADMINISTRATOR: &str = "administrator";
/// The result of what went well.
const OK: &str = "ok";
/// Between records of links. Source: guess; with 300 bytes a record both files together hold at
/// least ten days of one kind.
const ADMISSION_INTERVAL: Duration = Duration::from_secs(30);
/// Between records of commands that were not done. Source: guess; whoever is admitted and keeps
/// asking for what it may not do costs 26 MB of flash a day.
const DECLINED_INTERVAL: Duration = Duration::from_secs(1);
