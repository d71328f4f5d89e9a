//! What anybody can send: ids of connections, Retry packets, first messages.

use handshake::{ConnectionIdKind, FirstFlight, check_connection_id, check_retry, connection_id};

use crate::Outcome;
use crate::end::End;
use crate::world::{WORLD, Who, alice};

/// Reads bytes as all that is read before anything is answered.
///
/// # Panics
///
/// If bytes are taken for a member's that were not made with the network key.
pub fn strangers(bytes: &[u8]) -> Outcome {
    let kinds = [
        ConnectionIdKind::First,
        ConnectionIdKind::Issued(Who::Bob.machine()),
    ];
    for kind in kinds {
        let found = WORLD.ring.find(kind, bytes);
        assert!(found.is_none(), "a connection id was guessed");
        let mut random = [0; 8];
        let length = bytes.len().min(random.len());
        random[..length].copy_from_slice(&bytes[..length]);
        let id = connection_id(&WORLD.keys, kind, random);
        assert!(check_connection_id(&WORLD.keys, kind, &id));
    }
    let (header, rest) = bytes.split_at(bytes.len() / 2);
    for packet in [&[bytes][..], &[header, rest], &[]] {
        assert!(
            !check_retry(&WORLD.keys, b"destination", packet),
            "a tag was guessed"
        );
    }
    let opened = FirstFlight::open(&WORLD.ring, &WORLD.network, bytes);
    assert!(
        opened.is_err() || bytes == first_message(),
        "a first message was made up"
    );
    Outcome::of(&opened)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    vec![first_message()]
}

fn first_message() -> Vec<u8> {
    let [initial, _] = End::start(alice(Some(Who::Bob.machine()))).said;
    initial
}
