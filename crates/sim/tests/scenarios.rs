//! Runs of every scenario, and proof that the simulator finds what it is there to find.

use sim::{Plant, Report, Scenario};

/// The outcome of a run; a failure prints the command that repeats it.
fn check(report: &Report) {
    assert!(report.failure.is_none(), "{}", report.to_text());
}

#[test]
fn runs_that_once_failed_hold() {
    for line in include_str!("../seeds.txt").lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [] | ["#", ..] => {}
            [scenario, nodes, seed] => check(&sim::run(
                scenario.parse().expect("a scenario"),
                nodes.parse().expect("a number of machines"),
                seed.parse().expect("a seed"),
            )),
            _ => panic!("seeds.txt has the line {line:?}"),
        }
    }
}

#[test]
fn nothing_is_lost_whatever_goes_wrong() {
    // The outage of three days takes minutes: it is run by its command.
    let is_short = |scenario: &Scenario| *scenario != Scenario::Outage;
    for scenario in Scenario::ALL.into_iter().filter(is_short) {
        for seed in 100..103 {
            check(&sim::run(scenario, 6, seed));
        }
    }
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    let run = (Scenario::Churn, 5);

    let found = sim::find_failure(
        run,
        Plant::AckBeforeSync,
        "acknowledged as durable",
        SEEDS_MAX,
    );

    assert!(found.is_some());
}

#[test]
fn progress_before_the_sinks_acknowledgement_is_found() {
    let run = (Scenario::RelayDeath, 5);

    let found = sim::find_failure(run, Plant::ProgressBeforeAck, "the sink", SEEDS_MAX);

    assert!(found.is_some());
}

#[test]
fn a_command_that_runs_before_its_note_is_safe_is_found_running_twice() {
    let run = (Scenario::Commands, 4);

    let found = sim::find_failure(run, Plant::RunBeforeNote, "ran 2 times", SEEDS_MAX);

    assert!(found.is_some());
}

/// Within how many seeds a planted mistake must be found.
const SEEDS_MAX: u64 = 200;
