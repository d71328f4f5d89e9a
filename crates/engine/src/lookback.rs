//! Lookback: computes the windows of one origin that have left memory, from its log.
//!
//! The log is searched up to the block where the follower stands. The follower goes on meanwhile;
//! only for the last stretch it waits, so that both come to stand at the same block.

use std::collections::VecDeque;

use aggregate::{AggregateError, Scan, horizon_before};
use gossip::Span;
use model::{Block, Epoch, Position, Sequence, Timestamp};

use crate::Catalogue;
use crate::canonical::{self, Logs};

/// What a lookback wants searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) epoch: Epoch,
    pub(crate) span: Span,
    /// Only blocks with readings of these times; all blocks if `None`.
    pub(crate) times: Option<(Timestamp, Timestamp)>,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Search, and hand over what was found.
    Search(Search),
    /// The scan stands at the same block as the follower.
    Done,
    /// It cannot be carried through: the log lacks what it needs.
    Failed,
}

/// What the search under way is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The first block of an epoch: where is the one before it cut?
    Cut,
    /// The oldest block that is kept: up to when may readings have been before it?
    Oldest,
    /// The readings.
    Readings,
}

/// What came of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Go on with the next step.
    GoOn,
    /// A block could not be read; gossip may bring it again.
    Later,
    /// The windows cannot be computed.
    Never,
}

#[derive(Debug)]
pub(crate) struct Lookback {
    scan: Scan,
    stage: Stage,
    /// What is to be searched, the first of it being under way.
    spans: VecDeque<(Epoch, Span)>,
    /// Where the follower stood when the spans were made.
    through: Option<Position>,
    /// The follower waits.
    chasing: bool,
    /// Up to when readings may have been in what the log has lost.
    lacking: Option<Timestamp>,
}

impl Lookback {
    pub(crate) fn new(scan: Scan) -> Self {
        Self {
            scan,
            stage: Stage::Readings,
            spans: VecDeque::new(),
            through: None,
            chasing: false,
            lacking: None,
        }
    }

    /// The scan, and up to when readings may have been in what the log has lost.
    pub(crate) fn end(self) -> (Scan, Option<Timestamp>) {
        (self.scan, self.lacking)
    }

    /// Whether the follower must wait for it.
    pub(crate) fn is_chasing(&self) -> bool {
        self.chasing
    }

    /// What to do, with the follower standing at `last`.
    pub(crate) fn step(&mut self, logs: &Logs, last: Position) -> Step {
        if self.spans.is_empty() {
            if self.through == Some(last) {
                return Step::Done;
            }
            let chain = match canonical::chain(logs, last) {
                Ok(chain) => chain,
                Err(epoch) => return self.search_one(Stage::Cut, epoch, FIRST),
            };
            let Some((oldest, span)) = chain.spans.first().copied() else {
                return Step::Failed;
            };
            if !chain.is_whole && self.lacking.is_none() {
                return self.search_one(Stage::Oldest, oldest, span.first);
            }
            let after = self.through.replace(last);
            self.chasing = after.is_some();
            self.stage = Stage::Readings;
            let rest = chain.spans.into_iter();
            self.spans = rest.filter_map(|span| cut_before(span, after)).collect();
        }
        self.spans.front().map_or(Step::Failed, |(epoch, span)| {
            Step::Search(Search {
                epoch: *epoch,
                span: *span,
                times: Some(self.scan.times()),
            })
        })
    }

    /// What a search has found, and up to where it overlooked nothing.
    pub(crate) fn on_found(
        &mut self,
        blocks: &[Block],
        searched: Sequence,
        catalogue: &Catalogue,
    ) -> Found {
        let Some((_, span)) = self.spans.front_mut() else {
            return Found::Never;
        };
        if searched < span.first {
            return Found::Later;
        }
        span.first = searched.saturating_add(1);
        if span.first > span.last {
            self.spans.pop_front();
        }
        match self.stage {
            Stage::Cut if !blocks.is_empty() => Found::GoOn,
            Stage::Oldest if !blocks.is_empty() => {
                self.lacking = blocks.first().map(|block| horizon_before(block.header()));
                Found::GoOn
            }
            Stage::Cut | Stage::Oldest => Found::Later,
            Stage::Readings => match blocks.iter().try_for_each(|b| self.add(b, catalogue)) {
                Ok(()) => Found::GoOn,
                Err(_) => Found::Never,
            },
        }
    }

    fn add(&mut self, block: &Block, catalogue: &Catalogue) -> Result<(), AggregateError> {
        // Gossip has decoded it before, so the columns are there.
        let readings = block.readings().unwrap_or_default();
        let log = block.header().log;
        let define = |number| catalogue.definition(&log, number).map(AsRef::as_ref);
        self.scan.apply(block.header(), &readings, define)
    }

    fn search_one(&mut self, stage: Stage, epoch: Epoch, sequence: Sequence) -> Step {
        self.stage = stage;
        let span = Span {
            first: sequence,
            last: sequence,
        };
        self.spans = VecDeque::from([(epoch, span)]);
        Step::Search(Search {
            epoch,
            span,
            times: None,
        })
    }
}

/// What of a span comes after a block.
fn cut_before((epoch, span): (Epoch, Span), after: Option<Position>) -> Option<(Epoch, Span)> {
    let first = match after {
        Some(after) if after.epoch > epoch => return None,
        Some(after) if after.epoch == epoch => span.first.max(after.sequence.saturating_add(1)),
        _ => span.first,
    };
    (first <= span.last).then_some((epoch, Span { first, ..span }))
}

/// The first block of an epoch.
const FIRST: Sequence = 1;
