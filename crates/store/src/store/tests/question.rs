//! Queries and newest readings against plain loops over the same blocks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Cursor, Found, Query, Selection};

/// Readings of a block: (series, time, value).
type Rows = Vec<(u32, i64, i64)>;

fn rows() -> impl Strategy<Value = Rows> {
    prop::collection::vec((0_u32..5, 0_i64..50, 0_i64..9), 1..12)
}

/// Blocks of two logs of one machine, in any order, with gaps; the second may cut the first.
fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let named = prop::collection::btree_map((1_u64..3, 1_u64..12), rows(), 1..16);
    (named, prop::option::of(0_u64..12))
        .prop_map(|(named, cut)| {
            let epoch = log_of(OTHER, 1).epoch;
            let position = cut.map(|sequence| Position { epoch, sequence });
            let blocks = named.into_iter().map(|((counter, sequence), rows)| {
                let continues = position.filter(|_| (counter, sequence) == (2, 1));
                continuing(OTHER, counter, sequence, continues, &rows)
            });
            blocks.collect::<Vec<Block>>()
        })
        .prop_shuffle()
}

fn selection(wanted: &[u32]) -> Selection {
    let logs = [log_of(OTHER, 1), log_of(OTHER, 2)];
    logs.map(|log| (log, series(wanted))).into()
}

/// All canonical readings in the order of their names.
fn canonical(blocks: &[Block]) -> Vec<Found> {
    let cut = blocks.iter().find_map(|block| block.header().continues);
    let mut found: Vec<Found> = blocks
        .iter()
        .filter(|block| {
            let is_cut = block.header().log == log_of(OTHER, 1);
            !is_cut || cut.is_none_or(|cut| block.header().sequence <= cut.sequence)
        })
        .flat_map(|block| {
            let readings = block.readings().expect("decodes");
            crate::query::name_readings(block, readings)
        })
        .collect();
    found.sort_by_key(|found| found.at);
    found
}

fn newest(found: &[Found], wanted: &[u32]) -> Vec<Found> {
    let mut newest: BTreeMap<(LogId, SeriesNumber), &Found> = BTreeMap::new();
    for found in found
        .iter()
        .filter(|f| wanted.contains(&f.reading.series.0))
    {
        let key = (found.at.block.log, found.reading.series);
        let known = newest.entry(key).or_insert(found);
        if (known.reading.time, known.at) < (found.reading.time, found.at) {
            *known = found;
        }
    }
    newest.into_values().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn pages_put_together_are_what_a_plain_loop_finds(
        blocks in blocks(),
        wanted in prop::collection::vec(0_u32..6, 1..4),
        from in 0_i64..50,
        length in 0_i64..50,
        limit in 1_usize..20,
    ) {
        let directory = directory();
        let mut site = Site::open_quickly(&directory);
        site.put_blocks(&blocks);
        let query = Query {
            selection: selection(&wanted),
            from: Timestamp::from_nanos(from),
            to: Timestamp::from_nanos(from + length),
            limit,
        };

        let mut found = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let page = site.store.query(&query, after);
            prop_assert!(page.found.len() <= limit && page.damaged.is_empty());
            found.extend(page.found);
            after = page.next;
            if after.is_none() {
                break;
            }
        }

        let mut expected = canonical(&blocks);
        expected.retain(|found| {
            let time = found.reading.time.as_nanos();
            wanted.contains(&found.reading.series.0) && (from..from + length).contains(&time)
        });
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn the_newest_readings_are_found_at_first_and_kept_up_afterwards(
        blocks in blocks(),
        split in 0_usize..16,
    ) {
        let wanted = [0, 1, 2, 3];
        let directory = directory();
        let mut site = Site::open_quickly(&directory);
        let (early, late) = blocks.split_at(split.min(blocks.len()));

        site.put_blocks(early);
        let first = site.store.latest(&selection(&wanted));
        for block in late {
            site.put_blocks(std::slice::from_ref(block));
            let _ = site.store.latest(&selection(&wanted));
        }
        let second = site.store.latest(&selection(&wanted));

        prop_assert_eq!(first, newest(&canonical(early), &wanted));
        prop_assert_eq!(second, newest(&canonical(&blocks), &wanted));
    }
}

