//! Questions to a year of many machines: what is read for an answer, and how long that takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use fieldmesh::clock::Monotonic;
use model::{Draft, LogId, Quality, Reading, SeriesNumber, Timestamp, Value};
use statemachine::{Rng, Ticket};
use store::{Completion, Query, Store};

use crate::measure::{Measure, Report, Sample, length, micros, number};
use crate::{codec, keys};

/// Fills a store in `directory` and asks it.
pub(crate) fn ask(directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let logs: Vec<LogId> = (1..=MACHINES)
        .map(|machine| {
            let keypair = keys::identity(machine)?.keypair;
            Ok(LogId {
                machine: keypair.machine(),
                epoch: codec::EPOCH,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    let store = fill(directory)?;
    let held = store.stats();
    let of = format!(
        "{} blocks, {} readings of {MACHINES} machines in a year, a block for each hour",
        held.blocks, held.readings
    );
    let mut rng = Rng::from_u64(1);
    let one: BTreeSet<SeriesNumber> = [SeriesNumber(1)].into();
    let mut hour = |store: &Store, logs: &[LogId]| {
        let from = hour(rng.below(HOURS));
        let selection = logs.iter().map(|log| (*log, one.clone()));
        let query = Query {
            selection: selection.collect(),
            from,
            to: from.saturating_add(HOUR),
            limit: 4_096,
        };
        timed(store, &query)
    };

    let mut rng_log = Rng::from_u64(2);
    let (mut times, mut reads) = (Sample::default(), Sample::default());
    for _ in 0..QUESTIONS {
        let log = *rng_log.choose(&logs).expect("machines");
        let (time, blocks, _) = hour(&store, &[log])?;
        times.push(micros(time));
        reads.push(number(blocks));
    }
    let note = format!(
        "{} blocks read (median) of {of}; limited by the search of one log's index",
        reads.median()
    );
    report.add(
        TIME,
        "a year, one series of one machine in one hour",
        &times,
        note,
    )?;

    let (mut times, mut reads) = (Sample::default(), Sample::default());
    for _ in 0..QUESTIONS {
        let (time, blocks, _) = hour(&store, &logs)?;
        times.push(micros(time));
        reads.push(number(blocks));
    }
    let note = format!(
        "{} blocks read (median) of {of}; as before, once for each log",
        reads.median()
    );
    report.add(
        TIME,
        "a year, one series of every machine in one hour",
        &times,
        note,
    )?;

    let query = Query {
        selection: BTreeMap::from([(logs[0], one)]),
        from: Timestamp::MIN,
        to: Timestamp::MAX,
        limit: 4_096,
    };
    let (time, blocks, found) = timed(&store, &query)?;
    let rate = Sample::from_iter([length(found) / time.as_secs_f64()]);
    let note = format!(
        "{found} readings, {blocks} blocks read of {of}; limited by blocks of 42 readings, each read and \
         decompressed whole"
    );
    report.add(
        RATE,
        "a year, one series of one machine, all of it",
        &rate,
        note,
    )?;
    Ok(store.close(None)?)
}

/// How long all pages of a question take, how many blocks are read for them, and how many readings
/// they have.
fn timed(store: &Store, query: &Query) -> anyhow::Result<(Duration, u64, usize)> {
    let before = store.stats().blocks_read;
    let clock = Monotonic::start();
    let (mut found, mut after) = (0, None);
    loop {
        let page = store.query(query, after);
        anyhow::ensure!(page.damaged.is_empty(), "the store is damaged");
        found += page.found.len();
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let time = clock.uptime();
    Ok((time, store.stats().blocks_read - before, found))
}

/// A year of every machine, hour by hour as it would have come in.
fn fill(directory: &Path) -> anyhow::Result<Store> {
    let own = keys::identity(1)?;
    let network = own.trust.network();
    let config = store::Config::new(directory.to_owned(), network, own.keypair.machine());
    let (completed, completions) = sync_channel(COMPLETIONS_MAX);
    let (store, _) = Store::open(config, move |batch| _ = completed.send(batch))?;
    let keypairs = (1..=MACHINES).map(|machine| Ok(keys::identity(machine)?.keypair));
    let keypairs = keypairs.collect::<anyhow::Result<Vec<_>>>()?;
    for hour in 0..HOURS {
        for keypair in &keypairs {
            let readings = readings(hour);
            let draft = Draft {
                header: codec::header(keypair, hour, &readings),
                readings,
            };
            let block = draft.seal(&network, |digest| keypair.sign(digest))?;
            store.write(Ticket::default(), gossip::Write::Block(block))?;
        }
        wait(&completions, keypairs.len())?;
    }
    Ok(store)
}

fn wait(completions: &Receiver<Vec<Completion>>, mut count: usize) -> anyhow::Result<()> {
    while count > 0 {
        for completion in completions.recv()? {
            completion.result?;
            count -= 1;
        }
    }
    Ok(())
}

/// Seven series every ten minutes, as turbines give them.
fn readings(hour_number: u64) -> Vec<Reading> {
    let mut readings = Vec::new();
    for series in 1..=7 {
        for minute in 0_u32..6 {
            let cents = (hour_number * 37 + u64::from(minute * 11 + series)) % 4_000;
            readings.push(Reading {
                series: SeriesNumber(series),
                time: hour(hour_number).saturating_add(Duration::from_secs(600) * minute),
                value: Value::F64(number(cents) / 100.0),
                quality: Quality::GOOD,
            });
        }
    }
    readings
}

fn hour(number: u64) -> Timestamp {
    let since = HOUR * u32::try_from(number).unwrap_or(u32::MAX);
    Timestamp::from_nanos(BEGIN_NANOS).saturating_add(since)
}

const TIME: Measure = Measure::lower("query", "µs");
const RATE: Measure = Measure::higher("query", "readings/s");
const MACHINES: u8 = 20;
const HOURS: u64 = 365 * 24;
const HOUR: Duration = Duration::from_secs(3_600);
/// 2025-01-01. Unit: nanoseconds since the Unix epoch.
const BEGIN_NANOS: i64 = 1_735_689_600_000_000_000;
const QUESTIONS: usize = 200;
/// Batches of completions that wait.
const COMPLETIONS_MAX: usize = 1_024;
