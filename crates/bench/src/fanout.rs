//! From a publisher to every other machine, between real processes.
//!
//! All machines take turns to publish one reading of 64 bytes at a steady pace; every other
//! machine's `Watch` must show it. A round begins with silence, so that what the machines cost
//! anyway is known and not counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use fieldmesh::clock::{self, Monotonic};
use proto::v1::value::Kind;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Client, reading};
use crate::measure::{Measure, Report, Sample, length, millis, number};
use crate::process::Process;
use crate::site::{self, Site};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many machines.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=100))]
    nodes: u8,
    /// Readings of each round.
    #[arg(long, default_value_t = 200)]
    count: u64,
    /// Readings published a second, by all machines together.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// What rounds have given.
#[derive(Default)]
struct Results {
    /// From each publication to each machine. Unit: milliseconds.
    each: Sample,
    /// From each publication to the last machine. Unit: milliseconds.
    last: Sample,
    redundancy: Sample,
    block_bytes: Sample,
    link_bytes: Sample,
    cpu: Sample,
    /// CPU that silent machines use. Unit: percent of one core, all together.
    idle: Sample,
    missing: u64,
}

/// What has been counted up to a moment, of all machines together.
#[derive(Clone, Copy, Default)]
struct Counts {
    blocks_first: u64,
    blocks_duplicate: u64,
    block_bytes: u64,
    link_bytes: u64,
    cpu: Duration,
    at: Duration,
}

/// Which readings a machine's watcher saw, and when.
type Seen = Vec<(u64, Duration)>;

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(args.nodes, "10s").await?;
    let mut clients = Vec::new();
    for node in site.nodes() {
        clients.push(Client::connect(&node.grpc).await?);
    }
    let clock = Monotonic::start();
    let mut results = Results::default();
    let settle = Round {
        args,
        site: &site,
        clients: &clients,
        clock,
        first: 0,
    };
    settle.run(args.count.min(SETTLE_COUNT)).await?;
    for round in 1..=args.rounds {
        let first = u64::from(round) << 32;
        let round = Round {
            args,
            site: &site,
            clients: &clients,
            clock,
            first,
        };
        round.measure(&mut results).await?;
    }
    results.report(args, report)?;
    drop(clients);
    site.stop().await
}

/// One round, with readings numbered from `first` on.
struct Round<'a> {
    args: &'a Args,
    site: &'a Site,
    clients: &'a [Client],
    clock: Monotonic,
    first: u64,
}

impl Round<'_> {
    async fn measure(&self, results: &mut Results) -> anyhow::Result<()> {
        let silent = self.counts().await?;
        tokio::time::sleep(SILENCE).await;
        let before = self.counts().await?;
        let idle = (before.cpu - silent.cpu).as_secs_f64() / (before.at - silent.at).as_secs_f64();
        let (published, seen) = self.run(self.args.count).await?;
        tokio::time::sleep(METRICS_AGE).await;
        let after = self.counts().await?;

        let machines = self.clients.len();
        let deliveries = length(published.len() * (machines - 1));
        let mut last: BTreeMap<u64, Duration> = BTreeMap::new();
        let mut arrived = 0;
        for (machine, seen) in seen.iter().enumerate() {
            for (id, at) in seen {
                let Some(published_at) = published.get(id) else {
                    continue;
                };
                if publisher_of(*id, machines) != machine {
                    let took = *at - *published_at;
                    results.each.push(millis(took));
                    let slowest = last.entry(*id).or_default();
                    *slowest = took.max(*slowest);
                    arrived += 1;
                }
            }
        }
        results.last.extend(last.into_values().map(millis));
        results.missing += u64::try_from(published.len() * (machines - 1))?.saturating_sub(arrived);

        let firsts = number(after.blocks_first - before.blocks_first).max(1.0);
        let duplicates = number(after.blocks_duplicate - before.blocks_duplicate);
        results.redundancy.push(duplicates / firsts);
        let bytes = number(after.block_bytes - before.block_bytes);
        results.block_bytes.push(bytes / deliveries);
        let bytes = number(after.link_bytes - before.link_bytes);
        results.link_bytes.push(bytes / deliveries);
        let busy = (after.cpu - before.cpu).as_secs_f64();
        let beyond_idle = busy - idle * (after.at - before.at).as_secs_f64();
        results
            .cpu
            .push(beyond_idle.max(0.0) * 1e3 / deliveries * 1e3);
        results.idle.push(idle * 100.0);
        Ok(())
    }

    /// Publishes and watches; returns when each reading was published and seen.
    async fn run(&self, count: u64) -> anyhow::Result<(BTreeMap<u64, Duration>, Vec<Seen>)> {
        let (stop, stopped) = watch::channel(false);
        let arrivals = Arc::new(AtomicU64::new(0));
        let mut watchers = JoinSet::new();
        for (machine, client) in self.clients.iter().enumerate() {
            let mut parts = client.watch(SERIES).await?;
            let (clock, mut stopped) = (self.clock, stopped.clone());
            let arrivals = Arc::clone(&arrivals);
            watchers.spawn(async move {
                let mut seen = Seen::new();
                loop {
                    let part = tokio::select! {
                        part = parts.message() => part?.context("a watch has ended")?,
                        _ = stopped.wait_for(|stop| *stop) => return anyhow::Ok((machine, seen)),
                    };
                    let at = clock.uptime();
                    let ids = part
                        .readings
                        .iter()
                        .filter_map(|reading| id_of(reading.value.as_ref()?.kind.as_ref()?));
                    seen.extend(ids.map(|id| (id, at)));
                    arrivals.fetch_add(u64::try_from(part.readings.len())?, Ordering::Relaxed);
                }
            });
        }
        let published = self.publish(count).await?;
        // Everyone sees everything, publishers their own too.
        let expected = count * u64::try_from(self.clients.len())?;
        let deadline = self.clock.uptime() + LATE_MAX;
        while arrivals.load(Ordering::Relaxed) < expected && self.clock.uptime() < deadline {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        stop.send_replace(true);
        let mut seen = vec![Seen::new(); self.clients.len()];
        while let Some(watcher) = watchers.join_next().await {
            let (machine, found) = watcher??;
            seen[machine] = found;
        }
        Ok((published, seen))
    }

    async fn publish(&self, count: u64) -> anyhow::Result<BTreeMap<u64, Duration>> {
        let mut published = BTreeMap::new();
        let mut publishing = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.args.rate);
        for id in self.first..self.first + count {
            ticks.tick().await;
            let client = self.clients[publisher_of(id, self.clients.len())].clone();
            let reading = reading(SERIES, clock::wall_time(), Some(Kind::Bytes(payload(id))));
            published.insert(id, self.clock.uptime());
            publishing.spawn(async move { client.publish(vec![reading]).await });
        }
        while let Some(result) = publishing.join_next().await {
            result??;
        }
        Ok(published)
    }

    async fn counts(&self) -> anyhow::Result<Counts> {
        let mut counts = Counts {
            at: self.clock.uptime(),
            ..Counts::default()
        };
        for pid in self.site.pids()? {
            counts.cpu += Process::Id(pid).cpu()?;
        }
        for node in self.site.nodes() {
            let count = async |name: &str| {
                site::counter(node, &format!("fieldmesh_gossip_{name}_total")).await
            };
            counts.blocks_first += count("blocks_first").await?;
            counts.blocks_duplicate += count("blocks_duplicate").await?;
            counts.block_bytes += count("pushed_bytes").await? + count("served_bytes").await?;
            counts.link_bytes += site::counter(node, site::LINK_BYTES).await?;
        }
        Ok(counts)
    }
}

