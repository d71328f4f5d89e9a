//! Why a command ends without having done what it was asked, and the exit code that says so.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::process::ExitCode;

use tonic::{Code, Status};

use super::render::escape;

/// A command that ends without having done what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
}

/// What kind of failure it is; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The reader of standard output has seen enough: no failure at all.
    OutputClosed = 0,
    /// Tried, and not done.
    Failed = 1,
    /// Asked in a wrong way.
    Usage = 2,
    /// The node does not answer.
    Unreachable = 3,
    /// The node may or can not do it.
    Refused = 4,
}

impl Failure {
    /// A failure with what to tell the user.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// What a node at `address` answered.
    pub(crate) fn from_status(status: &Status, address: &str) -> Self {
        let kind = match status.code() {
            Code::Unavailable | Code::Cancelled => Kind::Unreachable,
            Code::Unknown if status.source().is_some() => Kind::Unreachable,
            Code::InvalidArgument => Kind::Usage,
            Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::FailedPrecondition => Kind::Refused,
            Code::Ok
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss => Kind::Failed,
        };
        let reason = escape(status.message());
        if kind == Kind::Unreachable {
            return Self::new(
                kind,
                format!(
                    "no answer from the node at {address} ({reason}); is it running? Name another \
                     one with --grpc or FIELDMESH_GRPC"
                ),
            );
        }
        Self::new(kind, reason)
    }

    /// What standard input or output said.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Kind::OutputClosed, "");
        }
        Self::new(Kind::Failed, format!("cannot read or write: {error}"))
    }

    /// What scripts are told.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    pub(crate) const fn code(&self) -> u8 {
        self.kind as u8
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::from_io(&error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Kind::Failed, format!("{error:#}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
