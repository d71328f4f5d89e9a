//! The suite, and what it needs: records, a running uplink, and the other side.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use aggregate::{Record, SeriesKey, Summary, WindowKey, WindowRecord};
use model::{Labels, MachineId, NetworkId, Timestamp, Value};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use uplink::{Config, DropReason, Event, Item, Outgoing, Priority, State, Status, Uplink};

pub(crate) const ORIGIN: MachineId = MachineId::from_bytes([2; 32]);
pub(crate) const OTHER: MachineId = MachineId::from_bytes([3; 32]);
const RELAY: MachineId = MachineId::from_bytes([4; 32]);
const BEGINNING: Timestamp = Timestamp::from_nanos(1_767_225_600_000_000_000);
const WINDOW: Duration = Duration::from_secs(10);
/// Longer than the longest pause between tries during these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The other side of a sink.
pub(crate) trait Counterpart {
    /// The uplink's URL.
    fn url(&self) -> String;
    /// Makes it unable to take records.
    fn fail(&mut self) -> impl Future<Output = ()>;
    /// Makes it able again.
    fn heal(&mut self) -> impl Future<Output = ()>;
    /// Makes it slow, without failing.
    fn slow(&mut self);
    /// Makes it quick again.
    fn quicken(&mut self);
    /// Whether a record that is delivered twice is there twice; readers then group by key.
    const KEEPS_COPIES: bool;
    /// What arrives of a record.
    fn expected(item: &Item) -> Json {
        serde_json::from_slice(&item.json()).expect("JSON")
    }
    /// What has arrived, once it is at least so much.
    fn received(&mut self, at_least: usize) -> impl Future<Output = Vec<Json>>;
}

/// An uplink with its directory and what it says.
pub(crate) struct Running {
    uplink: Uplink,
    events: mpsc::Receiver<Event>,
    dir: TempDir,
    url: String,
}

impl Running {
    pub(crate) fn start(counterpart: &impl Counterpart) -> Self {
        Self::start_at(&counterpart.url())
    }

