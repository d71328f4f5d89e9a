//! Bytes that come in pieces, too many, too early, too late or altered.

use proptest::prelude::*;

use super::common::{
    ALICE, AtNow, BOB, End, Part, alice, assert_is_dead, bob, keys, local, ring, run, run_through,
};
use crate::{HandshakeError, MESSAGE_BYTES_MAX, PARAMETERS_BYTES_MAX, Session, Side};

#[test]
fn adversarial_12_crypto_split_byte_by_byte_is_read_as_if_whole() {
    let mut whole = [End::new(alice()), End::new(bob())];
    let mut split = [End::new(alice()), End::new(bob())];
    let [client, server] = &mut whole;
    let said = run(client, server).expect("an honest handshake");
    let [client, server] = &mut split;

    let through = run_through(client, server, |_, bytes| {
        bytes.into_iter().map(|byte| vec![byte]).collect()
    });

    assert_eq!(through.expect("the same handshake"), said);
    assert!(split.iter().all(|end| !end.session.is_handshaking()));
}

#[test]
fn a_message_over_4_kib_is_refused_at_its_length_and_one_of_4_kib_is_read() {
    let read = |length: usize| {
        let mut server = bob();
        let length = u16::try_from(length).expect("short");
        (server.read(&length.to_be_bytes(), &AtNow), server)
    };

    let (longest, mut server) = read(MESSAGE_BYTES_MAX);
    let (too_long, _) = read(MESSAGE_BYTES_MAX + 1);

    assert!(longest.is_ok());
    let refused = server.read(&[0; MESSAGE_BYTES_MAX], &AtNow);
    assert!(
        matches!(refused, Err(HandshakeError::Decrypt)),
        "{refused:?}"
    );
    assert!(matches!(too_long, Err(HandshakeError::TooLong(4_097))));
}

#[test]
fn adversarial_12_sixteen_kib_of_crypto_are_never_kept() {
    for length in [0, 1, 31, 32, 47, 48, MESSAGE_BYTES_MAX] {
        let mut server = End::new(bob());
        let length = u16::try_from(length).expect("short").to_be_bytes();
        let flood = [&length[..], &[7; 16 * 1024]].concat();

        server.read(&flood).expect_err("no message of a member");

        assert_is_dead(&mut server);
    }
}

#[test]
fn adversarial_14_crypto_after_completion_ends_the_session() {
    for side in [Side::Initiator, Side::Responder] {
        let (mut client, mut server) = (End::new(alice()), End::new(bob()));
        run(&mut client, &mut server).expect("an honest handshake");
        let end = match side {
            Side::Initiator => &mut client,
            Side::Responder => &mut server,
        };
        assert!(!end.session.is_handshaking());

        let read = end.read(&[0]);

        assert!(matches!(read, Err(HandshakeError::OutOfTurn)), "{read:?}");
        assert_is_dead(end);
    }
}

#[test]
fn bytes_behind_a_message_in_the_same_packet_space_are_refused() {
    for behind in Part::ALL {
        let (mut client, mut server) = (End::new(alice()), End::new(bob()));

        let refused = run_through(&mut client, &mut server, |part, mut bytes| {
            if part == behind {
                bytes.push(0);
            }
            vec![bytes]
        });

        let (side, error) = refused.expect_err("a byte too many");
        assert_eq!(side, behind.reader());
        assert!(matches!(error, HandshakeError::OutOfTurn), "{error:?}");
    }
}

#[test]
fn every_byte_of_every_message_counts() {
    let (mut client, mut server) = (End::new(alice()), End::new(bob()));
    let said = run(&mut client, &mut server).expect("an honest handshake");
    for (altered, bytes) in &said {
        for index in 0..bytes.len() {
            let (mut client, mut server) = (End::new(alice()), End::new(bob()));

            let ended = run_through(&mut client, &mut server, |part, mut bytes| {
                if part == *altered {
                    bytes[index] ^= 1 << (index % 8);
                }
                vec![bytes]
            });

            let reader = match altered.reader() {
                Side::Initiator => client,
                Side::Responder => server,
            };
            let place = format!("byte {index} of {altered:?}: {ended:?}");
            // A length that was raised waits for bytes that never come; all else is an error.
            let waits = ended.is_ok() && index < 2;
            let is_refused = ended.is_err_and(|(side, _)| side == altered.reader());
            assert!(waits || is_refused, "{place}");
            assert!(reader.session.is_handshaking(), "{place}");
            assert!(reader.one_rtt.is_none(), "{place}");
        }
    }
}

