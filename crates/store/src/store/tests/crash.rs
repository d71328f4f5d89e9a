//! Torn tails, flipped bits, disks that fail: what was completed stays.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use super::*;
use crate::segments;

/// A directory with one unsealed segment of a few small blocks and a state, and where each record
/// ends.
fn unsealed() -> (TempDir, Vec<Block>, Vec<u64>) {
    let directory = directory();
    let mut site = Site::open(&directory);
    let blocks: Vec<Block> = (1..=4_u8)
        .map(|n| block(OTHER, 1, n.into(), &[(u32::from(n), n.into(), 7)]))
        .collect();
    let mut ends = Vec::new();
    for block in &blocks {
        site.put_blocks(std::slice::from_ref(block));
        ends.push(site.store.stats().bytes);
    }
    let copy = fs::read(segment_path(&directory)).expect("the segment");
    drop(site); // Seals it; what a crash would have left was copied before.
    fs::write(segment_path(&directory), copy).expect("written back");
    (directory, blocks, ends)
}

fn segment_path(directory: &TempDir) -> std::path::PathBuf {
    segments::path(&config(directory).segments(), 1)
}

/// The sequences that a start would find.
fn found(directory: &TempDir) -> Vec<Sequence> {
    let loaded = segments::load(&FaultyDisk::quick(), &config(directory), 1).expect("loads");
    loaded
        .contents
        .blocks
        .iter()
        .map(|block| block.id.sequence)
        .collect()
}

#[test]
fn adversarial_39_a_tail_torn_at_any_byte_costs_only_what_is_torn() {
    let (directory, _, ends) = unsealed();
    let whole = fs::read(segment_path(&directory)).expect("the segment");
    for length in 0..=whole.len() {
        fs::write(segment_path(&directory), &whole[..length]).expect("written");

        let sequences = found(&directory);

        let length = u64::try_from(length).expect("small");
        let expected = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(sequences.len(), expected, "cut at {length}");
    }
}

#[test]
fn adversarial_39_a_flipped_bit_anywhere_costs_only_the_record_that_it_is_in() {
    let (directory, _, ends) = unsealed();
    let whole = fs::read(segment_path(&directory)).expect("the segment");
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(segment_path(&directory), flipped).expect("written");

        let sequences = found(&directory);

        let record = ends
            .iter()
            .filter(|end| **end <= u64::try_from(at).expect("small"))
            .count();
        let is_header = at < crate::record::FILE_HEADER_BYTES;
        let all = 1..=u64::try_from(ends.len()).expect("small");
        let hit = u64::try_from(record).expect("small") + 1;
        let expected: Vec<u64> = all
            .filter(|sequence| is_header || *sequence != hit)
            .collect();
        assert_eq!(sequences, expected, "bit flipped in byte {at}");
    }
}

#[test]
fn writing_goes_on_behind_a_torn_tail() {
    let (directory, blocks, ends) = unsealed();
    let whole = fs::read(segment_path(&directory)).expect("the segment");
    let torn = usize::try_from(ends[2]).expect("small") + 20;
    fs::write(segment_path(&directory), &whole[..torn]).expect("written");

    let mut site = Site::open(&directory);
    assert_eq!(site.store.stats().tail_bytes_cut, 20);
    site.put_blocks(&blocks[3..]);
    drop(site);

    let site = Site::open(&directory);
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks);
    assert_eq!(site.store.stats().segments, 1);
}

#[test]
fn a_footer_that_is_damaged_anywhere_is_replaced_by_a_scan() {
    let (directory, blocks, ends) = unsealed();
    drop(Site::open(&directory));
    let mut site = Site::open(&directory);
    site.put_blocks(&[block(OTHER, 1, 5, &[(1, 1, 1)])]);
    drop(site);
    let sealed = fs::read(segment_path(&directory)).expect("the segment");
    let footer = usize::try_from(ends[3]).expect("small");
    for at in footer..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 0x10;
        fs::write(segment_path(&directory), flipped).expect("written");

        assert!(found(&directory).len() >= blocks.len(), "byte {at}");
    }
}

