//! Readings that one machine publishes and three others hold, between real processes.
//!
//! A client floods the first machine over gRPC and is held back by its acknowledgements alone: so
//! many readings may be published and not durable yet. What counts is what the slowest of the
//! others has verified and written to its disk, as its own metrics tell.

use std::time::Duration;

use fieldmesh::clock::{self, Monotonic};
use futures::StreamExt as _;
use proto::v1::value::Kind;
use proto::v1::{NewReading, PublishRequest};
use testnet::description::NodeDescription;
use tokio::sync::mpsc;

use crate::client::{Client, reading};
use crate::measure::{Measure, Report, Sample, micros, number};
use crate::process::Process;
use crate::site::{self, Site};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Readings in one message of the client; several are measured in turn.
    #[arg(long, value_delimiter = ',', default_value = "1,100", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    per: Vec<u32>,
    /// Readings that are published and not durable yet, at most.
    #[arg(long, default_value_t = 20_000)]
    window: u32,
    /// How long each round is measured, like `4s`; it runs for a second before.
    #[arg(long, default_value = "4s", value_parser = humantime::parse_duration)]
    round: Duration,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// What the rounds of one size of message have given.
#[derive(Default)]
struct Results {
    rate: Sample,
    cpu: Sample,
    bytes: Sample,
}

/// What a machine holds, and since when.
#[derive(Clone, Copy)]
struct Held {
    readings: u64,
    at: Duration,
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(MACHINES, "10s").await?;
    let client = Client::connect(&site.nodes()[0].grpc).await?;
    let clock = Monotonic::start();
    let mut results: Vec<Results> = args.per.iter().map(|_| Results::default()).collect();
    for _ in 0..args.rounds {
        for (per, results) in args.per.iter().zip(&mut results) {
            let round = Round {
                args,
                per: *per,
                site: &site,
                clock,
            };
            round.measure(&client, results).await?;
        }
    }
    let cores = std::thread::available_parallelism()?;
    for (per, results) in args.per.iter().zip(&results) {
        let case = |what: &str| format!("{per} a message, {what}");
        let note = format!(
            "signed at the origin, verified and fsynced at each of the three, {} readings ahead at \
             most; limited by four machines and the client, gRPC included, on {cores} cores",
            args.window,
        );
        report.add(
            RATE,
            case("at the slowest of three others"),
            &results.rate,
            note,
        )?;
        let note = "user and system time of the four machines; the client's is not in it";
        report.add(CPU, case("CPU per reading delivered"), &results.cpu, note)?;
        let note = "all UDP payload that the links send, by deliveries";
        report.add(BYTES, case("links"), &results.bytes, note)?;
    }
    drop(client);
    site.stop().await
}

/// One round with messages of one size.
struct Round<'a> {
    args: &'a Args,
    per: u32,
    site: &'a Site,
    clock: Monotonic,
}

