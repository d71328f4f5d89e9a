//! What is given up, what stays, and what is known of it after a restart.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::*;
use crate::{Alarms, Dropped, Query, Retention};

/// A store whose segments end with every batch.
fn short_segments(directory: &TempDir) -> Site {
    short_segments_on(Arc::new(SystemDisk), directory)
}

fn short_segments_on(disk: Arc<dyn Disk>, directory: &TempDir) -> Site {
    let config = Config {
        segment_bytes: 1,
        ..config(directory)
    };
    Site::open_with(disk, config).expect("opens")
}

fn give_up(site: &Site, retention: Retention) -> Dropped {
    let answer = site.store.retain(retention).expect("is queued");
    let dropped = answer.recv().expect("the writer lives");
    dropped.expect("gives up")
}

/// Five segments with a block of the other machine each; two readings in a block.
fn five_segments(site: &mut Site) -> Vec<Block> {
    let blocks: Vec<Block> = (1..=5)
        .map(|n| {
            block(
                OTHER,
                1,
                n,
                &[(1, n.cast_signed(), 1), (2, n.cast_signed(), 2)],
            )
        })
        .collect();
    put_each(site, &blocks);
    blocks
}

/// Puts each into a segment of its own, and waits until the last of them is sealed.
fn put_each(site: &mut Site, blocks: &[Block]) {
    for block in blocks {
        site.put_blocks(std::slice::from_ref(block));
    }
    let nothing = Retention {
        now: SystemTime::UNIX_EPOCH,
        age_max: None,
        bytes_max: None,
        uploaded: None,
        alarms: Alarms::default(),
    };
    let dropped = give_up(site, nothing);
    assert_eq!(dropped, Dropped::default());
}

fn segment(directory: &TempDir, number: u32) -> PathBuf {
    let name = format!("{number:08}.seg");
    directory.path().join("data/segments").join(name)
}

fn segments(directory: &TempDir) -> Vec<u32> {
    let files = fs::read_dir(directory.path().join("data/segments")).expect("listed");
    let mut numbers: Vec<u32> = files
        .map(|file| file.expect("a file").file_name())
        .map(|name| name.to_str().expect("text")[..8].parse().expect("a number"))
        .collect();
    numbers.sort_unstable();
    numbers
}

fn written(directory: &TempDir, number: u32) -> SystemTime {
    let file = fs::metadata(segment(directory, number)).expect("is there");
    file.modified().expect("dated")
}

fn date(directory: &TempDir, number: u32, time: SystemTime) {
    let file = fs::File::options()
        .write(true)
        .open(segment(directory, number));
    let dated = file.and_then(|file| file.set_modified(time));
    dated.expect("is there");
}

/// Needs nothing to be gone, and has no uplink.
fn no_limits(directory: &TempDir) -> Retention {
    let newest = segments(directory).into_iter().max().expect("a segment");
    Retention {
        now: written(directory, newest),
        age_max: None,
        bytes_max: None,
        uploaded: None,
        alarms: Alarms::default(),
    }
}

/// The uplinks need the other machine's log from this block on.
fn needed_from(sequence: Sequence) -> Option<BTreeMap<MachineId, Position>> {
    let epoch = log_of(OTHER, 1).epoch;
    let position = Position { epoch, sequence };
    Some(BTreeMap::from([(machine(OTHER), position)]))
}

/// So much that the newest `count` of these segments fit.
fn room_for(directory: &TempDir, count: usize) -> Option<u64> {
    let newest = segments(directory).into_iter().rev().take(count);
    let sizes = newest.map(|number| fs::metadata(segment(directory, number)));
    Some(sizes.map(|file| file.expect("is there").len()).sum())
}

fn entry_of(frontier: &[gossip::FrontierEntry]) -> (Sequence, Sequence) {
    let entry = frontier.iter().find(|entry| entry.log == log_of(OTHER, 1));
    entry.map(|entry| (entry.floor, entry.end)).expect("known")
}