#[test]
fn a_block_damaged_after_the_start_is_reported_forgotten_and_can_come_again() {
    let directory = directory();
    let mut site = Site::open(&directory);
    let blocks: Vec<Block> = (1..=3_u8)
        .map(|n| block(OTHER, 1, n.into(), &[(1, n.into(), 7)]))
        .collect();
    site.put_blocks(&blocks[..1]);
    let end = site.store.stats().bytes;
    site.put_blocks(&blocks[1..]);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(segment_path(&directory));
    file.expect("the segment")
        .write_all_at(b"damage", end + 40)
        .expect("written");

    let span = Span { first: 1, last: 3 };
    let first = site.store.read(log_of(OTHER, 1), span, usize::MAX);
    site.put_blocks(&blocks);
    let second = site.store.read(log_of(OTHER, 1), span, usize::MAX);

    assert_eq!(first.damaged, [blocks[1].id()]);
    assert_eq!(first.blocks, [blocks[0].clone(), blocks[2].clone()]);
    assert_eq!((second.blocks, second.damaged.len()), (blocks.clone(), 0));
    assert_eq!(site.store.stats().records_damaged, 1);
    drop(site);
    assert_eq!(Site::open(&directory).read_all(log_of(OTHER, 1)), blocks);
}

#[test]
fn a_disk_that_fills_up_fails_its_writes_and_takes_others_once_there_is_room() {
    let directory = directory();
    let disk = FaultyDisk::default();
    let mut site = Site::open_with(Arc::new(disk.clone()), config(&directory)).expect("opens");
    let blocks: Vec<Block> = (1..=3_u8)
        .map(|n| block(OWN, 1, n.into(), &[(1, n.into(), 7)]))
        .collect();

    disk.set(Plan {
        append: Some(io::ErrorKind::StorageFull),
        ..Plan::default()
    });
    let before_any = site.put(vec![Write::Block(blocks[0].clone())]);
    disk.set(Plan::default());
    site.put_blocks(&blocks[..1]);
    disk.set(Plan {
        append: Some(io::ErrorKind::StorageFull),
        ..Plan::default()
    });
    let failed = site.put(blocks[1..].iter().cloned().map(Write::Block).collect());
    disk.set(Plan::default());
    site.put_blocks(&blocks[2..]);

    for result in before_any.iter().chain(&failed) {
        let message = result.as_ref().expect_err("failed").to_string();
        assert!(message.contains("free space there"), "{message}");
    }
    assert_eq!(site.store.stats().segments, 1);
    drop(site);
    let site = Site::open(&directory);
    assert_eq!(
        site.read_all(log_of(OWN, 1)),
        [blocks[0].clone(), blocks[2].clone()]
    );
    assert_eq!(site.store.stats().records_damaged, 0);
}

#[test]
fn a_segment_whose_sync_failed_is_left_and_the_next_one_begun() {
    let directory = directory();
    let disk = FaultyDisk::default();
    let mut site = Site::open_with(Arc::new(disk.clone()), config(&directory)).expect("opens");
    let blocks: Vec<Block> = (1..=3_u8)
        .map(|n| block(OWN, 1, n.into(), &[(1, n.into(), 7)]))
        .collect();

    site.put_blocks(&blocks[..1]);
    disk.set(Plan {
        sync: Some(io::ErrorKind::Other),
        ..Plan::default()
    });
    let failed = site.put(vec![Write::Block(blocks[1].clone())]);
    disk.set(Plan::default());
    let held = site.read_all(log_of(OWN, 1));
    site.put_blocks(&blocks[2..]);

    let message = failed[0].as_ref().expect_err("failed").to_string();
    assert!(message.contains("check the disk"), "{message}");
    assert_eq!(held, blocks[..1]);
    assert!(segments::path(&config(&directory).segments(), 2).exists());
    drop(site);
    let site = Site::open(&directory);
    assert_eq!(
        site.read_all(log_of(OWN, 1)),
        [blocks[0].clone(), blocks[2].clone()]
    );
}

