//! Keys, the network, memberships: who a machine is and what it may do.
//!
//! Start at [`Trust::read`] for how a membership is checked and at [`mod@file`] for how keys look on
//! disk.
//!
//! # Not here
//!
//! Files (`node` reads and writes them), connections (`swarm` shows memberships to the peer),
//! entropy (callers pass seeds in).

mod error;
pub mod file;
mod keypair;
mod membership;
mod network_key;

pub use error::{FileError, MembershipError, SignatureError};
pub use file::FileKind;
pub use keypair::{Keypair, verify_block, verify_digest, verify_state};
pub use membership::{Grant, Membership, Role, Trust};
pub use network_key::{LinkKeys, NetworkKey, NetworkKeyEpoch};
