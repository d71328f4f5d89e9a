use std::time::Duration;

use model::{MachineId, Timestamp};

use super::*;

fn record(kind: Kind, id: u8) -> Record {
    let time = Timestamp::from_nanos(1_790_000_000_000_000_001);
    Record::new(time, kind, MachineId::from_bytes([1; 32]), id)
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

#[test]
fn the_newest_records_come_back_in_order_over_a_restart_and_a_torn_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut audit = Audit::open(dir.path()).expect("opens");
    for id in 0..4 {
        audit.record(Instant::ZERO, record(Kind::Revoked, id));
    }
    audit.close();
    let mut file = append_to(&dir.path().join(Category::Admission.file())).expect("a file");
    file.write_all(b"{\"time\":\"2026-").expect("written");

    let mut audit = Audit::open(dir.path()).expect("opens");
    audit.record(Instant::ZERO, record(Kind::Revoked, 4).failed("too late"));
    let reader = audit.reader();
    audit.close();

    let all = reader.newest(None, 100).expect("readable");
    assert_eq!(ids(&all), ["0", "1", "2", "3", "4"]);
    assert_eq!(all[4], record(Kind::Revoked, 4).failed("too late"));
    let some = reader.newest(None, 2);
    assert_eq!(ids(&some.expect("readable")), ["3", "4"]);
}

#[test]
fn a_line_has_the_fields_that_readers_of_such_logs_expect() {
    let line = serde_json::to_value(record(Kind::Refused, 7).failed("revoked")).expect("JSON");

    assert_eq!(
        line,
        serde_json::json!({
            "time": "2026-09-21T14:13:20.000000001Z",
            "source": MachineId::from_bytes([1; 32]).to_string(),
            "category": "admission",
            "type": "refused",
            "id": "7",
            "result": "revoked",
        })
    );
}

#[test]
fn a_flood_of_refusals_fills_neither_the_disk_nor_pushes_revocations_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut audit = Audit::open(dir.path()).expect("opens");
    audit.record(Instant::ZERO, record(Kind::Revoked, 1));

    for millisecond in 0..100_000 {
        let now = Instant::ZERO + Duration::from_millis(millisecond);
        audit.record(now, record(Kind::Refused, 2));
    }
    let reader = audit.reader();
    audit.close();

    let all = reader.newest(None, usize::MAX).expect("readable");
    assert!((100..150).contains(&all.len()), "{}", all.len());
    assert_eq!(ids(&all)[..2], ["1", "2"]);
    let left_out: u64 = all.iter().map(|record| record.left_out).sum();
    assert!(left_out > 80_000, "{left_out} are said to be left out");
}

#[test]
fn the_log_is_capped_and_keeps_the_newest() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(Category::Admission.file());
    let mut writer = Writer::open(&path, 10_000).expect("opens");

    for id in 0..200 {
        let record = record(Kind::Revoked, id).with("x".repeat(100));
        writer.write(&record).expect("written");
    }

    let files = fs::read_dir(dir.path()).expect("a directory");
    let sizes: Vec<u64> = files
        .map(|file| file.and_then(|file| file.metadata()).expect("a size").len())
        .collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|size| *size <= 10_000), "{sizes:?}");
    let dir = dir.path().to_owned();
    let kept = AuditReader { dir }.newest(None, usize::MAX);
    let kept = kept.expect("readable");
    assert_eq!(kept.last().map(|record| record.id.as_str()), Some("199"));
    assert!(kept.len() > 20, "{}", kept.len());
}

#[test]
fn strangers_leave_no_record_and_whoever_has_proved_its_key_does() {
    let refused = |machine| swarm::Event::Refused {
        machine,
        address: None,
        reason: swarm::RefusalReason::TimedOut,
    };
    let machine = MachineId::from_bytes([1; 32]);

    let stranger = Record::of_swarm(Timestamp::MIN, &refused(None));
    let named = Record::of_swarm(Timestamp::MIN, &refused(Some(machine)));

    assert_eq!(stranger, None);
    assert_eq!(named.map(|record| record.id), Some(machine.to_string()));
}

#[test]
fn many_commands_push_no_revocation_out_and_come_back_among_the_others_by_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut audit = Audit::open(dir.path()).expect("opens");
    audit.record(Instant::ZERO, record(Kind::Revoked, 1));
    let at =
        |nanos, kind, id: u8| Record::new(Timestamp::from_nanos(nanos), kind, ADMINISTRATOR, id);
    audit.record(Instant::ZERO, at(1_790_000_000_000_000_002, Kind::Sent, 2));
    audit.record(
        Instant::ZERO,
        at(1_790_000_000_000_000_003, Kind::Revoked, 3),
    );
    let reader = audit.reader();
    audit.close();

    let all = reader.newest(None, 10).expect("readable");
    let commands = reader.newest(Some(Category::Command), 10);
    let last = reader.newest(None, 2).expect("readable");

    assert_eq!(ids(&all), ["1", "2", "3"]);
    assert_eq!(ids(&commands.expect("readable")), ["2"]);
    assert_eq!(ids(&last), ["2", "3"]);
    let files = [Category::Admission, Category::Command].map(Category::file);
    let lines = files.map(|file| fs::read_to_string(dir.path().join(file)).expect("a file"));
    assert_eq!(lines.map(|text| text.lines().count()), [2, 1]);
}