#[test]
fn without_a_limit_nothing_is_given_up() {
    let directory = directory();
    let mut site = short_segments(&directory);
    let blocks = five_segments(&mut site);

    let dropped = give_up(&site, no_limits(&directory));

    assert_eq!(dropped, Dropped::default());
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks);
}

#[test]
fn the_oldest_goes_until_the_rest_fits_and_stays_gone_after_a_restart() {
    let directory = directory();
    let mut site = short_segments(&directory);
    let blocks = five_segments(&mut site);
    let retention = Retention {
        bytes_max: room_for(&directory, 3),
        ..no_limits(&directory)
    };

    let dropped = give_up(&site, retention.clone());

    assert_eq!(dropped.floors, [(log_of(OTHER, 1), 3)]);
    assert_eq!((dropped.segments, dropped.readings), (2, 4));
    assert_eq!(dropped.readings_waiting, 0);
    assert_eq!(segments(&directory), [3, 4, 5]);
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks[2..]);
    let stats = site.store.stats();
    assert_eq!((stats.blocks, stats.readings), (3, 6));
    assert_eq!(Some(stats.bytes), retention.bytes_max);
    let again = give_up(&site, retention);
    assert_eq!(again, Dropped::default());

    site.store.close(None).expect("closes");
    drop(site);
    let site = short_segments(&directory);
    assert_eq!(entry_of(&site.recovered.frontier), (3, 5));
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks[2..]);
    assert_eq!(site.store.stats().blocks, 3);
}

#[test]
fn a_block_that_was_given_up_is_not_stored_again_and_the_next_one_is() {
    let directory = directory();
    let mut site = short_segments(&directory);
    let blocks = five_segments(&mut site);
    let retention = Retention {
        bytes_max: room_for(&directory, 3),
        ..no_limits(&directory)
    };
    give_up(&site, retention);

    site.put_blocks(&blocks[..1]);
    site.put_blocks(&[block(OTHER, 1, 6, &[(1, 6, 1)])]);

    assert_eq!(site.store.stats().writes_repeated, 1);
    let held = site.read_all(log_of(OTHER, 1));
    let held: Vec<Sequence> = held.iter().map(|block| block.id().sequence).collect();
    assert_eq!(held, [3, 4, 5, 6]);
}

#[test]
fn what_no_uplink_has_brought_out_goes_last_and_is_counted() {
    let directory = directory();
    let mut site = short_segments(&directory);
    five_segments(&mut site);
    let own: Vec<Block> = (1..=3).map(|n| block(OWN, 1, n, &[(1, 1, 1)])).collect();
    put_each(&mut site, &own);
    let own_is_uploaded = Position {
        epoch: log_of(OWN, 1).epoch,
        sequence: 3,
    };
    let uploaded = BTreeMap::from([(machine(OWN), own_is_uploaded)]);
    let mut retention = Retention {
        bytes_max: room_for(&directory, 6),
        uploaded: Some(uploaded),
        ..no_limits(&directory)
    };

    let dropped = give_up(&site, retention.clone());
    assert_eq!(
        dropped.floors,
        [(log_of(OWN, 1), 3)],
        "the younger, uploaded ones"
    );
    assert_eq!(dropped.readings_waiting, 0);

    retention.bytes_max = room_for(&directory, 3);
    let dropped = give_up(&site, retention);
    assert_eq!(
        dropped.floors,
        [(log_of(OTHER, 1), 4)],
        "the oldest, for want of room"
    );
    assert_eq!((dropped.readings, dropped.readings_waiting), (6, 6));
}

#[test]
fn what_lies_in_younger_segments_below_a_floor_goes_with_it_and_is_counted_too() {
    let directory = directory();
    let mut site = short_segments(&directory);
    // Gossip brings what was missed newest first.
    let blocks: Vec<Block> = [4, 3, 2, 1]
        .map(|n| block(OTHER, 1, n, &[(1, 1, 1)]))
        .into();
    put_each(&mut site, &blocks);
    let retention = Retention {
        bytes_max: room_for(&directory, 3),
        uploaded: needed_from(1),
        ..no_limits(&directory)
    };

    let dropped = give_up(&site, retention);

    assert_eq!(dropped.floors, [(log_of(OTHER, 1), 5)]);
    assert_eq!((dropped.segments, dropped.readings), (1, 4));
    assert_eq!(dropped.readings_waiting, 4, "not only those of the segment");
}

