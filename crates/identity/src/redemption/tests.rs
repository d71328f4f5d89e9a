use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Delegation, Grant, Issuer, Keypair, Role, Roll, Terms, verify_state};

fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

fn trust() -> Trust {
    Trust::new(key(OPERATOR).machine())
}

/// What the operator lets an admitter grant.
fn admitters(admitter: u8) -> Membership {
    let operator = key(OPERATOR);
    let delegation = Delegation {
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: Duration::from_secs(1_000),
    };
    let grant = Grant {
        machine: key(admitter).machine(),
        name: format!("gate-{admitter}"),
        site: "hall-b".to_owned(),
        roles: [Role::Admit].into(),
        commands: Vec::new(),
        not_before: second(-10_000),
        not_after: second(10_000),
        delegation: Some(delegation),
    };
    Issuer::operator(&operator)
        .admit(grant)
        .expect("a good grant")
}

/// The claim of a machine on the operator's invitation with this secret.
fn claim(secret: u8, machine: u8) -> Claim {
    let (operator, secret) = (key(OPERATOR), key(secret));
    let terms = Terms {
        site: "hall-b".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: Duration::from_secs(5_000),
        not_after: second(500),
    };
    let invited = Issuer::operator(&operator).invite(InvitationId::of(&secret), terms);
    let machine = key(machine).machine();
    Claim::sign(
        trust(),
        invited.expect("good terms"),
        &secret,
        machine,
        "press-3",
    )
    .expect("a name")
}

/// The state in which an admitter says that it has redeemed a claim.
fn redeemed(admitter: u8, claim: &Claim, time: Timestamp) -> State {
    let (key, own) = (key(admitter), admitters(admitter));
    let issuer = Issuer::admitter(&key, &own, trust()).expect("it may admit");
    let membership = issuer.redeem(claim, time).expect("within its delegation");
    Redemption::sign(&key, &trust().network(), claim, &membership, time).expect("short enough")
}

fn read(state: &State) -> Redemption {
    Redemption::from_state(trust(), state).expect("a redemption")
}

fn roll_with(states: &[&State]) -> Roll {
    let mut roll = Roll::new(trust(), Duration::ZERO);
    for state in states {
        assert!(roll.redeem(&read(state)));
        assert!(!roll.redeem(&read(state)), "the same is no news");
    }
    roll
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_nanos(second * 1_000_000_000)
}

#[test]
fn a_redemption_reads_back_as_it_was_signed() {
    let claim = claim(SECRET, ALICE);

    let state = redeemed(GATE, &claim, second(7));

    assert_eq!(verify_state(&trust().network(), &state), Ok(()));
    let read = read(&state);
    assert_eq!(read.invitation(), claim.invitation().id());
    assert_eq!(read.machine(), key(ALICE).machine());
    assert_eq!(read.admitter(), key(GATE).machine());
    assert_eq!(read.time(), second(7));
}

#[test]
fn the_earlier_of_two_redemptions_under_one_key_replaces_the_later() {
    let early = redeemed(GATE, &claim(SECRET, ALICE), second(7));
    let late = redeemed(GATE, &claim(SECRET, ALICE), second(8));

    assert_eq!(early.key(), late.key());
    assert!(early.version() > late.version());
}

#[test]
fn what_a_redeemer_gets_ends_when_the_admitter_may_grant_no_longer() {
    let state = redeemed(GATE, &claim(SECRET, ALICE), second(0));

    let grant = read(&state).membership().grant().clone();

    let longest = Duration::from_secs(1_000);
    assert_eq!(grant.not_after, grant.not_before.saturating_add(longest));
    assert!(
        grant.not_before < second(0),
        "machines whose clocks are behind can use it"
    );
}

#[test]
fn an_admitter_cannot_make_up_who_redeemed_an_invitation() {
    let (network, time) = (trust().network(), second(0));
    let genuine = redeemed(GATE, &claim(SECRET, ALICE), time);
    let others = redeemed(GATE, &claim(SECRET, BOB), time);
    let forged = StateDraft {
        key: Redemption::key(
            key(GATE).machine(),
            read(&genuine).invitation(),
            key(BOB).machine(),
        ),
        version: genuine.version(),
        payload: genuine.payload().clone(),
    };
    let forged = forged.seal(&network, |digest| key(GATE).sign(digest));
    let copied = StateDraft {
        key: Redemption::key(
            key(OTHER_GATE).machine(),
            read(&others).invitation(),
            key(BOB).machine(),
        ),
        version: others.version(),
        payload: others.payload().clone(),
    };
    let copied = copied.seal(&network, |digest| key(OTHER_GATE).sign(digest));

    assert!(
        Redemption::from_state(trust(), &genuine).is_ok(),
        "the control"
    );
    assert!(
        Redemption::from_state(trust(), &forged).is_err(),
        "another machine's claim"
    );
    assert!(
        Redemption::from_state(trust(), &copied).is_err(),
        "another admitter's membership"
    );
}

