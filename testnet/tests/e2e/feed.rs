//! Feeds: known readings given to machines over gRPC, whatever happens to the machines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto::v1::{PublishRequest, Reading};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{self, Client, reading};
use crate::testnet::Testnet;

/// A reading that was acknowledged as durable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fed {
    /// The machine that took it, by its id.
    pub(crate) machine_id: String,
    /// Its series.
    pub(crate) series: String,
    /// Its time. Unit: nanoseconds since the Unix epoch.
    pub(crate) time: i64,
    /// Its value: a multiple of a quarter, so that sums are exact in any order.
    pub(crate) value: f64,
}

/// Feeds that run until they are stopped.
#[derive(Debug)]
pub(crate) struct Feeds {
    stop: watch::Sender<bool>,
    running: JoinSet<Vec<Fed>>,
}

impl Feeds {
    /// Starts one feed to each machine.
    pub(crate) fn start(testnet: &Testnet) -> Self {
        let machines = testnet.nodes().iter();
        Self::start_at(machines.map(|node| (node.machine_id.clone(), Client::new(&node.grpc))))
    }

    /// Starts feeds to these machines.
    pub(crate) fn start_at(machines: impl IntoIterator<Item = (String, Client)>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut running = JoinSet::new();
        for (machine_id, client) in machines {
            running.spawn(feed(machine_id, client, stopped.clone()));
        }
        Self { stop, running }
    }

    /// Lets every feed get its last batch acknowledged; returns everything that was.
    pub(crate) async fn stop(self) -> Vec<Fed> {
        self.stop.send_replace(true);
        self.running.join_all().await.concat()
    }
}

/// Publishes a batch every [`INTERVAL`]. One that is not acknowledged is sent again under its
/// number until it is, before the next one is made.
async fn feed(machine_id: String, client: Client, mut stopped: watch::Receiver<bool>) -> Vec<Fed> {
    let mut fed = Vec::new();
    for number in 1.. {
        let batch = batch(&machine_id, number);
        let request = PublishRequest {
            readings: batch
                .iter()
                .map(|fed| reading(&fed.series, Some(fed.time), fed.value))
                .collect(),
            acknowledge: None,
            publisher: PUBLISHER.to_owned(),
            publisher_sequence: number,
        };
        publish(&client, request).await;
        fed.extend(batch);
        let pause = tokio::time::timeout(INTERVAL, stopped.wait_for(|stopped| *stopped));
        if pause.await.is_ok() {
            return fed;
        }
    }
    fed
}

/// Publishes until it is acknowledged.
async fn publish(client: &Client, request: PublishRequest) {
    let start = Instant::now();
    while let Err(status) = client.publish(request.clone()).await {
        assert!(
            start.elapsed() < OUTAGE_MAX,
            "not acknowledged within {OUTAGE_MAX:?}: {status}"
        );
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Says what is missing from, more than once in, or invented in what a machine holds.
pub(crate) fn compare(fed: &[Fed], held: &[Reading]) -> Result<(), String> {
    let mut balance: BTreeMap<(&str, &str, i64, u64), i32> = BTreeMap::new();
    for fed in fed {
        let name = (
            fed.machine_id.as_str(),
            fed.series.as_str(),
            fed.time,
            fed.value.to_bits(),
        );
        *balance.entry(name).or_default() -= 1;
    }
    for reading in held {
        let value = client::number(reading).ok_or_else(|| format!("no number: {reading:?}"))?;
        let (machine, series) = (reading.machine_id.as_str(), reading.series.as_str());
        *balance
            .entry((machine, series, client::nanos(reading), value.to_bits()))
            .or_default() += 1;
    }
    let missing = balance.values().filter(|balance| **balance < 0).count();
    let extra = balance.values().filter(|balance| **balance > 0).count();
    match balance.iter().find(|(_, balance)| **balance != 0) {
        None => Ok(()),
        Some(example) => Err(format!(
            "of {} readings {missing} are missing, {extra} are too many: {example:?}",
            fed.len()
        )),
    }
}

/// Two readings of each series, taken just now.
fn batch(machine_id: &str, number: u64) -> Vec<Fed> {
    let now = now_nanos();
    let mut batch = Vec::new();
    for (index, series) in (0..).zip(SERIES) {
        for back in [1, 0] {
            let step = number.wrapping_mul(37) + index * 11 + back * 5;
            let quarters = u32::try_from(step % 1_000).expect("less than a thousand");
            batch.push(Fed {
                machine_id: machine_id.to_owned(),
                series: series.to_owned(),
                time: now - i64::try_from(back).expect("one or none") * APART_NANOS,
                value: f64::from(quarters) * 0.25 - 100.0,
            });
        }
    }
    batch
}

/// The time now. Unit: nanoseconds since the Unix epoch.
pub(crate) fn now_nanos() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(now.as_nanos()).expect("before 2262")
}

/// What feeds publish.
pub(crate) const SERIES: [&str; 2] = ["press/oil/temperature", "press/ram/position"];
/// All that feeds publish, as a pattern.
pub(crate) const PATTERN: &str = "press/**";
/// The name that feeds give themselves.
const PUBLISHER: &str = "feed";
/// How often a feed publishes.
const INTERVAL: Duration = Duration::from_millis(400);
/// How far the two readings of a series in a batch lie apart. Unit: nanoseconds.
const APART_NANOS: i64 = 90_000_000;
/// How long to wait before a batch is sent again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Longest time until a batch must be acknowledged, outages of its machine included.
const OUTAGE_MAX: Duration = Duration::from_secs(60);
