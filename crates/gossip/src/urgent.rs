//! Which blocks hold alarms, as far as is known: what is asked for before everything else of the
//! past.
//!
//! The mark itself stands in the block, signed by its origin. Neighbours tell each other beside
//! their frontiers which of the newest blocks of a log bear it; a false word about that costs no
//! more than the order in which blocks are asked for.

use std::collections::BTreeMap;

use model::{BlockId, LogId, Sequence};

use crate::{Message, Span};

/// The newest runs of urgent blocks of each log that has any.
#[derive(Debug, Default)]
pub(crate) struct Urgent {
    by_log: BTreeMap<LogId, Runs>,
}

/// The newest runs of urgent blocks of one log, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Vec<Span>);

impl Urgent {
    /// A block that is urgent is held.
    pub(crate) fn note(&mut self, id: &BlockId) {
        self.by_log.entry(id.log).or_default().add(Span {
            first: id.sequence,
            last: id.sequence,
        });
    }

    /// The newest runs of a log, at most `max`.
    pub(crate) fn newest(&self, log: &LogId, max: usize) -> impl Iterator<Item = Span> {
        let runs = self.by_log.get(log).map_or(&[][..], |runs| &runs.0[..]);
        runs.iter().rev().take(max).copied()
    }
}

impl Runs {
    /// Adds a run; the oldest goes when there are too many.
    pub(crate) fn add(&mut self, span: Span) {
        let touches = |run: &Span| {
            run.first <= span.last.saturating_add(1) && span.first <= run.last.saturating_add(1)
        };
        let joined = (self.0.iter().filter(|run| touches(run))).fold(span, |joined, run| Span {
            first: joined.first.min(run.first),
            last: joined.last.max(run.last),
        });
        self.0.retain(|run| !touches(run));
        let at = self.0.partition_point(|run| run.last < joined.first);
        self.0.insert(at, joined);
        if self.0.len() > RUNS_MAX {
            self.0.remove(0);
        }
    }

    /// What of it lies within a span, in order.
    pub(crate) fn within(&self, span: Span) -> impl Iterator<Item = Span> {
        let cut = move |run: &Span| Span {
            first: run.first.max(span.first),
            last: run.last.min(span.last),
        };
        (self.0.iter().map(cut)).filter(|run| run.first <= run.last)
    }

    /// Whether it names a block.
    pub(crate) fn covers(&self, sequence: Sequence) -> bool {
        let at = self.0.partition_point(|run| run.last < sequence);
        self.0.get(at).is_some_and(|run| run.first <= sequence)
    }
}

/// Most runs that are known of a log. Source: guess; older alarms come with the rest of the past.
pub(crate) const RUNS_MAX: usize = 16;
const _: () = assert!(RUNS_MAX <= Message::URGENT_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: Sequence, last: Sequence) -> Span {
        Span { first, last }
    }

    #[test]
    fn what_lies_within_a_span_is_cut_to_it() {
        let mut runs = Runs::default();
        for run in [span(1, 2), span(5, 9), span(20, u64::MAX - 1)] {
            runs.add(run);
        }

        let within = runs.within(span(2, 30)).collect::<Vec<_>>();

        assert_eq!(within, [span(2, 2), span(5, 9), span(20, 30)]);
        assert_eq!(runs.within(span(3, 4)).count(), 0);
    }

    #[test]
    fn runs_join_where_they_touch_and_the_oldest_goes() {
        let mut runs = Runs::default();
        for run in [span(5, 5), span(9, 9), span(7, 8), span(6, 6), span(1, 2)] {
            runs.add(run);
        }
        assert_eq!(runs.0, [span(1, 2), span(5, 9)]);

        (1..=16).for_each(|n| runs.add(span(100 * n, 100 * n)));

        assert_eq!(runs.0.len(), RUNS_MAX);
        assert!(!runs.covers(5) && runs.covers(100) && !runs.covers(101));
    }
}
