use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const LOG: LogId = LogId {
    machine: MachineId::from_bytes([1; 32]),
    epoch: Epoch { counter: 1, tag: 0 },
};

/// What is done to an entry.
#[derive(Clone, Copy, Debug)]
enum Op {
    Insert(Sequence),
    Remove(Sequence),
    AdvanceFloor(Sequence),
}

/// A floor and the plain set of what is held at it or above.
#[derive(Default)]
struct Naive {
    floor: Sequence,
    held: BTreeSet<Sequence>,
}

impl Naive {
    /// The runs of what is held or given up; the first one starts at 0.
    fn runs(&self) -> Vec<Span> {
        let mut runs = vec![Span {
            first: 0,
            last: self.floor - 1,
        }];
        for sequence in &self.held {
            let run = runs.last_mut().expect("the first run");
            if *sequence == run.last + 1 {
                run.last = *sequence;
            } else {
                runs.push(Span {
                    first: *sequence,
                    last: *sequence,
                });
            }
        }
        runs
    }

    fn has_room(&self) -> bool {
        self.runs().len() <= FrontierEntry::BEYOND_MAX + 1
    }

    /// Does the same as an entry; whether it has room is seen by trying.
    fn apply(&mut self, op: Op) -> Option<Insertion> {
        match op {
            Op::Insert(sequence) if sequence < self.floor || self.held.contains(&sequence) => {
                Some(Insertion::Held)
            }
            Op::Insert(sequence) => {
                self.held.insert(sequence);
                if self.has_room() {
                    return Some(Insertion::New);
                }
                self.held.remove(&sequence);
                Some(Insertion::NoRoom)
            }
            Op::Remove(sequence) => {
                if self.held.remove(&sequence) && !self.has_room() {
                    self.held.insert(sequence);
                }
                None
            }
            Op::AdvanceFloor(floor) => {
                self.floor = self.floor.max(floor);
                self.held = self.held.split_off(&self.floor);
                None
            }
        }
    }
}

fn run(ops: &[Op]) -> (FrontierEntry, Naive) {
    let mut entry = FrontierEntry::new(LOG);
    let mut naive = Naive {
        floor: 1,
        ..Naive::default()
    };
    for op in ops {
        let expected = naive.apply(*op);
        let actual = match *op {
            Op::Insert(sequence) => Some(entry.insert(sequence)),
            Op::Remove(sequence) => {
                let was_there = entry.covers(sequence);
                let is_changed = entry.remove(sequence);
                assert_eq!(is_changed, was_there && !entry.covers(sequence));
                None
            }
            Op::AdvanceFloor(floor) => {
                entry.advance_floor(floor);
                None
            }
        };
        assert_eq!(actual, expected, "{op:?} on {entry:?}");
        assert!(entry.is_consistent(), "{op:?} made {entry:?}");
    }
    (entry, naive)
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        12 => (1..80_u64).prop_map(Op::Insert),
        4 => (1..80_u64).prop_map(Op::Remove),
        1 => (1..80_u64).prop_map(Op::AdvanceFloor),
    ];
    prop::collection::vec(op, 0..120)
}

proptest! {
    #[test]
    fn an_entry_holds_what_a_plain_set_holds(ops in ops()) {
        let (entry, naive) = run(&ops);

        let runs = naive.runs();
        prop_assert_eq!(entry.floor, naive.floor);
        prop_assert_eq!(entry.end, runs[0].last);
        prop_assert_eq!(&entry.beyond[..], &runs[1..]);
        for sequence in 0..90 {
            prop_assert_eq!(entry.covers(sequence), naive.held.contains(&sequence));
        }
        let top = naive.held.last().copied().unwrap_or(naive.floor - 1);
        prop_assert_eq!(entry.top(), top);
    }

    #[test]
    fn what_is_missing_is_the_difference_of_the_sets(mine in ops(), theirs in ops()) {
        let (mine, my_set) = run(&mine);
        let (theirs, their_set) = run(&theirs);

        let missing = mine.missing_from(&theirs);

        let expected = (their_set.held.difference(&my_set.held).copied())
            .filter(|sequence| *sequence >= my_set.floor)
            .collect::<Vec<_>>();
        let named = missing.iter().flat_map(|span| span.first..=span.last);
        prop_assert_eq!(named.collect::<Vec<_>>(), expected);
        prop_assert!(missing.len() <= 2 * FrontierEntry::BEYOND_MAX + 1);
    }

    #[test]
    fn entries_of_any_content_are_judged_without_overflow(
        floor in edge(), end in edge(),
        spans in prop::collection::vec((edge(), edge()), 0..4),
    ) {
        let beyond = spans.into_iter().map(|(first, last)| Span { first, last }).collect();
        let mut entry = FrontierEntry { log: LOG, floor, end, beyond };

        if entry.is_consistent() {
            let mine = run(&[Op::Insert(3), Op::Insert(9)]).0;
            let count: u64 = mine.missing_from(&entry).iter().map(Span::count).sum();
            prop_assert!(count <= SEQUENCE_MAX);
            prop_assert!(entry.missing_from(&entry.clone()).is_empty());
            entry.insert(SEQUENCE_MAX);
            entry.insert(Sequence::MAX);
            entry.advance_floor(SEQUENCE_MAX);
            entry.advance_floor(Sequence::MAX);
            prop_assert!(entry.is_consistent(), "became {:?}", entry);
        }
    }
}

/// Sequences where arithmetic goes wrong, and some between.
fn edge() -> impl Strategy<Value = Sequence> {
    prop_oneof![
        0..8_u64,
        (SEQUENCE_MAX - 6)..=Sequence::MAX,
        Just(1_u64 << 63)
    ]
}

#[test]
fn a_gap_that_closes_joins_what_lies_on_both_sides() {
    let (mut entry, _) = run(&[Op::Insert(1), Op::Insert(3), Op::Insert(5)]);

    assert_eq!(entry.insert(4), Insertion::New);
    assert_eq!(entry.beyond, [Span { first: 3, last: 5 }]);
    assert_eq!(entry.insert(2), Insertion::New);

    assert_eq!((entry.end, entry.beyond.len()), (5, 0));
}

#[test]
fn an_entry_that_contradicts_itself_is_not_taken_into_a_frontier() {
    let good = FrontierEntry::new(LOG);
    let span = |first, last| Span { first, last };
    let bad = [
        FrontierEntry {
            floor: 0,
            ..good.clone()
        },
        FrontierEntry {
            floor: 9,
            end: 7,
            ..good.clone()
        },
        FrontierEntry {
            end: Sequence::MAX,
            ..good.clone()
        },
        FrontierEntry {
            beyond: vec![span(1, 1)],
            ..good.clone()
        },
        FrontierEntry {
            beyond: vec![span(5, 4)],
            ..good.clone()
        },
        FrontierEntry {
            beyond: vec![span(5, 6), span(7, 8)],
            ..good.clone()
        },
        FrontierEntry {
            beyond: (1..=17).map(|n| span(2 * n, 2 * n)).collect(),
            ..good.clone()
        },
    ];

    for entry in bad {
        assert!(!entry.is_consistent(), "{entry:?}");
        assert!(Frontier::from_iter([entry]).is_empty());
    }
    assert_eq!(Frontier::from_iter([good]).len(), 1);
}
