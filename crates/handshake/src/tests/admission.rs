//! Genuine machines whose credential does not let them in: at either end, beside one that does.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::{
    Claim, Credential, CredentialError, Grant, InvitationId, Issuer, Membership, Role, Terms,
};
use model::MachineId;

use super::common::{
    ALICE, AtNow, BOB, End, MALLORY, NOW, OPERATOR, alice, answers, bob, dials, grant, key, keys,
    local, machine, membership, refusal, run, showing, showing_bytes, trust,
};
use crate::{HandshakeError, Judge, Local, Session, Side};

/// What Alice says of Bob, and Bob of Alice, when the other one is this.
fn refused_at_both_ends(of: impl Fn(u8) -> Arc<Local>) -> [HandshakeError; 2] {
    let (by_alice, of_bob) = refusal(alice(), answers(of(BOB)));
    let (by_bob, of_alice) = refusal(dials(of(ALICE), Some(machine(BOB))), bob());
    assert_eq!((by_alice, by_bob), (Side::Initiator, Side::Responder));
    [of_bob, of_alice]
}

fn issued(by: u8, grant: Grant) -> Membership {
    Membership::issue(&key(by), grant).expect("a grant within its bounds")
}

fn assert_admitted(of: impl Fn(u8) -> Arc<Local>) {
    let (mut client, mut server) = (
        End::new(dials(of(ALICE), Some(machine(BOB)))),
        End::new(answers(of(BOB))),
    );
    run(&mut client, &mut server).expect("members");
    assert!(client.session.peer().is_some() && server.session.peer().is_some());
}

#[test]
fn adversarial_18_an_expired_membership_is_refused_and_one_in_its_last_moment_is_not() {
    let until = |not_after| {
        move |seed| {
            let grant = Grant {
                not_after,
                ..grant(seed)
            };
            showing(seed, &issued(OPERATOR, grant))
        }
    };

    for error in refused_at_both_ends(until(NOW)) {
        assert_refused(&error, &CredentialError::Expired);
    }
    assert_admitted(until(NOW.saturating_add(Duration::from_nanos(1))));
}

#[test]
fn adversarial_18_a_membership_that_is_not_valid_yet_is_refused_and_one_in_its_first_moment_is_not()
{
    let from = |not_before| {
        move |seed| {
            let grant = Grant {
                not_before,
                ..grant(seed)
            };
            showing(seed, &issued(OPERATOR, grant))
        }
    };

    for error in refused_at_both_ends(from(NOW.saturating_add(Duration::from_nanos(1)))) {
        assert_refused(&error, &CredentialError::NotYetValid);
    }
    assert_admitted(from(NOW));
}

#[test]
fn adversarial_18_a_membership_by_another_operator_is_refused() {
    for error in refused_at_both_ends(|seed| showing(seed, &issued(MALLORY, grant(seed)))) {
        assert_refused(&error, &CredentialError::OtherOperator);
    }
    assert_admitted(local);
}

#[test]
fn adversarial_18_the_membership_of_another_machine_is_refused() {
    for error in refused_at_both_ends(|seed| showing(seed, &membership(MALLORY))) {
        assert_refused(&error, &CredentialError::OtherMachine(machine(MALLORY)));
    }
    assert_admitted(local);
}

#[test]
fn a_credential_that_is_none_is_refused() {
    let genuine = |seed| Credential::Membership(membership(seed)).to_bytes();
    let last = genuine(BOB).len() - 1;
    let altered = |seed, index: usize| {
        let mut bytes = genuine(seed).to_vec();
        bytes[index] ^= 1;
        bytes
    };
    let kinds: [&dyn Fn(u8) -> Vec<u8>; 7] = [
        &|_| Vec::new(),
        &|_| vec![1; 65],
        &|_| vec![7; Credential::BYTES_MAX],
        &|seed| altered(seed, 0),
        &|seed| altered(seed, 1),
        &|seed| altered(seed, last / 2),
        &|seed| altered(seed, last),
    ];
    for credential in kinds {
        for error in refused_at_both_ends(|seed| showing_bytes(seed, credential(seed).into())) {
            assert!(matches!(error, HandshakeError::Refused { .. }), "{error:?}");
        }
    }
    assert_admitted(|seed| showing_bytes(seed, genuine(seed)));
}

