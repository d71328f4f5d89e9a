//! A session: one side of one handshake, from its first byte to its 1-RTT keys.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use identity::LinkKeys;
use model::{MachineId, Timestamp};
use zeroize::Zeroizing;

use crate::codec::{Fields, put_bytes};
use crate::first_flight::{self, Opened};
use crate::frame::{Frame, framed};
use crate::keys::{Exporter, Stage};
use crate::noise::{Noise, Secrets};
use crate::proof::{PROOF_BYTES_MAX, Verifier};
use crate::{ExportError, FirstFlight, HandshakeError, Judge, KeyChange, KeyRing, Local, Peer};

/// Which side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Dialled; QUIC's client.
    Initiator,
    /// Was dialled; QUIC's server.
    Responder,
}

impl Side {
    /// The side at the other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// One side of one handshake.
///
/// As quinn drives it: after every [`Self::read`], [`Self::write`] is called until it gives neither
/// bytes nor keys, and each call's bytes belong to the packet space before its keys. A session that
/// has failed stays silent and refuses whatever comes.
pub struct Session {
    local: Arc<Local>,
    side: Side,
    /// Who was dialled.
    expected: Option<MachineId>,
    state: State,
    frame: Frame,
    /// What is to be written, in order, with the keys after it.
    pending: VecDeque<(Vec<u8>, Option<KeyChange>)>,
    flight: Option<FirstFlight>,
    peer_parameters: Option<Vec<u8>>,
    peer: Option<Peer>,
}

enum State {
    /// A responder before the first message.
    First {
        ring: KeyRing,
        parameters: Vec<u8>,
        secrets: Secrets,
    },
    /// An initiator before the second message.
    Second(Noise),
    /// An initiator before the confirmation of these keys.
    Confirmation(Noise, Zeroizing<[u8; 32]>),
    /// A responder before the third message.
    Third(Noise),
    /// All messages have been read and written.
    Complete(Exporter),
    Failed,
}

impl Session {
    /// Dials. `expected` is who must answer, if that is known; `parameters` are QUIC's transport
    /// parameters, which the peer gets as they are; `time` is `None` without a trusted clock;
    /// `entropy` must come from the operating system and be used for this session alone.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::OwnTooLong`] if own parameters or credential fit into no message.
    pub fn initiate(
        local: Arc<Local>,
        keys: &LinkKeys,
        expected: Option<MachineId>,
        parameters: &[u8],
        time: Option<Timestamp>,
        entropy: [u8; 32],
    ) -> Result<Self, HandshakeError> {
        local.check()?;
        check_parameters(parameters)?;
        let network = local.network();
        let prologue = first_flight::prologue(&network, keys.epoch());
        let secrets = Secrets::draw(entropy);
        let mut noise = Noise::new(Side::Initiator, &prologue, keys.psk(), &secrets);
        let payload = first_flight::payload(&network, keys.epoch(), time, parameters);
        let message = noise.write(&payload)?;
        let mut session = Self::new(local, Side::Initiator, State::Second(noise));
        session.expected = expected;
        session.pending.push_back((framed(&message), None));
        Ok(session)
    }

    /// Answers, under whichever key of the ring the initiator used. What does not fit into a
    /// message is refused at the first [`Self::read`].
    #[must_use]
    pub fn respond(local: Arc<Local>, ring: KeyRing, parameters: &[u8], entropy: [u8; 32]) -> Self {
        let state = State::First {
            ring,
            parameters: parameters.to_vec(),
            secrets: Secrets::draw(entropy),
        };
        Self::new(local, Side::Responder, state)
    }

    fn new(local: Arc<Local>, side: Side, state: State) -> Self {
        Self {
            local,
            side,
            expected: None,
            state,
            frame: Frame::default(),
            pending: VecDeque::new(),
            flight: None,
            peer_parameters: None,
            peer: None,
        }
    }

