//! Two honest ends, and between them a network that does what the bytes say: packets are cut
//! anywhere, dropped, repeated, reordered and altered.
//!
//! What is modelled of QUIC: CRYPTO bytes have an offset in their packet space, are handed on in
//! order and once, and what came first at an offset counts; packets of the Handshake space are
//! read by who has its keys; what is lost is sent again.

use handshake::HandshakeError;

use crate::Outcome;
use crate::end::{End, Space, agree};
use crate::world::{Who, alice, bob};

/// Runs a handshake over such a network, and what is still missing then over a good one.
///
/// The script is read in steps of four bytes: who sends and from which space, which bit to alter if
/// any, from where, and how much; the latter two in units of two bytes.
///
/// # Panics
///
/// If the handshake fails although nothing was altered, ends although something was, or ends with
/// keys or peers that do not belong together.
pub fn handshake(script: &[u8]) -> Outcome {
    let mut ends = [Node::new(alice(Some(Who::Bob.machine()))), Node::new(bob())];
    let played = play(&mut ends, script).and_then(|()| settle(&mut ends));
    let is_altered = ends.iter().any(|node| node.is_altered);
    let [client, server] = &ends;
    for (node, other) in [(client, Who::Bob), (server, Who::Alice)] {
        let peer = node.end.session.peer();
        assert!(peer.is_none_or(|peer| peer.machine == other.machine()));
    }
    if let (Some(one), Some(other)) = (&client.end.handshake, &server.end.handshake) {
        assert!(agree(one, other), "different handshake keys");
    }
    if let (Some((one, _)), Some((other, _))) = (&client.end.one_rtt, &server.end.one_rtt) {
        assert!(agree(one, other), "different 1-RTT keys");
        assert!(!is_altered, "altered bytes were accepted");
        return Outcome::Accepted;
    }
    assert!(is_altered, "an honest handshake ended with {played:?}");
    Outcome::Refused
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let whole = |sender: u8, space: u8| [sender | space << 1, 0, 0, 255];
    let in_order = [whole(0, 0), whole(1, 0), whole(1, 1), whole(0, 1)].concat();
    let backwards = [whole(0, 1), whole(1, 1), whole(1, 0), whole(0, 0)].concat();
    let pieces = (0..24).flat_map(|at| [at % 4, 0, 8 * (at / 4), 9]);
    vec![Vec::new(), in_order, backwards.repeat(3), pieces.collect()]
}

fn play(ends: &mut [Node; 2], script: &[u8]) -> Result<(), HandshakeError> {
    for step in script.chunks_exact(4).take(STEPS_MAX) {
        let &[who, alteration, start, length] = step else {
            break;
        };
        let (from, space) = (usize::from(who & 1), space_of(who >> 1));
        let start = 2 * usize::from(start);
        let end = start + 2 * usize::from(length);
        let bit = (alteration & 0x80 != 0).then_some(alteration & 7);
        deliver(ends, from, space, start..end, bit)?;
    }
    Ok(())
}

/// Sends everything again until nothing new is said.
fn settle(ends: &mut [Node; 2]) -> Result<(), HandshakeError> {
    for _ in 0..FLIGHTS {
        for from in 0..ends.len() {
            for space in [Space::Initial, Space::Handshake] {
                deliver(ends, from, space, 0..usize::MAX, None)?;
            }
        }
    }
    Ok(())
}

/// Brings part of what one end has said in a space to the other end; `alter` is the bit of its
/// first byte that is flipped on the way.
fn deliver(
    ends: &mut [Node; 2],
    from: usize,
    space: Space,
    range: std::ops::Range<usize>,
    alter: Option<u8>,
) -> Result<(), HandshakeError> {
    let [client, server] = ends;
    let (sender, receiver) = match from {
        0 => (client, server),
        _ => (server, client),
    };
    let said = &sender.end.said[space as usize];
    let start = range.start.min(said.len());
    let mut bytes = said[start..range.end.clamp(start, said.len())].to_vec();
    if let (Some(bit), Some(first)) = (alter, bytes.first_mut()) {
        *first ^= 1 << bit;
    }
    receiver.receive(space, start, &bytes, alter.is_some())
}

/// One end, with what it has received of each space.
struct Node {
    end: End,
    received: [Vec<Option<u8>>; 2],
    /// How much of each space the session has read.
    read: [usize; 2],
    /// Something altered has taken the place of what was said.
    is_altered: bool,
}

impl Node {
    fn new(session: handshake::Session) -> Self {
        Self {
            end: End::start(session),
            received: [Vec::new(), Vec::new()],
            read: [0; 2],
            is_altered: false,
        }
    }

    fn receive(
        &mut self,
        space: Space,
        start: usize,
        bytes: &[u8],
        is_first_altered: bool,
    ) -> Result<(), HandshakeError> {
        if space > self.end.reads_from() {
            return Ok(()); // No keys for it yet.
        }
        let received = &mut self.received[space as usize];
        received.resize(received.len().max(start + bytes.len()), None);
        for (index, byte) in bytes.iter().enumerate() {
            let place = &mut received[start + index];
            self.is_altered |= place.is_none() && is_first_altered && index == 0;
            place.get_or_insert(*byte);
        }
        let read = &mut self.read[space as usize];
        let next: Vec<u8> = received[*read..].iter().map_while(|byte| *byte).collect();
        *read += next.len();
        self.end.read(&next)
    }
}

fn space_of(bits: u8) -> Space {
    match bits & 1 {
        0 => Space::Initial,
        _ => Space::Handshake,
    }
}

/// Steps that are played at most: enough for every byte of a handshake twice.
const STEPS_MAX: usize = 2_048;

/// Rounds of sending everything that end every handshake.
const FLIGHTS: usize = 4;
