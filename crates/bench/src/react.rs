//! From a reading on one machine to what another machine does about it, between real processes.
//!
//! A rule on the second machine derives a reading from each reading of the first. The action is
//! timed by the derived reading's own time, which is when the rule acted; a watcher at the second
//! machine has it once it is durable there.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use fieldmesh::clock::{self, Monotonic};
use model::Timestamp;
use proto::v1::rules_client::RulesClient;
use proto::v1::value::Kind;
use proto::v1::{Reading, ReloadRulesRequest};

use crate::client::{Client, reading};
use crate::measure::{Measure, Report, Sample, millis};
use crate::site::Site;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many readings, one after the other.
    #[arg(long, default_value_t = 1_000)]
    count: u32,
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(2, "10s").await?;
    let [first, second] = site.nodes() else {
        anyhow::bail!("a testnet of two machines has two");
    };
    let mut config = std::fs::File::options().append(true).open(&second.config)?;
    config.write_all(RULE.as_bytes())?;
    let mut rules = RulesClient::connect(format!("http://{}", second.grpc)).await?;
    rules.reload_rules(ReloadRulesRequest {}).await?;

    let (publisher, watcher) = (
        Client::connect(&first.grpc).await?,
        Client::connect(&second.grpc).await?,
    );
    let mut derived = watcher.watch("reaction").await?;
    let clock = Monotonic::start();
    let (mut acted, mut seen) = (Sample::default(), Sample::default());
    for number in 0..SETTLE_COUNT + args.count {
        let (published, started) = (clock::wall_time(), clock.uptime());
        let probe = reading("probe", published, Some(Kind::Double(f64::from(number))));
        publisher.publish(vec![probe]).await?;
        let answer = tokio::time::timeout(PATIENCE, derived.message()).await;
        let answer = answer.context("the rule does not act; see the log of machine-2")??;
        let took = clock.uptime() - started;
        let readings = answer.context("the watch has ended")?.readings;
        let action = readings.last().context("a watch that shows nothing")?;
        if number >= SETTLE_COUNT {
            acted.push(millis(since(published, action)?));
            seen.push(millis(took));
        }
        tokio::time::sleep(PAUSE).await;
    }

    let note = "one reading at a time; limited by a sync of the second machine's disk, after which \
                rules hear of a reading";
    report.add(LATENCY, "reading to action", &acted, note)?;
    let note = "as above, and a sync and gRPC on top for what was derived";
    report.add(
        LATENCY,
        "reading to the watcher of what was derived",
        &seen,
        note,
    )?;
    drop((publisher, watcher, derived));
    site.stop().await
}

/// From a time to that of a reading; both clocks are one here.
fn since(published: Timestamp, reading: &Reading) -> anyhow::Result<Duration> {
    let time = reading.time.context("a reading has a time")?;
    let nanos = time.seconds * 1_000_000_000 + i64::from(time.nanos);
    Ok(Duration::from_nanos(
        u64::try_from(nanos - published.as_nanos()).unwrap_or(0),
    ))
}

const LATENCY: Measure = Measure::lower("react", "ms");
const RULE: &str = r#"
[[rule]]
name = "react"
when = 'last("machine-1:probe") >= 0.0'
at_most = 1000000
derive = { series = "reaction", value = 'last("machine-1:probe")' }
"#;
/// Readings before the first that counts. Source: guess.
const SETTLE_COUNT: u32 = 50;
/// Between two readings, so that each leaves alone. Source: guess.
const PAUSE: Duration = Duration::from_millis(10);
/// Longest wait for a rule.
const PATIENCE: Duration = Duration::from_secs(10);
