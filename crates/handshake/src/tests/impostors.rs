//! Somebody who has the network key, and perhaps a membership, but not the key of who it claims to
//! be. Each test has an honest run of the same steps as its control.

use bytes::Bytes;
use identity::Credential;

use super::common::{
    ALICE, BOB, CLIENT_PARAMETERS, End, MALLORY, Part, alice, answers, assert_is_dead, bob, dials,
    key, local, machine, membership, refusal, run, run_through,
};
use super::forger::{Forger, Key};
use crate::codec::put_bytes;
use crate::frame::framed;
use crate::noise::Secrets;
use crate::{HandshakeError, PARAMETERS_BYTES_MAX, Side};

/// Mallory dials Bob with a proof of the forger's choice.
fn dial(proof: impl FnOnce(&Forger) -> Vec<u8>) -> (Result<(), HandshakeError>, End) {
    dial_as(Forger::new(Side::Initiator), proof)
}

fn dial_as(
    mut forger: Forger,
    proof: impl FnOnce(&Forger) -> Vec<u8>,
) -> (Result<(), HandshakeError>, End) {
    let mut server = End::new(bob());
    if let Err(error) = server.read(&forger.say(&Forger::first_payload())) {
        return (Err(error), server);
    }
    forger.hear(&server.write().initial);
    let proof = proof(&forger);
    let message = forger.say(&proof);
    (server.read(&message), server)
}

/// Mallory answers Alice, who dials nobody in particular, with a proof of the forger's choice.
fn answer(proof: impl FnOnce(&Forger) -> Vec<u8>) -> Result<(), HandshakeError> {
    answer_as(Forger::new(Side::Responder), proof)
}

fn answer_as(
    mut forger: Forger,
    proof: impl FnOnce(&Forger) -> Vec<u8>,
) -> Result<(), HandshakeError> {
    let mut client = End::new(dials(local(ALICE), None));
    forger.hear(&client.write().initial);
    let proof = proof(&forger);
    let payload = forger.payload(&proof);
    let message = forger.say(&payload);
    client.read(&message)
}

/// The credential of a member.
fn shown(seed: u8) -> Bytes {
    Credential::Membership(membership(seed)).to_bytes()
}

fn own_proof(forger: &Forger) -> Vec<u8> {
    forger.proof(&key(MALLORY), &shown(MALLORY))
}

#[test]
fn adversarial_15_public_keys_of_small_order_are_refused_wherever_they_stand() {
    for point in SMALL_ORDER {
        for replaced in [Key::Ephemeral, Key::Static] {
            let forger = |side| Forger::with_key(side, Some((replaced, point)));

            let (dialled, _) = dial_as(forger(Side::Initiator), own_proof);
            let answered = answer_as(forger(Side::Responder), own_proof);

            for refused in [dialled, answered] {
                let is_refused = matches!(refused, Err(HandshakeError::LowOrder));
                assert!(is_refused, "{replaced:?} {point:02x?}: {refused:?}");
            }
        }
    }
    let (dialled, server) = dial(own_proof);
    assert!(dialled.is_ok());
    let peer = server.session.peer().map(|peer| peer.machine);
    assert_eq!(peer, Some(machine(MALLORY)));
    assert!(answer(own_proof).is_ok());
}

#[test]
fn adversarial_19_a_signature_from_another_session_proves_nothing() {
    let (dialled, _) = dial(|_| kept_from_alice());
    let answered = answer(|_| kept_from_bob());

    let is_refused = matches!(dialled, Err(HandshakeError::Signature(of)) if of == machine(ALICE));
    assert!(is_refused, "{dialled:?}");
    let is_refused = matches!(answered, Err(HandshakeError::Signature(of)) if of == machine(BOB));
    assert!(is_refused, "{answered:?}");
    let (dialled, _) = dial(own_proof);
    assert!(dialled.is_ok());
    assert!(answer(own_proof).is_ok());
}

#[test]
fn adversarial_19_nor_does_it_with_the_noise_key_of_that_session() {
    let stolen = Secrets::draw([0xa1; 32]).static_key();
    let forger = || Forger::with_stolen(Side::Initiator, stolen);

    let (dialled, _) = dial_as(forger(), |_| kept_from_alice());

    let is_refused = matches!(dialled, Err(HandshakeError::Signature(of)) if of == machine(ALICE));
    assert!(is_refused, "{dialled:?}");
    let (dialled, _) = dial_as(forger(), own_proof);
    assert!(dialled.is_ok());
}

/// What Alice proves herself with when she dials Mallory.
fn kept_from_alice() -> Vec<u8> {
    let mut forger = Forger::new(Side::Responder);
    let mut client = End::new(dials(local(ALICE), Some(machine(MALLORY))));
    forger.hear(&client.write().initial);
    let payload = forger.payload(&own_proof(&forger));
    let message = forger.say(&payload);
    client.read(&message).expect("Mallory is a member");
    client.write();
    client.read(&forger.confirmation()).expect("as agreed");
    forger.hear(&client.write().handshake)
}

/// What Bob proves himself with when Mallory dials him.
fn kept_from_bob() -> Vec<u8> {
    let mut forger = Forger::new(Side::Initiator);
    let mut server = End::new(bob());
    let message = forger.say(&Forger::first_payload());
    server.read(&message).expect("Mallory has the network key");
    let payload = forger.hear(&server.write().initial);
    let parameters = usize::from(u16::from_be_bytes([payload[0], payload[1]]));
    payload[2 + parameters..].to_vec()
}

