//! What can go wrong with a start, a listener or a stranger.

use std::io;

use identity::CredentialError;
use model::MachineId;
use overlay::Address;

/// Why the swarm cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The membership is of another machine than the key.
    #[error(
        "the membership is for machine {membership}, but the machine key is of {key}; \
         ask the operator for a membership of this machine"
    )]
    OtherMachine {
        /// Whom the membership names.
        membership: MachineId,
        /// Whose key it is.
        key: MachineId,
    },
    /// An address to look for machines at cannot be read.
    #[error("bootstrap address {} cannot be read; write it like {EXAMPLE}", .0.as_str())]
    Bootstrap(Address),
    /// Keys cannot be prepared.
    #[error("keys cannot be prepared: {0}")]
    Keys(String),
    /// Discovery on the local network cannot start.
    #[error("mDNS cannot start; set `listen.mdns = false` to do without it")]
    Mdns(#[source] io::Error),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Not an address that this version listens on.
    #[error("cannot listen on {}; write an address like {EXAMPLE}", .0.as_str())]
    Unsupported(Address),
    /// Another program has it.
    #[error(
        "{} is taken by another program; stop that program or choose another port under [listen]",
        .0.as_str()
    )]
    Taken(Address),
    /// No interface of this machine has it.
    #[error(
        "no network interface of this machine has the address of {}; correct it under [listen]",
        .0.as_str()
    )]
    NoInterface(Address),
    /// Ports below 1024 are for the privileged.
    #[error("not permitted to listen on {}; choose a port above 1023 under [listen]", .0.as_str())]
    NotPermitted(Address),
    /// Anything else that the operating system says.
    #[error("cannot listen on {}", .address.as_str())]
    Io {
        /// Which address.
        address: Address,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

impl ListenError {
    /// What the operating system's error means for an address.
    pub(crate) fn of(address: Address, source: io::Error) -> Self {
        let kind = root_kind(&source);
        if kind == io::ErrorKind::AddrInUse {
            Self::Taken(address)
        } else if kind == io::ErrorKind::AddrNotAvailable {
            Self::NoInterface(address)
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::NotPermitted(address)
        } else {
            Self::Io { address, source }
        }
    }
}

/// The kind of the innermost I/O error, which boxing the transport has wrapped.
fn root_kind(mut error: &io::Error) -> io::ErrorKind {
    while let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        error = inner;
    }
    error.kind()
}

/// Why a connection was refused before it reached the swarm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalReason {
    /// It did not get through in time.
    #[error("did not prove itself in time; it may have another network key")]
    TimedOut,
    /// It went away, on its own or because it refused this machine.
    #[error(
        "closed before it was admitted; it may have another network key, or refuse this machine"
    )]
    Closed,
    /// What it sent makes no sense under this network's key.
    #[error("handshake failed; it has another network key or speaks another protocol ({0})")]
    Handshake(String),
    /// What it showed does not make it a member, or not now.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// It answered a dial as somebody who wants to become a member.
    #[error("showed an invitation where a member was dialled")]
    Claim,
    /// More members than this machine remembers.
    #[error("there are too many members")]
    TooManyMembers,
}

/// Why a machine got no answer to its claim.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Not an address that can be dialled before there is a membership.
    #[error("cannot dial {} to join; write an address like {EXAMPLE}", .0.as_str())]
    Unsupported(Address),
    /// Nobody answers there, or nobody of this network.
    #[error(
        "no answer; the machine may be down or busy, or the network key of the token too old ({0})"
    )]
    NoAnswer(String),
    /// The answer takes too long.
    #[error("no answer in time; the machine may be down, or the network key of the token too old")]
    TimedOut,
}

/// How addresses are written.
const EXAMPLE: &str = "/ip4/192.0.2.7/udp/4001/quic/noise";