#[test]
fn what_is_too_old_goes_once_it_is_uploaded_and_not_before() {
    let directory = directory();
    let mut site = short_segments(&directory);
    five_segments(&mut site);
    let age_max = Duration::from_secs(3_600);
    let mut retention = Retention {
        now: written(&directory, 5) + age_max + Duration::from_secs(1),
        age_max: Some(age_max),
        uploaded: needed_from(3),
        ..no_limits(&directory)
    };

    let dropped = give_up(&site, retention.clone());
    assert_eq!(dropped.floors, [(log_of(OTHER, 1), 3)]);

    retention.uploaded = needed_from(6);
    retention.now = written(&directory, 5);
    let young = give_up(&site, retention);
    assert_eq!(young, Dropped::default());
}

#[test]
fn adversarial_25_neither_a_clock_ahead_nor_readings_from_the_far_future_keep_what_is_old() {
    let directory = directory();
    let mut site = short_segments(&directory);
    let far = block(OTHER, 1, 1, &[(1, i64::MAX - 1, 1)]);
    site.put_blocks(&[far]);
    let rest: Vec<Block> = (2..=5).map(|n| block(OTHER, 1, n, &[(1, 1, 1)])).collect();
    put_each(&mut site, &rest);
    let age_max = Duration::from_secs(3_600);
    let now = written(&directory, 5) + age_max + Duration::from_secs(1);
    let retention = Retention {
        now,
        age_max: Some(age_max),
        ..no_limits(&directory)
    };
    date(&directory, 1, now + age_max * 1_000);
    date(&directory, 2, SystemTime::UNIX_EPOCH);

    date(&directory, 3, now);
    let young = give_up(&site, retention.clone());
    date(&directory, 3, SystemTime::UNIX_EPOCH);
    let old = give_up(&site, retention);

    assert_eq!(young, Dropped::default(), "the control: the third is young");
    assert_eq!(old.floors, [(log_of(OTHER, 1), 6)]);
    assert_eq!(segments(&directory), [] as [u32; 0]);
}

#[test]
fn a_segment_that_was_begun_while_the_clock_was_ahead_is_ended_so_that_it_can_grow_old() {
    let directory = directory();
    let mut site = Site::open(&directory);
    site.put_blocks(&[block(OTHER, 1, 1, &[(1, 1, 1)])]);
    let age_max = Duration::from_secs(3_600);
    let begun = written(&directory, 1);
    let at = |now| Retention {
        now,
        age_max: Some(age_max),
        bytes_max: None,
        uploaded: None,
        alarms: Alarms::default(),
    };

    give_up(&site, at(begun));
    site.put_blocks(&[block(OTHER, 1, 2, &[(1, 1, 1)])]);
    let control = segments(&directory);
    give_up(&site, at(begun - age_max));
    site.put_blocks(&[block(OTHER, 1, 3, &[(1, 1, 1)])]);

    assert_eq!(control, [1]);
    assert_eq!(segments(&directory), [1, 2]);
}

#[test]
fn what_was_given_up_is_said_even_if_its_directory_cannot_be_synced() {
    let directory = directory();
    let disk = FaultyDisk::default();
    let mut site = short_segments_on(Arc::new(disk.clone()), &directory);
    five_segments(&mut site);
    let retention = Retention {
        bytes_max: room_for(&directory, 3),
        ..no_limits(&directory)
    };
    disk.set(Plan {
        sync_segments: Some(io::ErrorKind::Other),
        ..Plan::default()
    });

    let dropped = give_up(&site, retention);

    assert_eq!(dropped.floors, [(log_of(OTHER, 1), 3)]);
    assert_eq!((dropped.segments, dropped.readings), (2, 4));
    assert_eq!(site.store.stats().writes_failed, 1);
}

