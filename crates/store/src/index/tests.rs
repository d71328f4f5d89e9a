use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::record::Extent;

const MACHINE: MachineId = MachineId::from_bytes([1; 32]);

fn log(counter: u64) -> LogId {
    LogId {
        machine: MACHINE,
        epoch: Epoch { counter, tag: 0 },
    }
}

fn at(counter: u64, sequence: Sequence) -> Position {
    BlockId {
        log: log(counter),
        sequence,
    }
    .position()
}

fn entry(counter: u64, sequence: Sequence, continues: Option<Position>) -> BlockEntry {
    BlockEntry {
        id: BlockId {
            log: log(counter),
            sequence,
        },
        continues,
        offset: 52,
        length: 100,
        extent: Extent {
            first: Timestamp::from_nanos(0),
            last: Timestamp::from_nanos(1),
            readings: 1,
            series: SeriesSet::from_ranges(vec![(1, 1)]),
        },
    }
}

fn visited(index: &Index, log: &LogId) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    index.visit(log, 0, index.cut(log), |sequence, _| {
        sequences.push(sequence);
        ControlFlow::Continue(())
    });
    sequences
}

#[test]
fn blocks_behind_the_position_that_the_next_epoch_continues_are_stragglers() {
    let mut index = Index::new();
    for sequence in 1..=5 {
        index.insert(1, &entry(1, sequence, None));
    }

    index.insert(1, &entry(2, 1, Some(at(1, 3))));

    assert_eq!(visited(&index, &log(1)), [1, 2, 3]);
    assert_eq!(index.frontier()[0].end, 5);
}

#[test]
fn an_epoch_that_the_next_one_passes_over_is_left_out_with_what_it_cut() {
    let mut index = Index::new();
    for sequence in 1..=4 {
        index.insert(1, &entry(1, sequence, None));
    }
    index.insert(1, &entry(2, 1, Some(at(1, 2))));

    index.insert(1, &entry(3, 1, Some(at(1, 4))));

    assert_eq!(visited(&index, &log(1)), [1, 2, 3, 4]);
    assert!(visited(&index, &log(2)).is_empty());
    assert_eq!(visited(&index, &log(3)), [1]);
}

#[test]
fn the_last_number_there_is_can_be_held() {
    let mut index = Index::new();

    assert!(index.insert(1, &entry(1, Sequence::MAX, None)));
    assert!(!index.insert(1, &entry(1, Sequence::MAX, None)));
    assert!(!index.insert(1, &entry(1, 0, None)));

    assert_eq!(visited(&index, &log(1)), [Sequence::MAX]);
}

/// The spans of a set of sequences.
fn spans(held: &BTreeMap<Sequence, u32>) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for sequence in held.keys() {
        match spans.last_mut() {
            Some(span) if span.last + 1 == *sequence => span.last = *sequence,
            _ => spans.push(Span {
                first: *sequence,
                last: *sequence,
            }),
        }
    }
    spans
}

proptest! {
    #[test]
    fn runs_and_frontier_agree_with_a_plain_map(
        steps in prop::collection::vec((1_u64..40, any::<bool>(), 1_u32..4), 1..120),
    ) {
        let mut index = Index::new();
        let mut held = BTreeMap::new();
        for (sequence, is_insert, segment) in steps {
            let block = entry(1, sequence, None);
            if is_insert {
                let is_new = index.insert(segment, &block);
                prop_assert_eq!(is_new, !held.contains_key(&sequence));
                held.entry(sequence).or_insert(segment);
            } else {
                index.remove(block.id, segment);
                if held.get(&sequence) == Some(&segment) {
                    held.remove(&sequence);
                }
            }
        }

        prop_assert_eq!(visited(&index, &log(1)), held.keys().copied().collect::<Vec<_>>());
        let mut back = Vec::new();
        index.visit_back(&log(1), |sequence, _| {
            back.push(sequence);
            ControlFlow::Continue(())
        });
        prop_assert_eq!(back, held.keys().rev().copied().collect::<Vec<_>>());
        prop_assert_eq!(index.blocks, u64::try_from(held.len()).unwrap());
        let mut expected = spans(&held);
        let end = match expected.first() {
            Some(first) if first.first == 1 => expected.remove(0).last,
            _ => 0,
        };
        expected.truncate(FrontierEntry::BEYOND_MAX);
        let frontier = index.frontier();
        prop_assert_eq!(frontier.len(), usize::from(!held.is_empty()));
        if let Some(entry) = frontier.first() {
            prop_assert_eq!(entry.end, end);
            prop_assert_eq!(&entry.beyond, &expected);
        }
    }

    #[test]
    fn a_block_is_canonical_if_the_chain_from_the_newest_epoch_reaches_it(
        named in prop::collection::vec(prop::option::of((1_u64..6, 0_u64..5)), 5),
        order in Just((1_u64..=5).flat_map(|epoch| (1_u64..=4).map(move |s| (epoch, s))).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let continues: BTreeMap<u64, Option<Position>> = (1_u64..)
            .zip(named)
            .map(|(epoch, named)| (epoch, named.map(|(counter, sequence)| at(counter, sequence))))
            .collect();
        let mut index = Index::new();
        for (epoch, sequence) in order {
            let continues = continues[&epoch].filter(|_| sequence == 1);
            index.insert(1, &entry(epoch, sequence, continues));
        }

        // The rule, line by line and position by position, from the newest down.
        let named_by = |epoch: u64| continues[&epoch].filter(|p| *p < at(epoch, 0));
        let line_of = |epoch: u64| {
            let back = |of: &u64| named_by(*of).map(|named| named.epoch.counter);
            std::iter::successors(Some(epoch), back).last()
        };
        let mut limits = BTreeMap::new();
        let mut canonical: BTreeMap<u64, Vec<Sequence>> = BTreeMap::new();
        for epoch in (1..=5).rev() {
            let limit = limits.entry(line_of(epoch)).or_insert(at(u64::MAX, u64::MAX));
            let kept: Vec<Sequence> = (1..=4).filter(|s| at(epoch, *s) <= *limit).collect();
            if *limit >= at(epoch, 0) {
                *limit = named_by(epoch).unwrap_or(at(epoch, 0));
            }
            canonical.insert(epoch, kept);
        }
        for epoch in 1..=5 {
            prop_assert_eq!(visited(&index, &log(epoch)), canonical[&epoch].clone(), "{}", epoch);
        }
    }
}
