//! Each rule of the election on one machine, without a network.

use std::time::Duration;

use testkit::{Lawful, Probe, Step};

use super::*;
use crate::{Fault, Message};

const OWN: MachineId = MachineId::from_bytes([10; 32]);
const ANNA: MachineId = MachineId::from_bytes([1; 32]);
const BERT: MachineId = MachineId::from_bytes([20; 32]);
const CARL: MachineId = MachineId::from_bytes([30; 32]);
const ORIGIN: MachineId = MachineId::from_bytes([99; 32]);

const HEARTBEAT: Input = Input::Received(ANNA, Message::Heartbeat { counter: 1 });

type Node = Probe<Lawful<Election>>;

fn cloud() -> UplinkId {
    "cloud".parse().expect("an id")
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn way() -> Candidacy {
    Candidacy {
        standing: true,
        priority: 10,
        health: 100,
        ..Candidacy::default()
    }
}

fn serving() -> Candidacy {
    Candidacy {
        serving: true,
        settled: true,
        ..way()
    }
}

fn withdrawn() -> Candidacy {
    Candidacy {
        standing: false,
        ..way()
    }
}

fn node() -> Node {
    let make = || Election::new(OWN, Config::default(), Rng::from_u64(1));
    let mut node = Probe::new(Lawful::new(make));
    node.input(Input::Origin(ORIGIN));
    node
}

/// A machine that stands and has read the states.
fn candidate() -> Node {
    let mut node = node();
    node.input(Input::OwnCandidacy(cloud(), way()));
    node.input(Input::StatesRead);
    node
}

/// A candidate with others, linked and heard just now.
fn candidate_with(others: &[(MachineId, Candidacy)]) -> Node {
    let mut node = node();
    node.input(Input::OwnCandidacy(cloud(), way()));
    for (other, candidacy) in others {
        node.input(Input::Candidacy(*other, cloud(), candidacy.clone()));
        node.input(Input::LinkUp(*other));
    }
    node.input(Input::StatesRead);
    for (other, _) in others {
        node.input(heartbeat(*other));
    }
    node.take();
    node
}

fn heartbeat(from: MachineId) -> Input {
    Input::Received(from, Message::Heartbeat { counter: 1 })
}

/// Lets time pass in heartbeats of the given machines.
fn advance_hearing(node: &mut Node, heard: &[MachineId], duration: Duration) {
    let end = node.now() + duration;
    while node.now() < end {
        node.advance(ms(50).min(end - node.now()));
        for machine in heard {
            node.input(heartbeat(*machine));
        }
    }
}

fn serve() -> Output {
    Output::Serve(cloud(), ORIGIN)
}

fn yields() -> Output {
    Output::Yield(cloud(), ORIGIN)
}

fn relays(node: &Node) -> Vec<MachineId> {
    node.machine().inner().relays(&cloud())
}

fn stats(node: &Node) -> Stats {
    node.machine().inner().stats()
}

/// The probes that were sent, with helper and nonce.
fn probes(outputs: &[Output], suspect: MachineId) -> Vec<(MachineId, u64)> {
    let probe = |output: &Output| {
        if let Output::Send(helper, Message::Probe { target, nonce }) = output {
            return (*target == suspect).then_some((*helper, *nonce));
        }
        None
    };
    outputs.iter().filter_map(probe).collect()
}

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
fn a_relay_sends_heartbeats_over_open_links_and_who_waits_sends_none() {
    let beats = |node: &Node, machine| {
        let beat = |output: &&Output| matches!(output, Output::Send(to, Message::Heartbeat { .. }) if *to == machine);
        node.outputs().iter().filter(beat).count()
    };
    let mut relay = candidate_with(&[(CARL, way())]);
    relay.input(Input::Candidacy(BERT, cloud(), way()));
    let mut standby = candidate_with(&[(ANNA, serving()), (CARL, way())]);
    relay.take();

    relay.advance(ms(200));
    advance_hearing(&mut standby, &[ANNA], ms(200));

    assert_eq!((beats(&relay, CARL), beats(&relay, BERT)), (4, 0));
    assert_eq!((beats(&standby, ANNA), beats(&standby, CARL)), (0, 0));
}

#[test]
fn who_suspects_a_relay_asks_those_before_itself_and_waits_for_nobody_who_does_not_answer() {
    let rival = Candidacy {
        priority: 11,
        ..way()
    };
    for answers in [true, false] {
        let mut node = candidate_with(&[(ANNA, serving()), (BERT, rival.clone()), (CARL, way())]);

        node.advance(ms(300));
        let asked = probes(&node.take(), BERT);
        let [(BERT, nonce)] = asked[..] else {
            panic!("asked {asked:?}")
        };
        if answers {
            let alive = true;
            node.input(Input::Received(BERT, Message::ProbeReply { nonce, alive }));
        }
        node.advance(ms(40));

        assert_eq!(relays(&node), [if answers { BERT } else { OWN }]);
    }
}

#[test]
fn a_successor_that_never_serves_is_passed_over_in_its_turn() {
    let rival = Candidacy {
        priority: 11,
        ..way()
    };
    let mut node = candidate_with(&[(ANNA, serving()), (BERT, rival)]);

    node.input(Input::Received(ANNA, Message::Resign));
    assert_eq!(relays(&node), [BERT]);
    node.advance(ms(340));

    assert_eq!(relays(&node), [OWN]);
}

#[test]
fn silence_of_the_relay_ends_in_a_takeover_within_the_budget() {
    let mut node = candidate_with(&[(ANNA, serving())]);

    node.advance(ms(339));
    assert!(!node.outputs().contains(&serve()));
    node.advance(ms(1));

    assert!(node.take().contains(&serve()));
    assert_eq!(stats(&node).deaths, 1);
}

#[test]
fn a_closed_link_is_a_suspicion_at_once() {
    let mut node = candidate_with(&[(ANNA, serving())]);

    node.input(Input::LinkDown(ANNA));
    assert!(!node.outputs().contains(&serve()));
    node.advance(ms(40));

    assert!(node.take().contains(&serve()));
}

#[test]
fn helpers_that_lost_the_suspect_too_end_the_suspicion_at_once() {
    let mut node = candidate_with(&[(ANNA, serving()), (BERT, way()), (CARL, way())]);

    node.input(Input::LinkDown(ANNA));
    let asked = probes(&node.take(), ANNA);
    assert_eq!(asked.len(), 2);
    for (helper, nonce) in asked {
        assert!(!node.outputs().contains(&serve()));
        let alive = false;
        node.input(Input::Received(
            helper,
            Message::ProbeReply { nonce, alive },
        ));
    }

    assert!(node.take().contains(&serve()));
}

#[test]
fn a_suspect_that_a_helper_found_alive_stays_and_is_asked_about_again() {
    let mut node = candidate_with(&[(ANNA, serving()), (BERT, way())]);

    node.input(Input::LinkDown(ANNA));
    for _ in 0..5 {
        let asked = probes(&node.take(), ANNA);
        let [(BERT, nonce)] = asked[..] else {
            panic!("asked {asked:?}")
        };
        let alive = true;
        node.input(Input::Received(BERT, Message::ProbeReply { nonce, alive }));
        advance_hearing(&mut node, &[BERT], ms(300));
    }

    assert_eq!(relays(&node), [ANNA]);
    assert_eq!(stats(&node).deaths, 0);
}

#[test]
fn a_dead_candidate_that_is_heard_again_comes_back_but_has_lost_its_claim() {
    let mut node = candidate_with(&[(ANNA, serving())]);
    node.advance(ms(340));
    assert_eq!(relays(&node), [OWN]);

    node.input(HEARTBEAT);
    assert_eq!(relays(&node), [OWN]);
    node.input(Input::Candidacy(ANNA, cloud(), serving()));

    assert_eq!(relays(&node), [ANNA]); // She says that she never stopped.
}

#[test]
fn a_stale_candidacy_of_the_long_dead_is_believed_by_no_relay_and_by_others_for_the_grace_only() {
    let long_dead = Candidacy {
        priority: 200,
        ..serving()
    };
    let mut relay = candidate();
    let mut newcomer = node();
    newcomer.input(Input::OwnCandidacy(cloud(), way()));

    for node in [&mut relay, &mut newcomer] {
        node.input(Input::Candidacy(BERT, cloud(), long_dead.clone()));
    }
    newcomer.input(Input::StatesRead);

    assert_eq!((relays(&relay), relays(&newcomer)), (vec![OWN], vec![BERT]));
    newcomer.advance(ms(1_040));
    assert_eq!(relays(&newcomer), [OWN]);
}

#[test]
fn who_cannot_be_reached_takes_a_relays_place_once_it_has_repeated_its_candidacy() {
    let mut node = candidate();
    node.input(Input::Candidacy(ANNA, cloud(), serving()));

    node.advance(ms(2_001));
    assert_eq!(relays(&node), [OWN]);
    node.input(Input::Candidacy(ANNA, cloud(), serving()));

    assert_eq!(relays(&node), [ANNA]);
}

#[test]
fn a_state_that_was_on_its_way_does_not_raise_the_dead() {
    let mut node = candidate_with(&[(ANNA, serving())]);
    node.input(Input::LinkDown(ANNA));
    node.advance(ms(40));
    assert_eq!(relays(&node), [OWN]);

    node.advance(ms(1_500));
    node.input(Input::Candidacy(ANNA, cloud(), serving()));

    assert_eq!(relays(&node), [OWN]);
}

#[test]
fn who_cannot_be_reached_but_goes_on_repeating_its_candidacy_is_alive_by_that() {
    let mut node = candidate_with(&[(ANNA, serving())]);
    node.input(Input::LinkDown(ANNA));
    node.advance(ms(2_100));
    assert_eq!(relays(&node), [OWN]);

    node.input(Input::Candidacy(ANNA, cloud(), serving()));
    assert_eq!(relays(&node), [ANNA]);
    node.advance(ms(6_000));

    assert_eq!(relays(&node), [OWN]);
}

#[test]
fn what_was_said_before_the_link_closed_does_not_raise_one_that_had_long_been_silent() {
    let mut node = candidate_with(&[(ANNA, serving())]);
    node.advance(ms(2_500));
    assert_eq!(relays(&node), [OWN]);
    let mut control = candidate_with(&[(ANNA, serving())]);
    control.advance(ms(2_500));

    node.input(Input::LinkDown(ANNA));
    for node in [&mut node, &mut control] {
        node.input(Input::Candidacy(ANNA, cloud(), serving()));
    }

    assert_eq!(relays(&node), [OWN]);
    assert_eq!(relays(&control), [ANNA]);
}

#[test]
fn who_is_alive_by_its_states_alone_is_dead_when_a_link_to_it_closes() {
    let mut node = candidate_with(&[(ANNA, serving())]);
    node.input(Input::LinkDown(ANNA));
    node.advance(ms(2_100));
    node.input(Input::Candidacy(ANNA, cloud(), serving()));
    assert_eq!(relays(&node), [ANNA]);

    node.input(Input::LinkUp(ANNA));
    node.input(Input::LinkDown(ANNA));

    assert_eq!(relays(&node), [OWN]);
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
fn a_machine_that_was_late_itself_accuses_nobody_for_that_time() {
    let mut node = candidate_with(&[(ANNA, serving())]);
    node.advance(ms(250));
    let late = node.now() + ms(250);

    node.with(|machine| {
        machine.handle_timeout(late);
        machine.handle(late, HEARTBEAT); // Lay in the queue.
        while machine.poll_output().is_some() {}
    });

    assert_eq!(stats(&node).suspicions, 0);
    assert_eq!(stats(&node).fences, 0);
}

#[test]
fn a_helper_probes_the_suspect_and_hands_its_answer_on() {
    let mut node = candidate_with(&[(ANNA, way()), (BERT, way())]);
    let asked = Message::Probe {
        target: BERT,
        nonce: 77,
    };

    node.input(Input::Received(ANNA, asked.clone()));
    let [(BERT, nonce)] = probes(&node.take(), BERT)[..] else {
        panic!("did not probe")
    };
    let alive = true;
    node.input(Input::Received(BERT, Message::ProbeReply { nonce, alive }));
    let answer = |alive| Output::Send(ANNA, Message::ProbeReply { nonce: 77, alive });
    assert_eq!(node.take(), [answer(true)]);

    node.input(Input::Received(ANNA, asked.clone()));
    node.advance(ms(30));
    assert!(node.take().contains(&answer(false)));

    node.input(Input::LinkDown(BERT));
    node.take();
    node.input(Input::Received(ANNA, asked));
    assert_eq!(node.take(), [answer(false)]);
}

#[test]
fn an_answer_that_was_never_asked_for_is_misbehaviour_and_a_late_one_is_not() {
    let mut node = candidate_with(&[(ANNA, way()), (BERT, way())]);
    let answer = |nonce| Input::Received(ANNA, Message::ProbeReply { nonce, alive: true });

    node.input(answer(1_000));
    assert_eq!(node.take(), [Output::Misbehaved(ANNA, Fault::Unasked)]);

    node.input(Input::LinkDown(BERT));
    let [(ANNA, nonce)] = probes(&node.take(), BERT)[..] else {
        panic!("did not probe")
    };
    advance_hearing(&mut node, &[ANNA], ms(100));
    node.take();
    node.input(answer(nonce));
    assert_eq!(node.take(), []);
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

#[test]
fn the_laws_hold_over_random_scripts() {
    for seed in 0..20 {
        let mut rng = Rng::from_u64(seed);
        let script: Vec<_> = (0..500).map(|_| random_step(&mut rng)).collect();
        let make = || Election::new(OWN, Config::default(), Rng::from_u64(seed));

        let outputs = testkit::check(make, script);

        // An origin is served and yielded in turns.
        let mut served = BTreeSet::new();
        for output in outputs {
            if let Output::Serve(uplink, origin) = output {
                assert!(served.insert((uplink, origin)));
            } else if let Output::Yield(uplink, origin) = output {
                assert!(served.remove(&(uplink, origin)));
            }
        }
    }
}

fn random_step(rng: &mut Rng) -> Step<Input> {
    let machine = *rng.choose(&[OWN, ANNA, BERT, CARL]).expect("four machines");
    let peer = *rng.choose(&[ANNA, BERT, CARL]).expect("three machines");
    let uplink = if rng.chance(500) {
        cloud()
    } else {
        "other".parse().expect("an id")
    };
    let candidacy = Candidacy {
        standing: rng.chance(800),
        serving: rng.chance(300),
        settled: rng.chance(500),
        health: rng.below(101).try_into().expect("a percentage"),
        ..way()
    };
    let nonce = rng.below(20);
    let message = match rng.below(8) {
        0 => Message::Resign,
        1 | 2 => Message::Probe {
            target: machine,
            nonce,
        },
        3 | 4 => Message::ProbeReply {
            nonce,
            alive: rng.chance(500),
        },
        counter => Message::Heartbeat { counter },
    };
    Step::Input(match rng.below(20) {
        0 | 1 => Input::OwnCandidacy(uplink, candidacy),
        2..=4 => Input::Candidacy(machine, uplink, candidacy),
        5 => Input::Origin(machine),
        6 | 7 => Input::LinkUp(peer),
        8 => Input::LinkDown(peer),
        9 => Input::StatesRead,
        10..=14 => Input::Received(peer, message),
        _ => return Step::Advance(ms(rng.below(400))),
    })
}