#[test]
fn a_full_disk_takes_what_is_uploaded_and_never_what_waits() {
    let directory = directory();
    let disk = FaultyDisk::default();
    let mut site = short_segments_on(Arc::new(disk.clone()), &directory);
    five_segments(&mut site);
    disk.set(Plan {
        free: Some(0),
        ..Plan::default()
    });
    let retention = |uploaded| Retention {
        uploaded,
        ..no_limits(&directory)
    };

    let none = give_up(&site, retention(None));
    assert_eq!(
        none,
        Dropped::default(),
        "without an uplink this may be the only copy"
    );
    let waiting = give_up(&site, retention(needed_from(1)));
    assert_eq!(waiting, Dropped::default());
    let uploaded = give_up(&site, retention(needed_from(3)));
    assert_eq!(
        uploaded.floors,
        [(log_of(OTHER, 1), 2)],
        "one byte of room was wanted"
    );
}

#[test]
fn the_last_own_block_stays_so_that_the_next_epoch_can_name_it() {
    let directory = directory();
    let mut site = short_segments(&directory);
    let own = block(OWN, 4, 1, &[(1, 10, 5)]);
    site.put_blocks(std::slice::from_ref(&own));
    five_segments(&mut site);
    let retention = Retention {
        bytes_max: Some(0),
        ..no_limits(&directory)
    };

    give_up(&site, retention);

    assert_eq!(segments(&directory), [1]);
    site.store.close(None).expect("closes");
    drop(site);
    let site = short_segments(&directory);
    let expected = Some((own.id().position(), own.hash(&NETWORK)));
    assert_eq!(site.recovered.last_own, expected);
}

#[test]
fn states_and_marks_outlive_their_segments_even_without_the_index() {
    let directory = directory();
    let mut site = short_segments(&directory);
    let membership = state(StateKind::Membership, "m", 1);
    let old = state(StateKind::Series, "1-00000007/1", 1);
    let new = state(StateKind::Series, "1-00000007/1", 2);
    for state in [&membership, &old, &new] {
        assert!(site.put(vec![Write::State(state.clone())])[0].is_ok());
    }
    for n in 1..=4 {
        site.put_blocks(&[block(OWN, 1, n, &[(1, 1, 1)])]);
    }
    let retention = Retention {
        bytes_max: Some(0),
        ..no_limits(&directory)
    };

    give_up(&site, retention);

    site.store.close(None).expect("closes");
    drop(site);
    fs::remove_dir_all(directory.path().join("data/index")).expect("removed");
    let site = short_segments(&directory);
    let mut states = site.recovered.states.clone();
    states.sort_by_key(|state| state.key().clone());
    let mut expected = [membership, new];
    expected.sort_by_key(|state| state.key().clone());
    assert_eq!(states, expected);
    let mut marks = site.recovered.publishers.clone();
    marks.sort_by_key(|mark| mark.sequence);
    let marks: Vec<Sequence> = marks.iter().map(|mark| mark.sequence).collect();
    assert_eq!(marks, [2, 3, 4], "of three publishers the last each");
}

/// The blocks in which a question finds readings of a series of the other machine.
fn asked(site: &Site, number: u32) -> Vec<Sequence> {
    let query = Query {
        selection: BTreeMap::from([(log_of(OTHER, 1), series(&[number]))]),
        from: Timestamp::MIN,
        to: Timestamp::MAX,
        limit: 100,
    };
    let page = site.store.query(&query, None);
    page.found
        .iter()
        .map(|found| found.at.block.sequence)
        .collect()
}