#[test]
fn adversarial_39_a_flipped_bit_is_found_before_it_is_asked_for_and_its_block_can_come_again() {
    let directory = directory();
    let small = Config {
        segment_bytes: 1,
        ..config(&directory)
    };
    let open = || Site::open_with(Arc::new(SystemDisk), small.clone()).expect("opens");
    let mut site = open();
    let blocks: Vec<Block> = (1..=3_u8)
        .map(|n| block(OTHER, 1, n.into(), &[(1, n.into(), 7)]))
        .collect();
    for block in &blocks {
        site.put_blocks(std::slice::from_ref(block)); // Each in a segment of its own.
    }
    drop(site);
    let mut site = open();
    let mut scrub = crate::Scrub::new(site.store.clone());
    assert!(scrub.step(u64::MAX) > 0);
    assert_eq!(site.store.lost(), [], "the control");
    let path = segments::path(&small.segments(), 2);
    let mut bytes = fs::read(&path).expect("the segment");
    bytes[crate::record::FILE_HEADER_BYTES + 60] ^= 4;
    fs::write(&path, bytes).expect("written");

    scrub.step(u64::MAX); // The next round.

    assert_eq!(site.store.lost(), [blocks[1].id()]);
    let stats = site.store.stats();
    assert_eq!((stats.records_damaged, stats.blocks_lost), (1, 1));
    assert_eq!(
        site.read_all(log_of(OTHER, 1)),
        [blocks[0].clone(), blocks[2].clone()]
    );
    site.put_blocks(&blocks[1..2]);
    assert_eq!(site.store.lost(), []);
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks);
    drop((scrub, site));
    let site = open();
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks, "the later copy");
    assert_eq!(site.store.stats().records_damaged, 0);
}

#[test]
fn adversarial_39_a_store_without_room_to_remember_damage_neither_hangs_nor_panics() {
    let directory = directory();
    let mut site = Site::open(&directory);
    let blocks: Vec<Block> = (1..=super::super::LOST_MAX + 2)
        .map(|n| block(OWN, 1, as_u64(n), &[(1, 1, 7)]))
        .collect();
    blocks.chunks(1_000).for_each(|part| site.put_blocks(part));
    drop(site);
    let path = segment_path(&directory);
    let mut bytes = fs::read(&path).expect("the segment");
    let sealed = segments::read_footer(&config(&directory), 1).expect("read");
    for block in sealed.expect("sealed").blocks {
        bytes[usize::try_from(block.offset).expect("small") + 30] ^= 1;
    }
    fs::write(&path, bytes).expect("written");

    let site = Site::open(&directory); // Looks for the last own block that reads back.

    assert_eq!(site.recovered.last_own, None);
    assert_eq!(site.store.lost().len(), super::super::LOST_MAX);
    assert_eq!(site.read_all(log_of(OWN, 1)), []);
}

/// A step of a life with failures.
#[derive(Clone, Debug)]
enum Step {
    /// Writes blocks given as (machine, sequence).
    Write(Vec<(u8, Sequence)>),
    /// Writes a state.
    State(u64),
    /// The next writes meet this.
    Fail(Fault),
    /// Stops and starts; with `true` the last file loses its footer and gains a torn record.
    Restart(bool),
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Full,
    Sync,
    FullAndStuck,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = prop::collection::vec((1_u8..3, 1_u64..30), 1..8).prop_map(Step::Write);
    let fault = prop_oneof![
        Just(Fault::None),
        Just(Fault::None),
        Just(Fault::Full),
        Just(Fault::Sync),
        Just(Fault::FullAndStuck)
    ];
    let step = prop_oneof![
        6 => writes,
        2 => (1_u64..20).prop_map(Step::State),
        2 => fault.prop_map(Step::Fail),
        1 => any::<bool>().prop_map(Step::Restart),
    ];
    prop::collection::vec(step, 1..30)
}

