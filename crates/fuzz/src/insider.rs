//! A session against somebody who has the network key, and perhaps a membership.
//!
//! The first byte says where the others go: into the payload of an encrypted message, into the
//! credential behind a genuine signature, or past all encryption.

use handshake::{HandshakeError, Side};

use crate::Outcome;
use crate::end::End;
use crate::noise::{Insider, first_payload};
use crate::world::{Who, alice, bob};

/// Lets Mallory talk to an honest session.
///
/// # Panics
///
/// If the session takes the peer for anybody but Mallory, or Mallory for more than its membership
/// says.
pub fn insider(bytes: &[u8]) -> Outcome {
    let Some((place, bytes)) = bytes.split_first() else {
        return Outcome::Refused;
    };
    let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
    let (read, end) = match place % 8 {
        0 => first(bytes),
        1 => answer(|_| bytes.to_vec()),
        2 => answer(|insider| insider.payload(&Who::Mallory.keypair(), bytes)),
        3 => dial(|_| bytes.to_vec()),
        4 => dial(|insider| insider.payload(&Who::Mallory.keypair(), bytes)),
        5 => unencrypted(End::start(alice(None)), bytes),
        6 => unencrypted(End::start(bob()), bytes),
        _ => confirm(bytes),
    };
    match end.session.peer() {
        Some(peer) => {
            assert_eq!(peer.machine, Who::Mallory.machine());
            assert_eq!(peer.credential, Who::Mallory.credential());
            assert!(read.is_ok());
        }
        None => assert!(end.one_rtt.is_none()),
    }
    Outcome::of(&read)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let credential = Who::Mallory.credential().to_bytes().to_vec();
    let mallory = Who::Mallory.keypair();
    let mut payloads = Vec::new();
    let _ = answer(|insider| {
        payloads.push((1, insider.payload(&mallory, &credential)));
        Vec::new()
    });
    let _ = dial(|insider| {
        payloads.push((3, insider.payload(&mallory, &credential)));
        Vec::new()
    });
    payloads.extend([
        (0, first_payload()),
        (2, credential.clone()),
        (4, credential),
        (6, Insider::new(Side::Initiator).say(&first_payload())),
    ]);
    let placed = |(place, bytes): (u8, Vec<u8>)| [vec![place], bytes].concat();
    payloads.into_iter().map(placed).collect()
}

type Read = (Result<(), HandshakeError>, End);

/// Mallory dials Bob with this first payload.
fn first(payload: &[u8]) -> Read {
    let message = Insider::new(Side::Initiator).say(payload);
    unencrypted(End::start(bob()), &message)
}

/// Mallory dials Bob, honestly until its own proof.
fn dial(payload: impl FnOnce(&Insider) -> Vec<u8>) -> Read {
    let (mut insider, mut end) = (Insider::new(Side::Initiator), End::start(bob()));
    let message = insider.say(&first_payload());
    end.read(&message).expect("an honest first message");
    insider.hear(&end.said[0]);
    let payload = payload(&insider);
    let message = insider.say(&payload);
    (end.read(&message), end)
}

/// Mallory answers Alice, who dials nobody in particular.
fn answer(payload: impl FnOnce(&Insider) -> Vec<u8>) -> Read {
    let (mut insider, mut end) = (Insider::new(Side::Responder), End::start(alice(None)));
    insider.hear(&end.said[0]);
    let payload = payload(&insider);
    let message = insider.say(&payload);
    (end.read(&message), end)
}

/// Mallory answers Alice honestly, but for the confirmation.
fn confirm(bytes: &[u8]) -> Read {
    let credential = Who::Mallory.credential().to_bytes();
    let (answered, mut end) =
        answer(|insider| insider.payload(&Who::Mallory.keypair(), &credential));
    answered.expect("Mallory is a member");
    let read = end.read(bytes);
    assert!(end.one_rtt.is_none(), "no confirmation was read");
    (read, end)
}

fn unencrypted(mut end: End, bytes: &[u8]) -> Read {
    (end.read(bytes), end)
}

/// Longest bytes that are looked at: what overfills a message by half.
const BYTES_MAX: usize = 6 * 1_024;