#[test]
fn of_two_redemptions_the_earlier_counts_in_whatever_order_they_are_heard_of() {
    let early = redeemed(GATE, &claim(SECRET, BOB), second(1));
    let late = redeemed(OTHER_GATE, &claim(SECRET, ALICE), second(2));
    let unrelated = redeemed(OTHER_GATE, &claim(OTHER_SECRET, CAROL), second(3));

    for order in [[&early, &late, &unrelated], [&unrelated, &late, &early]] {
        let roll = roll_with(&order);

        let redeemer = roll.redeemer(read(&early).invitation()).expect("redeemed");
        assert_eq!(redeemer.machine, key(BOB).machine());
        assert_eq!(redeemer.too_late, [key(ALICE).machine()].into());
        let judge = |state: &State| roll.judge(read(state).membership(), Some(second(10)));
        assert_eq!(judge(&late), Err(CredentialError::Revoked));
        assert!(judge(&early).is_ok());
        assert!(judge(&unrelated).is_ok());
    }
}

#[test]
fn a_machine_that_asks_two_admitters_keeps_what_both_have_given_it() {
    let first = redeemed(GATE, &claim(SECRET, ALICE), second(1));
    let again = redeemed(OTHER_GATE, &claim(SECRET, ALICE), second(2));

    let roll = roll_with(&[&again, &first]);

    let redeemer = roll.redeemer(read(&first).invitation()).expect("redeemed");
    assert_eq!(redeemer.admitters.len(), 2);
    assert_eq!(redeemer.too_late, [].into());
    for state in [&first, &again] {
        assert!(
            roll.judge(read(state).membership(), Some(second(10)))
                .is_ok()
        );
    }
}

#[test]
fn who_came_too_late_is_no_outcast_when_it_is_admitted_by_another_invitation_or_admitter() {
    let early = redeemed(GATE, &claim(SECRET, BOB), second(1));
    let late = redeemed(OTHER_GATE, &claim(SECRET, ALICE), second(2));
    let elsewhere = redeemed(GATE, &claim(OTHER_SECRET, ALICE), second(3));
    let anew = redeemed(OTHER_GATE, &claim(OTHER_SECRET, ALICE), second(4));
    let judge = |roll: &Roll, state| roll.judge(read(state).membership(), Some(second(10)));

    let roll = roll_with(&[&early, &late, &elsewhere]);
    assert!(judge(&roll, &elsewhere).is_ok());
    assert!(judge(&roll, &late).is_err(), "the control");
    let roll = roll_with(&[&early, &late, &anew]);
    assert!(judge(&roll, &anew).is_ok());
}

proptest! {
    #[test]
    fn which_redemptions_count_does_not_depend_on_the_order_in_which_they_are_heard_of(
        order in Just((0..ALL.len()).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let redemptions: Vec<State> = ALL
            .iter()
            .map(|(admitter, secret, machine, at)| {
                redeemed(*admitter, &claim(*secret, *machine), second(*at))
            })
            .collect();
        let in_order: Vec<&State> = redemptions.iter().collect();
        let shuffled: Vec<&State> = order.iter().map(|at| &redemptions[*at]).collect();

        prop_assert_eq!(roll_with(&in_order), roll_with(&shuffled));
    }
}

/// Admitter, secret, machine, second: two at the same time, and a machine that asked twice.
const ALL: [(u8, u8, u8, i64); 6] = [
    (GATE, SECRET, ALICE, 3),
    (OTHER_GATE, SECRET, BOB, 2),
    (GATE, SECRET, CAROL, 2),
    (OTHER_GATE, SECRET, ALICE, 1),
    (GATE, OTHER_SECRET, BOB, 5),
    (OTHER_GATE, OTHER_SECRET, CAROL, 4),
];
const OPERATOR: u8 = 1;
const GATE: u8 = 2;
const OTHER_GATE: u8 = 3;
const ALICE: u8 = 4;
const BOB: u8 = 5;
const CAROL: u8 = 6;
const SECRET: u8 = 7;
const OTHER_SECRET: u8 = 8;
