//! Why a block could not be added to the windows.

use model::{Position, SeriesNumber};

/// Why a block could not be added to the windows. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// The block is not the next one of the gap-free prefix: something between is missing, or the
    /// first of an epoch continues nothing, for its machine has lost everything. [`Windows::close`]
    /// this fold and start a fresh one.
    ///
    /// [`Windows::close`]: crate::Windows::close
    #[error("block {found} does not follow {expected:?}")]
    OutOfOrder {
        /// The last block that was added.
        expected: Option<Position>,
        /// The block that was given.
        found: Position,
    },
    /// What a series number means has not arrived yet; try again when it has.
    #[error("series {} is not defined yet", .0.0)]
    Undefined(SeriesNumber),
    /// The origin's next epoch continues an earlier block than the last one that was added, or
    /// that the progress relied on: what lies between does not count. Start a fresh fold, from a
    /// progress at or before `to` if there is one, and go from `to` straight to the new epoch.
    #[error("the next epoch continues block {to}: what was added after it does not count")]
    Rewind {
        /// The last block of the old epoch that counts.
        to: Position,
    },
}