#[test]
fn a_read_stops_before_its_limit_but_gives_one_block() {
    let directory = directory();
    let mut site = Site::open(&directory);
    let blocks: Vec<Block> = (1..=4_u8)
        .map(|n| block(OTHER, 1, n.into(), &[(1, n.into(), 7)]))
        .collect();
    site.put_blocks(&blocks);
    let size = blocks[1].as_bytes().len();
    let span = Span { first: 2, last: 9 };

    let least = site.store.read(log_of(OTHER, 1), span, 1).blocks;
    let two = site.store.read(log_of(OTHER, 1), span, 2 * size).blocks;

    assert_eq!(least, blocks[1..2]);
    assert_eq!(two, blocks[1..3]);
}

#[test]
fn of_two_readings_of_one_time_the_one_in_the_later_block_is_the_newest() {
    let directory = directory();
    let mut site = Site::open(&directory);
    let early = block(OTHER, 1, 1, &[(1, 39, 7), (2, 38, 7)]);
    let late = block(OTHER, 1, 2, &[(1, 38, 8), (2, 38, 8)]);
    site.put_blocks(&[early, late]);

    let found = site.store.latest(&selection(&[1, 2]));

    let values: Vec<_> = found.into_iter().map(|found| found.reading.value).collect();
    assert_eq!(values, [Value::I64(7), Value::I64(8)]);
}

#[test]
fn a_search_finds_the_blocks_with_readings_of_some_times_and_says_how_far_it_looked() {
    let directory = directory();
    let mut site = Site::open(&directory);
    let log = log_of(OTHER, 1);
    // Block n holds a reading of 10 n, every third one another of 500.
    let times = |n: i64| {
        if n % 3 == 0 {
            vec![10 * n, 500]
        } else {
            vec![10 * n]
        }
    };
    let readings = |n| {
        times(n)
            .into_iter()
            .map(|time| (1, time, n))
            .collect::<Vec<_>>()
    };
    let blocks: Vec<Block> = (1..=20)
        .map(|n: i64| block(OTHER, 1, n.cast_unsigned(), &readings(n)))
        .collect();
    site.put_blocks(&blocks);
    let search = |last, from, to, bytes_max| {
        let times = Some((Timestamp::from_nanos(from), Timestamp::from_nanos(to)));
        let found = site
            .store
            .search(log, Span { first: 2, last }, times, bytes_max);
        let sequences = found.blocks.iter().map(|block| block.id().sequence);
        (sequences.collect::<Vec<_>>(), found.searched)
    };

    assert_eq!(
        search(20, 100, 130, usize::MAX),
        (vec![3, 6, 9, 10, 11, 12], 20)
    );
    assert_eq!(search(20, 100, 120, 1), (vec![3], 3));
    assert_eq!(
        search(20, 205, 400, usize::MAX),
        (vec![3, 6, 9, 12, 15, 18], 20)
    );
    assert_eq!(search(5, 30, 41, usize::MAX), (vec![3, 4], 5));
    assert_eq!(
        search(25, 501, 600, usize::MAX),
        (vec![], 20),
        "more is not held"
    );
}

#[test]
fn a_question_for_one_hour_of_a_year_reads_the_blocks_of_that_hour_and_series_alone() {
    let directory = directory();
    let mut site = Site::open_quickly(&directory);
    let hours = 1..=365_i64 * 24;
    // In every hour a block of series 1 and one of series 2.
    let blocks: Vec<Block> = hours
        .flat_map(|hour| [(hour, 1), (hour, 2)])
        .zip(1..)
        .map(|((hour, series), sequence)| block(OTHER, 1, sequence, &[(series, hour, 7)]))
        .collect();
    blocks.chunks(1_000).for_each(|part| site.put_blocks(part));
    let query = Query {
        selection: BTreeMap::from([(log_of(OTHER, 1), series(&[2]))]),
        from: Timestamp::from_nanos(4_000),
        to: Timestamp::from_nanos(4_001),
        limit: 4_096,
    };

    let page = site.store.query(&query, None);

    assert_eq!(page.found.len(), 1);
    assert_eq!(site.store.stats().blocks_read, 1, "of 17,520");
}
