//! The cases of the suite in which a relay dies, and those in which two relays upload the same.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::PathBuf;
use std::process::ChildStdout;

use model::MachineId;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use uplink::{Event, Uplink};

use super::directory::Directory;
use super::process::Process;
use super::suite::{Counterpart, ORIGIN, Running, config_at, many};

/// A relay of the other half, or the successor of the dead one.
const OTHER_RELAY: MachineId = MachineId::from_bytes([5; 32]);

/// A relay in a process of its own: this program again, with a URL in its environment.
struct Victim {
    process: Process,
    said: Lines<BufReader<ChildStdout>>,
}

impl Victim {
    /// Starts a relay that uploads so many records.
    fn start(url: &str, dir: &TempDir, count: u64) -> Self {
        let dir = dir.path().to_str().expect("text");
        let (process, said) = Process::start_this(
            "relays::a_relay_that_is_killed_has_delivered_what_it_said",
            &[(URL, url), (DIR, dir), (COUNT, &count.to_string())],
        );
        let said = BufReader::new(said).lines();
        Self { process, said }
    }

    /// Kills it once it has delivered something; returns how much it said it had.
    fn kill_in_mid_upload(mut self) -> u64 {
        let mut delivered = next_delivered(&mut self.said).expect("it delivers");
        drop(self.process); // SIGKILL
        while let Some(count) = next_delivered(&mut self.said) {
            delivered += count;
        }
        delivered
    }
}

/// How many records are delivered next, as a relay says; `None` once it is dead.
fn next_delivered(said: &mut Lines<BufReader<ChildStdout>>) -> Option<u64> {
    let mut lines = said.map_while(Result::ok);
    lines.find_map(|line| line.strip_prefix(DELIVERED)?.parse().ok())
}

/// What the process of a victim does.
async fn upload_and_say_so(url: &str) {
    let variable = |name| std::env::var(name).expect("given");
    let config = config_at(url);
    let (events_tx, mut events) = mpsc::channel(1_024);
    let dir = PathBuf::from(variable(DIR));
    let uplink = Uplink::start(config, &dir, [7; 32], events_tx).expect("starts");
    let count: u64 = variable(COUNT).parse().expect("a number");
    uplink.submit(many(1..count + 1)).expect("there is room");
    while let Some(event) = events.recv().await {
        if let Event::Delivered(_, ids) = event {
            let line = format!("{DELIVERED}{}\n", ids.len());
            let mut stdout = std::io::stdout();
            stdout.write_all(line.as_bytes()).expect("the test listens");
            stdout.flush().expect("the test listens");
        }
    }
}

#[tokio::test]
async fn a_relay_that_is_killed_has_delivered_what_it_said() {
    if let Ok(url) = std::env::var(URL) {
        return upload_and_say_so(&url).await;
    }
    let directory = Directory::start();
    let dir = tempfile::tempdir().expect("a directory");

    let said = Victim::start(&directory.url(), &dir, 4_000).kill_in_mid_upload();

    let delivered = directory.received_whole().len();
    let delivered = u64::try_from(delivered).expect("few");
    assert!((1..=delivered).contains(&said), "{said} of {delivered}");
}

pub(crate) async fn a_relay_killed_in_mid_upload_leaves_nothing_out<C: Counterpart>(
    counterpart: &mut C,
) {
    const COUNT: u64 = 4_000;
    let dir = tempfile::tempdir().expect("a directory");
    counterpart.slow();
    let victim = Victim::start(&counterpart.url(), &dir, COUNT);

    let delivered = victim.kill_in_mid_upload();

    assert!(delivered < COUNT, "it died too late");
    counterpart.quicken();
    // Of live records nothing is on its disk: whoever serves next submits what has no progress.
    let mut successor = Running::start_in(dir, &counterpart.url(), |_| {});
    successor.submit(many(1..COUNT + 1));
    successor
        .until_delivered(&(1..=COUNT).collect::<Vec<_>>())
        .await;
    expect_each_once(counterpart, COUNT).await;
    successor.stop().await;
}

pub(crate) async fn what_a_successor_delivers_again_is_one_record_by_its_key<C: Counterpart>(
    counterpart: &mut C,
) {
    const COUNT: u64 = 50;
    let ids: Vec<u64> = (1..=COUNT).collect();
    let mut relay = Running::start(counterpart);
    relay.submit(many(1..COUNT + 1));
    relay.until_delivered(&ids).await;
    relay.stop().await;

    let mut successor = start_other(counterpart);
    successor.submit(many(1..COUNT + 1));
    successor.until_delivered(&ids).await;

    expect_each_once(counterpart, COUNT).await;
    let copies = if C::KEEPS_COPIES { 2 } else { 1 };
    let received = counterpart.received(copies * ids.len()).await;
    assert_eq!(received.len(), copies * ids.len());
    successor.stop().await;
}

pub(crate) async fn adversarial_42_what_both_sides_of_a_partition_upload_is_whole<
    C: Counterpart,
>(
    counterpart: &mut C,
) {
    const COUNT: u64 = 300;
    let mut here = Running::start(counterpart);
    let mut there = start_other(counterpart);
    for start in (1..=200).step_by(20) {
        here.submit(many(start..start + 20));
        let mut reversed = many(201 - start - 19..202 - start);
        reversed.reverse();
        there.submit(reversed);
    }
    let during: Vec<u64> = (1..=200).collect();
    here.until_delivered(&during).await;
    there.until_delivered(&during).await;

    // It heals: both have the next records, and one of them hears that it is not the relay.
    there.submit(many(201..COUNT + 1));
    here.submit(many(201..COUNT + 1));
    there.withdraw(ORIGIN);

    here.until_delivered(&(201..=COUNT).collect::<Vec<_>>())
        .await;
    expect_each_once(counterpart, COUNT).await;
    here.stop().await;
    there.stop().await;
}

fn start_other(counterpart: &impl Counterpart) -> Running {
    let dir = tempfile::tempdir().expect("a directory");
    Running::start_in(dir, &counterpart.url(), |config| {
        config.machine = OTHER_RELAY;
    })
}

/// Waits until so many records have arrived by their numbers, and looks whether there are copies
/// where there must be none. Returns all that arrived.
async fn expect_each_once<C: Counterpart>(counterpart: &mut C, count: u64) -> Vec<Json> {
    let expected: BTreeSet<u64> = (1..=count).collect();
    let mut least = expected.len();
    loop {
        let received = counterpart.received(least).await;
        let numbers = received
            .iter()
            .map(|record| record["last_sequence"].as_u64().expect("a number"));
        let distinct: BTreeSet<u64> = numbers.collect();
        assert!(distinct.is_subset(&expected), "records from nowhere");
        if distinct == expected {
            let copies = received.len() - distinct.len();
            assert!(C::KEEPS_COPIES || copies == 0, "{copies} copies");
            return received;
        }
        least = received.len() + 1;
    }
}

/// How a victim's process is told what to do.
const URL: &str = "CONFORMANCE_RELAY_URL";
const DIR: &str = "CONFORMANCE_RELAY_DIR";
const COUNT: &str = "CONFORMANCE_RELAY_COUNT";
/// What it says, before a number of records.
const DELIVERED: &str = "delivered ";