impl Results {
    fn report(&self, args: &Args, report: &mut Report) -> anyhow::Result<()> {
        let case = |what: &str| format!("{} machines, {what}", args.nodes);
        let note = format!(
            "from the call of Publish to the watcher, both ends' gRPC and every hop's sync-free \
             forwarding and own fdatasync before delivery included; {} readings/s; {} never \
             arrived; limited by the {} processes sharing {} cores",
            args.rate,
            self.missing,
            args.nodes,
            std::thread::available_parallelism()?,
        );
        report.add(LATENCY, case("to each machine"), &self.each, note)?;
        let note = "the slowest machine of each reading";
        report.add(LATENCY, case("to the last machine"), &self.last, note)?;
        let note = "copies of a block that a machine received beyond the first; limited by how \
                    well the trees have settled";
        report.add(REDUNDANCY, case("copies"), &self.redundancy, note)?;
        let note = "encoded blocks pushed and served; 64 bytes of value, and a signature, a header \
                    and a column for one reading alone";
        report.add(BYTES, case("blocks"), &self.block_bytes, note)?;
        let note = "all UDP payload that the links send, which at this pace includes what silent \
                    machines say: heartbeats of candidates, watermarks, presence";
        report.add(BYTES, case("links in all"), &self.link_bytes, note)?;
        let note = format!(
            "user and system time of all machines beyond what they use in silence ({:.1} % of a \
             core), gRPC of watchers and publishers included",
            self.idle.median(),
        );
        report.add(CPU, case("CPU per 1,000 deliveries"), &self.cpu, note)
    }
}

fn publisher_of(id: u64, machines: usize) -> usize {
    let machines = u64::try_from(machines).unwrap_or(u64::MAX);
    usize::try_from(id % machines).unwrap_or(0)
}

/// 64 bytes that do not compress, the number first.
fn payload(id: u64) -> Vec<u8> {
    let mut mixed = id;
    let words = (0..PAYLOAD_WORDS).map(|word| {
        if word > 0 {
            mixed = (mixed ^ (mixed >> 29))
                .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                .wrapping_add(word);
        }
        mixed
    });
    words.flat_map(u64::to_be_bytes).collect()
}

fn id_of(kind: &Kind) -> Option<u64> {
    match kind {
        Kind::Bytes(bytes) => Some(u64::from_be_bytes(*bytes.first_chunk()?)),
        Kind::Double(_) | Kind::Integer(_) | Kind::Bool(_) | Kind::Text(_) => None,
    }
}

const LATENCY: Measure = Measure::lower("fanout", "ms");
const REDUNDANCY: Measure = Measure::lower("fanout", "copies/block");
const BYTES: Measure = Measure::lower("fanout", "bytes/delivery");
const CPU: Measure = Measure::lower("fanout", "ms");
const SERIES: &str = "bench/fanout";
/// Unit: 8 bytes. Source: design, section 14 i: readings of 64 bytes.
const PAYLOAD_WORDS: u64 = 8;
/// Readings before the measured ones, in which the trees form.
const SETTLE_COUNT: u64 = 100;
/// How long the machines are watched in silence before each round.
const SILENCE: Duration = Duration::from_secs(3);
/// After this what machines show is newer than what was done before. Source: `node::runtime`
/// makes metrics every second.
const METRICS_AGE: Duration = Duration::from_millis(1_500);
/// A reading that has not arrived this long after the last publication is counted as missing.
const LATE_MAX: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
