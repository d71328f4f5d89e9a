//! Many overlays together: the graph of their neighbours is connected, whatever happens.

#![expect(clippy::expect_used, reason = "helpers of tests may panic as tests do")]

mod world;

use std::time::Duration;

use overlay::Config;
use world::World;

const ACTIVE_MAX: usize = 3;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn active_limit() -> usize {
    let config = Config {
        active_max: ACTIVE_MAX,
        ..Config::default()
    };
    config.active_limit()
}

#[test]
fn twelve_machines_that_know_one_contact_become_one_graph() {
    for seed in 0..SEEDS {
        let mut world = World::bootstrapped(seed, 12, ACTIVE_MAX);

        let connected = world.run_until(seconds(2), World::is_connected);
        assert!(connected.is_some(), "seed {seed}: {:?}", world.views());
        world.run_for(seconds(60));

        assert!(world.is_connected(), "seed {seed}: {:?}", world.views());
        assert_eq!(world.disagreements(), [], "seed {seed}");
        let (fewest, most) = world.degrees();
        assert!(
            fewest >= 1 && most <= active_limit(),
            "seed {seed}: {fewest} to {most}"
        );
    }
}

#[test]
fn halves_find_each_other_within_four_seconds_after_a_minute_apart() {
    for seed in 0..SEEDS {
        let mut world = World::bootstrapped(seed, 12, ACTIVE_MAX);
        world.run_for(seconds(60));

        world.partition(|index| index % 2);
        world.run_for(seconds(60));
        world.heal();
        let healed = world.run_until(seconds(4), World::is_connected);

        assert!(healed.is_some(), "seed {seed}: {:?}", world.views());
        world.run_for(seconds(60));
        assert!(world.is_connected(), "seed {seed}: {:?}", world.views());
        assert_eq!(world.disagreements(), [], "seed {seed}");
    }
}

#[test]
fn survivors_of_the_death_of_every_second_of_a_hundred_are_one_graph_within_seconds() {
    for seed in 0..SEEDS / 20 {
        let mut world = World::bootstrapped(seed, 100, 5);
        world.run_for(seconds(60));
        assert!(world.is_connected(), "seed {seed}: {:?}", world.views());

        (0..100).step_by(2).for_each(|index| world.kill(index));
        world.run_for(seconds(2));
        let connected = world.run_until(seconds(3), World::is_connected);

        assert!(connected.is_some(), "seed {seed}: {:?}", world.views());
    }
}

#[test]
fn a_site_that_loses_power_finds_itself_from_its_address_books_without_its_first_contact() {
    for seed in 0..SEEDS {
        let mut world = World::bootstrapped(seed, 12, ACTIVE_MAX);
        world.run_for(seconds(120));

        (0..12).for_each(|index| world.kill(index));
        world.run_for(seconds(10));
        (1..12).for_each(|index| world.start(index));
        let connected = world.run_until(seconds(5), World::is_connected);

        assert!(connected.is_some(), "seed {seed}: {:?}", world.views());
    }
}

#[test]
fn views_agree_again_after_links_broke_unevenly() {
    for seed in 0..SEEDS {
        let mut world = World::bootstrapped(seed, 12, ACTIVE_MAX);

        for _ in 0..100 {
            world.break_one();
            world.run_for(Duration::from_millis(500));
        }
        world.run_for(seconds(120));

        assert_eq!(world.disagreements(), [], "seed {seed}");
        assert!(world.is_connected(), "seed {seed}: {:?}", world.views());
    }
}

#[test]
fn links_of_no_use_are_released() {
    for seed in 0..SEEDS / 4 {
        let mut world = World::bootstrapped(seed, 12, ACTIVE_MAX);

        world.run_for(seconds(300));

        // Those of neighbours, and a few on which a machine with a free place asks around.
        let neighbours: usize = world.views().values().map(|view| view.len()).sum();
        assert!(
            world.links() <= neighbours / 2 + 6,
            "seed {seed}: {}",
            world.links()
        );
    }
}

#[test]
fn neighbours_of_the_same_hall_are_preferred_and_the_halls_stay_one_graph() {
    for seed in 0..SEEDS / 20 {
        let mut world = World::spread(seed, 48, 5, 4);
        let before = world.near_percent();

        world.run_for(seconds(600));
        let after = world.near_percent();

        assert!(before < 40, "seed {seed}: {before} % near at the start");
        assert!(after >= 45, "seed {seed}: {before} % near, then {after} %");
        assert!(world.is_connected(), "seed {seed}: {:?}", world.views());
        assert_eq!(world.disagreements(), [], "seed {seed}");
    }
}

/// Unit: runs. Source: half a minute on one core.
const SEEDS: u64 = 60;
