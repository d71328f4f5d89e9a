//! What keeps strangers out before there is a session: connection ids, Retry, first flights.

use identity::{NetworkKey, NetworkKeyEpoch};
use model::{NetworkId, Timestamp};

use super::common::{
    ALICE, AtNow, BOB, End, MALLORY, NOW, alice, bob, dials_with, keys, local, machine, ring, trust,
};
use crate::{
    ConnectionIdKind, FirstFlight, HandshakeError, KeyRing, Session, check_connection_id,
    check_retry, connection_id, initial_keys, retry_tag,
};

#[test]
fn a_connection_id_holds_for_its_kind_its_machine_and_its_network_key() {
    let kinds = [
        ConnectionIdKind::First,
        ConnectionIdKind::Issued(machine(ALICE)),
        ConnectionIdKind::Issued(machine(BOB)),
    ];
    let keys = [keys(1), keys(2)];
    let other_network =
        NetworkKey::from_bytes(&[9; 32]).link(&NetworkId::from_bytes([0; 32]), NetworkKeyEpoch(1));
    for (made_at, made_with) in keys.iter().enumerate() {
        for made_for in kinds {
            let id = connection_id(made_with, made_for, [7; 8]);
            assert_eq!(id.len(), made_for.id_bytes());

            for (at, keys) in keys.iter().enumerate() {
                for kind in kinds {
                    let holds = check_connection_id(keys, kind, &id);
                    assert_eq!(
                        holds,
                        at == made_at && kind == made_for,
                        "{made_for:?} {kind:?}"
                    );
                }
            }
            assert!(!check_connection_id(&other_network, made_for, &id));
        }
    }
}

#[test]
fn every_bit_and_the_length_of_a_connection_id_count() {
    for kind in [
        ConnectionIdKind::First,
        ConnectionIdKind::Issued(machine(BOB)),
    ] {
        let id = connection_id(&keys(1), kind, *b"a nonce!");
        assert!(check_connection_id(&keys(1), kind, &id));

        for bit in 0..8 * id.len() {
            let mut altered = id.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!check_connection_id(&keys(1), kind, &altered), "bit {bit}");
        }
        let longer = [&id[..], &[0]].concat();
        for length in 0..id.len() {
            assert!(
                !check_connection_id(&keys(1), kind, &id[..length]),
                "{length}"
            );
        }
        assert!(!check_connection_id(&keys(1), kind, &longer));
    }
}

#[test]
fn a_ring_finds_the_epoch_of_an_id_and_dials_with_the_newest() {
    let ring = KeyRing::new(keys(5), Some(keys(4)));
    let found = |epoch| {
        let id = connection_id(&keys(epoch), ConnectionIdKind::First, [1; 8]);
        let keys = ring.find(ConnectionIdKind::First, &id);
        keys.map(|keys| keys.epoch())
    };

    assert_eq!(ring.current().epoch(), NetworkKeyEpoch(5));
    assert_eq!(found(5), Some(NetworkKeyEpoch(5)));
    assert_eq!(found(4), Some(NetworkKeyEpoch(4)));
    assert_eq!(found(3), None);
}

#[test]
fn a_retry_holds_for_its_dial_and_its_network_key_in_whatever_pieces_it_is_read() {
    let (destination, packet) = (&b"first destination"[..], &b"header and token"[..]);
    let tag = retry_tag(&keys(1), destination, &[packet]);
    let whole = [packet, &tag].concat();

    assert!(check_retry(&keys(1), destination, &[&whole]));
    for cut in 0..=packet.len() {
        let (header, payload) = whole.split_at(cut);
        assert!(
            check_retry(&keys(1), destination, &[header, payload]),
            "{cut}"
        );
        let (header, rest) = packet.split_at(cut);
        assert_eq!(
            retry_tag(&keys(1), destination, &[header, rest]),
            tag,
            "{cut}"
        );
    }
    assert!(!check_retry(&keys(2), destination, &[&whole]));
    assert!(!check_retry(&keys(1), b"other", &[&whole]));
    for index in 0..whole.len() {
        let mut altered = whole.clone();
        altered[index] ^= 1;
        assert!(!check_retry(&keys(1), destination, &[&altered]), "{index}");
    }
    assert!(!check_retry(&keys(1), destination, &[]));
    assert!(!check_retry(&keys(1), destination, &[&whole[..15]]));
}