#[test]
fn blocks_with_alarms_are_kept_for_longer_than_the_rest_also_over_restarts() {
    let directory = directory();
    let mut site = short_segments(&directory);
    let blocks: Vec<Block> = (1..=6)
        .map(|n: u64| {
            let alarm = if n.is_multiple_of(2) { 9 } else { 2 };
            let time = n.cast_signed();
            block(OTHER, 1, n, &[(1, time, 1), (alarm, time, 2)])
        })
        .collect();
    put_each(&mut site, &blocks);
    let alarms = |since| Alarms {
        series: BTreeMap::from([(log_of(OTHER, 1), series(&[9]))]),
        since: Timestamp::from_nanos(since),
        bytes_max: 1 << 20,
    };
    let retention = |count, since| Retention {
        bytes_max: room_for(&directory, count),
        alarms: alarms(since),
        ..no_limits(&directory)
    };

    let dropped = give_up(&site, retention(1, 0));
    assert_eq!(dropped.floors, [(log_of(OTHER, 1), 6)]);
    assert_eq!(
        dropped.readings, 6,
        "of ten, four are in blocks with alarms"
    );
    assert_eq!(asked(&site, 9), [2, 4, 6]);
    assert_eq!(
        asked(&site, 2),
        [] as [u64; 0],
        "the control: no alarm in it"
    );
    assert_eq!(asked(&site, 1), [2, 4, 6], "blocks are kept whole");
    assert_eq!(
        site.read_all(log_of(OTHER, 1)),
        blocks[5..],
        "no log has them"
    );
    assert_eq!(site.store.stats().blocks_kept, 2);

    site.store.close(None).expect("closes");
    drop(site);
    let mut site = short_segments(&directory);
    assert_eq!(asked(&site, 9), [2, 4, 6]);
    assert_eq!(entry_of(&site.recovered.frontier), (6, 6));
    put_each(&mut site, &[block(OTHER, 1, 7, &[(1, 7, 1)])]);
    give_up(&site, retention(1, 3)); // The copies' segment goes, and what is older than 3.
    assert_eq!(asked(&site, 9), [4, 6]);
    put_each(&mut site, &[block(OTHER, 1, 8, &[(1, 8, 1)])]);
    give_up(&site, retention(0, 9));
    assert_eq!(asked(&site, 9), [] as [u64; 0], "too old");
}

#[test]
fn of_blocks_with_alarms_the_newest_are_kept_as_far_as_there_is_room() {
    let directory = directory();
    let mut site = short_segments(&directory);
    five_segments(&mut site);
    let sealed = crate::segments::read_footer(&config(&directory), 1).expect("read");
    let length = u64::from(sealed.expect("sealed").blocks[0].length);
    let retention = Retention {
        bytes_max: room_for(&directory, 1),
        alarms: Alarms {
            series: BTreeMap::from([(log_of(OTHER, 1), series(&[1]))]),
            since: Timestamp::MIN,
            bytes_max: length * 3 / 2,
        },
        ..no_limits(&directory)
    };

    give_up(&site, retention);

    assert_eq!(asked(&site, 1), [4, 5]);
}

#[test]
fn a_file_that_a_crash_left_is_not_read_and_goes_with_the_next_pass() {
    let directory = directory();
    let mut site = short_segments(&directory);
    let blocks = five_segments(&mut site);
    let left = fs::read(segment(&directory, 1)).expect("read");
    let retention = Retention {
        bytes_max: room_for(&directory, 3),
        ..no_limits(&directory)
    };
    give_up(&site, retention.clone());
    site.store.close(None).expect("closes");
    drop(site);
    fs::write(segment(&directory, 1), left).expect("written");

    let site = short_segments(&directory);

    assert_eq!(entry_of(&site.recovered.frontier), (3, 5));
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks[2..]);
    let dropped = give_up(&site, retention);
    assert_eq!((dropped.segments, dropped.readings), (1, 0));
    assert_eq!(segments(&directory), [3, 4, 5]);
}

#[test]
fn what_cannot_be_noted_is_not_given_up() {
    let directory = directory();
    let disk = FaultyDisk::default();
    let mut site = short_segments_on(Arc::new(disk.clone()), &directory);
    let blocks = five_segments(&mut site);
    disk.set(Plan {
        sync: Some(io::ErrorKind::StorageFull),
        ..Plan::default()
    });
    let retention = Retention {
        bytes_max: Some(0),
        ..no_limits(&directory)
    };

    let answer = site.store.retain(retention.clone()).expect("is queued");

    let refused = answer.recv().expect("the writer lives");
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(site.read_all(log_of(OTHER, 1)), blocks);
    disk.set(Plan::default());
    let dropped = give_up(&site, retention);
    assert_eq!(
        dropped.segments, 5,
        "the control: with a sound disk it goes"
    );
}
