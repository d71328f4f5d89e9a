//! What a segment holds: gathered by a scan, or read back from its footer.
//!
//! A footer is a protobuf message in columns: blocks grouped by log, numbers as differences, sets
//! of series once each.

use std::collections::BTreeMap;

use model::{
    BlockId, Epoch, LogId, MachineId, Position, PublisherMark, StateKey, StateKind, StateVersion,
    Timestamp,
};
use prost::Message as _;

use crate::record::{Extent, flatten, unflatten};
use crate::series_set::SeriesSet;

/// What a segment holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Its blocks.
    pub(crate) blocks: Vec<BlockEntry>,
    /// Its copies of blocks that outlive the part of their log that was given up.
    pub(crate) kept: Vec<BlockEntry>,
    /// Its states.
    pub(crate) states: Vec<StateEntry>,
    /// How far each publisher had come in own blocks.
    pub(crate) marks: BTreeMap<String, u64>,
}

/// A block in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    /// Its name.
    pub(crate) id: BlockId,
    /// What it says to continue, if it is the first of an epoch.
    pub(crate) continues: Option<Position>,
    /// Where its record starts. Unit: bytes.
    pub(crate) offset: u32,
    /// How long its record is, header included. Unit: bytes.
    pub(crate) length: u32,
    /// Times, series and count.
    pub(crate) extent: Extent,
}

/// A state in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateEntry {
    /// Which record.
    pub(crate) key: StateKey,
    /// Its place in the order.
    pub(crate) version: StateVersion,
    /// Where its record starts. Unit: bytes.
    pub(crate) offset: u32,
    /// How long its record is, header included. Unit: bytes.
    pub(crate) length: u32,
}

