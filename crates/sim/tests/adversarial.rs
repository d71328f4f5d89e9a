//! What members with bad intent, clocks, networks and power do to a site, by the numbers of the
//! list that the project is held to. Each test shows that the thing happened, and that every honest
//! machine went on, kept its bounds, took nothing wrong and has in the end all that honest ones
//! said.

use sim::{Report, Scenario};

/// Runs of a scenario in which something happened; all of them hold.
fn runs_with(what: &str, scenario: Scenario, nodes: usize, seeds: u64) -> Vec<Report> {
    let reports = (1..=seeds).map(|seed| sim::run(scenario, nodes, seed));
    let held = reports.inspect(|report| {
        assert!(report.failure.is_none(), "{}", report.to_text());
    });
    let with = held.filter(|report| report.happened.contains_key(what));
    let with: Vec<Report> = with.collect();
    assert!(!with.is_empty(), "{what} never happened");
    with
}

#[test]
fn adversarial_22_24_25_what_an_insider_forges_is_refused_counted_and_poisons_nothing() {
    let reports = runs_with("forge", Scenario::Insiders, 5, INSIDERS_SEEDS);

    assert!(reports.iter().all(|report| report.refused > 0));
    assert!(reports.iter().all(|report| report.accusations > 0));
    for what in ["flip", "last number", "future"] {
        assert!(
            reports.iter().any(|r| r.happened.contains_key(what)),
            "{what}"
        );
    }
}

#[test]
fn adversarial_26_what_was_said_before_is_delivered_once() {
    runs_with("replay", Scenario::Insiders, 5, INSIDERS_SEEDS);
}

#[test]
fn adversarial_26_what_was_said_an_hour_ago_and_given_up_since_is_delivered_once() {
    let reports = runs_with("replay", Scenario::ReplayHour, 4, 1);

    assert!(reports.iter().all(|r| r.happened.contains_key("Retain")));
}

#[test]
fn adversarial_27_floods_of_announcements_grafts_prunes_and_wants_are_bounded_and_counted() {
    let reports = runs_with("flood", Scenario::Insiders, 5, INSIDERS_SEEDS);

    assert!(reports.iter().any(|report| report.over_limit > 0));
}

#[test]
fn adversarial_29_whoever_is_surrounded_doubts_those_that_withhold_and_gets_everything() {
    let reports = runs_with("press", Scenario::Eclipse, 8, 4);

    // The runs fail if an honest machine doubts another honest one. Not every seed surrounds it for
    // long.
    let doubting = reports.iter().filter(|report| report.doubts > 0);
    assert!(doubting.count() >= 2);
}

#[test]
fn adversarial_30_with_silent_droppers_in_every_tree_honest_delivery_is_whole() {
    for seed in 1..=2 {
        let report = sim::run(Scenario::Droppers, 7, seed);

        // The run fails if any honest machine's blocks were never swallowed.
        assert!(report.failure.is_none(), "{}", report.to_text());
    }
}

#[test]
fn adversarial_39_blocks_that_turned_bad_come_back_and_their_own_log_goes_on_after_them() {
    runs_with("BitRot", Scenario::BitRot, 5, 3);
}

#[test]
fn adversarial_43_a_third_lost_one_way_partitions_and_swizzled_ones_lose_nothing() {
    let reports = runs_with("OneWay", Scenario::Storm, 5, 3);

    assert!(reports.iter().any(|r| r.happened.contains_key("Swizzle")));
}

#[test]
fn adversarial_45_clocks_that_jump_by_days_or_to_1970_lose_nothing() {
    runs_with("ClockStep", Scenario::Everything, 5, 3);
}

#[test]
fn adversarial_49_a_neighbour_that_hardly_reads_for_ten_minutes_costs_others_their_bound_and_no_more()
 {
    let reports = runs_with("Slow", Scenario::SlowNeighbour, 4, 1);

    assert!(reports.iter().all(|report| report.congestions > 0));
}

#[test]
fn adversarial_49_a_neighbour_that_hardly_reads_for_an_hour_is_whole_soon_after() {
    let reports = runs_with("Slow", Scenario::SlowHour, 3, 1);

    assert!(reports.iter().all(|report| report.congestions > 0));
}

#[test]
fn adversarial_50_a_site_that_lost_power_finds_itself_without_the_machine_that_all_know() {
    runs_with("Blackout", Scenario::ColdStart, 6, 2);
}

/// Enough that every kind of insider occurs.
const INSIDERS_SEEDS: u64 = 8;
