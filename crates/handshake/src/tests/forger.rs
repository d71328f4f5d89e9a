//! Somebody with the network key who says what it likes: Noise without any of the session's checks.

use std::sync::atomic::{AtomicUsize, Ordering};

use identity::Keypair;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};

use super::common::{CLIENT_PARAMETERS, NOW, SERVER_PARAMETERS, keys, trust};
use crate::codec::put_bytes;
use crate::first_flight;
use crate::frame::framed;
use crate::keys::Stage;
use crate::proof::digest;
use crate::{MESSAGE_BYTES_MAX, Side};

/// Which public key a forger replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Ephemeral,
    Static,
}

/// One end of a handshake in the hands of somebody else.
pub(crate) struct Forger {
    side: Side,
    noise: HandshakeState,
    static_key: [u8; 32],
}

impl Forger {
    pub(crate) fn new(side: Side) -> Self {
        Self::with_key(side, None)
    }

    /// A forger that sends this instead of a public key of its own.
    pub(crate) fn with_key(side: Side, replaced: Option<(Key, [u8; 32])>) -> Self {
        Self::with(side, [0x66; 32], replaced)
    }

    /// A forger with the static key of somebody else's session.
    pub(crate) fn with_stolen(side: Side, private: [u8; 32]) -> Self {
        Self::with(side, private, None)
    }

    fn with(side: Side, private: [u8; 32], replaced: Option<(Key, [u8; 32])>) -> Self {
        let keys = keys(2);
        let network = trust().network();
        let prologue = first_flight::prologue(&network, keys.epoch());
        let resolver = Resolver {
            replaced,
            asked: AtomicUsize::new(0),
        };
        let params = "Noise_XXpsk0_25519_ChaChaPoly_SHA256";
        let builder = Builder::with_resolver(params.parse().expect("known"), Box::new(resolver))
            .prologue(&prologue)
            .and_then(|builder| builder.psk(0, keys.psk()))
            .and_then(|builder| builder.local_private_key(&private))
            .expect("each is set once");
        let noise = match side {
            Side::Initiator => builder.build_initiator(),
            Side::Responder => builder.build_responder(),
        };
        let mut own = DefaultResolver
            .resolve_dh(&DHChoice::Curve25519)
            .expect("known");
        own.set(&private);
        let mut static_key = [0; 32];
        static_key.copy_from_slice(own.pubkey());
        if let Some((Key::Static, key)) = replaced {
            static_key = key;
        }
        Self {
            side,
            noise: noise.expect("complete"),
            static_key,
        }
    }

    /// The next message with this payload, as it travels.
    pub(crate) fn say(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut message = vec![0; MESSAGE_BYTES_MAX];
        let length = self.noise.write_message(payload, &mut message);
        message.truncate(length.expect("a message of its turn"));
        framed(&message)
    }

    /// The payload of a message as it travels.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; MESSAGE_BYTES_MAX];
        let length = self.noise.read_message(&bytes[2..], &mut payload);
        payload.truncate(length.expect("an honest message"));
        payload
    }

    /// What an honest responder sends after its message.
    pub(crate) fn confirmation(&mut self) -> Vec<u8> {
        let (first, second) = self.noise.dangerously_get_raw_split();
        let mut split = [0; 64];
        split[..32].copy_from_slice(&first);
        split[32..].copy_from_slice(&second);
        let stage = Stage::new(&split, &self.transcript(), self.side);
        framed(&*stage.confirmation())
    }

    fn transcript(&self) -> [u8; 32] {
        let hash = self.noise.get_handshake_hash();
        hash.try_into().expect("SHA-256")
    }

    /// The payload of an honest first message.
    pub(crate) fn first_payload() -> Vec<u8> {
        let network = trust().network();
        first_flight::payload(&network, keys(2).epoch(), Some(NOW), CLIENT_PARAMETERS)
    }

    /// The payload that carries a proof: the server's has its parameters before it.
    pub(crate) fn payload(&self, proof: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        if self.side == Side::Responder {
            put_bytes(&mut payload, SERVER_PARAMETERS);
        }
        payload.extend_from_slice(proof);
        payload
    }

    /// A proof for the next message, signed as this session asks for.
    pub(crate) fn proof(&self, signer: &Keypair, credential: &[u8]) -> Vec<u8> {
        self.proof_for(self.side, signer, credential)
    }

    /// A proof for the next message, signed as if this side proved itself.
    pub(crate) fn proof_for(&self, side: Side, signer: &Keypair, credential: &[u8]) -> Vec<u8> {
        let network = trust().network();
        let digest = digest(&network, side, &self.transcript(), &self.static_key);
        let mut proof = signer.machine().as_bytes().to_vec();
        proof.extend_from_slice(&signer.sign(&digest).0);
        put_bytes(&mut proof, credential);
        proof
    }

    pub(crate) const fn side(&self) -> Side {
        self.side
    }
}

/// Plain `snow`, but for one public key. It is asked for the static key first.
struct Resolver {
    replaced: Option<(Key, [u8; 32])>,
    asked: AtomicUsize,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Repeated))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let inner = DefaultResolver.resolve_dh(choice)?;
        let this = match self.asked.fetch_add(1, Ordering::Relaxed) {
            0 => Key::Static,
            _ => Key::Ephemeral,
        };
        Some(match self.replaced {
            Some((key, public)) if key == this => Box::new(Lying { inner, public }),
            _ => inner,
        })
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

/// Shows a public key that it has no private key of, and computes what the honest side would get
/// from one of small order: zeros.
struct Lying {
    inner: Box<dyn Dh>,
    public: [u8; 32],
}

impl Dh for Lying {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn pub_len(&self) -> usize {
        self.inner.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.inner.priv_len()
    }

    fn set(&mut self, private: &[u8]) {
        self.inner.set(private);
    }

    fn generate(&mut self, entropy: &mut dyn Random) -> Result<(), snow::Error> {
        self.inner.generate(entropy)
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        self.inner.privkey()
    }

    fn dh(&self, _: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        out[..32].fill(0);
        Ok(())
    }
}
