//! Memberships: what the operator lets a machine do.
//!
//! As carried, a membership is a protobuf message followed by 64 bytes of signature. The signature
//! covers every byte before it, so no two byte strings are the same membership.
//!
//! # Not here
//!
//! Memberships signed by an admitter: the field for the admitter's own membership is reserved and
//! a membership that uses it is refused. Revocation.

use std::collections::BTreeSet;

use bytes::{BufMut as _, Bytes, BytesMut};
use model::{MachineId, NameError, NetworkId, SeriesName, Signature, Timestamp};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::{Keypair, MembershipError, verify_digest};

/// What a machine may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Be the origin of readings.
    Publish = 1,
    /// Be a candidate, and forward to the internet.
    Relay = 2,
    /// Send commands.
    Command = 3,
    /// Read what others published.
    Observe = 4,
    /// Admit others, within limits.
    Admit = 5,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::Publish,
        Self::Relay,
        Self::Command,
        Self::Observe,
        Self::Admit,
    ];

    /// Its name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Relay => "relay",
            Self::Command => "command",
            Self::Observe => "observe",
            Self::Admit => "admit",
        }
    }

    /// The role with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What a membership says. Signed by the operator over the bytes as carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The machine.
    pub machine: MachineId,
    /// Its display name; characters as in one level of a series name.
    pub name: String,
    /// Its site; characters as in one level of a series name.
    pub site: String,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// Names of commands that it may send, as patterns; at most [`Grant::COMMANDS_MAX`].
    pub commands: Vec<String>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until, exclusive.
    pub not_after: Timestamp,
}

impl Grant {
    /// Longest display name of a machine or a site. Unit: bytes. Source: DNS labels, RFC 1035.
    pub const NAME_BYTES_MAX: usize = 63;
    /// Most patterns of commands. Source: guess.
    pub const COMMANDS_MAX: usize = 32;
    /// Longest pattern of a command. Unit: bytes. Source: guess.
    pub const COMMAND_BYTES_MAX: usize = 128;

    fn check(&self) -> Result<(), MembershipError> {
        check_name("the machine's name", &self.name)?;
        check_name("the site's name", &self.site)?;
        if self.commands.len() > Self::COMMANDS_MAX {
            return Err(MembershipError::Malformed("more than 32 command patterns"));
        }
        let refused = |c: char| c.is_control() || c.is_whitespace();
        let is_command = |command: &String| {
            (1..=Self::COMMAND_BYTES_MAX).contains(&command.len()) && !command.contains(refused)
        };
        if !self.commands.iter().all(is_command) {
            return Err(MembershipError::Malformed("a command pattern"));
        }
        if self.not_before >= self.not_after {
            return Err(MembershipError::Malformed(
                "a window that ends before it starts",
            ));
        }
        Ok(())
    }
}

/// A membership: a grant with the signature of the network's operator, kept as carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    grant: Grant,
    bytes: Bytes,
}

impl Membership {
    /// Largest membership. Unit: bytes.
    pub const BYTES_MAX: usize = 3 * 1024;

    /// Signs a grant with the operator's key.
    ///
    /// # Errors
    ///
    /// [`MembershipError`] if a name is refused or the whole is too long.
    pub fn issue(operator: &Keypair, grant: Grant) -> Result<Self, MembershipError> {
        grant.check()?;
        let body = GrantMessage::from(&grant).encode_to_vec();
        if body.len() + SIGNATURE_BYTES > Self::BYTES_MAX {
            return Err(MembershipError::Malformed(TOO_LONG));
        }
        let network = Trust::new(operator.machine()).network();
        let signature = operator.sign(&digest(&network, &body));
        let mut bytes = BytesMut::with_capacity(body.len() + SIGNATURE_BYTES);
        bytes.put_slice(&body);
        bytes.put_slice(&signature.0);
        let bytes = bytes.freeze();
        Ok(Self { grant, bytes })
    }

    /// What it says.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The machine that it is for.
    #[must_use]
    pub const fn machine(&self) -> MachineId {
        self.grant.machine
    }

    /// The bytes that travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The one thing that a machine trusts: its network's operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    operator: MachineId,
}

impl Trust {
    /// Trusts the operator with this public key.
    #[must_use]
    pub const fn new(operator: MachineId) -> Self {
        Self { operator }
    }

    /// The operator's public key.
    #[must_use]
    pub const fn operator(&self) -> MachineId {
        self.operator
    }

