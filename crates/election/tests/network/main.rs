//! Elections of several machines over a simulated network: how soon a successor serves, and how
//! rarely somebody is taken for dead who is not.

mod machines;

use std::time::Duration;

use election::{Config, Profile};

use crate::machines::{Network, ORIGINS, Way, ms};

#[test]
fn each_origin_has_one_server_once_the_candidates_know_each_other() {
    for (seed, count) in [(1, 1), (2, 2), (3, 3), (4, 5), (5, 12)] {
        for relays_count in [1, 3] {
            let config = Config {
                relays_count,
                ..Config::default()
            };
            let mut network = Network::of(count, seed, config);

            for _ in 0..200 {
                network.run_for(ms(100));
                assert_eq!(network.servers(0), (1, 1), "seed {seed}");
            }
        }
    }
}

#[test]
fn a_successor_serves_within_the_budget_of_a_closed_link() {
    for seed in 0..50 {
        let mut network = Network::of(
            2 + usize::try_from(seed % 4).expect("small"),
            seed,
            Config::default(),
        );
        let relay = network.relay();

        network.kill(relay);
        let took = network.run_until(ms(1_000), |network| network.servers(0).0 == 1);

        // Up to 3 ms for the link to close, 40 ms for probes.
        assert!(
            took.is_some_and(|took| took <= ms(45)),
            "seed {seed}: {took:?}"
        );
        network.run_for(ms(1_000));
        assert_eq!(network.servers(0), (1, 1), "seed {seed}");
    }
}

#[test]
fn adversarial_41_a_successor_serves_within_the_budget_of_silence_and_the_stopped_relay_steps_back()
{
    for seed in 0..50 {
        let mut network = Network::of(
            2 + usize::try_from(seed % 4).expect("small"),
            seed,
            Config::default(),
        );
        let relay = network.relay();

        network.stop(relay);
        let took = network.run_until(ms(1_000), |network| network.servers(0).0 == 1);

        assert!(
            took.is_some_and(|took| took <= ms(345)),
            "seed {seed}: {took:?}"
        );
        network.run_for(ms(2_000));
        let successor = network.relay();
        network.resume(relay);
        assert_eq!(
            network.servers(0),
            (1, 1),
            "seed {seed}: served before it had read"
        );
        network.run_for(ms(3_000));
        assert_eq!(network.servers(0), (1, 1), "seed {seed}");
        assert_eq!(network.relay(), successor, "seed {seed}");
    }
}

#[test]
fn adversarial_42_each_side_of_a_partition_has_its_own_relay_and_one_remains_after_healing() {
    for seed in 0..50 {
        let mut network = Network::of(6, seed, Config::default());

        network.partition(&[0, 1, 0, 1, 0, 1]);
        let took = network.run_until(ms(1_000), |n| {
            n.servers(0) == (1, 1) && n.servers(1) == (1, 1)
        });
        assert!(
            took.is_some_and(|took| took <= ms(345)),
            "seed {seed}: {took:?}"
        );
        network.run_for(ms(60_000));
        assert_eq!(network.servers(0), (1, 1), "seed {seed}");
        assert_eq!(network.servers(1), (1, 1), "seed {seed}");
        network.heal();

        let never_none = network.run_until(ms(200), |n| n.servers(0).0 == 0);
        assert_eq!(never_none, None, "seed {seed}: nobody served after healing");
        let healed = network.run_until(ms(1_000), |n| n.servers(0) == (1, 1));
        assert!(healed.is_some(), "seed {seed}");
    }
}

/// What `Config::suspect_after` documents.
#[test]
fn a_day_of_ten_percent_loss_moves_the_work_of_a_living_relay_at_most_once() {
    let mut network = Network::of(3, 1, Config::default());
    let before = network.takeovers;
    network.loss_permille = 100;

    network.run_for(Duration::from_secs(24 * 3_600));

    let moves = (network.takeovers - before) / u64::from(ORIGINS);
    assert!(moves <= 1, "{moves} false failovers in a day");
    network.loss_permille = 0;
    network.run_for(ms(5_000));
    assert_eq!(network.servers(0), (1, 1));
}

#[test]
fn each_profile_bears_the_network_that_it_is_for() {
    let profiles = [
        (Profile::Lan, Way::LAN),
        (Profile::Wan, Way::WAN),
        (Profile::Thin, Way::THIN),
    ];
    for (profile, way) in profiles {
        let config = Config::of(profile);
        let budget = config.suspect_after * 2 + config.probe_timeout;
        let mut network = Network::over(way, 4, 5, config.clone());
        let before = network.takeovers;
        network.loss_permille = 20;

        network.run_for(config.heartbeat_interval * 50_000);
        assert_eq!(
            (network.deaths(), network.takeovers),
            (0, before),
            "{profile:?}"
        );
        let relay = network.relay();
        network.stop(relay);
        let took = network.run_until(budget, |network| network.servers(0).0 == 1);

        assert!(took.is_some(), "{profile:?}");
    }
}

/// Twenty heartbeats a second to each of the others from each relay, and nothing else.
#[test]
fn what_the_candidates_cost_grows_with_the_relays_and_not_with_the_square_of_the_candidates() {
    for (candidates, relays_count) in [(2, 1), (16, 1), (16, 2)] {
        let config = Config {
            relays_count,
            ..Config::default()
        };
        let mut network = Network::of(candidates, 1, config);
        let before = network.messages;

        network.run_for(Duration::from_secs(10));

        let a_second = (network.messages - before) / 10;
        let relays = u64::try_from(relays_count).expect("few");
        let others = u64::try_from(candidates - 1).expect("few");
        assert_eq!(a_second, relays * others * 20, "{candidates} candidates");
    }
}

#[test]
fn an_hour_of_one_percent_loss_kills_nobody() {
    let mut network = Network::of(5, 1, Config::default());
    let (relay, before) = (network.relay(), network.takeovers);
    network.loss_permille = 10;

    network.run_for(Duration::from_secs(3_600));

    assert_eq!(network.deaths(), 0);
    assert_eq!((network.relay(), network.takeovers), (relay, before));
}

#[test]
fn adversarial_48_a_candidate_in_a_restart_loop_moves_nothing() {
    let mut network = Network::of(3, 7, Config::default());
    let flapping = (network.relay() + 1) % 3;
    let before = network.takeovers;

    for _ in 0..50 {
        network.kill(flapping);
        network.run_for(ms(400));
        network.start(flapping);
        network.run_for(ms(5_000));
    }

    assert_eq!(network.takeovers, before);
    assert_eq!(network.servers(0), (1, 1));
}

#[test]
fn adversarial_48_a_relay_that_flaps_is_replaced_once() {
    let mut network = Network::of(3, 8, Config::default());
    let flapping = network.relay();
    let before = network.takeovers;

    for _ in 0..50 {
        network.kill(flapping);
        network.run_for(ms(400));
        network.start(flapping);
        network.run_for(ms(5_000));
    }

    assert_eq!(network.takeovers, before + u64::from(ORIGINS));
    assert_eq!(network.servers(0), (1, 1));
}
