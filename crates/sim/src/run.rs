//! One seed, twice.

use crate::plants::Plant;
use crate::record::Lives;
use crate::report::Report;
use crate::scenario::Scenario;
use crate::world::World;

/// Runs one seed twice and reports on it; traces that differ are a failure.
#[must_use]
pub fn run(scenario: Scenario, nodes: usize, seed: u64) -> Report {
    let (mut report, _) = play((scenario, nodes), seed, None, false, None);
    let (again, _) = play((scenario, nodes), seed, None, false, None);
    if report.trace != again.trace && report.failure.is_none() {
        let (first, second) = (report.trace, again.trace);
        report.failure = Some(format!("two runs differ: traces {first} and {second}"));
    }
    report
}

/// Runs one seed once and returns the end of its trace in words, for whoever looks for a cause.
#[must_use]
pub fn log(scenario: Scenario, nodes: usize, seed: u64) -> Vec<String> {
    play((scenario, nodes), seed, None, true, None).1
}

/// Runs seeds from 0 on with a mistake switched in, until one finds it: a run that fails with these
/// words, and holds without the mistake.
#[must_use]
pub fn find_failure(
    (scenario, nodes): (Scenario, usize),
    plant: Plant,
    words: &str,
    seeds: u64,
) -> Option<Report> {
    let once = |seed, plant| play((scenario, nodes), seed, plant, false, None).0;
    (0..seeds).find_map(|seed| {
        let planted = once(seed, Some(plant));
        let failure = planted.failure.as_deref().unwrap_or_default();
        let found = failure.contains(words) && once(seed, None).failure.is_none();
        found.then_some(planted)
    })
}

/// Runs one seed, once.
#[must_use]
pub fn run_once(scenario: Scenario, nodes: usize, seed: u64) -> Report {
    play((scenario, nodes), seed, None, false, None).0
}

/// Runs one seed, once, and records the lives of one machine as a real node records its own.
#[must_use]
pub fn run_recorded(
    scenario: Scenario,
    nodes: usize,
    seed: u64,
    machine: usize,
) -> (Report, Vec<Vec<u8>>) {
    let recorded = (machine, Lives::default());
    let (report, _) = play((scenario, nodes), seed, None, false, Some(&recorded));
    (report, recorded.1.take())
}

fn play(
    (scenario, nodes): (Scenario, usize),
    seed: u64,
    plant: Option<Plant>,
    readable: bool,
    recorded: Option<&(usize, Lives)>,
) -> (Report, Vec<String>) {
    let plan = scenario.plan_for(nodes);
    let mut world = World::draw(plan, plant, nodes, seed, readable, recorded);
    world.run_for(plan.duration);
    if plan.measure_from.is_some() {
        world.meter.freeze();
    }
    let healed = world.settle(plan.settle_max);
    if healed.is_some() {
        world.finish();
    }
    let failure = world.failure().map(str::to_owned);
    let name = (scenario, nodes, seed);
    let report = Report::new(name, failure, healed, world.trace(), world.meter());
    (report, world.into_lines())
}
