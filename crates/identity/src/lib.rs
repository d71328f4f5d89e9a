//! Keys, the network, memberships: who a machine is and what it may do.
//!
//! # Not here
//!
//! Files (`node` reads and writes them), connections (`swarm` shows memberships to the peer),
//! entropy (callers pass seeds in).

mod error;
mod keypair;
mod membership;

pub use error::{MembershipError, SignatureError};
pub use keypair::{Keypair, verify_block, verify_digest, verify_state};
pub use membership::{Grant, Membership, Role, Trust};
