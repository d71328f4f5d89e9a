//! From the death of a relay to its successor's first upload, between real processes.
//!
//! Two machines are fed, windows last 100 ms, and each relay writes into its own file. The relay
//! of a fed machine is killed, stopped, cut off from all others, or ends in order; the time ends
//! with the first record of that machine by another relay. It begins before the order is given, so
//! what it takes to carry it out counts too. A second case of each kind ends when a machine's log
//! says that it serves: that is finding out and electing; the rest is reading on, folding and
//! uploading.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use fieldmesh::clock::{self, Monotonic};
use proto::v1::value::Kind;
use serde::Deserialize;
use testnet::control::Request;
use testnet::description::NodeDescription;
use tokio::task::JoinSet;

use crate::client::{Client, reading};
use crate::measure::{Measure, Report, Sample, millis};
use crate::site::Site;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many machines.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=25))]
    nodes: u8,
    /// Deaths of each kind.
    #[arg(long, default_value_t = 5)]
    count: u32,
}

/// How a relay dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    Kill,
    Stop,
    Cut,
    Leave,
}

impl Death {
    const ALL: [Self; 4] = [Self::Kill, Self::Stop, Self::Cut, Self::Leave];

    fn order(self, name: String) -> Request {
        match self {
            Self::Kill => Request::Kill(vec![name]),
            Self::Stop => Request::Stop(vec![name]),
            Self::Cut => Request::Partition(vec![name]),
            Self::Leave => Request::Restart(vec![name]),
        }
    }

    /// What brings the relay back.
    fn remedy(self, name: String) -> Request {
        match self {
            Self::Kill => Request::Restart(vec![name]),
            Self::Stop => Request::Continue(vec![name]),
            Self::Cut | Self::Leave => Request::Heal,
        }
    }

    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Kill => (
                "killed",
                "over QUIC a killed process says nothing: it is found by its silence",
            ),
            Self::Stop => (
                "stopped",
                "limited by the silence of 300 ms and 40 ms for probes",
            ),
            Self::Cut => (
                "cut off",
                "limited by the silence of 300 ms and 40 ms for probes",
            ),
            Self::Leave => ("left in order", "it says so before it ends"),
        }
    }
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(args.nodes, "100ms").await?;
    let fed: Vec<NodeDescription> = site.nodes().iter().rev().take(2).cloned().collect();
    let mut feeds = JoinSet::new();
    for node in &fed {
        feeds.spawn(feed(node.grpc.clone()));
    }
    let mut watcher = Watcher {
        site: &site,
        fed: &fed,
        sink: Files::below(site.sink()),
        logs: site.nodes().iter().map(Files::of).collect(),
        clock: Monotonic::start(),
    };
    let mut samples: [(Sample, Sample); 4] = Default::default();
    for _ in 0..args.count {
        for (death, sample) in Death::ALL.into_iter().zip(&mut samples) {
            let (served, uploaded) = watcher.measure(death).await?;
            sample.0.push(millis(served));
            sample.1.push(millis(uploaded));
        }
    }
    feeds.shutdown().await;
    for (death, (served, uploaded)) in Death::ALL.into_iter().zip(&samples) {
        let (case, limit) = death.describe();
        let note = format!(
            "{} machines, windows of 100 ms, a reading every {} ms; {limit}; a successor serves after \
             {:.0} ms (median), then up to a window and 200 ms of watermark delay if nothing was left \
             to upload",
            args.nodes,
            FEED_INTERVAL.as_millis(),
            served.median(),
        );
        report.add(TIME, case, uploaded, note)?;
        let note =
            format!("the part of it until another machine's log says that it serves; {limit}");
        report.add(TIME, format!("{case}, until served"), served, note)?;
    }
    site.stop().await
}

/// Publishes for ever, whatever happens to the machine.
async fn feed(grpc: String) {
    let mut ticks = tokio::time::interval(FEED_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let Ok(client) = Client::connect(&grpc).await else {
            tokio::time::sleep(RECONNECT_DELAY).await;
            continue;
        };
        for count in 0.. {
            ticks.tick().await;
            let reading = reading(SERIES, clock::wall_time(), Some(Kind::Integer(count)));
            let published = tokio::time::timeout(PUBLISH_TIMEOUT, client.publish(vec![reading]));
            if !matches!(published.await, Ok(Ok(()))) {
                break;
            }
        }
    }
}

struct Watcher<'a> {
    site: &'a Site,
    fed: &'a [NodeDescription],
    sink: Files,
    /// Of each machine.
    logs: Vec<Files>,
    clock: Monotonic,
}

