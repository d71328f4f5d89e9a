//! Who serves what: candidacies, ranks, withdrawals and fences.

use super::*;

#[test]
fn a_candidate_serves_only_once_it_has_read_the_states() {
    let mut node = node();

    node.input(Input::OwnCandidacy(cloud(), way()));
    assert_eq!(node.take(), [Output::Reread]);
    node.input(Input::StatesRead);

    assert!(node.outputs().contains(&serve()));
    assert!(node.outputs().contains(&Output::Relays(cloud(), vec![OWN])));
    let told = |output: &&Output| matches!(output, Output::Announce(_, c) if c.serving);
    assert_eq!(node.outputs().iter().filter(told).count(), 1);
}

#[test]
fn a_machine_without_a_way_serves_nothing_and_shows_the_relays() {
    let mut node = node();

    node.input(Input::Candidacy(ANNA, cloud(), way()));
    node.input(Input::Candidacy(BERT, cloud(), serving()));

    assert_eq!(relays(&node), [BERT]);
    assert_eq!(
        node.take(),
        [
            Output::Relays(cloud(), vec![ANNA]),
            Output::Relays(cloud(), vec![BERT])
        ]
    );
}

#[test]
fn a_candidacy_that_is_not_repeated_vanishes_for_everyone() {
    let mut node = node();

    node.input(Input::Candidacy(ANNA, cloud(), way()));
    node.advance(ms(5_999));
    assert_eq!(relays(&node), [ANNA]);
    node.input(Input::Candidacy(ANNA, cloud(), way()));
    node.advance(ms(5_999));
    assert_eq!(relays(&node), [ANNA]);
    node.advance(ms(1));

    assert_eq!(relays(&node), []);
}

#[test]
fn a_candidate_repeats_its_candidacy_and_asks_again_for_missing_links() {
    let mut node = candidate_with(&[(ANNA, serving())]);
    node.input(Input::LinkDown(ANNA));
    node.take();

    node.advance(ms(2_000));

    let keep = |output: &&Output| matches!(output, Output::KeepLink(ANNA));
    let announce = |output: &&Output| matches!(output, Output::Announce(_, c) if c.standing);
    assert_eq!(node.outputs().iter().filter(keep).count(), 1);
    assert_eq!(node.outputs().iter().filter(announce).count(), 2); // One says that it serves now.
}

#[test]
fn an_incumbent_keeps_its_place_while_a_better_score_stays_within_the_hysteresis() {
    let mut node = candidate_with(&[(ANNA, serving())]);
    assert_eq!(relays(&node), [ANNA]);

    for health in [100, 90, 100, 88, 100, 95] {
        let flapping = Candidacy {
            health,
            ..serving()
        };
        node.input(Input::Candidacy(ANNA, cloud(), flapping));
        advance_hearing(&mut node, &[ANNA], ms(500));
    }

    assert!(!node.take().contains(&serve()));
}

#[test]
fn a_challenger_takes_over_beyond_the_hysteresis_but_not_before_it_has_settled() {
    let mut node = candidate_with(&[(ANNA, serving())]);
    let better = Candidacy {
        priority: 12,
        ..way()
    };

    node.input(Input::OwnCandidacy(cloud(), better));
    advance_hearing(&mut node, &[ANNA], ms(9_900));
    assert_eq!(relays(&node), [ANNA]);
    advance_hearing(&mut node, &[ANNA], ms(200));

    assert_eq!(relays(&node), [OWN]);
    assert!(node.take().contains(&serve()));
}

#[test]
fn of_two_that_serve_after_a_partition_the_better_one_goes_on_once_it_is_heard() {
    let mut node = candidate();
    assert!(node.take().contains(&serve()));

    node.input(Input::Candidacy(ANNA, cloud(), serving()));
    assert_eq!(relays(&node), [OWN], "an old state would say the same");
    node.input(Input::LinkUp(ANNA));
    node.input(HEARTBEAT);

    // Equal but for the id: Anna's is smaller.
    assert!(node.take().contains(&yields()));
    assert_eq!(relays(&node), [ANNA]);
}

#[test]
fn a_withdrawal_and_a_resignation_take_effect_at_once() {
    for leaves in [
        Input::Candidacy(ANNA, cloud(), withdrawn()),
        Input::Received(ANNA, Message::Resign),
    ] {
        let mut node = candidate_with(&[(ANNA, serving())]);

        node.input(leaves);
        assert!(node.take().contains(&serve()));

        // A repetition that was still on its way changes nothing.
        node.input(Input::Candidacy(ANNA, cloud(), withdrawn()));
        assert_eq!(relays(&node), [OWN]);
    }
}

