//! Genuine machines whose credential does not let them in: at either end, beside one that does.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::{CredentialError, Grant, Membership, Role};

use super::common::{
    ALICE, BOB, End, MALLORY, NOW, OPERATOR, alice, answers, bob, dials, grant, key, keys, local,
    machine, membership, refusal, run, showing, trust,
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

fn showing_bytes(seed: u8, credential: Vec<u8>) -> Arc<Local> {
    Arc::new(Local::new(key(seed), trust(), Bytes::from(credential)))
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
fn an_expired_membership_is_refused_and_one_in_its_last_moment_is_not() {
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
fn a_membership_that_is_not_valid_yet_is_refused_and_one_in_its_first_moment_is_not() {
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
fn a_membership_by_another_operator_is_refused() {
    for error in refused_at_both_ends(|seed| showing(seed, &issued(MALLORY, grant(seed)))) {
        let HandshakeError::Credential { error, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(error, CredentialError::OtherOperator);
    }
    assert_admitted(local);
}

#[test]
fn the_membership_of_another_machine_is_refused() {
    for error in refused_at_both_ends(|seed| showing(seed, &membership(MALLORY))) {
        let HandshakeError::OtherMembership { of, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(of, machine(MALLORY));
    }
    assert_admitted(local);
}

#[test]
fn a_credential_that_is_none_is_refused() {
    let altered = |seed, index: usize| {
        let mut bytes = membership(seed).as_bytes().to_vec();
        bytes[index] ^= 1;
        bytes
    };
    let last = membership(BOB).as_bytes().len() - 1;
    let kinds: [&dyn Fn(u8) -> Vec<u8>; 6] = [
        &|_| Vec::new(),
        &|_| vec![0; 64],
        &|_| vec![7; Membership::BYTES_MAX],
        &|seed| altered(seed, 0),
        &|seed| altered(seed, last / 2),
        &|seed| altered(seed, last),
    ];
    for credential in kinds {
        for error in refused_at_both_ends(|seed| showing_bytes(seed, credential(seed))) {
            let is_refused = matches!(error, HandshakeError::Credential { .. });
            assert!(is_refused, "{error:?}");
        }
    }
    assert_admitted(local);
}

#[test]
fn an_own_credential_that_fits_into_no_message_is_refused_before_anything_is_said() {
    let too_long = |seed| showing_bytes(seed, vec![7; Membership::BYTES_MAX + 1]);

    let dialled = Session::initiate(too_long(ALICE), &keys(2), None, b"", None, [1; 32]);
    let (side, answered) = refusal(alice(), answers(too_long(BOB)));

    assert!(matches!(dialled, Err(HandshakeError::OwnTooLong { .. })));
    assert!(matches!(answered, HandshakeError::OwnTooLong { .. }));
    assert_eq!(side, Side::Responder);
}

/// Lets in who has a role.
struct WithRole(Role);

impl Judge for WithRole {
    fn judge(&self, membership: &Membership) -> Result<(), Box<dyn Error + Send + Sync>> {
        if membership.grant().roles.contains(&self.0) {
            return Ok(());
        }
        Err(format!("not admitted to {}", self.0.name()).into())
    }
}

#[test]
fn what_the_judge_says_counts_at_either_end() {
    let run_with = |judges: [&'static dyn Judge; 2]| {
        let mut client = End::judged_by(alice(), judges[0]);
        let mut server = End::judged_by(bob(), judges[1]);
        let ended = run(&mut client, &mut server);
        ended
            .map(drop)
            .map_err(|(side, error)| (side, error.to_string()))
    };
    let (lenient, strict): (&dyn Judge, &dyn Judge) =
        (&WithRole(Role::Relay), &WithRole(Role::Admit));
    let of = |seed| {
        format!(
            "machine {} is refused: not admitted to admit",
            machine(seed).short()
        )
    };

    assert_eq!(run_with([lenient, lenient]), Ok(()));
    assert_eq!(run_with([strict, lenient]), Err((Side::Initiator, of(BOB))));
    assert_eq!(
        run_with([lenient, strict]),
        Err((Side::Responder, of(ALICE)))
    );
}

fn assert_refused(error: &HandshakeError, expected: &CredentialError) {
    let HandshakeError::Refused { reason, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(reason.downcast_ref(), Some(expected));
}
