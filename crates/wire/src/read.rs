//! Generated messages to typed ones: every field is checked here and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use command::{Argument, Code, CommandId, Lineage, Status};
use gossip::{FrontierEntry, Holdings, Interest, Span, Sum, Sums};
use model::{Block, Epoch, LogId, MachineId, Sequence, State, StateKey, StateKind, StateVersion};
use overlay::{Address, Contact, Hops};
use proto::wire::v1 as pb;

use crate::FrameError;

pub(crate) fn overlay(raw: pb::Overlay) -> Result<overlay::Message, FrameError> {
    use overlay::Message as To;
    use pb::overlay::Message as From;
    Ok(match required(raw.message, "overlay message")? {
        From::Join(raw) => To::Join {
            contact: contact(raw.contact)?,
        },
        From::ForwardJoin(raw) => To::ForwardJoin {
            joiner: contact(raw.joiner)?,
            ttl: hops(raw.ttl)?,
        },
        From::Neighbour(raw) => To::Neighbour {
            contact: contact(raw.contact)?,
            urgent: raw.urgent,
        },
        From::NeighbourReply(raw) => To::NeighbourReply {
            accepted: raw.accepted,
        },
        From::Disconnect(_) => To::Disconnect,
        From::Shuffle(raw) => To::Shuffle {
            origin: contact(raw.origin)?,
            sample: contacts(raw.sample)?,
            ttl: hops(raw.ttl)?,
        },
        From::ShuffleReply(raw) => To::ShuffleReply {
            sample: contacts(raw.sample)?,
        },
    })
}

/// `frame_bytes` is the size of the frame that the message came in.
pub(crate) fn gossip(raw: pb::Gossip, frame_bytes: usize) -> Result<gossip::Message, FrameError> {
    use gossip::Message as To;
    use pb::gossip::Message as From;
    Ok(match required(raw.message, "gossip message")? {
        From::Frontier(raw) => To::Frontier {
            ages: ages(&raw.entries)?,
            entries: each(raw.entries, frontier_entry)?,
            urgent: each(raw.urgent, |raw| Ok((log(raw.log)?, run(raw.span)?)))?,
            is_news: raw.is_news,
        },
        From::Sums(raw) => {
            let of = match (raw.of_states, raw.shared) {
                (true, false) => Holdings::States,
                (false, false) => Holdings::Logs,
                (true, true) => Holdings::SharedStates,
                (false, true) => Holdings::SharedLogs,
            };
            To::Sums(of, sums(raw.bits, raw.ranges)?)
        }
        From::Interest(raw) => To::Interest(interest(&raw)?),
        From::Block(raw) => To::Block {
            block: Block::parse(compact(raw.block, frame_bytes))?,
            pushed: raw.pushed,
        },
        From::Want(raw) => To::Want {
            log: log(raw.log)?,
            spans: each(raw.spans, span)?,
            is_past: raw.is_past,
        },
        From::Graft(raw) => To::Graft {
            origin: machine(&raw.origin)?,
        },
        From::Prune(raw) => To::Prune {
            origin: machine(&raw.origin)?,
        },
        From::StateSummary(raw) => To::StateSummary(each(raw.entries, summary_entry)?),
        From::StateWant(raw) => To::StateWant(each(raw.keys, state_key)?),
        From::States(raw) => To::States(each(raw.states, state)?),
    })
}

pub(crate) fn election(raw: pb::Election) -> Result<election::Message, FrameError> {
    use election::Message as To;
    use pb::election::Message as From;
    Ok(match required(raw.message, "election message")? {
        From::Heartbeat(raw) => To::Heartbeat {
            counter: raw.counter,
        },
        From::Probe(raw) => To::Probe {
            target: machine(&raw.target)?,
            nonce: raw.nonce,
        },
        From::ProbeReply(raw) => To::ProbeReply {
            nonce: raw.nonce,
            alive: raw.alive,
        },
        From::Resign(_) => To::Resign,
    })
}

