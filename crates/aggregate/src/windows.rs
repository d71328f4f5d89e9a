//! The windows of one origin: a fold over its log.

use std::time::Duration;

use model::{BlockHeader, MachineId, NetworkId, Position, Reading, SeriesDefinition, SeriesNumber};
use model::{Sequence, Timestamp};

use crate::{AggregateError, Record};

/// Which windows are computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The lengths of the windows; each must divide into whole milliseconds.
    pub lengths: Vec<Duration>,
    /// How long after its end (in event time, by the watermark) a window still takes late
    /// readings, each batch making a record with a later contributor. Later ones are counted
    /// and left out.
    pub allowed_lateness: Duration,
    /// Most windows that are open at once; beyond it the oldest are closed as they are.
    pub windows_max: usize,
}

/// What a block or a watermark produced.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Records in an order that depends on the log alone.
    pub records: Vec<Record>,
    /// Readings that came later than allowed and were left out.
    pub late_dropped: u64,
}

/// The windows of one origin. No clock: everything follows from the log, but for
/// [`Windows::give_up`].
#[derive(Clone, Debug)]
pub struct Windows {}

impl Windows {
    /// Windows of an origin of which nothing has been read.
    #[must_use]
    pub fn new(network: NetworkId, machine: MachineId, config: Config) -> Self {
        let _ = (network, machine, config);
        Self {}
    }

    /// Adds the next block of the gap-free prefix. `define` says what a series number of the
    /// block's epoch means.
    ///
    /// # Errors
    ///
    /// [`AggregateError`]; nothing has changed then.
    pub fn apply<'a>(
        &mut self,
        header: &BlockHeader,
        readings: &[Reading],
        define: impl Fn(SeriesNumber) -> Option<&'a SeriesDefinition>,
    ) -> Result<Applied, AggregateError> {
        let _ = (header, readings, define);
        unimplemented!()
    }

    /// The origin has nothing more to say: its log ends at `last` and nothing older than
    /// `watermark` follows. Ignored unless `last` is the block that was added last.
    pub fn pass(&mut self, last: Position, watermark: Timestamp) -> Applied {
        let _ = (last, watermark);
        unimplemented!()
    }

    /// The origin has been silent for too long: gives partial records of all windows that were not
    /// given yet in this state, and keeps them open.
    pub fn give_up(&mut self) -> Applied {
        unimplemented!()
    }

    /// The last block that was added.
    #[must_use]
    pub fn last(&self) -> Option<Position> {
        unimplemented!()
    }

    /// How far the origin's watermark has come.
    #[must_use]
    pub fn watermark(&self) -> Timestamp {
        unimplemented!()
    }

    /// The first block that contributed to a window that still takes readings: where a successor
    /// must start to compute the same. Without such a window, the last block that was added
    /// (reading it again changes nothing); `None` before the first block.
    #[must_use]
    pub fn resume(&self) -> Option<Position> {
        unimplemented!()
    }

    /// Whether a window has readings and no record of them yet.
    #[must_use]
    pub fn has_unfinished(&self) -> bool {
        unimplemented!()
    }
}

/// The sequence of the first block of an epoch.
pub(crate) const FIRST: Sequence = 1;
