use std::io::Write as _;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;

/// The paused runtime's wall clock: a fixed start.
const START: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

const TABLE: &str = "time,machine,speed,power\n\
    2014-01-01T00:00:00Z,A,1.5,10\n\
    2014-01-01T00:00:00Z,B,9,9\n\
    2014-01-01T00:10:00Z,A,,abc\n\
    no time,A,1,1\n\
    2014-01-01T00:15:00Z,A,1\n\
    2014-01-01 00:20:00,A,2.5,NaN\n";

fn table(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).expect("written");
    (directory, path)
}

fn config(file: PathBuf) -> Config {
    Config {
        file,
        machine: Some("A".to_owned()),
        prefix: Some("turbine".parse().expect("a name")),
        units: [("power".to_owned(), "kW".parse().expect("a unit"))].into(),
        speed: 600.0,
        repeat: false,
    }
}

/// Runs a replay and takes at most `count` batches.
async fn batches(
    config: Config,
    count: usize,
) -> (Result<Summary, SourceError>, Vec<Vec<NewReading>>) {
    let (sender, mut receiver) = mpsc::channel(1);
    let listen = async move {
        let mut taken = Vec::new();
        while taken.len() < count {
            match receiver.recv().await {
                Some(batch) => taken.push(batch),
                None => break,
            }
        }
        taken
    };
    tokio::join!(run(config, Arc::new(|| START), sender), listen)
}

/// Seconds after the start.
fn seconds(batch: &[NewReading]) -> Duration {
    batch[0].time.since(START)
}

#[tokio::test(start_paused = true)]
async fn rows_come_at_their_re_based_times_and_malformed_ones_are_counted() {
    let (_directory, path) = table("t.csv", TABLE.as_bytes());

    let started = tokio::time::sleep(Duration::ZERO).deadline();
    let (summary, batches) = batches(config(path), usize::MAX).await;
    let ended = tokio::time::sleep(Duration::ZERO).deadline();

    let expected = Summary {
        rows: 3,
        malformed: 3,
    };
    assert_eq!(summary.expect("replays"), expected);
    let times: Vec<Duration> = batches.iter().map(|batch| seconds(batch)).collect();
    assert_eq!(times, [0, 1, 2].map(Duration::from_secs));
    assert!(ended - started >= Duration::from_secs(2));
    let bad = |reason| (Value::Null, Quality::new(QualityLevel::Bad, reason));
    let cells = |batch: &[NewReading]| -> Vec<(Value, Quality)> {
        batch.iter().map(|r| (r.value.clone(), r.quality)).collect()
    };
    assert_eq!(
        cells(&batches[0]),
        [
            (Value::F64(1.5), Quality::GOOD),
            (Value::F64(10.0), Quality::GOOD)
        ]
    );
    assert_eq!(
        cells(&batches[1]),
        [bad(QualityReason::Missing), bad(QualityReason::Malformed)]
    );
    assert_eq!(cells(&batches[2])[1], bad(QualityReason::Missing));
    let series = &batches[0][1].series;
    assert_eq!(
        (series.name.as_str(), series.unit.as_str()),
        ("turbine/power", "kW")
    );
}

#[tokio::test(start_paused = true)]
async fn a_gzipped_table_starts_over_one_spacing_after_its_last_row() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(TABLE.as_bytes()).expect("compressed");
    let (_directory, path) = table("t.csv.gz", &gzip.finish().expect("compressed"));
    let config = Config {
        repeat: true,
        ..config(path)
    };

    let (summary, batches) = batches(config, 5).await;

    let times: Vec<Duration> = batches.iter().map(|batch| seconds(batch)).collect();
    assert_eq!(times, [0, 1, 2, 3, 4].map(Duration::from_secs));
    assert!(summary.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_cannot_be_replayed_says_why() {
    let (directory, path) = table("t.csv", TABLE.as_bytes());
    let other_machine = Config {
        machine: Some("C".to_owned()),
        repeat: true,
        ..config(path.clone())
    };
    let stopped = Config {
        speed: 0.0,
        ..config(path.clone())
    };
    let unknown_unit = Config {
        units: [("pwoer".to_owned(), Unit::default())].into(),
        ..config(path)
    };

    let missing = batches(config(directory.path().join("none.csv")), 1)
        .await
        .0;
    let none = batches(other_machine, 1).await.0;
    let speed = batches(stopped, 1).await.0;
    let column = batches(unknown_unit, 1).await.0;

    assert!(
        matches!(missing, Err(SourceError::File { .. })),
        "{missing:?}"
    );
    assert!(
        matches!(none, Err(SourceError::Empty { malformed: 1, .. })),
        "{none:?}"
    );
    assert!(matches!(speed, Err(SourceError::Setting(_))), "{speed:?}");
    assert!(
        matches!(column, Err(SourceError::Column { .. })),
        "{column:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_a_table_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = [b"time,machine,power\n".as_slice(), &bytes].concat();
        let (_directory, path) = table("t.csv", &text);
        let mut table = Table::open(&config(path)).expect("a header");

        let mut summary = Summary::default();
        while let Ok(Some(row)) = table.next_row(&mut summary) {
            prop_assert_eq!(row.cells.len(), 1);
        }
    }
}
