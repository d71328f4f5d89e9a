//! Which functions of bytes there are.

use crate::{credentials, frames, insider, network, recordings, strangers, texts};

/// What a target made of its bytes; neither is a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// They were what an honest peer would send.
    Accepted,
    /// They were not.
    Refused,
}

impl Outcome {
    pub(crate) const fn of<T, E>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Accepted,
            Err(_) => Self::Refused,
        }
    }
}

/// A function of bytes, and bytes that it accepts.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As `cargo fuzz` and the folder in `corpus/` name it.
    pub name: &'static str,
    /// Panics if a promise is broken.
    pub run: fn(&[u8]) -> Outcome,
    /// Honest bytes, to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target, by name.
pub const TARGETS: &[Target] = &[
    Target {
        name: "credentials",
        run: credentials::credentials,
        seeds: credentials::seeds,
    },
    Target {
        name: "frames",
        run: frames::frames,
        seeds: frames::seeds,
    },
    Target {
        name: "handshake",
        run: network::handshake,
        seeds: network::seeds,
    },
    Target {
        name: "insider",
        run: insider::insider,
        seeds: insider::seeds,
    },
    Target {
        name: "recordings",
        run: recordings::recordings,
        seeds: recordings::seeds,
    },
    Target {
        name: "strangers",
        run: strangers::strangers,
        seeds: strangers::seeds,
    },
    Target {
        name: "texts",
        run: texts::texts,
        seeds: texts::seeds,
    },
];
