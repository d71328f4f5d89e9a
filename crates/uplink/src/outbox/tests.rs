use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use super::*;

const ORIGIN: MachineId = MachineId::from_bytes([1; 32]);
const OTHER: MachineId = MachineId::from_bytes([2; 32]);
const LIMITS: Limits = Limits {
    bytes_max: 1_000_000,
    age_max: Duration::from_secs(100),
};

fn item(key: &str) -> Item {
    Item {
        key: key.to_owned(),
        topic: "n/m/s".to_owned(),
        json: Bytes::from(format!("{{\"key\":\"{key}\"}}")),
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::default().saturating_add(Duration::from_secs(seconds))
}

fn open(dir: &Path) -> Outbox {
    Outbox::open(dir.to_owned(), LIMITS).expect("opens")
}

/// An outbox whose sink is away, with records on disk.
fn spilled(dir: &Path, keys: &[&str]) -> Outbox {
    let mut outbox = open(dir);
    for (id, key) in (1..).zip(keys) {
        outbox.insert(item(key), ORIGIN, id, at(id));
    }
    outbox.demote_live();
    outbox.flush().expect("written");
    outbox
}

fn keys(taken: &[(u64, Item)]) -> Vec<&str> {
    taken.iter().map(|(_, item)| item.key.as_str()).collect()
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

    assert!(outbox.insert(item("a"), ORIGIN, 7, at(0)));
    assert!(!outbox.insert(item("a"), ORIGIN, 8, at(0)));

    let taken = outbox.take_live(10);
    assert_eq!(keys(&taken), ["a"]);
    assert_eq!(outbox.remove(taken[0].0), Some(vec![7, 8]));
    assert!(
        outbox.insert(item("a"), ORIGIN, 9, at(0)),
        "delivered, so it is new again"
    );
}

#[test]
fn while_the_sink_takes_records_nothing_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = open(dir.path());

    outbox.insert(item("a"), ORIGIN, 1, at(0));
    outbox.flush().expect("flushed");

    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_restart_keeps_what_waits_and_forgets_what_is_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b", "c"]);
    let (taken, _) = outbox.take_backlog(1);
    outbox.remove(taken[0].0);
    outbox.flush().expect("written");
    drop(outbox);

    let mut again = open(dir.path());

    assert!(
        !again.insert(item("b"), ORIGIN, 9, at(9)),
        "known by its key"
    );
    assert_eq!((again.len(), again.oldest()), (2, Some(at(2))));
    let (taken, _) = again.take_backlog(10);
    assert_eq!(keys(&taken), ["b", "c"]);
    assert_eq!(taken[0].1, item("b"));
}

#[test]
fn an_outbox_that_was_emptied_takes_no_space() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b"]);

    let (taken, _) = outbox.take_backlog(10);
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
        again.insert(item("d"), ORIGIN, 1, at(9));
        again.demote_live();
        again.flush().expect("written");
        drop(again);

        let (taken, unreadable) = open(dir.path()).take_backlog(10);
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

    let (taken, unreadable) = outbox.take_backlog(10);

    assert_eq!((taken.len(), unreadable.len()), (0, 1));
}

#[test]
fn beyond_its_bytes_or_its_age_the_oldest_goes_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b", "c"]);
    outbox.limits.bytes_max = outbox.bytes() - 1;

    assert_eq!(
        outbox.drop_oldest(at(50)),
        Some((DropReason::Bytes, vec![1]))
    );
    assert_eq!(outbox.drop_oldest(at(50)), None);
    assert_eq!(
        outbox.drop_oldest(at(103)),
        Some((DropReason::Age, vec![2]))
    );
    assert_eq!(outbox.drop_oldest(at(103)), None);
}

#[test]
fn a_withdrawn_origin_is_forgotten_also_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b"]);
    outbox.insert(item("c"), OTHER, 3, at(3));

    assert_eq!(outbox.withdraw(ORIGIN), 2);
    outbox.demote_live();
    outbox.flush().expect("written");
    drop(outbox);

    assert_eq!(keys(&open(dir.path()).take_backlog(10).0), ["c"]);
}

#[test]
fn what_the_sink_puts_off_lets_the_others_go_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["a", "b", "c"]);

    let (taken, _) = outbox.take_backlog(1);
    outbox.put_back(taken[0].0, true);

    assert_eq!(keys(&outbox.take_backlog(10).0), ["b", "c", "a"]);
}

#[test]
fn one_stuck_record_does_not_keep_the_files_of_all_the_others() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut outbox = spilled(dir.path(), &["stuck"]);
    let large = "x".repeat(100_000);
    outbox.limits.bytes_max = 1_000_000;

    for id in 0..200 {
        let mut item = item(&format!("k{id}"));
        item.topic.clone_from(&large);
        outbox.insert(item, ORIGIN, id, at(0));
        let number = outbox.take_live(1)[0].0;
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
    assert_eq!(keys(&open(dir.path()).take_backlog(10).0), ["stuck"]);
}
