//! Noise without a session's checks, for somebody who has the network key and says what it likes.
//!
//! Written from the protocol's description, so it also holds the session to that.

use handshake::{ALPN, Side, VERSION};
use identity::Keypair;
use sha2::{Digest as _, Sha256};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

use crate::world::{NOW, PARAMETERS, WORLD};

/// One end of a handshake in the hands of somebody else.
pub(crate) struct Insider {
    side: Side,
    noise: HandshakeState,
    static_key: [u8; 32],
}

impl Insider {
    pub(crate) fn new(side: Side) -> Self {
        let protocol = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";
        let prologue = prologue();
        let resolver = Box::new(Resolver);
        let builder = Builder::with_resolver(protocol.parse().expect("known"), resolver)
            .prologue(&prologue)
            .and_then(|builder| builder.psk(0, WORLD.keys.psk()))
            .and_then(|builder| builder.local_private_key(&PRIVATE))
            .expect("each is set once");
        let noise = match side {
            Side::Initiator => builder.build_initiator(),
            Side::Responder => builder.build_responder(),
        };
        let mut own = curve();
        own.set(&PRIVATE);
        Self {
            side,
            noise: noise.expect("nothing is missing"),
            static_key: own.pubkey().try_into().expect("32 bytes"),
        }
    }

    /// The next message with this payload, as it travels.
    pub(crate) fn say(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 2 + payload.len() + 128];
        let length = self.noise.write_message(payload, &mut message[2..]);
        let length = length.expect("a message of its turn");
        message.truncate(2 + length);
        let length = u16::try_from(length).expect("bounded by the caller");
        message[..2].copy_from_slice(&length.to_be_bytes());
        message
    }

    /// Reads an honest message.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let mut payload = vec![0; bytes.len()];
        let heard = self.noise.read_message(&bytes[2..], &mut payload);
        heard.expect("an honest message");
    }

    /// A payload with a genuine proof for the next message, and this credential.
    pub(crate) fn payload(&self, signer: &Keypair, credential: &[u8]) -> Vec<u8> {
        let (role, mut payload) = match self.side {
            Side::Initiator => (&b"initiator"[..], Vec::new()),
            Side::Responder => (&b"responder"[..], prefixed(PARAMETERS)),
        };
        let digest = Sha256::new()
            .chain_update(b"fieldmesh-link-v1")
            .chain_update(WORLD.network.as_bytes())
            .chain_update(role)
            .chain_update(self.noise.get_handshake_hash())
            .chain_update(self.static_key)
            .finalize();
        payload.extend_from_slice(signer.machine().as_bytes());
        payload.extend_from_slice(&signer.sign(&digest.into()).0);
        payload.extend(prefixed(credential));
        payload
    }
}

/// The payload of an honest first message.
pub(crate) fn first_payload() -> Vec<u8> {
    let millis = NOW.as_nanos() / 1_000_000;
    let time = millis.to_be_bytes().to_vec();
    let parts = [
        prologue(),
        time,
        prefixed(ALPN.as_bytes()),
        prefixed(PARAMETERS),
    ];
    parts.concat()
}

fn prologue() -> Vec<u8> {
    let epoch = WORLD.keys.epoch().0.to_be_bytes();
    [&VERSION.to_be_bytes()[..], WORLD.network.as_bytes(), &epoch].concat()
}

/// Bytes behind their length. Longer ones than a length can say are cut.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let bytes = &bytes[..usize::from(length)];
    [&length.to_be_bytes(), bytes].concat()
}

/// The private key of every insider; which one it is does not matter.
const PRIVATE: [u8; 32] = [0x66; 32];

/// `snow`'s primitives, with the same entropy every time.
struct Resolver;

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Repeated))
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(curve())
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

struct Repeated;

impl Random for Repeated {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        out.fill(0x77);
        Ok(())
    }
}

fn curve() -> Box<dyn Dh> {
    let curve = DefaultResolver.resolve_dh(&DHChoice::Curve25519);
    curve.expect("snow is built with Curve25519")
}
