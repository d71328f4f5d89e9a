use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use aggregate::Record;

use super::*;
use crate::item::samples::{self, item};

/// The origin of the samples.
const ORIGIN: MachineId = MachineId::from_bytes([2; 32]);
const OTHER: MachineId = MachineId::from_bytes([9; 32]);
const RULES: Rules = Rules {
    bytes_max: 1_000_000,
    age_max: Duration::from_secs(100),
    one_per_window: false,
};

/// The least of all priorities.
const ANY: Priority = Priority::Expendable;

/// A record as it is submitted.
fn outgoing(item: Item, id: u64) -> Outgoing {
    let priority = Priority::Normal;
    Outgoing { id, item, priority }
}

/// An item of another origin.
fn other_item(name: &str) -> Item {
    let mut window = samples::window(name, 1);
    window.key.machine = OTHER;
    samples::of(Record::Window(window))
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::default().saturating_add(Duration::from_secs(seconds))
}

fn open(dir: &Path) -> Outbox {
    Outbox::open(dir.to_owned(), RULES).expect("opens")
}

/// An outbox whose sink is away, with records on disk.
fn spilled(dir: &Path, keys: &[&str]) -> Outbox {
    let mut outbox = open(dir);
    for (id, key) in (1..).zip(keys) {
        outbox.insert(&outgoing(item(key), id), at(id));
    }
    outbox.demote_live();
    outbox.flush().expect("written");
    outbox
}

fn keys(taken: &[(u64, Item)]) -> Vec<&str> {
    taken
        .iter()
        .map(|(_, item)| item.record.series().name.as_str())
        .collect()
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn a_key_that_waits_is_held_once_with_both_ids() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = open(dir.path());

    let inserted = [7, 8].map(|id| outbox.insert(&outgoing(item("a"), id), at(0)));
    assert_eq!(inserted, [Inserted::New, Inserted::Known]);

    let taken = outbox.take_live(10, ANY);
    assert_eq!(keys(&taken), ["a"]);
    assert_eq!(outbox.remove(taken[0].0), Some(vec![7, 8]));
    let again = outbox.insert(&outgoing(item("a"), 9), at(0));
    assert_eq!(again, Inserted::New, "delivered before");
}

#[test]
fn while_the_sink_takes_records_nothing_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = open(dir.path());

    outbox.insert(&outgoing(item("a"), 1), at(0));
    outbox.flush().expect("flushed");

    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_restart_keeps_what_waits_and_forgets_what_is_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b", "c"]);
    let (taken, _) = outbox.take_backlog(1, ANY);
    outbox.remove(taken[0].0);
    outbox.flush().expect("written");
    drop(outbox);

    let mut again = open(dir.path());

    assert_eq!(
        again.insert(&outgoing(item("b"), 9), at(9)),
        Inserted::Known,
        "known by its key"
    );
    assert_eq!((again.len(), again.oldest()), (2, Some(at(2))));
    let (taken, _) = again.take_backlog(10, ANY);
    assert_eq!(keys(&taken), ["b", "c"]);
    assert_eq!(taken[0].1, item("b"));
}

#[test]
fn an_outbox_that_was_emptied_takes_no_space() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b"]);

    let (taken, _) = outbox.take_backlog(10, ANY);
    for (number, _) in taken {
        outbox.remove(number);
    }
    outbox.flush().expect("written");

    assert!(files(dir.path()).is_empty());
    assert_eq!(outbox.bytes(), 0);
}

#[test]
fn a_torn_or_damaged_end_loses_only_itself() {
    for damage in ["torn", "flipped"] {
        let dir = tempfile::tempdir().expect("a directory");
        drop(spilled(dir.path(), &["a", "b", "c"]));
        let path = &files(dir.path())[0];
        let mut content = fs::read(path).expect("read");
        let last = content.len() - 1;
        match damage {
            "torn" => content.truncate(last),
            _ => content[last] ^= 1,
        }
        fs::write(path, &content).expect("written");

        let mut again = open(dir.path());
        again.insert(&outgoing(item("d"), 1), at(9));
        again.demote_live();
        again.flush().expect("written");
        drop(again);

        let (taken, unreadable) = open(dir.path()).take_backlog(10, ANY);
        assert_eq!(keys(&taken), ["a", "b", "d"], "{damage}");
        assert!(unreadable.is_empty());
    }
}

#[test]
fn a_body_that_was_damaged_while_it_waited_is_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a"]);
    let path = &files(dir.path())[0];
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(&[0; 16]))
        .expect("overwritten");

    let (taken, unreadable) = outbox.take_backlog(10, ANY);

    assert_eq!((taken.len(), unreadable.len()), (0, 1));
}

#[test]
fn beyond_its_bytes_or_its_age_the_oldest_goes_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b", "c"]);
    outbox.rules.bytes_max = outbox.bytes() - 1;

    assert_eq!(outbox.drop_one(at(50)), Some((DropReason::Bytes, vec![1])));
    assert_eq!(outbox.drop_one(at(50)), None);
    assert_eq!(outbox.drop_one(at(103)), Some((DropReason::Age, vec![2])));
    assert_eq!(outbox.drop_one(at(103)), None);
}

#[test]
fn a_withdrawn_origin_is_forgotten_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b"]);
    outbox.insert(&outgoing(other_item("c"), 3), at(3));

    assert_eq!(outbox.withdraw(ORIGIN), 2);
    outbox.demote_live();
    outbox.flush().expect("written");
    drop(outbox);

    assert_eq!(keys(&open(dir.path()).take_backlog(10, ANY).0), ["c"]);
}

