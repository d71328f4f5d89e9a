//! Tokens: an invitation with everything that its redeemer needs, as one word to be copied.
//!
//! A token is a secret: whoever has it first becomes a member. It holds the network key too, so
//! its finder can at least ask the network's machines for an answer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use model::MachineId;
use prost::Message as _;
use zeroize::Zeroizing;

use crate::{
    EpochKey, FileError, FileKind, Invitation, InvitationId, Keypair, NetworkKey, NetworkKeyEpoch,
    Trust,
};

/// What its redeemer needs of an invitation.
#[derive(Debug)]
pub struct Token {
    /// Whom the network trusts.
    pub trust: Trust,
    /// What is offered.
    pub invitation: Invitation,
    /// What claims are signed with.
    pub secret: Keypair,
    /// The key to dial with.
    pub network_key: EpochKey,
    /// Multiaddresses of machines that may admit; at most [`Token::ADDRESSES_MAX`].
    pub addresses: Vec<String>,
}

impl Token {
    /// Most addresses. Source: guess, two admitters with four each.
    pub const ADDRESSES_MAX: usize = 8;
    /// Longest address. Unit: bytes. Source: a circuit through two machine ids has 190.
    pub const ADDRESS_BYTES_MAX: usize = 256;

    /// The token as one word.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let EpochKey { epoch, key } = &self.network_key;
        let message = TokenMessage {
            operator: Bytes::copy_from_slice(self.trust.operator().as_bytes()),
            invitation: self.invitation.as_bytes().clone(),
            secret: self.secret.seed().to_vec(),
            epoch: epoch.0,
            network_key: key.as_bytes().to_vec(),
            addresses: self.addresses.clone(),
        };
        let bytes = Zeroizing::new(message.encode_to_vec());
        let encoded = Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes));
        Zeroizing::new([FileKind::Token.label(), ".", &encoded].concat())
    }

    /// Reads what [`Self::to_text`] wrote, and checks that its parts belong together.
    ///
    /// # Errors
    ///
    /// [`FileError`] if the text is anything else.
    pub fn from_text(text: &str) -> Result<Self, FileError> {
        let expected = FileKind::Token;
        let damaged = || FileError::Damaged(expected);
        let (label, encoded) = text.trim().split_once('.').unwrap_or_default();
        if label != expected.label() || encoded.len() > TEXT_BYTES_MAX {
            return Err(FileError::Unknown { expected });
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| damaged())?;
        let bytes = Zeroizing::new(bytes);
        let message = TokenMessage::decode(bytes.as_slice()).map_err(|_| damaged())?;
        let operator = message.operator.as_ref().try_into();
        let trust = Trust::new(MachineId::from_bytes(operator.map_err(|_| damaged())?));
        let secret = Keypair::from_seed(&*key_of(&message.secret).ok_or_else(damaged)?);
        let network_key = key_of(&message.network_key).ok_or_else(damaged)?;
        let invitation = trust.read_invitation(message.invitation.clone())?;
        let is_long = |address: &String| address.len() > Self::ADDRESS_BYTES_MAX;
        if invitation.id() != InvitationId::of(&secret)
            || message.addresses.len() > Self::ADDRESSES_MAX
            || message.addresses.iter().any(is_long)
        {
            return Err(damaged());
        }
        Ok(Self {
            trust,
            invitation,
            secret,
            network_key: EpochKey {
                epoch: NetworkKeyEpoch(message.epoch),
                key: NetworkKey::from_bytes(&network_key),
            },
            addresses: message.addresses.clone(),
        })
    }
}

fn key_of(bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    bytes.try_into().ok().map(Zeroizing::new)
}

/// [`Token`] as bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct TokenMessage {
    #[prost(bytes = "bytes", tag = "1")]
    operator: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    invitation: Bytes,
    /// The seed of the secret.
    #[prost(bytes = "vec", tag = "3")]
    secret: Vec<u8>,
    #[prost(uint32, tag = "4")]
    epoch: u32,
    #[prost(bytes = "vec", tag = "5")]
    network_key: Vec<u8>,
    #[prost(string, repeated, tag = "6")]
    addresses: Vec<String>,
}

impl Drop for TokenMessage {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
        zeroize::Zeroize::zeroize(&mut self.network_key);
    }
}

/// Longest text after the label. Unit: bytes. Source: base64 of the largest invitation, of the most
/// addresses, and of 128 bytes of keys.
const TEXT_BYTES_MAX: usize =
    4 * (Invitation::BYTES_MAX + Token::ADDRESSES_MAX * (Token::ADDRESS_BYTES_MAX + 4) + 256) / 3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{CredentialError, Issuer, Role, Terms};
    use model::Timestamp;

    fn token() -> Token {
        let (operator, secret) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[9; 32]));
        let terms = Terms {
            site: "hall-b".to_owned(),
            roles: [Role::Publish].into(),
            commands: Vec::new(),
            lifetime: Duration::from_secs(60),
            not_after: Timestamp::from_nanos(2_000),
        };
        let invited = Issuer::operator(&operator).invite(InvitationId::of(&secret), terms);
        Token {
            trust: Trust::new(operator.machine()),
            invitation: invited.expect("good terms"),
            secret,
            network_key: EpochKey {
                epoch: NetworkKeyEpoch(3),
                key: NetworkKey::from_bytes(&[5; 32]),
            },
            addresses: vec!["/ip4/192.0.2.7/udp/4001/quic/noise".to_owned()],
        }
    }

    #[test]
    fn a_token_is_one_word_and_reads_back_as_it_was_written() {
        let text = token().to_text();

        assert!(!text.contains(char::is_whitespace));
        let read = Token::from_text(&format!("  {}\n", *text)).expect("a token");
        assert_eq!(read.trust, token().trust);
        assert_eq!(read.invitation, token().invitation);
        assert_eq!(read.secret.machine(), token().secret.machine());
        assert_eq!(read.network_key.epoch, NetworkKeyEpoch(3));
        assert_eq!(read.network_key.key.as_bytes(), &[5; 32]);
        assert_eq!(read.addresses, token().addresses);
    }

    #[test]
    fn a_cut_token_a_mixed_one_and_something_else_are_told_apart() {
        let text = token().to_text();
        let unknown = FileError::Unknown {
            expected: FileKind::Token,
        };
        let mixed = Token {
            secret: Keypair::from_seed(&[8; 32]),
            ..token()
        };
        let foreign = Token {
            trust: Trust::new(Keypair::from_seed(&[2; 32]).machine()),
            ..token()
        };

        let refusal = |text: &str| Token::from_text(text).map(|_| ()).expect_err("refused");

        assert_eq!(
            refusal(&text[..text.len() - 9]),
            FileError::Damaged(FileKind::Token)
        );
        assert_eq!(
            refusal(&mixed.to_text()),
            FileError::Damaged(FileKind::Token)
        );
        let other = FileError::Credential(CredentialError::OtherOperator);
        assert_eq!(refusal(&foreign.to_text()), other);
        assert_eq!(refusal("fieldmesh-network-key-v1 AAAA"), unknown);
        assert_eq!(refusal(""), unknown);
    }
}
