//! Typed messages to generated ones. Cannot fail: our own messages keep their limits.

use std::time::Duration;

use bytes::Bytes;
use gossip::{FrontierEntry, Span, Sum};
use model::{LogId, MachineId, Sequence, StateKey, StateVersion};
use overlay::Contact;
use proto::wire::v1 as pb;

pub(crate) fn overlay(message: &overlay::Message) -> pb::Overlay {
    use overlay::Message as From;
    use pb::overlay::{self as to, Message as To};
    let message = match message {
        From::Join { contact } => To::Join(to::Join {
            contact: Some(self::contact(contact)),
        }),
        From::ForwardJoin { joiner, ttl } => To::ForwardJoin(to::ForwardJoin {
            joiner: Some(contact(joiner)),
            ttl: ttl.0.into(),
        }),
        From::Neighbour { contact, urgent } => To::Neighbour(to::Neighbour {
            contact: Some(self::contact(contact)),
            urgent: *urgent,
        }),
        From::NeighbourReply { accepted } => To::NeighbourReply(to::NeighbourReply {
            accepted: *accepted,
        }),
        From::Disconnect => To::Disconnect(to::Disconnect {}),
        From::Shuffle {
            origin,
            sample,
            ttl,
        } => To::Shuffle(to::Shuffle {
            origin: Some(contact(origin)),
            sample: sample.iter().map(contact).collect(),
            ttl: ttl.0.into(),
        }),
        From::ShuffleReply { sample } => To::ShuffleReply(to::ShuffleReply {
            sample: sample.iter().map(contact).collect(),
        }),
    };
    pb::Overlay {
        message: Some(message),
    }
}

pub(crate) fn gossip(message: &gossip::Message) -> pb::Gossip {
    use gossip::Message as From;
    use pb::gossip::{self as to, Message as To};
    let message = match message {
        From::Sums(of, sums) => To::Sums(to::Sums {
            of_states: of.is_states(),
            shared: of.is_shared(),
            bits: sums.bits.into(),
            ranges: sums.ranges.iter().map(range).collect(),
        }),
        From::Frontier {
            entries,
            urgent,
            ages,
            is_news,
        } => To::Frontier(to::Frontier {
            entries: (entries.iter())
                .map(|entry| frontier_entry(entry, ages.get(&entry.log)))
                .collect(),
            urgent: urgent.iter().map(self::urgent).collect(),
            is_news: *is_news,
        }),
        From::Interest(interest) => To::Interest(to::Interest {
            site: (interest.site()).map_or_else(String::new, |site| site.as_str().to_owned()),
            patterns: interest.patterns().map(ToString::to_string).collect(),
        }),
        From::Block { block, pushed } => To::Block(to::Block {
            block: block.as_bytes().clone(),
            pushed: *pushed,
        }),
        From::Want {
            log,
            spans,
            is_past,
        } => To::Want(to::Want {
            log: Some(self::log(log)),
            spans: spans.iter().map(span).collect(),
            is_past: *is_past,
        }),
        From::Graft { origin } => To::Graft(to::Graft {
            origin: machine(origin),
        }),
        From::Prune { origin } => To::Prune(to::Prune {
            origin: machine(origin),
        }),
        From::StateSummary(entries) => To::StateSummary(to::StateSummary {
            entries: entries.iter().map(summary_entry).collect(),
        }),
        From::StateWant(keys) => To::StateWant(to::StateWant {
            keys: keys.iter().map(state_key).collect(),
        }),
        From::States(states) => To::States(to::States {
            states: states
                .iter()
                .map(|state| state.as_bytes().clone())
                .collect(),
        }),
    };
    pb::Gossip {
        message: Some(message),
    }
}

pub(crate) fn election(message: &election::Message) -> pb::Election {
    use election::Message as From;
    use pb::election::{self as to, Message as To};
    let message = match message {
        From::Heartbeat { counter } => To::Heartbeat(to::Heartbeat { counter: *counter }),
        From::Probe { target, nonce } => To::Probe(to::Probe {
            target: machine(target),
            nonce: *nonce,
        }),
        From::ProbeReply { nonce, alive } => To::ProbeReply(to::ProbeReply {
            nonce: *nonce,
            alive: *alive,
        }),
        From::Resign => To::Resign(to::Resign {}),
    };
    pb::Election {
        message: Some(message),
    }
}