    pub(crate) fn start_at(url: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), url, |_| {})
    }

    pub(crate) fn start_in(dir: TempDir, url: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config_at(url);
        change(&mut config);
        let (events_tx, events) = mpsc::channel(1_024);
        let uplink = Uplink::start(config, dir.path(), [7; 32], events_tx).expect("starts");
        let url = url.to_owned();
        Self {
            uplink,
            events,
            dir,
            url,
        }
    }

    async fn restart(self) -> Self {
        self.uplink.stop().await;
        Self::start_in(self.dir, &self.url, |_| {})
    }

    pub(crate) async fn stop(self) {
        self.uplink.stop().await;
    }

    pub(crate) fn submit(&self, records: Vec<Outgoing>) {
        self.uplink.submit(records).expect("there is room");
    }

    pub(crate) fn withdraw(&self, origin: MachineId) {
        self.uplink.withdraw(origin);
    }

    pub(crate) fn status(&self) -> Status {
        self.uplink.status()
    }

    pub(crate) fn set_aside(&self) -> String {
        read(&self.dir.path().join("set-aside.ndjson"))
    }

    /// The next event that fits.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Event) -> bool) -> Event {
        let next = async {
            loop {
                let event = self.events.recv().await.expect("the uplink runs");
                if fits(&event) {
                    return event;
                }
            }
        };
        match timeout(PATIENCE, next).await {
            Ok(event) => event,
            Err(_) => panic!("nothing happened: {:?}", self.uplink.status()),
        }
    }

    pub(crate) async fn until_delivered(&mut self, ids: &[u64]) {
        let mut missing: BTreeSet<u64> = ids.iter().copied().collect();
        while !missing.is_empty() {
            let event = self
                .until(|event| matches!(event, Event::Delivered(..)))
                .await;
            if let Event::Delivered(_, ids) = event {
                ids.iter().for_each(|id| {
                    missing.remove(id);
                });
            }
        }
    }

    pub(crate) async fn until_status(&mut self, fits: impl Fn(&Status) -> bool) -> Status {
        let look = async {
            loop {
                let status = self.uplink.status();
                if fits(&status) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        match timeout(PATIENCE, look).await {
            Ok(status) => status,
            Err(_) => panic!("it stays as it is: {:?}", self.uplink.status()),
        }
    }

    async fn until_unreachable(&mut self) {
        self.until(|event| matches!(event, Event::Reachable(_, false)))
            .await;
    }
}

/// Settings that do not slow the suite down.
pub(crate) fn config_at(url: &str) -> Config {
    let id = "cloud".parse().expect("an id");
    let mut config = Config::new(id, url.parse().expect("a URL"), RELAY);
    config.backlog_rate = 100_000;
    config
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn expected_at<C: Counterpart>(_: &C, item: &Item) -> Json {
    C::expected(item)
}

/// The record of a window that is told from others by its id.
pub(crate) fn outgoing(id: u64, origin: MachineId) -> Outgoing {
    let item = Item {
        record: Record::Window(WindowRecord {
            key: WindowKey {
                network: NetworkId::from_bytes([1; 32]),
                machine: origin,
                series: SeriesKey {
                    name: "press/oil".parse().expect("a name"),
                    unit: "Cel".parse().expect("a unit"),
                    labels: Labels::default(),
                },
                window_start: BEGINNING.saturating_add(WINDOW * u32::try_from(id).expect("few")),
                window_length: WINDOW,
                log_epoch: "3-9f2c11aa".parse().expect("an epoch"),
                last_sequence: id,
                complete: true,
            },
            summary: Summary {
                count: 1,
                min: Some(1.5),
                max: Some(1.5),
                sum: 1.5,
                mean: Some(1.5),
                stddev: Some(0.0),
                first: Some(Value::F64(1.5)),
                last: Some(Value::F64(1.5)),
                time_weighted_mean: Some(1.5),
                good_percent: 100.0,
                quantiles: vec![(0.5, 1.5)],
            },
        }),
        machine_name: "press-1".to_owned(),
        relay: RELAY,
    };
    Outgoing {
        id,
        item,
        priority: Priority::Normal,
    }
}

/// Another record of the window of a record.
pub(crate) fn revision_of(id: u64, revision: u64, origin: MachineId) -> Outgoing {
    let mut outgoing = outgoing(id, origin);
    outgoing.id = revision;
    window_of(&mut outgoing).key.last_sequence = revision;
    outgoing
}

/// The last value of a record's window.
pub(crate) fn last_of(outgoing: &mut Outgoing) -> &mut Option<Value> {
    &mut window_of(outgoing).summary.last
}

fn window_of(outgoing: &mut Outgoing) -> &mut WindowRecord {
    match &mut outgoing.item.record {
        Record::Window(window) => window,
        Record::Raw(_) => panic!("a window"),
    }
}

pub(crate) fn many(ids: std::ops::Range<u64>) -> Vec<Outgoing> {
    ids.map(|id| outgoing(id, ORIGIN)).collect()
}

/// The ids of what arrived, in order.
fn ids(received: &[Json]) -> Vec<u64> {
    let mut ids: Vec<u64> = received
        .iter()
        .map(|record| record["last_sequence"].as_u64().expect("a number"))
        .collect();
    ids.sort_unstable();
    ids
}

pub(crate) async fn a_record_arrives_whole_and_is_reported_once_it_has(
    counterpart: &mut impl Counterpart,
) {
    let mut uplink = Running::start(counterpart);
    let record = outgoing(1, ORIGIN);
    let expected = expected_at(counterpart, &record.item);

    uplink
        .until(|event| matches!(event, Event::Reachable(_, true)))
        .await;
    uplink.submit(vec![record]);
    uplink.until_delivered(&[1]).await;

    let received = counterpart.received(1).await;
    assert_eq!(received, [expected]);
    let status = uplink
        .until_status(|status| status.backlog_items == 0)
        .await;
    assert_eq!(
        (status.state, status.counters.delivered),
        (State::Reachable, 1)
    );
    uplink.stop().await;
}

pub(crate) async fn what_is_submitted_during_an_outage_arrives_after_it(
    counterpart: &mut impl Counterpart,
) {
    let mut uplink = Running::start(counterpart);
    uplink.submit(many(1..4));
    uplink.until_delivered(&[1, 2, 3]).await;

    counterpart.fail().await;
    uplink.submit(many(4..7));
    uplink.until_unreachable().await;
    uplink.submit(many(7..10));
    let status = uplink
        .until_status(|status| status.backlog_items == 6)
        .await;
    assert_eq!(status.state, State::Unreachable);
    assert!(status.last_error.is_some() && status.next_try.is_some());
    counterpart.heal().await;

    uplink.until_delivered(&[4, 5, 6, 7, 8, 9]).await;
    assert_eq!(
        ids(&counterpart.received(9).await),
        (1..10).collect::<Vec<u64>>()
    );
    uplink
        .until_status(|status| status.state == State::Reachable)
        .await;
    uplink.stop().await;
}

pub(crate) async fn a_restart_during_an_outage_loses_nothing(counterpart: &mut impl Counterpart) {
    let mut uplink = Running::start(counterpart);
    uplink
        .until(|event| matches!(event, Event::Reachable(_, true)))
        .await;
    counterpart.fail().await;
    uplink.submit(many(1..200));
    uplink.until_unreachable().await;

    let mut uplink = uplink.restart().await;

    uplink.until_unreachable().await;
    uplink
        .until_status(|status| status.backlog_items == 199)
        .await;
    uplink.submit(vec![outgoing(5, ORIGIN)]);
    counterpart.heal().await;
    uplink.until_delivered(&[5]).await;
    uplink
        .until_status(|status| status.counters.delivered == 199)
        .await;
    assert_eq!(
        ids(&counterpart.received(199).await),
        (1..200).collect::<Vec<u64>>()
    );
    uplink.stop().await;
}

pub(crate) async fn a_key_that_is_submitted_twice_arrives_once(counterpart: &mut impl Counterpart) {
    let mut uplink = Running::start(counterpart);
    uplink
        .until(|event| matches!(event, Event::Reachable(_, true)))
        .await;
    counterpart.fail().await;
    let again = Outgoing {
        id: 1_001,
        ..outgoing(1, ORIGIN)
    };

    uplink.submit(vec![outgoing(1, ORIGIN), again]);
    let status = uplink
        .until_status(|status| status.counters.duplicates == 1)
        .await;
    assert_eq!(status.backlog_items, 1);
    counterpart.heal().await;

    uplink.until_delivered(&[1, 1_001]).await;
    assert_eq!(counterpart.received(1).await.len(), 1);
    uplink.stop().await;
}

pub(crate) async fn a_flood_arrives_completely(counterpart: &mut impl Counterpart) {
    let mut uplink = Running::start(counterpart);

    uplink.submit(many(1..4_001));

    uplink
        .until_delivered(&(1..4_001).collect::<Vec<u64>>())
        .await;
    assert_eq!(
        ids(&counterpart.received(4_000).await),
        (1..4_001).collect::<Vec<u64>>()
    );
    uplink.stop().await;
}

pub(crate) async fn a_slow_sink_is_waited_for_and_gets_each_record_once(
    counterpart: &mut impl Counterpart,
) {
    let mut uplink = Running::start(counterpart);
    uplink
        .until(|event| matches!(event, Event::Reachable(_, true)))
        .await;

    counterpart.slow();
    uplink.submit(many(1..301));
    uplink
        .until_status(|status| status.backlog_items + status.counters.delivered == 300)
        .await;
    uplink.submit(many(301..401));
    uplink
        .until_delivered(&(1..401).collect::<Vec<u64>>())
        .await;
    counterpart.quicken();

    assert_eq!(
        ids(&counterpart.received(400).await),
        (1..401).collect::<Vec<u64>>()
    );
    let status = uplink.status();
    assert_eq!((status.state, status.last_error), (State::Reachable, None));
    uplink.stop().await;
}

pub(crate) async fn what_is_withdrawn_does_not_arrive(counterpart: &mut impl Counterpart) {
    let mut uplink = Running::start(counterpart);
    uplink
        .until(|event| matches!(event, Event::Reachable(_, true)))
        .await;
    counterpart.fail().await;
    uplink.submit(vec![outgoing(1, ORIGIN)]);
    uplink.until_unreachable().await;
    // Not before: what is on its way already may arrive, withdrawn or not.
    uplink.submit(vec![outgoing(2, OTHER)]);
    uplink
        .until_status(|status| status.backlog_items == 2)
        .await;

    uplink.withdraw(OTHER);
    uplink
        .until_status(|status| status.counters.withdrawn == 1)
        .await;
    uplink.submit(vec![outgoing(3, OTHER)]);
    counterpart.heal().await;

    uplink.until_delivered(&[1, 3]).await;
    assert_eq!(ids(&counterpart.received(2).await), [1, 3]);
    uplink.stop().await;
}

pub(crate) async fn beyond_the_limit_the_oldest_are_dropped_and_reported(
    counterpart: &mut impl Counterpart,
) {
    counterpart.fail().await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut uplink = Running::start_in(dir, &counterpart.url(), |config| {
        config.backlog_bytes_max = 10_000;
    });

    uplink.submit(many(1..101));
    let event = uplink
        .until(|event| matches!(event, Event::Dropped { .. }))
        .await;

    let Event::Dropped {
        ids: dropped,
        reason,
        count,
        ..
    } = event
    else {
        panic!("no drop: {event:?}");
    };
    assert_eq!((reason, count), (DropReason::Bytes, dropped.len() as u64));
    assert_eq!(dropped, (1..=count).collect::<Vec<u64>>(), "the oldest");
    let status = uplink
        .until_status(|status| status.counters.alarms == 1)
        .await;
    assert_eq!(status.backlog_items, 100 - count);
    counterpart.heal().await;
    let kept: Vec<u64> = (count + 1..101).collect();
    uplink.until_delivered(&kept).await;
    assert_eq!(ids(&counterpart.received(kept.len()).await), kept);
    uplink.stop().await;
}
