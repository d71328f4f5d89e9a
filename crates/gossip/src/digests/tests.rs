use model::{Epoch, MachineId};

use super::*;

fn entry(n: u64, end: u64) -> FrontierEntry {
    let mut machine = [0; 32];
    machine[..8].copy_from_slice(&n.to_le_bytes());
    let log = LogId {
        machine: MachineId::from_bytes(machine),
        epoch: Epoch { counter: 1, tag: 2 },
    };
    FrontierEntry {
        end,
        ..FrontierEntry::new(log)
    }
}

fn digests(entries: impl Iterator<Item = FrontierEntry>) -> Digests {
    let mut digests = Digests::default();
    for entry in entries {
        digests.add(Place::of_log(&entry.log), item_of_entry(&entry));
    }
    digests
}

#[test]
fn equal_holdings_differ_nowhere_in_whatever_order_they_came() {
    let one = digests((0..1_000).map(|n| entry(n, 7)));
    let mut other = digests((0..1_000).rev().map(|n| entry(n, 7)));

    assert!(one.differing(&other.sums()).is_empty());
    let extra = entry(5_000, 1);
    other.add(Place::of_log(&extra.log), item_of_entry(&extra));
    assert!(!one.differing(&other.sums()).is_empty(), "control");
    other.remove(Place::of_log(&extra.log), item_of_entry(&extra));
    assert!(one.differing(&other.sums()).is_empty());
}

#[test]
fn a_difference_is_found_in_its_range_and_hardly_anything_beside_it_is_suspected() {
    let one = digests((0..1_000).map(|n| entry(n, 7)));
    let other = digests((0..1_000).map(|n| entry(n, if n == 400 { 6 } else { 7 })));

    let differing = one.differing(&other.sums());

    let suspected = (0..1_000).filter(|n| differing.at(Place::of_log(&entry(*n, 0).log)).is_some());
    let suspected = suspected.collect::<Vec<_>>();
    assert!(suspected.contains(&400));
    assert!(suspected.len() <= 40, "{} logs", suspected.len());
}

#[test]
fn where_the_other_holds_nothing_is_told_from_where_it_holds_something_else() {
    let nothing = Digests::default().sums();
    let one = digests((0..10).map(|n| entry(n, 7)));
    let place = Place::of_log(&entry(3, 0).log);

    assert_eq!(one.differing(&nothing).at(place), Some(true));
    let others = digests((0..10).map(|n| entry(n, 8))).sums();
    assert_eq!(one.differing(&others).at(place), Some(false));
}

#[test]
fn what_was_given_up_is_no_difference() {
    let mut given_up = entry(1, 7);
    given_up.advance_floor(5);

    assert_eq!(item_of_entry(&given_up), item_of_entry(&entry(1, 7)));
    assert_ne!(item_of_entry(&given_up), item_of_entry(&entry(1, 8)));
}

#[test]
fn few_items_take_few_ranges_and_many_at_most_a_thousand() {
    assert_eq!(digests((0..0).map(|n| entry(n, 1))).sums(), Sums::default());
    assert!(digests((0..5).map(|n| entry(n, 1))).sums().ranges.len() <= 5);
    let many = digests((0..200_000).map(|n| entry(n, 1))).sums();
    assert_eq!(many.ranges.len(), Sums::RANGES_MAX, "spread evenly");
    assert!(many.is_consistent());
}

#[test]
fn sums_of_ranges_that_are_not_there_or_come_twice_are_inconsistent() {
    let sums = |bits, ranges: &[u16]| Sums {
        bits,
        ranges: ranges.iter().map(|range| (*range, Sum(1))).collect(),
    };

    assert!(sums(2, &[0, 3]).is_consistent());
    assert!(!sums(2, &[0, 4]).is_consistent());
    assert!(!sums(2, &[1, 1]).is_consistent());
    assert!(!sums(2, &[3, 1]).is_consistent());
    assert!(!sums(11, &[1]).is_consistent());
}