    /// The network that the operator's key names.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        NetworkId::from_bytes(Sha256::digest(self.operator.as_bytes()).into())
    }

    /// Reads a membership and checks the signature; whether it is valid now, [`Self::judge`] says.
    ///
    /// # Errors
    ///
    /// [`MembershipError`] if it does not decode or the operator did not sign it.
    pub fn read(&self, bytes: Bytes) -> Result<Membership, MembershipError> {
        if bytes.len() > Membership::BYTES_MAX {
            return Err(MembershipError::Malformed(TOO_LONG));
        }
        let (body, signature) = bytes
            .split_last_chunk::<SIGNATURE_BYTES>()
            .ok_or(MembershipError::Malformed("shorter than a signature"))?;
        let digest = digest(&self.network(), body);
        verify_digest(self.operator, &digest, &Signature(*signature))
            .map_err(|_| MembershipError::OtherOperator)?;
        let message = GrantMessage::decode(body)
            .map_err(|_| MembershipError::Malformed("not the expected protobuf message"))?;
        let grant = Grant::try_from(message)?;
        Ok(Membership { grant, bytes })
    }

    /// Whether a membership is valid at `now`; with `None` (no trusted clock) its window cannot be
    /// judged and counts as open.
    ///
    /// # Errors
    ///
    /// [`MembershipError::NotYetValid`] or [`MembershipError::Expired`].
    pub fn judge(
        &self,
        membership: &Membership,
        now: Option<Timestamp>,
    ) -> Result<(), MembershipError> {
        match now {
            Some(now) if now < membership.grant.not_before => Err(MembershipError::NotYetValid),
            Some(now) if now >= membership.grant.not_after => Err(MembershipError::Expired),
            Some(_) | None => Ok(()),
        }
    }
}

/// [`Grant`] on the wire.
#[derive(Clone, PartialEq, prost::Message)]
struct GrantMessage {
    #[prost(bytes = "vec", tag = "1")]
    machine: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    site: String,
    /// Numbers of [`Role`]; one that is not known here grants nothing here.
    #[prost(uint32, repeated, tag = "4")]
    roles: Vec<u32>,
    #[prost(string, repeated, tag = "5")]
    commands: Vec<String>,
    /// Unit: nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "6")]
    not_before: i64,
    /// Unit: nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "7")]
    not_after: i64,
    /// The membership of the admitter that signed, if it was not the operator.
    #[prost(bytes = "vec", optional, tag = "8")]
    issuer: Option<Vec<u8>>,
}

impl From<&Grant> for GrantMessage {
    fn from(grant: &Grant) -> Self {
        Self {
            machine: grant.machine.as_bytes().to_vec(),
            name: grant.name.clone(),
            site: grant.site.clone(),
            roles: grant.roles.iter().map(|role| *role as u32).collect(),
            commands: grant.commands.clone(),
            not_before: grant.not_before.as_nanos(),
            not_after: grant.not_after.as_nanos(),
            issuer: None,
        }
    }
}

impl TryFrom<GrantMessage> for Grant {
    type Error = MembershipError;

    fn try_from(message: GrantMessage) -> Result<Self, MembershipError> {
        if message.issuer.is_some() {
            return Err(MembershipError::Malformed(
                "signed by an admitter, which this version does not know; update this node",
            ));
        }
        let machine = message
            .machine
            .try_into()
            .map_err(|_| MembershipError::Malformed("no machine id"))?;
        let is_known = |role: &Role| message.roles.contains(&(*role as u32));
        let grant = Self {
            machine: MachineId::from_bytes(machine),
            name: message.name,
            site: message.site,
            roles: Role::ALL.into_iter().filter(is_known).collect(),
            commands: message.commands,
            not_before: Timestamp::from_nanos(message.not_before),
            not_after: Timestamp::from_nanos(message.not_after),
        };
        grant.check()?;
        Ok(grant)
    }
}

fn digest(network: &NetworkId, body: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(LABEL)
        .chain_update(network.as_bytes())
        .chain_update(body)
        .finalize()
        .into()
}

fn check_name(what: &'static str, text: &str) -> Result<(), MembershipError> {
    let refused = |source| MembershipError::Name { what, source };
    if text.len() > Grant::NAME_BYTES_MAX {
        return Err(refused(NameError::TooLong {
            what: "name",
            length: text.len(),
            limit: Grant::NAME_BYTES_MAX,
        }));
    }
    if text.contains('/') {
        return Err(refused(NameError::Character {
            what: "name",
            character: '/',
        }));
    }
    text.parse::<SeriesName>().map(|_| ()).map_err(refused)
}

/// Binds a signature to its purpose.
const LABEL: &[u8] = b"fieldmesh-membership-v1";
/// Unit: bytes. Source: RFC 8032.
const SIGNATURE_BYTES: usize = 64;
const TOO_LONG: &str = "longer than 3 KiB";

#[cfg(test)]
mod tests;
