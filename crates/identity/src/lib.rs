//! Keys, the network, memberships, invitations, revocations: who a machine is and what it may do.
//!
//! Start at [`Roll::admit`] for the one question that every transport asks, at [`Trust::read`] for
//! how a membership is checked and at [`mod@file`] for how keys look on disk.
//!
//! # Not here
//!
//! Files (`node` reads and writes them), connections (`swarm` shows credentials to the peer), when
//! an invitation is redeemed (`engine`), entropy (callers pass seeds in).

mod credential;
mod equivocation;
mod error;
pub mod file;
mod grant;
mod invitation;
mod keypair;
mod known_keys;
mod membership;
mod network_key;
mod network_keys;
mod pattern;
mod redemption;
mod renewal;
mod revocation;
mod roll;
mod signed;
mod token;

pub use credential::Credential;
pub use equivocation::{Equivocation, EquivocationError};
pub use error::{CredentialError, FileError, SignatureError};
pub use file::FileKind;
pub use grant::{Delegation, Grant, Role};
pub use invitation::{Claim, Invitation, InvitationId, Terms};
pub use keypair::{
    Keypair, Signatures, Signer, sealing_key_of, verify_block, verify_digest, verify_state,
};
pub use known_keys::KnownKeys;
pub use membership::{Issuer, Membership, Trust};
pub use network_key::{LinkKeys, NetworkKey, NetworkKeyEpoch};
pub use network_keys::{EpochKey, NetworkKeys};
pub use redemption::Redemption;
pub use renewal::Renewal;
pub use revocation::Revocation;
pub use roll::{Redeemer, Roll, Standing};
pub use token::Token;
