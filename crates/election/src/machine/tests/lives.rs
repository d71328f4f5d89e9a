//! Who is taken for alive: heartbeats, suspicions, probes, and candidacies of those that are not
//! heard.

use super::*;

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