#[test]
fn a_machine_that_resigns_says_so_and_serves_nothing_any_more() {
    let mut node = candidate_with(&[(
        ANNA,
        Candidacy {
            priority: 1,
            ..way()
        },
    )]);
    assert_eq!(relays(&node), [OWN]);

    node.input(Input::Resign);

    let outputs = node.take();
    let announced = |output: &Output| matches!(output, Output::Announce(_, c) if !c.standing);
    assert!(outputs.contains(&Output::Send(ANNA, Message::Resign)));
    assert!(outputs.contains(&yields()));
    assert!(outputs.iter().any(announced));
    node.input(Input::OwnCandidacy(cloud(), way()));
    node.advance(ms(10_000));
    assert!(
        !node
            .take()
            .iter()
            .any(|output| matches!(output, Output::Send(..)))
    );
}

#[test]
fn a_paused_relay_fences_itself_until_it_has_read_the_states() {
    let mut node = candidate();
    node.take();
    let woken = node.now() + ms(50) + ms(301);

    let mut outputs = Vec::new();
    node.with(|machine| {
        machine.handle_timeout(woken);
        outputs.extend(std::iter::from_fn(|| machine.poll_output()));
    });

    assert!(outputs.contains(&Output::Reread));
    assert!(outputs.contains(&yields()));
    assert!(!outputs.contains(&serve()));
    assert_eq!(stats(&node).fences, 1);
    node.with(|machine| {
        machine.handle(woken, Input::StatesRead);
        outputs = std::iter::from_fn(|| machine.poll_output()).collect();
    });
    assert!(outputs.contains(&serve()));
}

#[test]
fn a_fenced_machine_leaves_the_work_to_its_successor() {
    let mut node = candidate_with(&[(BERT, way())]);
    assert_eq!(relays(&node), [OWN]);
    let woken = node.now() + ms(1_000);

    node.with(|machine| {
        machine.handle(woken, heartbeat(BERT));
        machine.handle(woken, Input::Candidacy(BERT, cloud(), serving()));
        machine.handle(woken, Input::StatesRead);
        while machine.poll_output().is_some() {}
    });

    assert_eq!(relays(&node), [BERT]);
}

#[test]
fn links_are_kept_to_candidates_and_released_when_they_withdraw() {
    let mut node = candidate();
    node.take();

    node.input(Input::Candidacy(ANNA, cloud(), way()));
    assert!(node.take().contains(&Output::KeepLink(ANNA)));
    node.input(Input::Candidacy(ANNA, cloud(), withdrawn()));

    assert!(node.take().contains(&Output::ReleaseLink(ANNA)));
}

#[test]
fn two_relays_share_the_origins_and_each_machine_agrees() {
    let config = Config {
        relays_count: 2,
        ..Config::default()
    };
    let elect = |own, other| {
        let mut election = Election::new(own, config.clone(), Rng::from_u64(1));
        let now = Instant::ZERO;
        for n in 0..100 {
            election.handle(now, Input::Origin(MachineId::from_bytes([n; 32])));
        }
        election.handle(now, Input::OwnCandidacy(cloud(), way()));
        election.handle(now, Input::StatesRead);
        election.handle(now, Input::Candidacy(other, cloud(), serving()));
        election.handle(now, Input::LinkUp(other));
        election.handle(now, heartbeat(other));
        election
    };
    let (anna, bert) = (elect(ANNA, BERT), elect(BERT, ANNA));

    let mut served_by_anna = 0;
    for n in 0..100 {
        let origin = MachineId::from_bytes([n; 32]);
        let relay = anna.relay_of(&cloud(), &origin);
        assert_eq!(relay, bert.relay_of(&cloud(), &origin));
        served_by_anna += u32::from(relay == Some(ANNA));
    }
    assert!((30..=70).contains(&served_by_anna), "{served_by_anna}");
}

#[test]
fn a_flood_of_candidacies_and_uplinks_stays_within_bounds_and_the_best_count() {
    let mut node = candidate();
    for n in 0..200 {
        let machine = MachineId::from_bytes([n; 32]);
        let uplink = format!("uplink-{n}").parse().expect("an id");
        node.input(Input::Candidacy(machine, uplink, way()));
        let candidacy = Candidacy {
            priority: n,
            ..serving()
        };
        node.input(Input::Candidacy(machine, cloud(), candidacy));
    }

    assert_eq!(relays(&node), [MachineId::from_bytes([199; 32])]);
    assert!(stats(&node).uplinks_over_limit > 0);
    assert!(stats(&node).candidacies_over_limit > 0);
    let other: UplinkId = "uplink-own".parse().expect("an id");
    node.input(Input::OwnCandidacy(other.clone(), way()));
    assert_eq!(node.machine().inner().relays(&other), [OWN]);
}