impl Contents {
    /// Whether it holds nothing that must outlive it.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.kept.is_empty() && self.states.is_empty()
    }

    /// Raises the marks by those of an own block.
    pub(crate) fn mark(&mut self, marks: &[PublisherMark]) {
        for mark in marks {
            let highest = self.marks.entry(mark.publisher.clone()).or_default();
            *highest = mark.sequence.max(*highest);
        }
    }

    /// The payload of the footer's record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut numbers = BTreeMap::new();
        let mut sets = Vec::new();
        let mut by_log = |blocks| -> Vec<RawLog> {
            let mut by_log: BTreeMap<LogId, Vec<(&BlockEntry, u32)>> = BTreeMap::new();
            for block in blocks {
                let block: &BlockEntry = block;
                let number = *numbers.entry(&block.extent.series).or_insert_with(|| {
                    let ranges = flatten(&block.extent.series);
                    sets.push(RawSet { ranges });
                    u32::try_from(sets.len() - 1).expect("fewer sets than offsets of 32 bits")
                });
                by_log
                    .entry(block.id.log)
                    .or_default()
                    .push((block, number));
            }
            let logs = by_log.iter();
            logs.map(|(log, rows)| RawLog::new(log, rows)).collect()
        };
        let logs = by_log(&self.blocks);
        let kept = by_log(&self.kept);
        RawFooter {
            logs,
            kept,
            sets,
            states: self.states.iter().map(RawEntry::new).collect(),
            marks: self.marks.clone(),
        }
        .encode_to_vec()
    }

    /// Reads the payload of a footer's record; `None` if it contradicts itself.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let raw = RawFooter::decode(payload).ok()?;
        let sets: Vec<SeriesSet> = raw.sets.iter().map(|set| unflatten(&set.ranges)).collect();
        let mut contents = Self {
            marks: raw.marks,
            ..Self::default()
        };
        for log in &raw.logs {
            log.entries(&sets, &mut contents.blocks)?;
        }
        for log in &raw.kept {
            log.entries(&sets, &mut contents.kept)?;
        }
        for state in raw.states {
            contents.states.push(state.entry()?);
        }
        Some(contents)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawFooter {
    #[prost(message, repeated, tag = "1")]
    logs: Vec<RawLog>,
    #[prost(message, repeated, tag = "2")]
    sets: Vec<RawSet>,
    #[prost(message, repeated, tag = "3")]
    states: Vec<RawEntry>,
    #[prost(btree_map = "string, uint64", tag = "4")]
    marks: BTreeMap<String, u64>,
    #[prost(message, repeated, tag = "5")]
    kept: Vec<RawLog>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawSet {
    #[prost(uint32, repeated, tag = "1")]
    ranges: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawPosition {
    #[prost(uint64, tag = "1")]
    counter: u64,
    #[prost(fixed32, tag = "2")]
    tag: u32,
    #[prost(uint64, tag = "3")]
    sequence: u64,
}

/// The blocks of one log; columns of equal length. Sequences, offsets and first times are
/// differences from the row before, wrapping; last times are differences from the first ones.
#[derive(Clone, PartialEq, prost::Message)]
struct RawLog {
    #[prost(bytes = "vec", tag = "1")]
    machine: Vec<u8>,
    #[prost(uint64, tag = "2")]
    counter: u64,
    #[prost(fixed32, tag = "3")]
    tag: u32,
    #[prost(message, optional, tag = "4")]
    continues: Option<RawPosition>,
    #[prost(sint64, repeated, tag = "5")]
    sequences: Vec<i64>,
    #[prost(uint32, repeated, tag = "6")]
    offsets: Vec<u32>,
    #[prost(uint32, repeated, tag = "7")]
    lengths: Vec<u32>,
    #[prost(sint64, repeated, tag = "8")]
    firsts: Vec<i64>,
    #[prost(sint64, repeated, tag = "9")]
    lasts: Vec<i64>,
    #[prost(uint32, repeated, tag = "10")]
    readings: Vec<u32>,
    #[prost(uint32, repeated, tag = "11")]
    sets: Vec<u32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RawEntry {
    #[prost(bytes = "vec", tag = "1")]
    origin: Vec<u8>,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(string, tag = "3")]
    subject: String,
    #[prost(uint64, tag = "4")]
    epoch: u64,
    #[prost(uint64, tag = "5")]
    counter: u64,
    #[prost(uint32, tag = "6")]
    offset: u32,
    #[prost(uint32, tag = "7")]
    length: u32,
}

impl RawLog {
    fn new(log: &LogId, rows: &[(&BlockEntry, u32)]) -> Self {
        let continues = rows.iter().find_map(|(block, _)| block.continues);
        let mut raw = Self {
            machine: log.machine.as_bytes().to_vec(),
            counter: log.epoch.counter,
            tag: log.epoch.tag,
            continues: continues.map(|position| RawPosition {
                counter: position.epoch.counter,
                tag: position.epoch.tag,
                sequence: position.sequence,
            }),
            ..Self::default()
        };
        let (mut sequence, mut offset, mut time) = (0_u64, 0_u32, 0_i64);
        for (block, set) in rows {
            let first = block.extent.first.as_nanos();
            let last = block.extent.last.as_nanos();
            let step = block.id.sequence.wrapping_sub(sequence);
            raw.sequences.push(step.cast_signed());
            raw.offsets.push(block.offset.wrapping_sub(offset));
            raw.lengths.push(block.length);
            raw.firsts.push(first.wrapping_sub(time));
            raw.lasts.push(last.wrapping_sub(first));
            raw.readings.push(block.extent.readings);
            raw.sets.push(*set);
            (sequence, offset, time) = (block.id.sequence, block.offset, first);
        }
        raw
    }

    /// Appends the rows to `blocks`; `None` if a column is too short or a set is missing.
    fn entries(&self, sets: &[SeriesSet], blocks: &mut Vec<BlockEntry>) -> Option<()> {
        let log = LogId {
            machine: MachineId::from_bytes(self.machine.as_slice().try_into().ok()?),
            epoch: Epoch {
                counter: self.counter,
                tag: self.tag,
            },
        };
        let continues = self.continues.as_ref().map(|raw| Position {
            epoch: Epoch {
                counter: raw.counter,
                tag: raw.tag,
            },
            sequence: raw.sequence,
        });
        let (mut sequence, mut offset, mut first) = (0_u64, 0_u32, 0_i64);
        for (row, step) in self.sequences.iter().enumerate() {
            sequence = sequence.wrapping_add(step.cast_unsigned());
            offset = offset.wrapping_add(*self.offsets.get(row)?);
            first = first.wrapping_add(*self.firsts.get(row)?);
            let last = first.wrapping_add(*self.lasts.get(row)?);
            let set = usize::try_from(*self.sets.get(row)?).ok()?;
            blocks.push(BlockEntry {
                id: BlockId { log, sequence },
                continues: continues.filter(|_| sequence == 1),
                offset,
                length: *self.lengths.get(row)?,
                extent: Extent {
                    first: Timestamp::from_nanos(first),
                    last: Timestamp::from_nanos(last),
                    readings: *self.readings.get(row)?,
                    series: sets.get(set)?.clone(),
                },
            });
        }
        Some(())
    }
}

impl RawEntry {
    fn new(state: &StateEntry) -> Self {
        Self {
            origin: state.key.origin.as_bytes().to_vec(),
            kind: state.key.kind.code().into(),
            subject: state.key.subject.clone(),
            epoch: state.version.epoch,
            counter: state.version.counter,
            offset: state.offset,
            length: state.length,
        }
    }

    fn entry(self) -> Option<StateEntry> {
        Some(StateEntry {
            key: StateKey {
                origin: MachineId::from_bytes(self.origin.as_slice().try_into().ok()?),
                kind: StateKind::from_code(u8::try_from(self.kind).ok()?)?,
                subject: self.subject,
            },
            version: StateVersion {
                epoch: self.epoch,
                counter: self.counter,
            },
            offset: self.offset,
            length: self.length,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(
        machine: u8,
        sequence: u64,
        numbers: (u32, i64, i64),
        ranges: Vec<(u32, u32)>,
    ) -> BlockEntry {
        let epoch = Epoch { counter: 3, tag: 9 };
        let machine = MachineId::from_bytes([machine; 32]);
        BlockEntry {
            id: BlockId {
                log: LogId { machine, epoch },
                sequence,
            },
            continues: (sequence == 1).then_some(Position { epoch, sequence: 7 }),
            offset: numbers.0,
            length: numbers.0 / 2,
            extent: Extent {
                first: Timestamp::from_nanos(numbers.1),
                last: Timestamp::from_nanos(numbers.2),
                readings: numbers.0 % 4_096,
                series: SeriesSet::from_ranges(ranges),
            },
        }
    }

    proptest! {
        #[test]
        fn contents_read_back_from_their_footer(
            rows in prop::collection::vec(
                (0_u8..3, any::<u64>(), any::<(u32, i64, i64)>(), any::<Vec<(u32, u32)>>()), 0..40),
            marks in prop::collection::btree_map("[a-z]{1,8}", any::<u64>(), 0..5),
        ) {
            let mut blocks: Vec<BlockEntry> = rows
                .into_iter()
                .map(|(machine, sequence, numbers, ranges)| block(machine, sequence, numbers, ranges))
                .collect();
            blocks.sort_by_key(|block| block.id.log);
            let key = StateKey {
                origin: MachineId::from_bytes([4; 32]),
                kind: StateKind::Series,
                subject: "3-00000009/1".to_owned(),
            };
            let version = StateVersion { epoch: 3, counter: 8 };
            let states = vec![StateEntry { key, version, offset: 52, length: 99 }];
            let kept = blocks.iter().step_by(3).cloned().collect();
            let contents = Contents { blocks, kept, states, marks };

            prop_assert_eq!(Contents::decode(&contents.encode()), Some(contents));
        }

        #[test]
        fn bytes_that_are_no_footer_are_refused_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = Contents::decode(&bytes);
        }
    }
}