#[test]
fn a_signature_under_another_key_or_for_the_other_role_proves_nothing() {
    let signed_by_mallory = |forger: &Forger| {
        let mut proof = forger.proof(&key(MALLORY), &shown(BOB));
        proof[..32].copy_from_slice(machine(BOB).as_bytes());
        proof
    };
    let signed_for_the_other_role =
        |forger: &Forger| forger.proof_for(forger.side().other(), &key(MALLORY), &shown(MALLORY));

    for refused in [
        answer(signed_by_mallory),
        answer(signed_for_the_other_role),
        dial(signed_for_the_other_role).0,
    ] {
        let is_refused = matches!(refused, Err(HandshakeError::Signature(_)));
        assert!(is_refused, "{refused:?}");
    }
    assert!(answer(own_proof).is_ok());
}

#[test]
fn adversarial_16_whatever_is_reflected_is_refused() {
    let (mut client, mut server) = (End::new(alice()), End::new(bob()));
    let said = run(&mut client, &mut server).expect("an honest handshake");
    let mut client = End::new(alice());
    client.write();
    assert!(client.read(&said[&Part::C1]).is_err());

    let mut server = End::new(bob());
    server.read(&said[&Part::C1]).expect("honest so far");
    server.write();
    assert!(server.read(&said[&Part::S1a]).is_err());

    let mut client = End::new(alice());
    client.write();
    client.read(&said[&Part::S1a]).expect("honest so far");
    client.write();
    client.read(&said[&Part::S1b]).expect("honest so far");
    let c2 = client.write().handshake;
    assert!(client.read(&c2).is_err());
}

#[test]
fn adversarial_16_a_machine_that_reaches_itself_refuses_also_when_a_clone_dials() {
    let (side, dialled_itself) = refusal(dials(local(ALICE), None), answers(local(ALICE)));
    let (dialled_by_a_clone, _) = dial(|forger| forger.proof(&key(BOB), &shown(BOB)));

    assert_eq!(side, Side::Initiator);
    assert!(matches!(dialled_itself, HandshakeError::Itself));
    assert!(matches!(dialled_by_a_clone, Err(HandshakeError::Itself)));
    assert!(dial(own_proof).0.is_ok());
}

#[test]
fn adversarial_17_another_machine_than_the_dialled_one_is_refused() {
    let client = dials(local(ALICE), Some(machine(MALLORY)));

    let (side, error) = refusal(client, bob());

    assert_eq!(side, Side::Initiator);
    let HandshakeError::OtherMachine { expected, shown } = error else {
        panic!("{error:?}");
    };
    assert_eq!((expected, shown), (machine(MALLORY), machine(BOB)));
    run(&mut End::new(alice()), &mut End::new(bob())).expect("who was dialled");
}

#[test]
fn a_responder_without_the_keys_it_should_have_is_noticed() {
    let (mut client, mut server) = (End::new(alice()), End::new(bob()));

    let refused = run_through(&mut client, &mut server, |part, bytes| match part {
        Part::S1b => vec![framed(&[0; 32])],
        Part::C1 | Part::S1a | Part::C2 => vec![bytes],
    });

    let refused = refused.expect_err("no confirmation");
    assert!(matches!(
        refused,
        (Side::Initiator, HandshakeError::Confirmation)
    ));
    assert_is_dead(&mut client);
}

#[test]
fn a_first_message_that_contradicts_itself_is_refused() {
    let honest = Forger::first_payload();
    let read = |payload: &[u8]| End::new(bob()).read(&Forger::new(Side::Initiator).say(payload));
    let altered = |index: usize| {
        let mut payload = honest.clone();
        payload[index] ^= 1;
        read(&payload)
    };

    assert!(read(&honest).is_ok());
    for index in [0, 3, 4, 35, 36, 39] {
        let refused = altered(index);
        assert!(
            matches!(refused, Err(HandshakeError::Malformed(_))),
            "{index}: {refused:?}"
        );
    }
    assert!(matches!(altered(50), Err(HandshakeError::OtherProtocol)));
    let mut far_future = honest.clone();
    far_future[40..48].fill(0xff);
    assert!(matches!(
        read(&far_future),
        Err(HandshakeError::Malformed(_))
    ));
    let mut too_long = honest[..honest.len() - 2 - CLIENT_PARAMETERS.len()].to_vec();
    put_bytes(&mut too_long, &[0; PARAMETERS_BYTES_MAX + 1]);
    assert!(matches!(read(&too_long), Err(HandshakeError::Malformed(_))));
    for length in 0..honest.len() {
        assert!(read(&honest[..length]).is_err(), "{length}");
    }
    assert!(read(&[&honest[..], &[0]].concat()).is_err());
}

/// Points whose order divides eight, as X25519 reads them, each with and without the bit that it
/// ignores. Source: RFC 7748 section 6.1 and <https://cr.yp.to/ecdh.html#validate>.
const SMALL_ORDER: [[u8; 32]; 14] = {
    let mut points = [[0; 32]; 14];
    points[1][0] = 1;
    points[2] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ];
    points[3] = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ];
    let mut number = 4;
    while number < 7 {
        points[number] = [0xff; 32];
        points[number][31] = 0x7f;
        number += 1;
    }
    points[4][0] = 0xec;
    points[5][0] = 0xed;
    points[6][0] = 0xee;
    while number < 14 {
        points[number] = points[number - 7];
        points[number][31] |= 0x80;
        number += 1;
    }
    points
};
