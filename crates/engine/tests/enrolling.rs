//! Machines that become members through a running node: by name, or by an invitation, once.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one kind of output"
)]

use std::time::Duration;

use engine::{
    AdminError, AdminReply, AdminRequest, Config, Event, Input, Node, NodeIdentity, Output,
    Recovered, RequestId, Rights,
};
use gossip::Write;
use identity::{
    Claim, CredentialError, Delegation, Grant, Invitation, InvitationId, Issuer, Keypair,
    Membership, Revocation, Role, Terms, Trust,
};
use model::{ClockState, MachineId, State, StateKind, Timestamp};
use overlay::Contact;
use statemachine::{Rng, Ticket};
use testkit::Probe;
use wire::Frame;

const NOON: Timestamp = Timestamp::from_nanos(1_800_000_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const OPERATOR: u8 = 1;
/// Two machines that may admit.
const GATE: u8 = 2;
const OTHER_GATE: u8 = 3;
/// Machines that have no membership yet.
const ALICE: u8 = 4;
const BOB: u8 = 5;
const SECRET: u8 = 9;

fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

fn machine(seed: u8) -> MachineId {
    key(seed).machine()
}

fn trust() -> Trust {
    Trust::new(machine(OPERATOR))
}

/// What the operator lets a machine do: admit publishers for a day.
fn admitters_membership(seed: u8) -> Membership {
    let delegation = Delegation {
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: DAY,
    };
    let grant = Grant {
        roles: [Role::Publish, Role::Admit].into(),
        delegation: Some(delegation),
        ..grant(seed)
    };
    Membership::issue(&key(OPERATOR), grant).expect("a good grant")
}

fn grant(seed: u8) -> Grant {
    Grant {
        machine: machine(seed),
        name: format!("press-{seed}"),
        site: "hall-3".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        not_before: Timestamp::MIN,
        not_after: NOON.saturating_add(DAY * 30),
        delegation: None,
    }
}

fn node(membership: Membership, states: Vec<State>) -> Probe<Node> {
    let seeds = [GATE, OTHER_GATE].into_iter();
    let own = seeds
        .map(key)
        .find(|key| key.machine() == membership.machine());
    let identity = NodeIdentity {
        keypair: own.expect("one of the two"),
        membership,
        trust: trust(),
    };
    let recovered = Recovered {
        states,
        ..Recovered::default()
    };
    let node = Node::new(identity, Config::default(), recovered, Rng::from_u64(7));
    let mut node = Probe::new(node);
    node.input(Input::WallClock(NOON, ClockState::Synchronised));
    node.take();
    node
}

fn gate() -> Probe<Node> {
    node(admitters_membership(GATE), Vec::new())
}

/// What the operator offers for an hour.
fn invitation(roles: &[Role]) -> Invitation {
    let terms = Terms {
        site: "hall-3".to_owned(),
        roles: roles.iter().copied().collect(),
        commands: Vec::new(),
        lifetime: DAY * 365,
        not_after: NOON.saturating_add(HOUR),
    };
    let operator = key(OPERATOR);
    let invited = Issuer::operator(&operator).invite(InvitationId::of(&key(SECRET)), terms);
    invited.expect("good terms")
}

fn claim(seed: u8) -> Claim {
    claim_as(seed, &format!("drill-{seed}"))
}

fn claim_as(seed: u8, name: &str) -> Claim {
    let invitation = invitation(&[Role::Publish]);
    Claim::sign(trust(), invitation, &key(SECRET), machine(seed), name).expect("a good name")
}

fn ask(node: &mut Probe<Node>, asked: AdminRequest) {
    node.input(Input::Admin(RequestId(9), Box::new(asked)));
}

/// A claim is handed to the node and what it writes gets on disk; what it answers, and what it
/// wrote.
fn redeem(node: &mut Probe<Node>, claim: Claim) -> (Result<Membership, AdminError>, Vec<State>) {
    ask(node, AdminRequest::Redeem(Box::new(claim)));
    let redemptions = persist(node).into_iter();
    let redemptions = redemptions.filter(|state| state.key().kind == StateKind::Redemption);
    let redemptions = redemptions.collect();
    (admitted(node), redemptions)
}

/// What is to be written gets on disk.
fn persist(node: &mut Probe<Node>) -> Vec<State> {
    let writes = writes(node);
    for (ticket, _) in &writes {
        node.input(Input::Persisted(*ticket));
    }
    writes.into_iter().map(|(_, state)| state).collect()
}

fn writes(node: &Probe<Node>) -> Vec<(Ticket, State)> {
    let writes = node.outputs().iter().filter_map(|output| match output {
        Output::Persist(ticket, Write::State(state)) => Some((*ticket, state.clone())),
        _ => None,
    });
    writes.collect()
}

/// The one answer that was given.
fn answer(node: &mut Probe<Node>) -> Result<AdminReply, AdminError> {
    let replies = node.take().into_iter().filter_map(|output| match output {
        Output::AdminReply(RequestId(9), result) => Some(*result),
        _ => None,
    });
    let mut replies: Vec<_> = replies.collect();
    assert_eq!(replies.len(), 1, "{replies:?}");
    replies.remove(0)
}

fn admitted(node: &mut Probe<Node>) -> Result<Membership, AdminError> {
    answer(node).map(|reply| match reply {
        AdminReply::Admitted(membership) => membership,
        other => panic!("not a membership: {other:?}"),
    })
}

/// A machine links and becomes a neighbour.
fn link(node: &mut Probe<Node>, membership: Membership) {
    let contact = Contact {
        machine: membership.machine(),
        addresses: Vec::new(),
    };
    let machine = membership.machine();
    node.input(Input::LinkUp(Box::new(membership)));
    let message = overlay::Message::Neighbour {
        contact,
        urgent: true,
    };
    node.input(Input::Received(machine, Frame::Overlay(message)));
    node.take();
}

/// A neighbour passes a state on, behind its own membership.
fn hear(node: &mut Probe<Node>, from: u8, states: Vec<State>) {
    let message = gossip::Message::States(states);
    node.input(Input::Received(machine(from), Frame::Gossip(message)));
}

fn said_by(seed: u8, membership: &Membership) -> State {
    let draft = model::StateDraft {
        key: model::StateKey {
            origin: machine(seed),
            kind: StateKind::Membership,
            subject: String::new(),
        },
        version: model::StateVersion {
            epoch: 1,
            counter: 1,
        },
        payload: membership.as_bytes().clone(),
    };
    draft.seal(&trust().network(), |digest| key(seed).sign(digest))
}

#[test]
fn a_machine_becomes_a_member_by_an_invitation_once_that_is_on_disk() {
    let mut gate = gate();

    ask(&mut gate, AdminRequest::Redeem(Box::new(claim(ALICE))));
    let writes = writes(&gate);
    let early = gate.outputs().iter();
    let early = early.filter(|output| matches!(output, Output::AdminReply(..)));
    assert_eq!(early.count(), 0, "nothing is promised before it is written");
    let [(ticket, _)] = &writes[..] else {
        panic!("not one write: {writes:?}");
    };
    gate.input(Input::Persisted(*ticket));

    let membership = admitted(&mut gate).expect("admitted");
    assert_eq!(membership.machine(), machine(ALICE));
    assert_eq!(membership.issuer(), machine(GATE));
    let grant = membership.grant();
    assert_eq!(
        (grant.name.as_str(), grant.site.as_str()),
        ("drill-4", "hall-3")
    );
    assert_eq!(grant.roles, [Role::Publish].into());
    assert!(
        grant.not_after <= NOON.saturating_add(DAY),
        "as long as the admitter may"
    );
    let read = trust().read(membership.as_bytes().clone());
    assert_eq!(read, Ok(membership), "and others accept it");
}

#[test]
fn whoever_asks_again_gets_the_same_again_also_after_a_restart_and_nobody_else_gets_anything() {
    let mut gate = gate();
    let (first, written) = redeem(&mut gate, claim(ALICE));

    let (again, nothing) = redeem(&mut gate, claim(ALICE));
    let (other, _) = redeem(&mut gate, claim(BOB));
    let mut restarted = node(admitters_membership(GATE), written.clone());
    let (after, _) = redeem(&mut restarted, claim(ALICE));
    let (other_after, _) = redeem(&mut restarted, claim(BOB));

    assert_eq!((written.len(), nothing.len()), (1, 0));
    assert!(first.is_ok());
    assert_eq!([&again, &after], [&first, &first]);
    let by = machine(ALICE);
    let used_up = Err(AdminError::Redeemed { by });
    assert_eq!([&other, &other_after], [&used_up, &used_up]);
}

#[test]
fn what_another_admitter_has_redeemed_is_known_here() {
    let (given, redemption) = redeem(&mut gate(), claim(ALICE));
    let mut other_gate = node(admitters_membership(OTHER_GATE), Vec::new());
    link(&mut other_gate, admitters_membership(GATE));
    let own = said_by(GATE, &admitters_membership(GATE));
    hear(&mut other_gate, GATE, [vec![own], redemption].concat());
    for (ticket, _) in writes(&other_gate) {
        other_gate.input(Input::Persisted(ticket));
    }
    other_gate.take();

    let (other, _) = redeem(&mut other_gate, claim(BOB));
    let (again, _) = redeem(&mut other_gate, claim(ALICE));

    let by = machine(ALICE);
    assert_eq!(other, Err(AdminError::Redeemed { by }));
    assert_eq!(again, given, "the lost answer, from whoever is asked");
}

#[test]
fn two_halves_that_redeemed_one_invitation_agree_on_who_it_was_and_say_so() {
    let mut gate = gate();
    let mut other_gate = node(admitters_membership(OTHER_GATE), Vec::new());
    let (alice, by_gate) = redeem(&mut gate, claim(ALICE));
    let soon = NOON.saturating_add(Duration::from_secs(1));
    other_gate.input(Input::WallClock(soon, ClockState::Synchronised));
    let (bob, by_other) = redeem(&mut other_gate, claim(BOB));
    let (alice, bob) = (alice.expect("admitted"), bob.expect("admitted too"));
    link(&mut gate, alice.clone());
    link(&mut other_gate, bob.clone());

    for (node, from, states) in [
        (&mut gate, OTHER_GATE, by_other),
        (&mut other_gate, GATE, by_gate),
    ] {
        link(node, admitters_membership(from));
        let own = said_by(from, &admitters_membership(from));
        hear(node, from, [vec![own], states].concat());
    }

    for node in [&mut gate, &mut other_gate] {
        let roll = node.machine().roll().clone();
        assert_eq!(roll.judge(&bob, Some(NOON)), Err(CredentialError::Revoked));
        assert!(roll.judge(&alice, Some(NOON)).is_ok());
        let said = node.outputs().iter().filter(|output| {
            matches!(output, Output::Event(Event::RedeemedTwice { counts, too_late, .. })
                if (*counts, *too_late) == (machine(ALICE), machine(BOB)))
        });
        assert_eq!(said.count(), 1);
    }
    let is_out = |output: Output| matches!(output, Output::Expel(out) if out == machine(BOB));
    assert!(other_gate.take().into_iter().any(is_out));
    let is_out = |output: Output| matches!(output, Output::Expel(_));
    assert!(!gate.take().into_iter().any(is_out), "the control");
}

#[test]
fn a_disk_that_takes_nothing_admits_nobody() {
    let mut gate = gate();

    ask(&mut gate, AdminRequest::Redeem(Box::new(claim(ALICE))));
    for (ticket, _) in writes(&gate) {
        gate.input(Input::PersistFailed(ticket));
    }

    assert_eq!(admitted(&mut gate), Err(AdminError::NotPersisted));
}

#[test]
fn a_revocation_is_promised_when_it_is_on_disk_and_written_again_if_the_disk_took_nothing() {
    let mut gate = gate();
    let operators = Revocation::sign(
        &key(OPERATOR),
        &trust().network(),
        machine(ALICE),
        NOON,
        "lost",
    );
    let operators = operators.expect("a good reason");
    let promises = |node: &Probe<Node>| {
        let is_reply = |output: &&Output| matches!(output, Output::AdminReply(..));
        node.outputs().iter().filter(is_reply).count()
    };

    ask(&mut gate, AdminRequest::Relay(operators.clone()));
    assert_eq!(promises(&gate), 0, "it is not on disk");
    for (ticket, _) in writes(&gate) {
        gate.input(Input::PersistFailed(ticket));
    }
    assert_eq!(answer(&mut gate), Err(AdminError::NotPersisted));
    ask(&mut gate, AdminRequest::Relay(operators.clone()));
    assert_eq!(answer(&mut gate), Err(AdminError::NotPersisted), "still");

    gate.advance(HOUR);
    assert_eq!(persist(&mut gate), std::slice::from_ref(&operators));
    gate.take();
    ask(&mut gate, AdminRequest::Relay(operators));

    assert_eq!(answer(&mut gate), Ok(AdminReply::Relayed { news: false }));
}

#[test]
fn without_a_clock_or_too_late_or_by_whoever_may_not_nobody_is_admitted() {
    let mut without_clock = gate();
    without_clock.input(Input::WallClock(NOON, ClockState::Unsynchronised));
    let mut late = gate();
    let end = NOON.saturating_add(HOUR);
    late.input(Input::WallClock(end, ClockState::Synchronised));
    let ordinary = Membership::issue(&key(OPERATOR), grant(GATE)).expect("a good grant");
    let mut ordinary = node(ordinary, Vec::new());

    for (node, refusal) in [
        (&mut without_clock, CredentialError::NoClock),
        (&mut late, CredentialError::InvitationExpired),
        (&mut ordinary, CredentialError::NotAdmitter),
    ] {
        node.take();
        let (refused, written) = redeem(node, claim(ALICE));
        assert_eq!(refused, Err(refusal.into()));
        assert_eq!(written, []);
    }
}

#[test]
fn adversarial_32_nobody_comes_back_through_the_admitter_that_has_thrown_it_out() {
    let mut gate = gate();
    let (admitted, _) = redeem(&mut gate, claim(ALICE));
    let revoke = AdminRequest::Revoke {
        machine: machine(ALICE),
        reason: "lost".to_owned(),
    };
    ask(&mut gate, revoke);
    persist(&mut gate);
    let revoked = answer(&mut gate);

    let (again, _) = redeem(&mut gate, claim(ALICE));
    let rights = Rights {
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: DAY,
    };
    let asked = AdminRequest::Admit {
        machine: machine(ALICE),
        name: "drill-4".to_owned(),
        rights,
    };
    ask(&mut gate, asked);

    assert!(admitted.is_ok() && revoked.is_ok());
    let out = Err(AdminError::Credential(CredentialError::Revoked));
    assert_eq!([again, self::admitted(&mut gate)], [out.clone(), out]);
}

#[test]
fn an_admitter_whose_own_membership_has_ended_admits_nobody_though_it_is_in_grace() {
    let mut gate = gate();
    let end = NOON.saturating_add(DAY * 30);
    gate.input(Input::WallClock(end, ClockState::Synchronised));
    gate.take();
    let asked = AdminRequest::Invite {
        id: InvitationId::of(&key(SECRET)),
        rights: Rights {
            roles: [Role::Publish].into(),
            commands: Vec::new(),
            lifetime: DAY,
        },
        open_for: HOUR,
    };

    ask(&mut gate, asked);

    assert_eq!(answer(&mut gate), Err(CredentialError::Expired.into()));
}

#[test]
fn an_operators_invitation_is_redeemed_within_what_the_admitter_may_grant() {
    let roles = [Role::Publish, Role::Relay];
    let (invitation, secret) = (invitation(&roles), key(SECRET));
    let claim = Claim::sign(trust(), invitation, &secret, machine(ALICE), "drill-4");

    let (refused, _) = redeem(&mut gate(), claim.expect("a good name"));

    let beyond = CredentialError::BeyondDelegation("roles");
    assert_eq!(refused, Err(beyond.into()));
}

#[test]
fn a_name_that_another_member_has_is_refused() {
    let name = "press-2".to_owned();
    let by = machine(GATE);

    let (refused, _) = redeem(&mut gate(), claim_as(ALICE, &name));

    assert_eq!(refused, Err(AdminError::NameTaken { name, by }));
}

#[test]
fn an_admitter_signs_memberships_and_invitations_within_its_delegation() {
    let rights = |role| Rights {
        roles: [role].into(),
        commands: Vec::new(),
        lifetime: DAY * 365,
    };
    let admit = |role| AdminRequest::Admit {
        machine: machine(ALICE),
        name: "drill-4".to_owned(),
        rights: rights(role),
    };
    let invite = |role| AdminRequest::Invite {
        id: InvitationId::of(&key(SECRET)),
        rights: rights(role),
        open_for: HOUR,
    };
    let mut gate = gate();

    for asked in [admit(Role::Relay), invite(Role::Relay), admit(Role::Admit)] {
        ask(&mut gate, asked);
        let refused = answer(&mut gate);
        let Err(AdminError::Credential(CredentialError::BeyondDelegation(_))) = refused else {
            panic!("not refused: {refused:?}");
        };
    }
    ask(&mut gate, admit(Role::Publish));
    let membership = admitted(&mut gate).expect("within its delegation");
    assert_eq!(membership.grant().site, "hall-3");
    assert!(gate.machine().roll().judge(&membership, Some(NOON)).is_ok());

    ask(&mut gate, invite(Role::Publish));
    let Ok(AdminReply::Invited(invitation)) = answer(&mut gate) else {
        panic!("not invited");
    };
    assert_eq!(invitation.terms().not_after, NOON.saturating_add(HOUR));
    assert_eq!(invitation.terms().lifetime, DAY);
    let claim = Claim::sign(trust(), invitation, &key(SECRET), machine(BOB), "drill-5");
    let (redeemed, _) = redeem(&mut gate, claim.expect("a good name"));
    assert_eq!(redeemed.expect("admitted").machine(), machine(BOB));
}

#[test]
fn adversarial_45_what_the_operator_has_signed_proves_a_time_to_be_past_and_others_words_do_not() {
    let proved = |states| {
        let node = node(admitters_membership(GATE), states);
        node.machine().catalogue().proved_past()
    };
    let network = trust().network();
    let revoked = |seed| {
        let signed = Revocation::sign(&key(seed), &network, machine(BOB), NOON, "lost");
        signed.expect("a good reason")
    };
    let hour_before = NOON.saturating_sub(HOUR);

    assert_eq!(proved(vec![revoked(OPERATOR)]), hour_before);
    assert_eq!(proved(vec![revoked(GATE)]), Timestamp::MIN);
}
