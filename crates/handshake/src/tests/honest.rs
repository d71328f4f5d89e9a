//! What two honest machines get.

use super::common::{
    ALICE, BOB, CLIENT_PARAMETERS, End, SERVER_PARAMETERS, alice, bob, bytes_of, machine,
    membership, run,
};
use crate::Peer;

#[test]
fn both_sides_agree_on_keys_parameters_and_who_the_other_is() {
    let (mut client, mut server) = (End::new(alice()), End::new(bob()));

    run(&mut client, &mut server).expect("an honest handshake");

    for (own, other) in [(&client, &server), (&server, &client)] {
        assert!(!own.session.is_handshaking());
        let keys = [&own.handshake, &other.handshake].map(|keys| keys.as_ref().map(bytes_of));
        let mut mirrored = keys[1].clone().expect("handshake keys");
        mirrored.reverse();
        assert_eq!(keys[0], Some(mirrored));
        let keys = [own, other].map(|end| end.one_rtt.as_ref().map(|(keys, _)| bytes_of(keys)));
        let mut mirrored = keys[1].clone().expect("1-RTT keys");
        mirrored.reverse();
        assert_eq!(keys[0], Some(mirrored));
    }
    assert_eq!(client.session.peer_parameters(), Some(SERVER_PARAMETERS));
    assert_eq!(server.session.peer_parameters(), Some(CLIENT_PARAMETERS));
    let peers = [BOB, ALICE].map(|seed| Peer {
        machine: machine(seed),
        membership: membership(seed),
    });
    assert_eq!(client.session.peer(), Some(&peers[0]));
    assert_eq!(server.session.peer(), Some(&peers[1]));
}

#[test]
fn the_flights_fit_one_datagram_each_with_three_command_patterns() {
    let (mut client, mut server) = (End::new(alice()), End::new(bob()));
    assert_eq!(membership(BOB).grant().commands.len(), 3);
    assert_eq!(membership(BOB).as_bytes().len(), 180);

    let said = run(&mut client, &mut server).expect("an honest handshake");

    let lengths = [said.c1, said.s1a, said.s1b, said.c2].map(|bytes| bytes.len());
    assert_eq!(lengths, [147, 412, 34, 344]);
    // What quinn writes today instead of this test's parameters, and QUIC's own part.
    let parameters = 110 - SERVER_PARAMETERS.len();
    assert!(lengths[1] + lengths[2] + parameters + SERVER_PACKETS_BYTES <= 1_200);
}

/// What QUIC adds to the server's first flight. Unit: bytes. Source: RFC 9000 sections 17.2 and 19:
/// two long headers with ids of 20 bytes, lengths, packet numbers of 4 bytes and tags; an ACK; the
/// headers of two CRYPTO frames.
const SERVER_PACKETS_BYTES: usize = 2 * (1 + 4 + 21 + 21 + 2 + 4 + 16) + 1 + 8 + 2 * 5;