    /// Takes CRYPTO bytes in order, in pieces of any size. Holds at most one message.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`], after which the session is of no use.
    pub fn read(&mut self, bytes: &[u8], judge: &dyn Judge) -> Result<(), HandshakeError> {
        let read = self.read_all(bytes, judge);
        if read.is_err() {
            self.state = State::Failed;
            self.pending.clear();
            self.frame = Frame::default();
            self.peer = None;
        }
        read
    }

    /// Appends bytes for the current packet space, and gives the keys after them.
    pub fn write(&mut self, out: &mut Vec<u8>) -> Option<KeyChange> {
        let (bytes, keys) = self.pending.pop_front()?;
        out.extend_from_slice(&bytes);
        keys
    }

    /// Which side this is.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// What a responder's peer said first.
    #[must_use]
    pub const fn first_flight(&self) -> Option<&FirstFlight> {
        self.flight.as_ref()
    }

    /// The peer's transport parameters, as it sent them. A responder has them before it knows the
    /// peer, from somebody with the network key.
    #[must_use]
    pub fn peer_parameters(&self) -> Option<&[u8]> {
        self.peer_parameters.as_deref()
    }

    /// Who the peer is; `None` until it has proved it and was let in.
    #[must_use]
    pub const fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Whether the 1-RTT keys are still to come.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        !(matches!(self.state, State::Complete(_)) && self.pending.is_empty())
    }

    /// Fills `out` with keying material that both sides, and only they, can make.
    ///
    /// # Errors
    ///
    /// [`ExportError`] before the handshake is complete or for more than 8,160 bytes.
    pub fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> Result<(), ExportError> {
        let State::Complete(exporter) = &self.state else {
            return Err(ExportError::Handshaking);
        };
        exporter.export(label, context, out)
    }

    fn read_all(&mut self, mut bytes: &[u8], judge: &dyn Judge) -> Result<(), HandshakeError> {
        if matches!(self.state, State::Failed) {
            return Err(HandshakeError::Failed);
        }
        while !bytes.is_empty() {
            // What is still to be written changes the packet space of what may come next.
            if !self.pending.is_empty() || matches!(self.state, State::Complete(_)) {
                return Err(HandshakeError::OutOfTurn);
            }
            if let Some(message) = self.frame.take(&mut bytes)? {
                self.on_message(&message, judge)?;
            }
        }
        Ok(())
    }