fn plan(fault: Fault) -> Plan {
    let (append, sync, cut) = match fault {
        Fault::None => (None, None, None),
        Fault::Full => (Some(io::ErrorKind::StorageFull), None, None),
        Fault::Sync => (None, Some(io::ErrorKind::Other), None),
        Fault::FullAndStuck => {
            let full = Some(io::ErrorKind::StorageFull);
            (full, None, Some(io::ErrorKind::Other))
        }
    };
    Plan {
        append,
        sync,
        cut,
        ..Plan::default()
    }
}

/// Leaves the directory as a crash in the middle of a write does.
fn crash(directory: &TempDir) {
    let segments_path = config(directory).segments();
    let numbers = segments::list(&segments_path).expect("listed");
    let Some(number) = numbers.last() else {
        return;
    };
    let path = segments::path(&segments_path, *number);
    let loaded = segments::load(&FaultyDisk::quick(), &config(directory), *number).expect("loads");
    let mut bytes = fs::read(&path).expect("the segment");
    bytes.truncate(usize::try_from(loaded.end).expect("small"));
    bytes.extend_from_slice(&crate::record::MARKER);
    bytes.extend_from_slice(&[1, 200, 0, 0, 0, 1, 2, 3]);
    fs::write(&path, bytes).expect("written");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_completed_is_there_and_nothing_twice_whatever_fails(steps in steps()) {
        let directory = directory();
        let disk = FaultyDisk::quick();
        let small = Config { segment_bytes: 1_500, ..config(&directory) };
        let open = || Site::open_with(Arc::new(disk.clone()), small.clone()).expect("opens");
        let mut site = Some(open());
        let mut completed: BTreeMap<(u8, Sequence), Block> = BTreeMap::new();
        let mut newest_state = 0;

        for step in steps.into_iter().chain([Step::Restart(true), Step::Restart(false)]) {
            let live = site.as_mut().expect("open");
            match step {
                Step::Write(names) => {
                    let blocks: Vec<Block> = names
                        .iter()
                        .map(|(seed, sequence)| block(*seed, 1, *sequence, &[(1, 5, 6)]))
                        .collect();
                    let results = live.put(blocks.iter().cloned().map(Write::Block).collect());
                    for ((name, block), result) in names.into_iter().zip(blocks).zip(results) {
                        if result.is_ok() {
                            completed.insert(name, block);
                        }
                    }
                }
                Step::State(counter) => {
                    let state = state(StateKind::Series, "1-00000007/1", counter);
                    if live.put(vec![Write::State(state)])[0].is_ok() {
                        newest_state = counter.max(newest_state);
                    }
                }
                Step::Fail(fault) => disk.set(plan(fault)),
                Step::Restart(crashed) => {
                    site = None;
                    disk.set(Plan::default());
                    if crashed {
                        crash(&directory);
                    }
                    let live = site.insert(open());
                    let states = &live.recovered.states;
                    let counter = states.first().map_or(0, |state| state.version().counter);
                    prop_assert!(counter >= newest_state);
                }
            }
        }

        let site = site.expect("open");
        for seed in [OWN, OTHER] {
            let held = site.read_all(log_of(seed, 1));
            let names: BTreeSet<Sequence> = held.iter().map(|b| b.header().sequence).collect();
            prop_assert_eq!(names.len(), held.len());
            for ((_, sequence), block) in completed.range((seed, 0)..=(seed, u64::MAX)) {
                prop_assert!(held.contains(block), "{seed} {sequence}");
            }
        }
        prop_assert_eq!(site.store.stats().records_damaged, 0);
    }
}
