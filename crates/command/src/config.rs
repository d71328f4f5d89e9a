//! Settings of commands.

use std::time::Duration;

/// How commands are kept and how many there may be.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long an id is kept beyond the deadline: longer than a message can be on its way.
    pub skew: Duration,
    /// How long to wait before a target is dialled again.
    pub redial: Duration,
    /// How many times in a row a target may be dialled in vain before a command that was never
    /// sent fails.
    pub dials_max: u8,
    /// Most ids that are kept.
    pub kept_max: usize,
    /// Most ids that are kept for one caller.
    pub kept_of_caller_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            skew: SKEW_DEFAULT,
            redial: REDIAL_DEFAULT,
            dials_max: DIALS_MAX_DEFAULT,
            kept_max: KEPT_MAX_DEFAULT,
            kept_of_caller_max: KEPT_OF_CALLER_MAX_DEFAULT,
        }
    }
}

/// Source: guess, above the silence after which a link counts as dead.
const SKEW_DEFAULT: Duration = Duration::from_secs(30);
/// Source: guess.
const REDIAL_DEFAULT: Duration = Duration::from_millis(250);
/// Source: guess: one dial may meet the other side's dial or a restart.
const DIALS_MAX_DEFAULT: u8 = 3;
/// Source: guess; with deadlines of 5 s it is 468 commands a second for ever.
const KEPT_MAX_DEFAULT: usize = 16_384;
/// Source: guess: one caller alone cannot use up what is kept.
const KEPT_OF_CALLER_MAX_DEFAULT: usize = 4_096;