impl Watcher<'_> {
    /// Lets the relay of a fed machine die, and brings it back. Returns when another one served,
    /// and when it had uploaded.
    async fn measure(&mut self, death: Death) -> anyhow::Result<(Duration, Duration)> {
        let (origin, relay) = self.settle().await?;
        let nodes = self.site.nodes();
        let place = nodes.iter().position(|node| node.machine_id == relay);
        let place = place.context("a relay is one of the machines")?;
        let name = nodes[place].name.clone();
        for log in &mut self.logs {
            log.lines()?;
        }

        let began = self.clock.uptime();
        let ordered = self.site.order(death.order(name.clone()));
        let (sink, logs, clock) = (&mut self.sink, &mut self.logs, self.clock);
        let succeeded = async {
            let mut served = None;
            loop {
                let others = logs.iter_mut().enumerate().filter(|(at, _)| *at != place);
                for (_, log) in others {
                    if log.lines()?.iter().any(|line| line.contains(SERVES)) {
                        served = served.or(Some(clock.uptime() - began));
                    }
                }
                for record in sink.records()? {
                    if record.machine_id == origin && record.relay != relay {
                        let uploaded = clock.uptime() - began;
                        return anyhow::Ok((served.unwrap_or(uploaded), uploaded));
                    }
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let limited = tokio::time::timeout(SUCCESSION_MAX, succeeded);
        let (ordered, took) = tokio::join!(ordered, limited);
        ordered?;
        let took = took.with_context(|| format!("nobody took over when {name} {death:?}"))??;
        self.site.order(death.remedy(name)).await?;
        Ok(took)
    }

    /// Waits until each fed machine has been served by one and the same relay for a while; returns
    /// one that does not serve itself, and its relay.
    async fn settle(&mut self) -> anyhow::Result<(String, String)> {
        let mut serving: BTreeMap<String, (String, Duration)> = BTreeMap::new();
        let (began, mut newest) = (self.clock.uptime(), BTreeMap::new());
        loop {
            let now = self.clock.uptime();
            anyhow::ensure!(
                now - began < SETTLE_MAX,
                "the relays did not settle: {serving:?}"
            );
            for record in self.sink.records()? {
                newest.insert(record.machine_id.clone(), now);
                let known = serving.entry(record.machine_id);
                let known = known.or_insert_with(|| (record.relay.clone(), now));
                if known.0 != record.relay {
                    *known = (record.relay, now);
                }
            }
            let is_settled = |node: &NodeDescription| {
                let (id, fresh) = (&node.machine_id, SETTLE_TIME / 4);
                newest.get(id).is_some_and(|at| now - *at < fresh)
                    && serving
                        .get(id)
                        .is_some_and(|(_, since)| now - *since > SETTLE_TIME)
            };
            if self.fed.iter().all(is_settled) {
                let other =
                    |(origin, (relay, _)): &(&String, &(String, Duration))| origin != &relay;
                let found = serving.iter().find(other);
                let (origin, (relay, _)) = found.context("two machines serve each themselves")?;
                return Ok((origin.clone(), relay.clone()));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// What of a record matters here.
#[derive(Debug, Deserialize)]
struct Record {
    machine_id: String,
    relay: String,
}

/// Files that grow, and how far each has been read.
struct Files {
    /// A directory, or one file.
    path: PathBuf,
    read: BTreeMap<PathBuf, u64>,
}

impl Files {
    /// Every file of a directory.
    fn below(dir: PathBuf) -> Self {
        Self {
            path: dir,
            read: BTreeMap::new(),
        }
    }

    /// The log of a machine.
    fn of(node: &NodeDescription) -> Self {
        Self::below(node.log.clone())
    }

    /// The records that were written since the last time.
    fn records(&mut self) -> anyhow::Result<Vec<Record>> {
        let lines = self.lines()?;
        let record = |line: &String| serde_json::from_str(line).context("a record is JSON");
        lines.iter().map(record).collect()
    }

    /// The lines that were written since the last time.
    fn lines(&mut self) -> anyhow::Result<Vec<String>> {
        let paths: Vec<PathBuf> = match fs::read_dir(&self.path) {
            Ok(entries) => {
                let paths = entries.map(|entry| entry.map(|entry| entry.path()));
                paths.collect::<Result<_, _>>()?
            }
            Err(_) if self.path.is_file() => vec![self.path.clone()],
            Err(_) => Vec::new(), // Nothing has been written yet.
        };
        let mut lines = Vec::new();
        for path in paths {
            let read = self.read.entry(path.clone()).or_default();
            if fs::metadata(&path)?.len() <= *read {
                continue;
            }
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(*read))?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            // What follows the last line break is not a line yet.
            let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
            *read += u64::try_from(whole.len())?;
            lines.extend(whole.lines().map(str::to_owned));
        }
        Ok(lines)
    }
}

const TIME: Measure = Measure::lower("failover", "ms");
const SERIES: &str = "bench/failover";
/// What a machine logs when it begins to serve. Source: `fieldmesh`, its loop.
const SERVES: &str = "serving an origin";
/// Several readings to a window.
const FEED_INTERVAL: Duration = Duration::from_millis(25);
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);
const RECONNECT_DELAY: Duration = Duration::from_millis(200);
/// How often files are looked at: the resolution of the result.
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// A relay must have served for so long before it dies.
const SETTLE_TIME: Duration = Duration::from_secs(2);
/// Longest time until one relay serves. Source: guess, above a restart and the grace that the
/// election gives newcomers.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// Longest time until somebody takes over.
const SUCCESSION_MAX: Duration = Duration::from_secs(20);