pub(crate) fn command(raw: pb::Command) -> Result<command::Message, FrameError> {
    use command::Message as To;
    use pb::command::Message as From;
    Ok(match required(raw.message, "command message")? {
        From::Call(raw) => call(raw)?,
        From::Part(raw) => To::Part(command_id(&raw.id)?, chunk(raw.chunk)?),
        From::Cancel(raw) => To::Cancel(command_id(&raw.id)?),
        From::Item(raw) => To::Item {
            id: command_id(&raw.id)?,
            index: raw.index,
            value: chunk(raw.value)?,
        },
        From::Done(raw) => To::Done {
            id: command_id(&raw.id)?,
            items: raw.items,
            status: status(raw.code, raw.message)?,
        },
    })
}

fn call(raw: pb::command::Call) -> Result<command::Message, FrameError> {
    let remaining = Duration::from_micros(raw.remaining_micros);
    if remaining > command::Message::REMAINING_MAX {
        return Err(FrameError::Field("time until the deadline"));
    }
    let size = usize::try_from(raw.size).unwrap_or(usize::MAX);
    if size > Argument::BYTES_MAX || raw.chunk.len() > size {
        return Err(FrameError::Field("size of the argument"));
    }
    let limit = Lineage::RULES_MAX;
    let what = "rules";
    Ok(command::Message::Call {
        id: command_id(&raw.id)?,
        name: raw
            .name
            .parse()
            .map_err(|_| FrameError::Field("command name"))?,
        remaining,
        lineage: Lineage::new(raw.lineage).ok_or(FrameError::TooMany { what, limit })?,
        have: raw.have,
        size,
        chunk: chunk(raw.chunk)?,
    })
}

fn command_id(bytes: &Bytes) -> Result<CommandId, FrameError> {
    let bytes = bytes.as_ref().try_into();
    let bytes = bytes.map_err(|_| FrameError::Field("command id"))?;
    Ok(CommandId::from_bytes(bytes))
}

fn chunk(bytes: Bytes) -> Result<Bytes, FrameError> {
    if bytes.len() > command::Message::CHUNK_BYTES_MAX {
        return Err(FrameError::Field("part of a value"));
    }
    Ok(bytes)
}

fn status(code: u32, message: String) -> Result<Status, FrameError> {
    let code = Code::from_number(code).ok_or(FrameError::Field("status code"))?;
    if message.len() > Status::MESSAGE_BYTES_MAX {
        return Err(FrameError::Field("status message"));
    }
    Ok(Status::new(code, message))
}

fn contact(raw: Option<pb::Contact>) -> Result<Contact, FrameError> {
    let raw = required(raw, "contact")?;
    Ok(Contact {
        machine: machine(&raw.machine)?,
        addresses: each(raw.addresses, |text| {
            Address::new(text).ok_or(FrameError::Field("address"))
        })?,
    })
}

fn contacts(raw: Vec<pb::Contact>) -> Result<Vec<Contact>, FrameError> {
    each(raw, |raw| contact(Some(raw)))
}

fn hops(raw: u32) -> Result<Hops, FrameError> {
    let hops = u8::try_from(raw).map(Hops).ok();
    hops.filter(|hops| *hops <= Hops::MAX)
        .ok_or(FrameError::Field("time to live"))
}

fn machine(raw: &[u8]) -> Result<MachineId, FrameError> {
    let bytes = raw.try_into().map_err(|_| FrameError::Field("machine"))?;
    Ok(MachineId::from_bytes(bytes))
}

fn log(raw: Option<pb::Log>) -> Result<LogId, FrameError> {
    let raw = required(raw, "log")?;
    let epoch = required(raw.epoch, "epoch")?;
    Ok(LogId {
        machine: machine(&raw.machine)?,
        epoch: Epoch {
            counter: epoch.counter,
            tag: epoch.tag,
        },
    })
}

fn span(raw: pb::Span) -> Result<Span, FrameError> {
    let last = raw.first.checked_add(raw.more);
    Ok(Span {
        first: number(raw.first)?,
        last: last.ok_or(FrameError::Field("end of a span"))?,
    })
}

fn run(raw: Option<pb::Span>) -> Result<Span, FrameError> {
    span(required(raw, "span")?)
}

