//! Stored readings answered per second: by the store itself, also out of a year, and by a node over
//! gRPC.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;

use fieldmesh::clock::Monotonic;
use model::{Block, Draft, LogId, SeriesNumber, Timestamp};
use proto::v1::value::Kind;
use statemachine::Ticket;
use store::{Query, Store};

use crate::client::{Client, reading};
use crate::measure::{Measure, Report, Sample, length};
use crate::site::Site;
use crate::table::Table;
use crate::{codec, keys, year};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the store goes. A directory is made in it, and removed at the end.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
}

pub(crate) async fn run(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    ask_store(args, report)?;
    let directory = tempfile::Builder::new()
        .prefix("fieldmesh-bench-")
        .tempdir_in(&args.dir)?;
    year::ask(&directory.path().join("data"), report)?;
    ask_node(args, report).await
}

fn ask_store(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("fieldmesh-bench-")
        .tempdir_in(&args.dir)?;
    let table = Table::read(None)?;
    let (store, log, readings) = fill(directory.path().join("data"), &table)?;
    let times = || {
        table
            .machines
            .values()
            .flatten()
            .map(|reading| reading.time)
    };
    let (from, to) = (times().min().unwrap_or_default(), Timestamp::MAX);
    let span = times().max().unwrap_or_default().since(from);
    let all: BTreeSet<SeriesNumber> = (1..).take(table.series.len()).map(SeriesNumber).collect();
    let one: BTreeSet<SeriesNumber> = all.iter().copied().take(1).collect();
    let questions = [
        (
            "store, all",
            &all,
            to,
            "every block is read, checked by its CRC, decompressed, and each reading copied",
        ),
        (
            "store, one series of seven",
            &one,
            to,
            "columns of the other series are decompressed too",
        ),
        (
            "store, one hundredth of the time",
            &all,
            from.saturating_add(span / 100),
            "blocks that overlap are read whole",
        ),
    ];
    for (case, series, to, limit) in questions {
        let query = Query {
            selection: [(log, series.clone())].into(),
            from,
            to,
            limit: Block::READINGS_MAX,
        };
        let mut rates = Sample::default();
        let mut found = 0;
        for _ in 0..args.rounds {
            let clock = Monotonic::start();
            found = ask(&store, &query)?;
            rates.push(length(found) / clock.uptime().as_secs_f64());
        }
        let note = format!("{found} of {readings} readings in blocks of 4,096; {limit}");
        report.add(RATE, case, &rates, note)?;
    }
    Ok(store.close(None)?)
}

/// Takes all pages; returns how many readings there were.
fn ask(store: &Store, query: &Query) -> anyhow::Result<usize> {
    let (mut found, mut after) = (0, None);
    loop {
        let page = store.query(query, after);
        anyhow::ensure!(page.damaged.is_empty(), "the store is damaged");
        found += page.found.len();
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

/// Stores the table in blocks of the largest size.
fn fill(directory: PathBuf, table: &Table) -> anyhow::Result<(Store, LogId, usize)> {
    let identity = keys::identity(1)?;
    let (network, machine) = (identity.trust.network(), identity.keypair.machine());
    let (completed, completions) = sync_channel(COMPLETIONS_MAX);
    let config = store::Config::new(directory, network, machine);
    let (store, _) = Store::open(config, move |batch| _ = completed.send(batch))?;
    let (mut written, mut readings) = (0, 0);
    let parts = table
        .machines
        .values()
        .flat_map(|all| all.chunks(Block::READINGS_MAX));
    for (sequence, part) in (1..).zip(parts) {
        let header = codec::header(&identity.keypair, sequence, part);
        let draft = Draft {
            header,
            readings: part.to_vec(),
        };
        let block = draft.seal(&network, |digest| identity.keypair.sign(digest))?;
        store.write(Ticket::default(), gossip::Write::Block(block))?;
        written += 1;
        readings += part.len();
    }
    while written > 0 {
        for completion in completions.recv()? {
            completion.result?;
            written -= 1;
        }
    }
    let log = LogId {
        machine,
        epoch: codec::EPOCH,
    };
    Ok((store, log, readings))
}

async fn ask_node(args: &Args, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::start(1, "10s").await?;
    let client = Client::connect(&site.nodes()[0].grpc).await?;
    let table = Table::read(None)?;
    let readings: Vec<_> = table.as_new().into_iter().take(GRPC_READINGS).collect();
    for batch in readings.chunks(Block::READINGS_MAX) {
        let batch = batch.iter().map(|new| {
            let kind = new.value.as_f64().map(Kind::Double);
            reading(new.series.name.as_str(), new.time, kind)
        });
        client.publish(batch.collect()).await?;
    }
    let mut rates = Sample::default();
    for _ in 0..args.rounds {
        let clock = Monotonic::start();
        let mut parts = client.query("**").await?;
        let mut found = 0;
        while let Some(part) = parts.message().await? {
            found += part.readings.len();
        }
        anyhow::ensure!(found >= readings.len(), "only {found} readings were found");
        rates.push(length(found) / clock.uptime().as_secs_f64());
    }
    let note = "the whole way to a client in another process; limited by a message with names and \
                labels for every reading, made, encoded and decoded";
    report.add(RATE, "gRPC, all", &rates, note)?;
    site.stop().await
}

const RATE: Measure = Measure::higher("query", "readings/s");
/// Batches of completions that wait: more than there are blocks.
const COMPLETIONS_MAX: usize = 1_024;
/// Readings that are asked for over gRPC.
const GRPC_READINGS: usize = 100_000;