#[test]
fn adversarial_12_messages_out_of_order_or_repeated_are_refused() {
    let (mut client, mut server) = (End::new(alice()), End::new(bob()));
    let said = run(&mut client, &mut server).expect("an honest handshake");
    for wrong in Part::ALL {
        for due in Part::ALL.into_iter().filter(|due| *due != wrong) {
            let (mut client, mut server) = (End::new(alice()), End::new(bob()));

            let refused = run_through(&mut client, &mut server, |part, bytes| {
                let bytes = if part == due {
                    said[&wrong].clone()
                } else {
                    bytes
                };
                vec![bytes]
            });

            let (side, error) = refused.expect_err("a message in the wrong place");
            assert_eq!(side, due.reader(), "{wrong:?} for {due:?}: {error:?}");
        }
    }
}

#[test]
fn own_parameters_that_fit_into_no_message_are_refused_before_anything_is_said() {
    let too_long = vec![0; PARAMETERS_BYTES_MAX + 1];
    let longest = &too_long[1..];
    let initiate = |parameters: &[u8]| {
        Session::initiate(local(ALICE), &keys(2), None, parameters, None, [1; 32])
    };
    let respond = |parameters: &[u8]| Session::respond(local(BOB), ring(), parameters, [2; 32]);

    assert!(initiate(&too_long).is_err());
    let mut client = End::new(initiate(longest).expect("512 bytes"));
    let mut server = End::new(respond(&too_long));
    let refused = run(&mut client, &mut server).expect_err("513 bytes");

    assert!(matches!(
        refused,
        (Side::Responder, HandshakeError::OwnTooLong { .. })
    ));
    assert_is_dead(&mut server);
    let mut client = End::new(initiate(longest).expect("512 bytes"));
    let mut server = End::new(respond(longest));
    run(&mut client, &mut server).expect("512 bytes either way");
}

/// Sessions in every state in which they wait for bytes, with what they wait for.
fn waiting() -> Vec<(End, Vec<u8>)> {
    let (mut client, mut server) = (End::new(alice()), End::new(bob()));
    let said = run(&mut client, &mut server).expect("an honest handshake");
    let mut before_s1a = End::new(alice());
    before_s1a.write();
    let mut before_s1b = End::new(alice());
    before_s1b.write();
    before_s1b.read(&said[&Part::S1a]).expect("honest");
    before_s1b.write();
    let mut before_c2 = End::new(bob());
    before_c2.read(&said[&Part::C1]).expect("honest");
    before_c2.write();
    let states = [End::new(bob()), before_s1a, before_s1b, before_c2];
    states.into_iter().zip(said.into_values()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_bring_a_session_down_or_to_its_end(
        noise in proptest::collection::vec(any::<u8>(), 0..5_000),
        length in 0_u16..5_000,
    ) {
        for (mut end, _) in waiting() {
            let framed = [&length.to_be_bytes()[..], &noise].concat();
            for bytes in [&noise, &framed] {
                let _ = end.read(bytes);
                end.write();
            }
            prop_assert!(end.session.is_handshaking());
            prop_assert!(end.session.peer().is_none() || end.one_rtt.is_none());
        }
    }

    #[test]
    fn adversarial_12_the_right_bytes_are_read_however_they_are_cut(
        cuts in proptest::collection::vec(1_usize..200, 1..40),
    ) {
        for (mut end, bytes) in waiting() {
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                end.read(piece).expect("honest");
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
        }
    }
}
