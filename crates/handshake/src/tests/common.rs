//! Two machines of one network, and a way to carry bytes between their sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::{
    Credential, Grant, Keypair, LinkKeys, Membership, NetworkKey, NetworkKeyEpoch, Role, Roll,
    Trust,
};
use model::{MachineId, Timestamp};

use crate::{HandshakeError, Judge, KeyChange, KeyRing, KeySet, Local, Session, Side, UpdateChain};

/// Seeds of keys: the operator, and machines that it admitted. Alice dials, Bob answers, and
/// Mallory is a member with bad intent.
pub(crate) const OPERATOR: u8 = 1;
pub(crate) const ALICE: u8 = 2;
pub(crate) const BOB: u8 = 3;
pub(crate) const MALLORY: u8 = 4;

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
    let half_a_year = Duration::from_secs(183 * 86_400);
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
        delegation: None,
    }
}

pub(crate) fn membership(seed: u8) -> Membership {
    Membership::issue(&key(OPERATOR), grant(seed)).expect("a grant within its bounds")
}

pub(crate) fn local(seed: u8) -> Arc<Local> {
    showing(seed, &membership(seed))
}

/// A machine that shows this membership.
pub(crate) fn showing(seed: u8, membership: &Membership) -> Arc<Local> {
    showing_bytes(seed, Credential::Membership(membership.clone()).to_bytes())
}

/// A machine that shows this instead of a credential.
pub(crate) fn showing_bytes(seed: u8, credential: Bytes) -> Arc<Local> {
    Arc::new(Local::new(key(seed), trust().network(), credential))
}

/// Judges at [`NOW`], as a node with a trusted clock does.
pub(crate) struct AtNow;

impl Judge for AtNow {
    fn judge(
        &self,
        machine: MachineId,
        shown: Bytes,
    ) -> Result<Credential, Box<dyn Error + Send + Sync>> {
        Ok(Roll::new(trust(), Duration::ZERO).admit(machine, shown, Some(NOW))?)
    }
}

/// Alice, who dials Bob.
pub(crate) fn alice() -> Session {
    dials(local(ALICE), Some(machine(BOB)))
}

/// Alice with other entropy, who dials Bob.
pub(crate) fn dials_with(entropy: [u8; 32]) -> Session {
    initiates(local(ALICE), Some(machine(BOB)), entropy)
}

pub(crate) fn dials(local: Arc<Local>, expected: Option<MachineId>) -> Session {
    initiates(local, expected, [0xa1; 32])
}

fn initiates(local: Arc<Local>, expected: Option<MachineId>, entropy: [u8; 32]) -> Session {
    let (keys, time) = (keys(2), Some(NOW));
    Session::initiate(local, &keys, expected, CLIENT_PARAMETERS, time, entropy)
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
pub(crate) struct End {
    pub(crate) session: Session,
    judge: &'static dyn Judge,
    pub(crate) handshake: Option<KeySet>,
    pub(crate) one_rtt: Option<(KeySet, UpdateChain)>,
}

impl End {
    pub(crate) fn new(session: Session) -> Self {
        Self::judged_by(session, &AtNow)
    }

    pub(crate) const fn judged_by(session: Session, judge: &'static dyn Judge) -> Self {
        Self {
            session,
            judge,
            handshake: None,
            one_rtt: None,
        }
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        self.session.read(bytes, self.judge)
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

/// The parts of a handshake, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    C1,
    S1a,
    S1b,
    C2,
}

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::C1, Self::S1a, Self::S1b, Self::C2];

    /// Who reads it.
    pub(crate) const fn reader(self) -> Side {
        match self {
            Self::C1 | Self::C2 => Side::Responder,
            Self::S1a | Self::S1b => Side::Initiator,
        }
    }
}

/// Everything that both ends say.
pub(crate) type Transcript = BTreeMap<Part, Vec<u8>>;

/// Carries a handshake to its end, or to the first error and the side that found it.
pub(crate) fn run(
    client: &mut End,
    server: &mut End,
) -> Result<Transcript, (Side, HandshakeError)> {
    run_through(client, server, |_, bytes| vec![bytes])
}

/// As [`run`], but every part comes as what `wire` makes of it. Ends early if that completes no
/// message.
pub(crate) fn run_through(
    client: &mut End,
    server: &mut End,
    mut wire: impl FnMut(Part, Vec<u8>) -> Vec<Vec<u8>>,
) -> Result<Transcript, (Side, HandshakeError)> {
    let mut transcript = Transcript::new();
    let mut carry = |part: Part, bytes: Vec<u8>, to: &mut End| {
        transcript.insert(part, bytes.clone());
        let mut pieces = wire(part, bytes).into_iter();
        let read = pieces.try_for_each(|piece| to.read(&piece));
        read.map_err(|error| (part.reader(), error))
    };
    carry(Part::C1, client.write().initial, server)?;
    let s1 = server.write();
    carry(Part::S1a, s1.initial, client)?;
    let early = client.write();
    let is_silent = early.initial.is_empty() && early.handshake.is_empty();
    assert!(is_silent, "C2 waits for S1b");
    carry(Part::S1b, s1.handshake, client)?;
    carry(Part::C2, client.write().handshake, server)?;
    let s2 = server.write();
    let is_silent = s2.initial.is_empty() && s2.handshake.is_empty();
    assert!(is_silent, "S2 is QUIC's own");
    Ok(transcript)
}

/// The error that a handshake must end with, and the side that must find it.
pub(crate) fn refusal(client: Session, server: Session) -> (Side, HandshakeError) {
    let (mut client, mut server) = (End::new(client), End::new(server));
    let refused = run(&mut client, &mut server).expect_err("a handshake that must fail");
    let reader = match refused.0 {
        Side::Initiator => &mut client,
        Side::Responder => &mut server,
    };
    assert_is_dead(reader);
    refused
}

/// Nothing comes from a session that has failed, whatever it is given.
pub(crate) fn assert_is_dead(end: &mut End) {
    assert_eq!(end.session.peer(), None);
    assert!(end.session.is_handshaking());
    for bytes in [&[][..], b"more"] {
        let read = end.read(bytes);
        assert!(matches!(read, Err(HandshakeError::Failed)), "{read:?}");
    }
    let mut out = Vec::new();
    assert!(end.session.write(&mut out).is_none());
    assert!(out.is_empty());
    assert!(end.session.export(b"label", b"", &mut [0]).is_err());
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
