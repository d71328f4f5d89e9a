//! How a command ended, in gRPC's words.

use std::fmt;

/// A status code of gRPC; the numbers are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// It was done.
    Ok = 0,
    /// The caller took it back before it began, or the handler gave up because of that.
    Cancelled = 1,
    /// It began, and nobody knows how it ended: target or handler stopped in the middle.
    Unknown = 2,
    /// An argument is missing or of the wrong type.
    InvalidArgument = 3,
    /// The deadline passed. Said by the target: it did not run. Said at the caller: nobody knows.
    DeadlineExceeded = 4,
    /// The handler does not know what the argument speaks of.
    NotFound = 5,
    /// The id was used for another command before.
    AlreadyExists = 6,
    /// The caller's membership or the target's policy does not allow it.
    PermissionDenied = 7,
    /// A bound is reached; it did not run.
    ResourceExhausted = 8,
    /// The target is locked for maintenance, or the handler refuses in this state.
    FailedPrecondition = 9,
    /// The handler gave up in the middle.
    Aborted = 10,
    /// An argument is outside of the range that the target allows.
    OutOfRange = 11,
    /// Nothing at the target serves this command.
    Unimplemented = 12,
    /// The peer or the handler broke the protocol.
    Internal = 13,
    /// The target could not be reached or takes nothing now; it did not run.
    Unavailable = 14,
    /// It ran, but its answer is not kept any more.
    DataLoss = 15,
    /// The caller showed no membership.
    Unauthenticated = 16,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|code| u32::from(code.number()) == number)
    }

    /// Its name as gRPC writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a command ended: a code, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code.
    pub code: Code,
    /// The sentence, empty for [`Code::Ok`]; at most [`Status::MESSAGE_BYTES_MAX`].
    pub message: String,
}

impl Status {
    /// Longest sentence. Unit: bytes. Source: guess.
    pub const MESSAGE_BYTES_MAX: usize = 512;

    /// It was done.
    pub const OK: Self = Self {
        code: Code::Ok,
        message: String::new(),
    };

    /// A code and its sentence, which is cut to its limit.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(Self::MESSAGE_BYTES_MAX));
        Self { code, message }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return self.code.fmt(f);
        }
        write!(f, "{}: {}", self.code, self.message)
    }
}