impl Round<'_> {
    async fn measure(&self, client: &Client, results: &mut Results) -> anyhow::Result<()> {
        let ahead = (self.args.window / self.per).max(1);
        let looking = async {
            tokio::time::sleep(WARM_UP).await;
            let before = self.look().await?;
            tokio::time::sleep(self.args.round).await;
            anyhow::Ok((before, self.look().await?))
        };
        let ((from, cpu_from, bytes_from), (to, cpu_to, bytes_to)) = tokio::select! {
            looked = looking => looked?,
            Err(error) = flood(client, self.per, ahead) => return Err(error),
        };

        let spans = || from.iter().zip(&to);
        let rates = spans().map(|(from, to)| {
            number(to.readings - from.readings) / (to.at - from.at).as_secs_f64()
        });
        let deliveries: u64 = spans().map(|(from, to)| to.readings - from.readings).sum();
        anyhow::ensure!(
            deliveries > 0,
            "nothing arrived; see the logs of the machines"
        );
        results.rate.push(rates.fold(f64::INFINITY, f64::min));
        results
            .cpu
            .push(micros(cpu_to - cpu_from) / number(deliveries));
        let bytes = number(bytes_to - bytes_from);
        results.bytes.push(bytes / number(deliveries));
        self.settle().await
    }

    /// What the receivers hold, and what all machines have used until then.
    async fn look(&self) -> anyhow::Result<(Vec<Held>, Duration, u64)> {
        let receivers = &self.site.nodes()[1..];
        let held = futures::future::try_join_all(receivers.iter().map(|node| self.held(node)));
        let held = held.await?;
        let (mut cpu, mut bytes) = (Duration::ZERO, 0);
        for pid in self.site.pids()? {
            cpu += Process::Id(pid).cpu()?;
        }
        for node in self.site.nodes() {
            bytes += site::counter(node, site::LINK_BYTES).await?;
        }
        Ok((held, cpu, bytes))
    }

    /// What a machine holds at the moment in which its metrics change: they are made every second.
    async fn held(&self, node: &NodeDescription) -> anyhow::Result<Held> {
        let before = site::counter(node, UPTIME).await?;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            if site::counter(node, UPTIME).await? != before {
                let readings = site::counter(node, READINGS).await?;
                let at = self.clock.uptime();
                return Ok(Held { readings, at });
            }
        }
    }

    /// Waits until all machines hold the same.
    async fn settle(&self) -> anyhow::Result<()> {
        let deadline = self.clock.uptime() + PATIENCE;
        loop {
            let mut held = Vec::new();
            for node in self.site.nodes() {
                held.push(self.held(node).await?.readings);
            }
            if held.iter().all(|readings| *readings == held[0]) {
                return Ok(());
            }
            anyhow::ensure!(
                self.clock.uptime() < deadline,
                "the machines hold {held:?} readings and do not come to the same"
            );
        }
    }
}

/// Publishes without end, `ahead` messages before they are acknowledged at most.
async fn flood(client: &Client, per: u32, ahead: u32) -> anyhow::Result<()> {
    let ahead = usize::try_from(ahead)?;
    let (messages, mut sent) = mpsc::channel(ahead);
    let sent = futures::stream::poll_fn(move |cx| sent.poll_recv(cx));
    let mut acknowledged = client.publish_all(sent.boxed()).await?;
    let mut source = Source::default();
    for _ in 0..ahead {
        messages.send(source.message(per)).await?;
    }
    while acknowledged.message().await?.is_some() {
        messages.send(source.message(per)).await?;
    }
    anyhow::bail!("the machine takes no more readings")
}

/// Readings of a hundred series that wander.
#[derive(Default)]
struct Source {
    count: u64,
}

impl Source {
    fn message(&mut self, per: u32) -> PublishRequest {
        PublishRequest {
            readings: (0..per).map(|_| self.reading()).collect(),
            ..PublishRequest::default()
        }
    }

    fn reading(&mut self) -> NewReading {
        self.count += 1;
        let series = self.count % SERIES;
        let mixed = self.count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        let value = number(series) + number(mixed) / 100.0;
        let name = format!("bench/throughput/{series}");
        reading(&name, clock::wall_time(), Some(Kind::Double(value)))
    }
}

const RATE: Measure = Measure::higher("throughput", "readings/s");
const CPU: Measure = Measure::lower("throughput", "us/delivery");
const BYTES: Measure = Measure::lower("throughput", "bytes/delivery");
/// One that publishes and three that receive. Source: what the comparison with others has.
const MACHINES: u8 = 4;
const SERIES: u64 = 100;
const READINGS: &str = "fieldmesh_store_readings";
const UPTIME: &str = "fieldmesh_uptime_seconds";
/// Before each round is measured, so that windows and trees have grown.
const WARM_UP: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Longest that the slowest machine may lag behind in the end.
const PATIENCE: Duration = Duration::from_secs(30);
