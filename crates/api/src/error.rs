//! Why a request is refused, an address cannot be listened on, or serving ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use engine::{AdminError, PublishError};
use gossip::RelayError;
use identity::CredentialError;
use tonic::{Code, Status};

/// Why the node does not do what a checked request asks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The readings were not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// An administrator's request was not done.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A disk or a queue is full; the text says which, and what to do.
    #[error("{0}")]
    Full(String),
    /// More watchers than the node serves.
    #[error("{0} watchers are served already; end one, or watch several patterns through `**`")]
    TooManyWatchers(usize),
    /// The client reads more slowly than readings arrive.
    #[error("fell behind and missed {missed} readings; query them, then watch again")]
    FellBehind {
        /// How many readings were dropped since.
        missed: u64,
    },
    /// What was named is not there; the text says what.
    #[error("{0}")]
    NotFound(String),
    /// A file that the node reads does not hold; the text says what, where, and what to do.
    #[error("{0}")]
    Invalid(String),
    /// The node stops.
    #[error("this node is stopping; try again when it is back")]
    Stopping,
    /// The node could not read what it holds.
    #[error("this node failed: {0}; see its log")]
    Failed(String),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::Publish(error) => publish_code(error),
            Refusal::Admin(error) => admin_code(error),
            Refusal::Full(_) | Refusal::TooManyWatchers(_) | Refusal::FellBehind { .. } => {
                Code::ResourceExhausted
            }
            Refusal::NotFound(_) => Code::NotFound,
            Refusal::Invalid(_) => Code::FailedPrecondition,
            Refusal::Stopping => Code::Unavailable,
            Refusal::Failed(_) => Code::Internal,
        };
        Self::new(code, refusal.to_string())
    }
}

const fn publish_code(error: &PublishError) -> Code {
    match error {
        PublishError::NotPermitted => Code::PermissionDenied,
        PublishError::TooLarge { .. } | PublishError::WrongType { .. } => Code::InvalidArgument,
        PublishError::TooManySeries { .. }
        | PublishError::Busy
        | PublishError::NotPersisted
        | PublishError::DiskRefuses => Code::ResourceExhausted,
        PublishError::TooManyReplicas { .. } => Code::FailedPrecondition,
        PublishError::Stopping => Code::Unavailable,
        _ => Code::Internal, // What a newer engine refuses.
    }
}

const fn admin_code(error: &AdminError) -> Code {
    match error {
        AdminError::Relay(RelayError::NotPermitted)
        | AdminError::NotAdmittedHere { .. }
        | AdminError::Credential(
            CredentialError::NotAdmitter | CredentialError::BeyondDelegation(_),
        ) => Code::PermissionDenied,
        AdminError::Relay(RelayError::Full) | AdminError::NotPersisted => Code::ResourceExhausted,
        AdminError::Relay(RelayError::Invalid)
        | AdminError::Credential(CredentialError::Malformed(_) | CredentialError::Name { .. }) => {
            Code::InvalidArgument
        }
        AdminError::Relay(_)
        | AdminError::Credential(_)
        | AdminError::NameTaken { .. }
        | AdminError::Redeemed { .. } => Code::FailedPrecondition,
        _ => Code::Internal, // What a newer engine refuses.
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Anybody on the network could read and publish.
    #[error(
        "gRPC on {0} would be open to the network without TLS; use a loopback address like \
         127.0.0.1:50051, or the Unix socket"
    )]
    NotLoopback(SocketAddr),
    /// Another program, or another node, listens there.
    #[error("{0} is taken by another program; stop that one or configure another address")]
    Taken(SocketAddr),
    /// Another node listens on the socket.
    #[error("{0} is the socket of a running node; stop that one or configure another path")]
    SocketTaken(PathBuf),
    /// Something that is no socket stands there.
    #[error("{0} exists and is no socket; remove it or configure another path")]
    NoSocket(PathBuf),
    /// The operating system refuses the address.
    #[error("cannot listen on {address}; configure an address of this machine")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The operating system refuses the path.
    #[error("cannot make the socket {path}; the directory must exist and be writable")]
    Path {
        /// The path.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
}

/// Why serving ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The compiled schemas do not describe themselves.
    #[error("the compiled schemas are broken")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The HTTP/2 server gave up.
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}
