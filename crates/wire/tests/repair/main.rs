//! What repair costs in bytes and time: two gossips over a link that encodes every frame.
//! `cargo test -p wire --test repair -- --nocapture` prints the figures.
#![expect(clippy::print_stdout, reason = "the figures are half of the result")]

mod link;
mod site;

use std::collections::BTreeMap;
use std::time::Duration;

use gossip::{Config, Message};
use link::Pair;
use site::{Site, block};
use statemachine::Instant;
use wire::{Frame, encode};

/// The machines whose logs both ends hold.
const LOGS: u16 = 1_000;
/// One way over the link.
const DELAY: Duration = Duration::from_millis(10);
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Unit: bytes a second. Source: 1 Mbit/s.
const THIN: u64 = 1_000_000 / 8;

#[test]
fn one_block_missing_among_a_thousand_logs_over_an_open_link_costs_one_round_trip_and_512_bytes() {
    let site = Site::new(LOGS);
    let gossips = [0, 1].map(|end| site.gossip(end, 5, &[], &Config::default()));
    let mut pair = Pair::new(gossips, DELAY, None);
    pair.connect();
    pair.run_for(Duration::from_secs(5));
    pair.forget_bytes();
    pair.loses_pushes = true;
    let block = block(7, 6, false);

    pair.push_to_first(&block);
    pair.run_for(Duration::from_secs(5));

    let took = pair.arrived(&block.id()).since(pair.wanted(&block.id()));
    assert_eq!(took, ROUND_TRIP, "from the want to the block");
    let beside = pair.bytes() - block.as_bytes().len();
    let listing = pair.listing();
    println!("one block among {LOGS} logs, open link: {beside} bytes beside it\n{listing}");
    assert!(beside <= 512, "{beside} bytes:\n{listing}");
}

#[test]
fn after_an_outage_equal_logs_are_not_listed_and_the_want_leaves_after_one_round_trip() {
    let site = Site::new(LOGS);
    let missing = [block(7, 6, false)];
    let [ahead, behind] = [(0, &missing[..]), (1, &[])]
        .map(|(end, blocks)| site.gossip(end, 5, blocks, &Config::default()));
    let mut pair = Pair::new([ahead, behind], DELAY, None);
    pair.store(&missing);

    pair.connect();
    pair.run_for(Duration::from_secs(5));

    let id = missing[0].id();
    assert_eq!(pair.wanted(&id).since(Instant::ZERO), ROUND_TRIP);
    assert_eq!(pair.arrived(&id).since(Instant::ZERO), 2 * ROUND_TRIP);
    let beside = pair.bytes() - missing[0].as_bytes().len();
    let all = everything_listed(&pair);
    let listing = pair.listing();
    println!("one block among {LOGS} equal logs and states after an outage: {beside} bytes beside");
    println!("it; listing everything costs {all}\n{listing}");
    assert!(beside <= 8 * 1024, "{beside} bytes:\n{listing}");
    assert!(all > 20 * beside, "control: {all}");
}

/// The bytes of both ends' frontiers and states, listed.
fn everything_listed(pair: &Pair) -> usize {
    let mut messages = Vec::new();
    for gossip in [0, 1].map(|end| pair.gossip(end)) {
        let entries = gossip.frontier().iter().cloned().collect::<Vec<_>>();
        let parts = entries.chunks(Message::FRONTIER_ENTRIES_MAX);
        messages.extend(parts.map(|part| Message::Frontier {
            entries: part.to_vec(),
            urgent: Vec::new(),
            ages: BTreeMap::new(),
            is_news: false,
        }));
        let states = gossip.states();
        let states = states.map(|state| (state.key().clone(), state.version()));
        let states = states.collect::<Vec<_>>();
        let parts = states.chunks(Message::SUMMARY_MAX);
        messages.extend(parts.map(|part| Message::StateSummary(part.to_vec())));
    }
    let sizes = messages
        .into_iter()
        .map(|message| encode(&Frame::Gossip(message)).len());
    sizes.sum()
}

/// A machine comes back over a thin link and lacks an hour, with an alarm in its middle; meanwhile
/// a block is made every five seconds. Returns how late the latest of those is, and how many blocks
/// came before the alarm.
fn return_over_a_thin_link(past_bytes_per_second: Option<u32>) -> (Duration, usize) {
    const HOUR: u64 = 3_600;
    let site = Site::new(1);
    let config = Config {
        past_bytes_per_second,
        want_timeout: Duration::from_secs(10),
        ..Config::default()
    };
    let gossips = [0, 1].map(|end| site.gossip(end, 0, &[], &config));
    let mut pair = Pair::new(gossips, DELAY, Some(THIN));
    for sequence in 1..=HOUR {
        pair.push_to_first_before_the_link(&block(0, sequence, sequence == HOUR / 2));
    }

    pair.connect();
    let mut latest = Duration::ZERO;
    for sequence in HOUR + 1..=HOUR + 10 {
        pair.run_for(Duration::from_secs(1));
        let block = block(0, sequence, false);
        let made = pair.now();
        pair.push_to_first(&block);
        pair.run_for(Duration::from_secs(4));
        latest = latest.max(pair.arrived(&block.id()).since(made));
    }
    let alarm = block(0, HOUR / 2, true);
    (latest, pair.arrived_before(&alarm.id()))
}

#[test]
fn who_returns_over_a_thin_link_hears_the_present_at_once_and_alarms_before_the_past() {
    let (unlimited, _) = return_over_a_thin_link(None);
    let (limited, before_the_alarm) = return_over_a_thin_link(Some(32 * 1024));

    println!("live blocks beside an hour of the past over 1 Mbit/s: at most {limited:?} late;");
    println!("without a limit {unlimited:?}; {before_the_alarm} blocks came before the alarm");
    assert!(limited <= Duration::from_millis(150), "{limited:?}");
    assert!(
        unlimited > Duration::from_millis(500),
        "control: {unlimited:?}"
    );
    assert!(before_the_alarm <= 16, "{before_the_alarm}");
}
