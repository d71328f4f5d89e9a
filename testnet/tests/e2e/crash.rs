//! A machine that is killed while it takes readings.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::v1::{PublishRequest, Reading};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Client, number, reading};
use crate::gate;
use crate::testnet::Testnet;
use crate::wait::until;

#[tokio::test]
async fn twenty_kills_in_the_middle_of_ingest_lose_no_durable_reading_and_store_none_twice() {
    let _turn = gate::alone();
    let testnet = Testnet::start("127.0.14", 2, &["--quiet-sources"]).await;
    let (stop, stopped) = watch::channel(false);
    let (batches, count) = watch::channel(0);
    let mut running = JoinSet::new();
    for publisher in PUBLISHERS {
        let client = Client::new(&testnet.node(1).grpc);
        running.spawn(publish(publisher, client, batches.clone(), stopped.clone()));
    }

    for kill in 1_u64..=20 {
        let before = *count.borrow();
        until("batches are acknowledged", PROGRESS_TIMEOUT, async || {
            let since = *count.borrow() - before;
            if since >= BATCHES_BEFORE_KILL {
                Ok(())
            } else {
                Err(format!("{since} so far"))
            }
        })
        .await;
        // Not always at the same moment of a batch.
        tokio::time::sleep(Duration::from_micros(kill * 7_919 % 20_000)).await;
        testnet.order("kill", &["machine-1"]).await;
        testnet.order("restart", &["machine-1"]).await;
    }
    stop.send_replace(true);
    let outcomes = running.join_all().await;

    for (machine, client) in (1..).zip(testnet.clients()) {
        let what = format!("machine-{machine} holds every durable reading once");
        until(&what, COMPLETE_TIMEOUT, async || {
            let held = client
                .query("crash/**")
                .await
                .map_err(|status| status.to_string())?;
            outcomes
                .iter()
                .try_for_each(|outcome| judge(outcome, &held))
        })
        .await;
    }
}

/// What became of a publisher's batches.
#[derive(Debug)]
struct Outcome {
    publisher: Publisher,
    /// Sent at least once.
    sent: u64,
    /// Acknowledged, by their numbers.
    acknowledged: Vec<u64>,
}

/// A publisher.
#[derive(Clone, Copy, Debug)]
struct Publisher {
    /// What it publishes.
    series: &'static str,
    /// Names itself and its batches, and sends them again until they are acknowledged; otherwise
    /// it sends each once.
    retries: bool,
}

/// Publishes until it is told to stop; counts what is acknowledged.
async fn publish(
    publisher: Publisher,
    client: Client,
    batches: watch::Sender<u64>,
    stopped: watch::Receiver<bool>,
) -> Outcome {
    let mut outcome = Outcome {
        publisher,
        sent: 0,
        acknowledged: Vec::new(),
    };
    while !*stopped.borrow() {
        outcome.sent += 1;
        let readings = (0..BATCH_READINGS)
            .map(|index| reading(publisher.series, None, value(outcome.sent, index)));
        let request = PublishRequest {
            readings: readings.collect(),
            publisher: if publisher.retries {
                publisher.series.to_owned()
            } else {
                String::new()
            },
            publisher_sequence: if publisher.retries { outcome.sent } else { 0 },
            acknowledge: None,
        };
        loop {
            if client.publish(request.clone()).await.is_ok() {
                outcome.acknowledged.push(outcome.sent);
                batches.send_modify(|count| *count += 1);
                break;
            }
            if !publisher.retries {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    outcome
}

/// Says what is wrong with what is held of a publisher's readings.
fn judge(outcome: &Outcome, held: &[Reading]) -> Result<(), String> {
    let series = outcome.publisher.series;
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for reading in held.iter().filter(|reading| reading.series == series) {
        let value = number(reading).ok_or("no number")?;
        *times.entry(value.to_bits()).or_default() += 1;
    }
    let is_held = |batch: u64, index: u32| times.contains_key(&value(batch, index).to_bits());
    if let Some((value, times)) = times.iter().find(|(_, times)| **times > 1) {
        return Err(format!(
            "{} of {series} is held {times} times",
            f64::from_bits(*value)
        ));
    }
    for batch in 1..=outcome.sent {
        let count = (0..BATCH_READINGS)
            .filter(|index| is_held(batch, *index))
            .count();
        let is_whole = count == (0..BATCH_READINGS).count();
        let is_acknowledged = outcome.acknowledged.binary_search(&batch).is_ok();
        if !is_whole && (is_acknowledged || count > 0) {
            return Err(format!(
                "batch {batch} of {series}: {count} readings are held"
            ));
        }
    }
    let count = (0..BATCH_READINGS).count() as u64;
    match times.len() as u64 <= outcome.sent * count {
        true => Ok(()),
        false => Err(format!("{series}: more is held than was sent")),
    }
}

/// The value of a reading, which no other one of its series has.
fn value(batch: u64, index: u32) -> f64 {
    f64::from(u32::try_from(batch).expect("few batches")) * 16.0 + f64::from(index)
}

/// Who publishes at the same time.
const PUBLISHERS: [Publisher; 4] = [
    Publisher {
        series: "crash/one",
        retries: true,
    },
    Publisher {
        series: "crash/two",
        retries: true,
    },
    Publisher {
        series: "crash/three",
        retries: true,
    },
    Publisher {
        series: "crash/once",
        retries: false,
    },
];
/// Readings of a batch; at most 16.
const BATCH_READINGS: u32 = 8;
/// Batches that are acknowledged between two kills, at least.
const BATCHES_BEFORE_KILL: u64 = 20;
/// Pause of a publisher between two batches.
const PAUSE: Duration = Duration::from_millis(5);
/// Longest time until [`BATCHES_BEFORE_KILL`] are acknowledged.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest time until the other machine has everything, too.
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(20);
