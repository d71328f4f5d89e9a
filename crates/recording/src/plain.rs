//! Names and small things as plain data, and back. What is read has the limits of the real ones.

use bytes::Bytes;
use gossip::{FrontierEntry, Span};
use model::{
    Block, BlockHash, BlockId, Epoch, LogId, MachineId, Pattern, Position, PublisherMark, State,
};
use overlay::{Address, Contact};
use serde::{Deserialize, Serialize};

use crate::error::Damaged;

/// A [`MachineId`].
pub(crate) type PlainMachine = [u8; 32];
/// An [`Epoch`].
pub(crate) type PlainEpoch = (u64, u32);
/// A [`LogId`].
pub(crate) type PlainLog = (PlainMachine, PlainEpoch);
/// A [`Position`].
pub(crate) type PlainPosition = (PlainEpoch, u64);
/// A [`Contact`].
pub(crate) type PlainContact = (PlainMachine, Vec<String>);
/// A [`PublisherMark`].
pub(crate) type PlainMark = (String, u64);

/// A [`FrontierEntry`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlainFrontier {
    log: PlainLog,
    floor: u64,
    end: u64,
    beyond: Vec<(u64, u64)>,
}

pub(crate) const fn of_machine(machine: MachineId) -> PlainMachine {
    *machine.as_bytes()
}

pub(crate) const fn machine(plain: PlainMachine) -> MachineId {
    MachineId::from_bytes(plain)
}

pub(crate) const fn of_epoch(epoch: Epoch) -> PlainEpoch {
    (epoch.counter, epoch.tag)
}

pub(crate) const fn epoch((counter, tag): PlainEpoch) -> Epoch {
    Epoch { counter, tag }
}

pub(crate) const fn of_log(log: &LogId) -> PlainLog {
    (of_machine(log.machine), of_epoch(log.epoch))
}

pub(crate) const fn log((machine, epoch): PlainLog) -> LogId {
    LogId {
        machine: self::machine(machine),
        epoch: self::epoch(epoch),
    }
}

pub(crate) const fn of_block_id(id: &BlockId) -> (PlainLog, u64) {
    (of_log(&id.log), id.sequence)
}

pub(crate) const fn block_id((log, sequence): (PlainLog, u64)) -> BlockId {
    BlockId {
        log: self::log(log),
        sequence,
    }
}

pub(crate) const fn of_position(position: &Position) -> PlainPosition {
    (of_epoch(position.epoch), position.sequence)
}

pub(crate) const fn position((epoch, sequence): PlainPosition) -> Position {
    Position {
        epoch: self::epoch(epoch),
        sequence,
    }
}

pub(crate) const fn hash(plain: [u8; 32]) -> BlockHash {
    BlockHash(plain)
}

pub(crate) fn of_mark(mark: &PublisherMark) -> PlainMark {
    (mark.publisher.clone(), mark.sequence)
}

pub(crate) fn mark((publisher, sequence): PlainMark) -> Result<PublisherMark, Damaged> {
    if publisher.len() > PublisherMark::NAME_BYTES_MAX {
        return Err(Damaged("the name of a publisher"));
    }
    Ok(PublisherMark {
        publisher,
        sequence,
    })
}

pub(crate) fn of_addresses(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(|a| a.as_str().to_owned()).collect()
}

pub(crate) fn addresses(plain: Vec<String>) -> Result<Vec<Address>, Damaged> {
    all(plain, |text| {
        Address::new(text).ok_or(Damaged("an address"))
    })
}

pub(crate) fn of_contact(contact: &Contact) -> PlainContact {
    (
        of_machine(contact.machine),
        of_addresses(&contact.addresses),
    )
}

pub(crate) fn contact((machine, addresses): PlainContact) -> Result<Contact, Damaged> {
    Ok(Contact {
        machine: self::machine(machine),
        addresses: self::addresses(addresses)?,
    })
}

pub(crate) fn of_frontier(entry: &FrontierEntry) -> PlainFrontier {
    PlainFrontier {
        log: of_log(&entry.log),
        floor: entry.floor,
        end: entry.end,
        beyond: entry.beyond.iter().map(|s| (s.first, s.last)).collect(),
    }
}

pub(crate) fn frontier(plain: PlainFrontier) -> FrontierEntry {
    let spans = plain.beyond.into_iter();
    FrontierEntry {
        log: log(plain.log),
        floor: plain.floor,
        end: plain.end,
        beyond: spans.map(|(first, last)| Span { first, last }).collect(),
    }
}

pub(crate) fn block(bytes: Bytes) -> Result<Block, Damaged> {
    Block::parse(bytes).map_err(|_| Damaged("a block"))
}

pub(crate) fn blocks(plain: Vec<Bytes>) -> Result<Vec<Block>, Damaged> {
    all(plain, block)
}

pub(crate) fn of_blocks(blocks: &[Block]) -> Vec<Bytes> {
    blocks.iter().map(|b| b.as_bytes().clone()).collect()
}

pub(crate) fn state(bytes: Bytes) -> Result<State, Damaged> {
    State::decode(bytes).map_err(|_| Damaged("a state"))
}

pub(crate) fn of_patterns(patterns: &[Pattern]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

pub(crate) fn pattern(text: &str) -> Result<Pattern, Damaged> {
    text.parse().map_err(|_| Damaged("a pattern"))
}

pub(crate) fn patterns(plain: &[String]) -> Result<Vec<Pattern>, Damaged> {
    plain.iter().map(|text| pattern(text)).collect()
}

/// Reads each of them; the first that is damaged stands for all.
pub(crate) fn all<T, U>(
    plain: Vec<T>,
    read: impl Fn(T) -> Result<U, Damaged>,
) -> Result<Vec<U>, Damaged> {
    plain.into_iter().map(read).collect()
}