#[test]
fn what_the_sink_puts_off_lets_the_others_go_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b", "c"]);

    let (taken, _) = outbox.take_backlog(1, ANY);
    outbox.put_back(taken[0].0, true);

    assert_eq!(keys(&outbox.take_backlog(10, ANY).0), ["b", "c", "a"]);
}

#[test]
fn one_stuck_record_does_not_keep_the_files_of_all_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["stuck"]);
    let large = "x".repeat(100_000);
    outbox.rules.bytes_max = 1_000_000;

    for id in 0..200 {
        let mut item = item(&format!("k{id}"));
        item.machine_name.clone_from(&large);
        outbox.insert(&outgoing(item, id), at(0));
        let number = outbox.take_live(1, ANY)[0].0;
        outbox.put_back(number, false);
        outbox.flush().expect("written");
        outbox.remove(number);
        outbox.flush().expect("written");
    }

    let on_disk = files(dir.path())
        .into_iter()
        .map(|path| fs::metadata(path).expect("there").len());
    assert!(on_disk.sum::<u64>() <= 2 * 1_000_000 + 2 * SEGMENT_BYTES_MAX);
    drop(outbox);
    assert_eq!(keys(&open(dir.path()).take_backlog(10, ANY).0), ["stuck"]);
}

#[test]
fn the_urgent_go_first_and_the_expendable_are_given_up_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = open(dir.path());
    let priorities = [
        ("n1", Priority::Normal),
        ("u1", Priority::Urgent),
        ("e1", Priority::Expendable),
        ("e2", Priority::Expendable),
        ("n2", Priority::Normal),
        ("u2", Priority::Urgent),
    ];
    for (id, (name, priority)) in (1..).zip(priorities) {
        let mut outgoing = outgoing(item(name), id);
        outgoing.priority = priority;
        outbox.insert(&outgoing, at(id));
    }

    let mut live = outbox.take_live(10, Priority::Urgent);
    assert_eq!(keys(&live), ["u1", "u2"]);
    live.extend(outbox.take_live(10, ANY));
    assert_eq!(keys(&live), ["u1", "u2", "n1", "n2", "e1", "e2"]);
    for (number, _) in live {
        outbox.put_back(number, false);
    }
    outbox.flush().expect("written");
    drop(outbox);
    let mut outbox = open(dir.path());
    let order = ["u1", "u2", "n1", "n2", "e1", "e2"];
    assert_eq!(
        keys(&outbox.take_backlog(10, ANY).0),
        order,
        "after a restart"
    );

    outbox.rules.bytes_max = 0;
    let numbers = [3, 4, 1, 5, 2, 6];
    let given_up = numbers.map(|number| {
        outbox.drop_one(at(10)).expect("too many");
        !outbox.entries.contains_key(&number)
    });
    assert_eq!(given_up, [true; 6]);
}

#[test]
fn what_is_too_old_goes_whatever_its_priority() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = open(dir.path());
    let mut urgent = outgoing(item("u"), 1);
    urgent.priority = Priority::Urgent;
    outbox.insert(&urgent, at(0));
    outbox.insert(&outgoing(item("n"), 2), at(50));

    assert_eq!(outbox.drop_one(at(100)), None);
    assert_eq!(outbox.drop_one(at(101)), Some((DropReason::Age, vec![1])));
    assert_eq!(outbox.drop_one(at(101)), None);
}

/// A record of the same window as all others of this function.
fn revision(sequence: u64) -> Item {
    samples::of(Record::Window(samples::window("a", sequence)))
}

fn sequences(taken: &[(u64, Item)]) -> Vec<u64> {
    let sequence = |(_, item): &(u64, Item)| item.record.position().sequence;
    taken.iter().map(sequence).collect()
}

#[test]
fn of_the_records_of_a_window_the_latest_goes_with_the_ids_of_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = open(dir.path());
    outbox.rules.one_per_window = true;

    let inserted = [(3, 1), (5, 2), (4, 3)]
        .map(|(sequence, id)| outbox.insert(&outgoing(revision(sequence), id), at(0)));

    use Inserted::{Known, New, Replaced};
    assert_eq!(inserted, [New, Replaced, Known]);
    let taken = outbox.take_live(10, ANY);
    assert_eq!(sequences(&taken), [5]);
    assert_eq!(outbox.remove(taken[0].0), Some(vec![2, 1, 3]));
}

#[test]
fn an_earlier_record_that_is_on_its_way_is_not_sent_again_after_the_later_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = open(dir.path());
    outbox.rules.one_per_window = true;
    outbox.insert(&outgoing(revision(1), 1), at(0));
    let earlier = outbox.take_live(10, ANY);

    outbox.insert(&outgoing(revision(2), 2), at(0));
    outbox.put_back(earlier[0].0, false);

    let taken = outbox.take_live(10, ANY);
    assert_eq!(sequences(&taken), [2]);
    assert!(!outbox.has_backlog());
    assert_eq!(outbox.remove(taken[0].0), Some(vec![2, 1]));
}

#[test]
fn without_that_rule_every_record_of_a_window_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = open(dir.path());

    for sequence in [2, 1] {
        outbox.insert(&outgoing(revision(sequence), sequence), at(0));
    }

    assert_eq!(sequences(&outbox.take_live(10, ANY)), [2, 1]);
}