fn interest(raw: &pb::gossip::Interest) -> Result<Interest, FrameError> {
    let site = match raw.site.as_str() {
        "" => None,
        name => Some(name.parse().map_err(|_| FrameError::Field("site"))?),
    };
    let pattern = |text: &String| {
        text.parse()
            .map_err(|_| FrameError::Field("pattern of sites"))
    };
    let patterns = raw.patterns.iter().map(pattern);
    let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
    Interest::new(site, patterns).map_err(|_| FrameError::Field("interest"))
}

fn sums(bits: u32, ranges: Vec<pb::gossip::sums::Range>) -> Result<Sums, FrameError> {
    let sums = Sums {
        bits: u8::try_from(bits).unwrap_or(u8::MAX),
        ranges: each(ranges, |raw| {
            let number = u16::try_from(raw.number).ok();
            let sum = raw.sum.as_ref().try_into().ok().map(u128::from_le_bytes);
            Ok((required(number, "range")?, Sum(required(sum, "sum")?)))
        })?,
    };
    let is_consistent = sums.is_consistent();
    is_consistent
        .then_some(sums)
        .ok_or(FrameError::Field("sums"))
}

fn frontier_entry(raw: pb::FrontierEntry) -> Result<FrontierEntry, FrameError> {
    let floor = number(raw.floor)?;
    let end = advance(floor - 1, raw.held)?;
    let mut last = end;
    let beyond = each(raw.beyond, |island| {
        let first = advance(advance(last, number(island.missing)?)?, 1)?;
        last = advance(first, number(island.held)? - 1)?;
        Ok(Span { first, last })
    })?;
    Ok(FrontierEntry {
        log: log(raw.log)?,
        floor,
        end,
        beyond,
    })
}

/// The ages that some entries bear, by log.
fn ages(entries: &[pb::FrontierEntry]) -> Result<BTreeMap<LogId, Duration>, FrameError> {
    let age = |raw: &pb::FrontierEntry| {
        let age = Duration::from_micros(100) * raw.age?;
        Some(log(raw.log.clone()).map(|log| (log, age)))
    };
    entries.iter().filter_map(age).collect()
}

/// A sequence, or a count of them, that is not zero.
fn number(raw: u64) -> Result<Sequence, FrameError> {
    (raw > 0)
        .then_some(raw)
        .ok_or(FrameError::Field("sequence"))
}

fn advance(from: Sequence, by: u64) -> Result<Sequence, FrameError> {
    from.checked_add(by)
        .ok_or(FrameError::Field("frontier sequence"))
}

fn state_key(raw: pb::StateKey) -> Result<StateKey, FrameError> {
    let kind = u8::try_from(raw.kind).ok().and_then(StateKind::from_code);
    if raw.subject.len() > State::SUBJECT_BYTES_MAX {
        return Err(FrameError::Field("state subject"));
    }
    Ok(StateKey {
        origin: machine(&raw.origin)?,
        kind: required(kind, "state kind")?,
        subject: raw.subject,
    })
}

fn summary_entry(
    raw: pb::gossip::state_summary::Entry,
) -> Result<(StateKey, StateVersion), FrameError> {
    let key = state_key(required(raw.key, "state key")?)?;
    let version = StateVersion {
        epoch: raw.epoch,
        counter: raw.counter,
    };
    Ok((key, version))
}

/// Gives the bytes of a block memory of their own if most of the frame's would be kept for nothing.
fn compact(block: Bytes, frame_bytes: usize) -> Bytes {
    if block.len() < frame_bytes / 2 {
        Bytes::copy_from_slice(&block)
    } else {
        block
    }
}

/// Copies the state out of its frame, which it would otherwise keep in memory as a whole.
fn state(raw: Bytes) -> Result<State, FrameError> {
    if raw.len() > State::BYTES_MAX {
        let (size, limit) = (raw.len(), State::BYTES_MAX);
        return Err(model::StateError::TooLong { size, limit }.into());
    }
    Ok(State::decode(Bytes::copy_from_slice(&raw))?)
}

fn required<T>(value: Option<T>, field: &'static str) -> Result<T, FrameError> {
    value.ok_or(FrameError::Field(field))
}

fn each<A, B>(
    raw: Vec<A>,
    read: impl FnMut(A) -> Result<B, FrameError>,
) -> Result<Vec<B>, FrameError> {
    raw.into_iter().map(read).collect()
}
