//! Runs of every scenario, and proof that the simulator finds what it is there to find.

use std::time::Duration;

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
    // The others are in `adversarial`, and what takes minutes has its command: three days of
    // outage, a day apart, ten minutes apart.
    let scenarios = [
        Scenario::Steady,
        Scenario::Churn,
        Scenario::Partition,
        Scenario::RelayDeath,
        Scenario::Revocation,
        Scenario::Enrolment,
        Scenario::RollBack,
        Scenario::Commands,
        Scenario::LateJoiner,
        Scenario::EveryonePublishes,
        Scenario::MassFailure,
        Scenario::Halves,
        Scenario::Sites,
    ];
    for scenario in scenarios {
        for seed in 100..102 {
            check(&sim::run(scenario, 6, seed));
        }
    }
}

#[test]
fn what_a_machine_costs_does_not_grow_with_the_sites_and_a_revocation_crosses_them() {
    let [few, many] = [20, 60].map(|nodes| sim::run_once(Scenario::ManySites, nodes, 2));

    for report in [&few, &many] {
        check(report);
        let revoked = report.revoked_p99.expect("a machine is thrown out");
        assert!(revoked < Duration::from_secs(1), "{revoked:?}");
    }
    let [few, many] = [few, many].map(|report| report.bytes_per_node_s.expect("measured"));
    assert!(
        many < few * 1.1,
        "{few} B/s with 2 sites, {many} B/s with 6"
    );
}

/// A mistake, where it is looked for, and what gives it away.
type Planted = (Plant, Scenario, usize, &'static str);

#[test]
fn each_planted_mistake_is_found_by_what_it_breaks_and_by_nothing_without_it() {
    const PLANTED: [Planted; 12] = [
        (Plant::AckBeforeSync, Scenario::Churn, 5, "not on its disk"),
        (
            Plant::ProgressBeforeAck,
            Scenario::RelayDeath,
            5,
            "the sink",
        ),
        (Plant::RunBeforeNote, Scenario::Commands, 4, "ran 2 times"),
        (
            Plant::LostPrune,
            Scenario::EveryonePublishes,
            5,
            "redundancy",
        ),
        (Plant::ForgottenGap, Scenario::Churn, 5, "holds"),
        (Plant::LostRead, Scenario::Churn, 5, "after healing"),
        (Plant::ReusedNumber, Scenario::Everything, 5, "two "),
        (Plant::UncheckedSignature, Scenario::Insiders, 5, "Err("),
        (
            Plant::UnboundedQueue,
            Scenario::SlowNeighbour,
            5,
            "no bound",
        ),
        (Plant::StaleState, Scenario::Churn, 5, "has the state"),
        (Plant::ClosedView, Scenario::Eclipse, 8, "after healing"),
        (Plant::EarlyFrontier, Scenario::Steady, 5, "not on its disk"),
    ];

    let missed = PLANTED
        .into_iter()
        .filter(|(plant, scenario, nodes, words)| {
            sim::find_failure((*scenario, *nodes), *plant, words, SEEDS_MAX).is_none()
        });
    assert_eq!(missed.map(|planted| planted.0).collect::<Vec<_>>(), []);
}

/// Within how many seeds a planted mistake must be found.
const SEEDS_MAX: u64 = 200;