    fn on_message(&mut self, message: &[u8], judge: &dyn Judge) -> Result<(), HandshakeError> {
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::First {
                ring,
                parameters,
                secrets,
            } => self.on_first(&ring, &parameters, &secrets, message)?,
            State::Second(noise) => self.on_second(noise, message, judge)?,
            State::Confirmation(noise, expected) => {
                self.on_confirmation(noise, &expected, message)?
            }
            State::Third(noise) => self.on_third(noise, message, judge)?,
            State::Complete(_) | State::Failed => return Err(HandshakeError::OutOfTurn),
        };
        Ok(())
    }

    /// C1: answered with the own proof, and the confirmation under the keys after it.
    fn on_first(
        &mut self,
        ring: &KeyRing,
        parameters: &[u8],
        secrets: &Secrets,
        message: &[u8],
    ) -> Result<State, HandshakeError> {
        self.local.check()?;
        check_parameters(parameters)?;
        let opened = Opened::read(ring, &self.local.network(), message, secrets)?;
        self.flight = Some(opened.flight);
        self.peer_parameters = Some(opened.parameters);
        let mut noise = opened.noise;
        let mut payload = Vec::new();
        put_bytes(&mut payload, parameters);
        self.local.prove(&mut payload, &noise, self.side);
        let answer = noise.write(&payload)?;
        let stage = Stage::new(&noise.split(), &noise.transcript(), self.side);
        let keys = KeyChange::Handshake(stage.keys());
        self.pending.push_back((framed(&answer), Some(keys)));
        let confirmation = framed(&*stage.confirmation());
        self.pending.push_back((confirmation, None));
        Ok(State::Third(noise))
    }

    /// S1a: the responder is known from here on.
    fn on_second(
        &mut self,
        mut noise: Noise,
        message: &[u8],
        judge: &dyn Judge,
    ) -> Result<State, HandshakeError> {
        let transcript = noise.transcript();
        let payload = noise.read(message)?;
        let mut fields = Fields::new(&payload);
        let parameters = fields.parameters()?;
        self.verify(transcript, fields, &noise, judge)?;
        self.peer_parameters = Some(parameters);
        let stage = Stage::new(&noise.split(), &noise.transcript(), self.side);
        let keys = KeyChange::Handshake(stage.keys());
        self.pending.push_back((Vec::new(), Some(keys)));
        Ok(State::Confirmation(noise, stage.confirmation()))
    }

    /// S1b: answered with the own proof.
    fn on_confirmation(
        &mut self,
        mut noise: Noise,
        expected: &[u8; 32],
        message: &[u8],
    ) -> Result<State, HandshakeError> {
        // Came in a packet under keys that depend on what is compared: its timing says nothing.
        if message != expected {
            return Err(HandshakeError::Confirmation);
        }
        let mut payload = Vec::new();
        self.local.prove(&mut payload, &noise, self.side);
        let answer = noise.write(&payload)?;
        Ok(self.complete(noise, framed(&answer)))
    }

    /// C2: the initiator is known from here on.
    fn on_third(
        &mut self,
        mut noise: Noise,
        message: &[u8],
        judge: &dyn Judge,
    ) -> Result<State, HandshakeError> {
        let transcript = noise.transcript();
        let payload = noise.read(message)?;
        self.verify(transcript, Fields::new(&payload), &noise, judge)?;
        Ok(self.complete(noise, Vec::new()))
    }

    fn verify(
        &mut self,
        transcript: [u8; 32],
        fields: Fields<'_>,
        noise: &Noise,
        judge: &dyn Judge,
    ) -> Result<(), HandshakeError> {
        let verifier = Verifier {
            local: &self.local,
            judge,
            expected: self.expected,
            transcript,
            side: self.side.other(),
        };
        self.peer = Some(verifier.verify(fields, noise)?);
        Ok(())
    }

    fn complete(&mut self, mut noise: Noise, last: Vec<u8>) -> State {
        let stage = Stage::new(&noise.split(), &noise.transcript(), self.side);
        let (keys, exporter) = (stage.keys(), stage.exporter());
        let keys = KeyChange::OneRtt(keys, stage.into_chain());
        self.pending.push_back((last, Some(keys)));
        State::Complete(exporter)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("side", &self.side)
            .field("peer", &self.peer.as_ref().map(|peer| peer.machine))
            .field("is_handshaking", &self.is_handshaking())
            .finish_non_exhaustive()
    }
}

fn check_parameters(parameters: &[u8]) -> Result<(), HandshakeError> {
    if parameters.len() > PARAMETERS_BYTES_MAX {
        return Err(HandshakeError::OwnTooLong {
            what: "transport parameters",
            length: parameters.len(),
            limit: PARAMETERS_BYTES_MAX,
        });
    }
    Ok(())
}

/// The version of the link, as QUIC's version number. Source: "FmL" and 1; unassigned by IANA.
pub const VERSION: u32 = 0x466d_4c01;

/// The protocol above the link.
pub const ALPN: &str = "fieldmesh/1";

/// Longest message. Unit: bytes. Source: the largest credential, and what surrounds it.
pub const MESSAGE_BYTES_MAX: usize = 4_096;

/// Longest transport parameters. Unit: bytes. Source: three times what quinn writes.
pub const PARAMETERS_BYTES_MAX: usize = 512;

/// Ephemeral key, encrypted static key, and the tag of the payload. Unit: bytes.
const NOISE_BYTES_MAX: usize = 32 + 32 + 16 + 16;

const _: () =
    assert!(NOISE_BYTES_MAX + 2 + PARAMETERS_BYTES_MAX + PROOF_BYTES_MAX <= MESSAGE_BYTES_MAX);
