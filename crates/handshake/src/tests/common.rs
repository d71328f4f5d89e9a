//! Two machines of one network, and a way to carry bytes between their sessions.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use identity::{Grant, Keypair, LinkKeys, Membership, NetworkKey, NetworkKeyEpoch, Role, Trust};
use model::{MachineId, Timestamp};

use crate::{HandshakeError, Judge, KeyChange, KeyRing, KeySet, Local, Session, Side, UpdateChain};

/// Seeds of keys: the operator, and machines that it admitted.
pub(crate) const OPERATOR: u8 = 1;
pub(crate) const ALICE: u8 = 2;
pub(crate) const BOB: u8 = 3;

pub(crate) const CLIENT_PARAMETERS: &[u8] = b"transport parameters of the client";
pub(crate) const SERVER_PARAMETERS: &[u8] = b"transport parameters of the server";

/// The end of the first of May 2024, some hours later. Unit: nanoseconds since the Unix epoch.
pub(crate) const NOW: Timestamp = Timestamp::from_nanos(1_714_608_000_000_000_000);

pub(crate) fn key(seed: u8) -> Keypair {
    Keypair::from_seed(&[seed; 32])
}

pub(crate) fn machine(seed: u8) -> MachineId {
    key(seed).machine()
}

pub(crate) fn trust() -> Trust {
    Trust::new(machine(OPERATOR))
}

pub(crate) fn keys(epoch: u32) -> LinkKeys {
    NetworkKey::from_bytes(&[9; 32]).link(&trust().network(), NetworkKeyEpoch(epoch))
}

pub(crate) fn ring() -> KeyRing {
    KeyRing::new(keys(2), Some(keys(1)))
}

/// What the operator lets a machine do: typical in size, valid for a year around [`NOW`].
pub(crate) fn grant(seed: u8) -> Grant {
    let half_a_year = std::time::Duration::from_secs(183 * 86_400);
    Grant {
        machine: machine(seed),
        name: format!("press-{seed}"),
        site: "hall-north".to_owned(),
        roles: BTreeSet::from([Role::Publish, Role::Relay, Role::Command, Role::Observe]),
        commands: ["press/*/set", "press/*/stop", "light/**"]
            .map(str::to_owned)
            .to_vec(),
        not_before: NOW.saturating_sub(half_a_year),
        not_after: NOW.saturating_add(half_a_year),
    }
}

pub(crate) fn membership(seed: u8) -> Membership {
    Membership::issue(&key(OPERATOR), grant(seed)).expect("a grant within its bounds")
}

pub(crate) fn local(seed: u8) -> Arc<Local> {
    let credential = membership(seed).as_bytes().clone();
    Arc::new(Local::new(key(seed), trust(), credential))
}

/// Judges the window of a membership at [`NOW`], as a node with a trusted clock does.
pub(crate) struct AtNow;

impl Judge for AtNow {
    fn judge(&self, membership: &Membership) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(trust().judge(membership, Some(NOW))?)
    }
}

/// Alice, who dials Bob.
pub(crate) fn alice() -> Session {
    dials(local(ALICE), Some(machine(BOB)))
}

pub(crate) fn dials(local: Arc<Local>, expected: Option<MachineId>) -> Session {
    let entropy = [0xa1; 32];
    Session::initiate(
        local,
        &keys(2),
        expected,
        CLIENT_PARAMETERS,
        Some(NOW),
        entropy,
    )
    .expect("parameters within their bounds")
}

/// Bob, who answers.
pub(crate) fn bob() -> Session {
    answers(local(BOB))
}

pub(crate) fn answers(local: Arc<Local>) -> Session {
    Session::respond(local, ring(), SERVER_PARAMETERS, [0xb0; 32])
}

/// What a session wrote until it had nothing more to say: bytes per packet space, keys after them.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    pub(crate) initial: Vec<u8>,
    pub(crate) handshake: Vec<u8>,
}

/// One end as quinn drives it: after every read it writes until nothing comes.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) handshake: Option<KeySet>,
    pub(crate) one_rtt: Option<(KeySet, UpdateChain)>,
}

impl End {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            handshake: None,
            one_rtt: None,
        }
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        self.session.read(bytes, &AtNow)
    }

    pub(crate) fn write(&mut self) -> Flight {
        let mut flight = Flight::default();
        loop {
            let mut bytes = Vec::new();
            let is_initial = self.handshake.is_none();
            let keys = self.session.write(&mut bytes);
            if bytes.is_empty() && keys.is_none() {
                return flight;
            }
            if is_initial {
                flight.initial.extend(bytes);
            } else {
                flight.handshake.extend(bytes);
            }
            match keys {
                Some(KeyChange::Handshake(keys)) => self.handshake = Some(keys),
                Some(KeyChange::OneRtt(keys, chain)) => self.one_rtt = Some((keys, chain)),
                None => {}
            }
        }
    }
}

/// Everything that both ends say, carried whole.
pub(crate) struct Transcript {
    pub(crate) c1: Vec<u8>,
    pub(crate) s1a: Vec<u8>,
    pub(crate) s1b: Vec<u8>,
    pub(crate) c2: Vec<u8>,
}

/// Carries a handshake to its end, or to the first error and the side that found it.
pub(crate) fn run(
    client: &mut End,
    server: &mut End,
) -> Result<Transcript, (Side, HandshakeError)> {
    let at = |side| move |error| (side, error);
    let c1 = client.write().initial;
    server.read(&c1).map_err(at(Side::Responder))?;
    let s1 = server.write();
    client.read(&s1.initial).map_err(at(Side::Initiator))?;
    let early = client.write();
    assert!(
        early.initial.is_empty() && early.handshake.is_empty(),
        "C2 waits for S1b"
    );
    client.read(&s1.handshake).map_err(at(Side::Initiator))?;
    let c2 = client.write().handshake;
    server.read(&c2).map_err(at(Side::Responder))?;
    let s2 = server.write();
    assert!(
        s2.initial.is_empty() && s2.handshake.is_empty(),
        "S2 is QUIC's own"
    );
    Ok(Transcript {
        c1,
        s1a: s1.initial,
        s1b: s1.handshake,
        c2,
    })
}

/// The secret parts of a set of keys, as comparable bytes: those for sending, those for receiving.
pub(crate) fn bytes_of(keys: &KeySet) -> [Vec<u8>; 2] {
    [&keys.local, &keys.remote].map(|direction| {
        [
            &direction.packet.key[..],
            &direction.packet.iv[..],
            &direction.header[..],
        ]
        .concat()
    })
}