#[test]
fn whoever_has_an_invitation_proves_its_key_and_shows_its_claim() {
    let secret = key(0x5e);
    let terms = Terms {
        site: "hall-north".to_owned(),
        roles: [Role::Publish].into(),
        commands: Vec::new(),
        lifetime: Duration::from_secs(86_400),
        not_after: NOW.saturating_add(Duration::from_secs(1)),
    };
    let operator = key(OPERATOR);
    let id = InvitationId::of(&secret);
    let invitation = Issuer::operator(&operator).invite(id, terms);
    let invitation = invitation.expect("good terms");
    let claim_of = |seed| {
        let claim = Claim::sign(
            trust(),
            invitation.clone(),
            &secret,
            machine(seed),
            "press-9",
        );
        Credential::Claim(claim.expect("a good name"))
    };
    let dials_with = |credential: &Credential| {
        let local = showing_bytes(ALICE, credential.to_bytes());
        dials(local, Some(machine(BOB)))
    };

    let (mut client, mut server) = (End::new(dials_with(&claim_of(ALICE))), End::new(bob()));
    run(&mut client, &mut server).expect("an invitation that holds");
    let (side, refused) = refusal(dials_with(&claim_of(BOB)), bob());

    let peer = server.session.peer().map(|peer| peer.credential.clone());
    assert_eq!(peer, Some(claim_of(ALICE)));
    assert_eq!(side, Side::Responder);
    assert_refused(&refused, &CredentialError::OtherMachine(machine(BOB)));
}

#[test]
fn an_own_credential_that_fits_into_no_message_is_refused_before_anything_is_said() {
    let too_long = |seed| showing_bytes(seed, vec![7; Credential::BYTES_MAX + 1].into());

    let dialled = Session::initiate(too_long(ALICE), &keys(2), None, b"", None, [1; 32]);
    let (side, answered) = refusal(alice(), answers(too_long(BOB)));

    assert!(matches!(dialled, Err(HandshakeError::OwnTooLong { .. })));
    assert!(matches!(answered, HandshakeError::OwnTooLong { .. }));
    assert_eq!(side, Side::Responder);
}

/// Lets in whoever has a role and is not revoked.
struct Strict {
    role: Role,
    revoked: u8,
}

impl Judge for Strict {
    fn judge(
        &self,
        machine: MachineId,
        shown: Bytes,
    ) -> Result<Credential, Box<dyn Error + Send + Sync>> {
        let credential = AtNow.judge(machine, shown)?;
        if machine == super::common::machine(self.revoked) {
            return Err(CredentialError::Revoked.into());
        }
        if let Credential::Membership(member) = &credential
            && member.grant().roles.contains(&self.role)
        {
            return Ok(credential);
        }
        Err(format!("not admitted to {}", self.role.name()).into())
    }
}

#[test]
fn adversarial_18_a_wrong_role_and_a_revocation_are_the_judges_word_at_either_end() {
    const NOBODY: u8 = 0;
    let run_with = |judges: [&'static dyn Judge; 2]| {
        let mut client = End::judged_by(alice(), judges[0]);
        let mut server = End::judged_by(bob(), judges[1]);
        let ended = run(&mut client, &mut server);
        ended
            .map(drop)
            .map_err(|(side, error)| (side, error.to_string()))
    };
    let judge =
        |role, revoked| -> &'static dyn Judge { Box::leak(Box::new(Strict { role, revoked })) };
    let lenient = judge(Role::Relay, NOBODY);
    let strict = judge(Role::Admit, NOBODY);
    let refused = |seed, reason: &str| {
        let machine = machine(seed).short();
        format!("machine {machine} is refused: {reason}")
    };
    let role = "not admitted to admit";
    let revoked = CredentialError::Revoked.to_string();

    assert_eq!(run_with([lenient, lenient]), Ok(()));
    let of_bob = Err((Side::Initiator, refused(BOB, role)));
    assert_eq!(run_with([strict, lenient]), of_bob);
    let of_alice = Err((Side::Responder, refused(ALICE, role)));
    assert_eq!(run_with([lenient, strict]), of_alice);
    let of_bob = Err((Side::Initiator, refused(BOB, &revoked)));
    assert_eq!(run_with([judge(Role::Relay, BOB), lenient]), of_bob);
    let of_alice = Err((Side::Responder, refused(ALICE, &revoked)));
    assert_eq!(run_with([lenient, judge(Role::Relay, ALICE)]), of_alice);
}

fn assert_refused(error: &HandshakeError, expected: &CredentialError) {
    let HandshakeError::Refused { reason, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(reason.downcast_ref(), Some(expected));
}