pub(crate) fn command(message: &command::Message) -> pb::Command {
    use command::Message as From;
    use pb::command::{self as to, Message as To};
    let bytes = |id: &command::CommandId| Bytes::copy_from_slice(&id.to_bytes());
    let message = match message {
        From::Call {
            id,
            name,
            remaining,
            lineage,
            have,
            size,
            chunk,
        } => To::Call(to::Call {
            id: bytes(id),
            name: name.as_str().to_owned(),
            remaining_micros: u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX),
            lineage: lineage.rules().to_vec(),
            have: *have,
            size: u32::try_from(*size).unwrap_or(u32::MAX),
            chunk: chunk.clone(),
        }),
        From::Part(id, chunk) => To::Part(to::Part {
            id: bytes(id),
            chunk: chunk.clone(),
        }),
        From::Cancel(id) => To::Cancel(to::Cancel { id: bytes(id) }),
        From::Item { id, index, value } => To::Item(to::Item {
            id: bytes(id),
            index: *index,
            value: value.clone(),
        }),
        From::Done { id, items, status } => To::Done(to::Done {
            id: bytes(id),
            items: *items,
            code: status.code.number().into(),
            message: status.message.clone(),
        }),
    };
    pb::Command {
        message: Some(message),
    }
}

fn contact(contact: &Contact) -> pb::Contact {
    let addresses = contact.addresses.iter();
    pb::Contact {
        machine: machine(&contact.machine),
        addresses: addresses.map(|a| a.as_str().to_owned()).collect(),
    }
}

fn log(log: &LogId) -> pb::Log {
    pb::Log {
        machine: machine(&log.machine),
        epoch: Some(pb::Epoch {
            counter: log.epoch.counter,
            tag: log.epoch.tag,
        }),
    }
}

fn span(span: &Span) -> pb::Span {
    pb::Span {
        first: span.first,
        more: span.last.saturating_sub(span.first),
    }
}

fn urgent((log, span): &(LogId, Span)) -> pb::gossip::frontier::Urgent {
    pb::gossip::frontier::Urgent {
        log: Some(self::log(log)),
        span: Some(self::span(span)),
    }
}

fn range((number, sum): &(u16, Sum)) -> pb::gossip::sums::Range {
    pb::gossip::sums::Range {
        number: (*number).into(),
        sum: Bytes::copy_from_slice(&sum.0.to_le_bytes()),
    }
}

fn frontier_entry(entry: &FrontierEntry, age: Option<&Duration>) -> pb::FrontierEntry {
    let beyond = entry.beyond.iter().scan(entry.end, |end, span| {
        let island = pb::frontier_entry::Island {
            missing: span.first.saturating_sub(*end).saturating_sub(1),
            held: length(span.first, span.last),
        };
        *end = span.last;
        Some(island)
    });
    pb::FrontierEntry {
        log: Some(log(&entry.log)),
        floor: entry.floor,
        held: length(entry.floor, entry.end),
        beyond: beyond.collect(),
        age: age.map(|age| u32::try_from(age.as_micros() / 100).unwrap_or(u32::MAX)),
    }
}

fn state_key(key: &StateKey) -> pb::StateKey {
    pb::StateKey {
        origin: machine(&key.origin),
        kind: key.kind.code().into(),
        subject: key.subject.clone(),
    }
}

fn summary_entry((key, version): &(StateKey, StateVersion)) -> pb::gossip::state_summary::Entry {
    pb::gossip::state_summary::Entry {
        key: Some(state_key(key)),
        epoch: version.epoch,
        counter: version.counter,
    }
}

fn machine(machine: &MachineId) -> Bytes {
    Bytes::copy_from_slice(machine.as_bytes())
}

/// How many numbers there are from `first` to `last`; zero if `last` stands right before `first`.
fn length(first: Sequence, last: Sequence) -> u64 {
    last.saturating_add(1).saturating_sub(first)
}