#[test]
fn a_retry_tells_where_the_destination_ends() {
    let tag = retry_tag(&keys(1), b"destination", &[b"packet"]);

    assert_ne!(tag, retry_tag(&keys(1), b"destinationp", &[b"acket"]));
}

#[test]
fn initial_keys_depend_on_the_network_key_and_the_destination() {
    let key = |epoch, destination: &[u8], side| {
        *initial_keys(&keys(epoch), destination, side)
            .local
            .packet
            .key
    };
    use crate::Side::{Initiator, Responder};
    let (local, remote) = {
        let server = initial_keys(&keys(1), b"destination", Responder);
        (*server.local.packet.key, *server.remote.packet.key)
    };

    assert_eq!(key(1, b"destination", Initiator), remote);
    assert_ne!(local, remote);
    assert_ne!(key(2, b"destination", Initiator), remote);
    assert_ne!(key(1, b"elsewhere", Initiator), remote);
}

#[test]
fn a_first_flight_tells_its_time_in_milliseconds_and_the_epoch_of_its_key() {
    let at = |epoch, nanos: Option<i64>| {
        let time = nanos.map(Timestamp::from_nanos);
        let session = Session::initiate(local(ALICE), &keys(epoch), None, b"", time, [1; 32]);
        let c1 = End::new(session.expect("nothing is too long"))
            .write()
            .initial;
        let flight = FirstFlight::open(&ring(), &trust().network(), &c1)?;
        Ok::<_, HandshakeError>((flight.epoch.0, flight.time.map(Timestamp::as_nanos)))
    };

    assert_eq!(at(1, None).expect("a member"), (1, None));
    assert_eq!(
        at(2, Some(1_999_999)).expect("a member"),
        (2, Some(1_000_000))
    );
    assert_eq!(
        at(2, Some(i64::MAX)).expect("a member"),
        (2, Some(i64::MAX / 1_000_000 * 1_000_000))
    );
    assert_eq!(at(2, Some(-1)).expect("a member"), (2, None));
    assert!(matches!(at(3, None), Err(HandshakeError::Decrypt)));
}

#[test]
fn a_first_flight_is_opened_without_a_session_as_a_session_reads_it() {
    let c1 = End::new(alice()).write().initial;
    let mut server = bob();
    server.read(&c1, &AtNow).expect("honest");

    let opened = FirstFlight::open(&ring(), &trust().network(), &c1).expect("honest");

    assert_eq!(server.first_flight(), Some(&opened));
    assert_eq!(opened.time, Some(NOW));
    let repeated = End::new(alice()).write().initial;
    let repeated = FirstFlight::open(&ring(), &trust().network(), &repeated);
    assert_eq!(repeated.expect("honest").id, opened.id);
    let other = End::new(dials_with([1; 32])).write().initial;
    let other = FirstFlight::open(&ring(), &trust().network(), &other);
    assert_ne!(other.expect("honest").id, opened.id);
}

#[test]
fn what_is_no_whole_first_message_of_this_network_is_not_opened() {
    let c1 = End::new(alice()).write().initial;
    let open = |bytes: &[u8]| FirstFlight::open(&ring(), &trust().network(), bytes);
    assert!(open(&c1).is_ok());

    for length in 0..c1.len() {
        assert!(open(&c1[..length]).is_err(), "{length}");
    }
    for index in 0..c1.len() {
        let mut altered = c1.clone();
        altered[index] ^= 1;
        assert!(open(&altered).is_err(), "{index}");
    }
    assert!(matches!(
        open(&[&c1[..], &[0]].concat()),
        Err(HandshakeError::OutOfTurn)
    ));
    let other = NetworkId::from_bytes(*machine(MALLORY).as_bytes());
    let elsewhere = FirstFlight::open(&ring(), &other, &c1);
    assert!(matches!(elsewhere, Err(HandshakeError::Decrypt)));
}
