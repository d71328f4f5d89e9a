//! The canonical log of a line: which blocks count, and in which order.
//!
//! It is the line's epochs in order, each cut at the block that the first block of the next epoch
//! names. The rule is applied from the newest epoch backwards: what lies between the named block
//! and the epoch that names it are stragglers, whole epochs included. An epoch that names nothing
//! (its machine had lost everything) cuts nothing off: it begins a line of its own (`lines`).

use std::collections::BTreeMap;

use gossip::Span;
use model::{Epoch, Position, Sequence};

/// What is held of one log, as far as following it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogInfo {
    /// The oldest block that is kept.
    pub(crate) floor: Sequence,
    /// The end of the gap-free part.
    pub(crate) end: Sequence,
    /// What the first block names as the one before it; `None` until that block has been read.
    pub(crate) continues: Option<Option<Position>>,
}

impl LogInfo {
    pub(crate) fn holds_first(&self) -> bool {
        self.floor <= FIRST && self.end >= FIRST
    }
}

/// The logs of one line.
pub(crate) type Logs = BTreeMap<Epoch, LogInfo>;

/// What comes next in the canonical log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This block, which is held.
    Block(Position),
    /// The first block of this epoch must be read to know where the one before it is cut.
    FirstOf(Epoch),
    /// Nothing that is held.
    Wait,
    /// Nothing before something of this epoch, of which nothing is held, comes or is given up.
    Lacks(Epoch),
    /// Where the reader stands does not count.
    Rewind(Rewind),
}

impl Next {
    /// The block that must be read, if it is one.
    pub(crate) fn wanted(self) -> Option<Position> {
        match self {
            Self::Block(position) => Some(position),
            Self::FirstOf(epoch) => Some(Position {
                epoch,
                sequence: FIRST,
            }),
            Self::Wait | Self::Lacks(_) | Self::Rewind(_) => None,
        }
    }
}

/// A reader has read stragglers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewind {
    /// The last block that counts before them.
    pub(crate) to: Position,
    /// The epoch that follows it.
    pub(crate) by: Epoch,
}

/// The blocks that count up to some block, after the last one of them that is not held and after
/// the last loss of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Which ones, in order.
    pub(crate) spans: Vec<(Epoch, Span)>,
    /// Nothing came before: the log is held from its beginning.
    pub(crate) is_whole: bool,
}

/// Returns the blocks that count up to `through`, which counts.
///
/// # Errors
///
/// The epoch whose first block must be read to know where the one before it is cut.
pub(crate) fn chain(logs: &Logs, through: Position) -> Result<Chain, Epoch> {
    let mut chain = Chain {
        spans: Vec::new(),
        is_whole: false,
    };
    let mut cut = Some(through);
    for (epoch, info) in logs.range(..=through.epoch).rev() {
        if cut.is_some_and(|cut| *epoch > cut.epoch) {
            continue;
        }
        if cut.is_some_and(|cut| *epoch < cut.epoch) {
            break; // Of the epoch that was named nothing is held.
        }
        let end = cut
            .filter(|cut| cut.epoch == *epoch)
            .map_or(info.end, |cut| cut.sequence);
        let span = Span {
            first: info.floor.max(FIRST),
            last: end.min(info.end),
        };
        if span.first <= span.last {
            chain.spans.push((*epoch, span));
        }
        if !info.holds_first() {
            break; // What is held of the epochs before lies before a gap.
        }
        match info.continues {
            None => return Err(*epoch),
            Some(None) => {
                chain.is_whole = true;
                break;
            }
            Some(named) => cut = named,
        }
    }
    chain.spans.reverse();
    Ok(chain)
}

/// Returns what comes after `last`; after `None` the block at `start` or the oldest that is kept.
/// What was named of the epoch `skipped` is gone for good.
pub(crate) fn next(
    logs: &Logs,
    last: Option<Position>,
    start: Option<Position>,
    skipped: Option<Epoch>,
) -> Next {
    let from = last.or(start);
    let mut cut: Option<(Position, Epoch)> = None;
    let mut following: Option<(Epoch, Sequence)> = None;
    let mut lacks = Next::Wait;
    for (epoch, info) in logs.iter().rev() {
        if from.is_some_and(|from| *epoch < from.epoch) {
            break;
        }
        if cut.is_some_and(|(cut, _)| *epoch > cut.epoch) {
            if let (Some((to, by)), true) = (cut, from.is_some_and(|from| from.epoch == *epoch)) {
                return Next::Rewind(Rewind { to, by });
            }
            continue;
        }
        if let Some((named, _)) = cut.filter(|(cut, _)| cut.epoch > *epoch)
            && skipped != Some(named.epoch)
        {
            (following, lacks) = (None, Next::Lacks(named.epoch));
        }
        let own_cut = cut.filter(|(cut, _)| cut.epoch == *epoch);
        if let Some(from) = from.filter(|from| from.epoch == *epoch) {
            let is_read = last.is_some();
            let next = within(from.sequence, is_read, *epoch, info, own_cut, following);
            return if next == Next::Wait { lacks } else { next };
        }
        if info.end >= info.floor {
            following = Some((*epoch, info.floor.max(FIRST)));
        } else if info.floor <= FIRST {
            following = None; // It is on its way.
        }
        cut = match info.continues {
            None if info.holds_first() => return Next::FirstOf(*epoch),
            Some(Some(named)) => Some((named, *epoch)),
            None | Some(None) => None,
        };
    }
    if let Some((named, by)) = cut {
        // Nothing is held of the epoch where the reader stands, but it is cut off.
        if from.is_some_and(|from| from.epoch > named.epoch) {
            return Next::Rewind(Rewind { to: named, by });
        }
        if skipped != Some(named.epoch) {
            return Next::Lacks(named.epoch);
        }
    }
    // The epoch where the reader stands or should start is not held: the oldest that counts.
    following.map_or(lacks, |(epoch, sequence)| {
        Next::Block(Position { epoch, sequence })
    })
}

/// What comes next for a reader that stands in an epoch which counts.
fn within(
    sequence: Sequence,
    is_read: bool,
    epoch: Epoch,
    info: &LogInfo,
    cut: Option<(Position, Epoch)>,
    following: Option<(Epoch, Sequence)>,
) -> Next {
    let wanted = sequence
        .saturating_add(u64::from(is_read))
        .max(info.floor)
        .max(FIRST);
    if let Some((to, by)) = cut {
        if sequence > to.sequence {
            return Next::Rewind(Rewind { to, by });
        }
        if wanted > to.sequence {
            return following.map_or(Next::Wait, |(epoch, sequence)| {
                Next::Block(Position { epoch, sequence })
            });
        }
    }
    match following {
        _ if wanted <= info.end => Next::Block(Position {
            epoch,
            sequence: wanted,
        }),
        Some((epoch, sequence)) if cut.is_none() => Next::Block(Position { epoch, sequence }),
        _ => Next::Wait,
    }
}

/// The first block of an epoch.
const FIRST: Sequence = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(counter: u64) -> Epoch {
        Epoch { counter, tag: 0 }
    }

    fn at(counter: u64, sequence: Sequence) -> Position {
        Position {
            epoch: epoch(counter),
            sequence,
        }
    }

    fn held(end: Sequence, continues: Option<Option<Position>>) -> LogInfo {
        LogInfo {
            floor: 1,
            end,
            continues,
        }
    }

    /// Reads on until there is nothing more.
    fn read(logs: &Logs, start: Option<Position>) -> Vec<Position> {
        let mut read = Vec::new();
        while let Next::Block(position) = next(logs, read.last().copied(), start, None) {
            read.push(position);
        }
        read
    }

    #[test]
    fn epochs_are_read_in_order_and_cut_where_the_next_one_says() {
        let logs = Logs::from([
            (epoch(1), held(3, Some(None))),
            (epoch(2), held(2, Some(Some(at(1, 2))))),
        ]);

        assert_eq!(read(&logs, None), [at(1, 1), at(1, 2), at(2, 1), at(2, 2)]);
        assert_eq!(read(&logs, Some(at(1, 2))), [at(1, 2), at(2, 1), at(2, 2)]);
        let rewind = Next::Rewind(Rewind {
            to: at(1, 2),
            by: epoch(2),
        });
        assert_eq!(next(&logs, Some(at(1, 3)), None, None), rewind);
        assert_eq!(next(&logs, None, Some(at(1, 3)), None), rewind);
    }

    #[test]
    fn an_epoch_that_was_skipped_by_a_restored_disk_does_not_count() {
        let logs = Logs::from([
            (epoch(1), held(2, Some(None))),
            (epoch(2), held(5, Some(Some(at(1, 2))))),
            (epoch(3), held(1, Some(Some(at(1, 1))))),
        ]);

        assert_eq!(read(&logs, None), [at(1, 1), at(3, 1)]);
        let rewind = Next::Rewind(Rewind {
            to: at(1, 1),
            by: epoch(3),
        });
        assert_eq!(next(&logs, Some(at(2, 4)), None, None), rewind);
    }

    #[test]
    fn a_lost_disk_cuts_nothing_off() {
        let logs = Logs::from([
            (epoch(1), held(2, Some(None))),
            (epoch(2), held(1, Some(None))),
        ]);

        assert_eq!(read(&logs, None), [at(1, 1), at(1, 2), at(2, 1)]);
    }

    #[test]
    fn a_gap_and_an_unread_first_block_stop_the_reader() {
        let gap = Logs::from([
            (epoch(1), held(1, Some(None))),
            (epoch(2), held(1, Some(Some(at(1, 2))))),
        ]);
        let unread = Logs::from([(epoch(1), held(1, Some(None))), (epoch(2), held(1, None))]);

        assert_eq!(next(&gap, Some(at(1, 1)), None, None), Next::Wait);
        assert_eq!(
            next(&unread, Some(at(1, 1)), None, None),
            Next::FirstOf(epoch(2))
        );
        assert_eq!(next(&Logs::new(), None, None, None), Next::Wait);
    }

    #[test]
    fn an_epoch_that_was_named_and_has_not_come_is_waited_for_until_it_is_given_up() {
        let (oldest, newest) = (
            (epoch(1), held(1, Some(None))),
            (epoch(3), held(1, Some(Some(at(2, 2))))),
        );
        let without = Logs::from([oldest, newest]);
        let begun = Logs::from([oldest, (epoch(2), held(0, None)), newest]);
        let kept_alone = Logs::from([newest]);

        let lacks = Next::Lacks(epoch(2));
        assert_eq!(next(&without, None, None, None), Next::Block(at(1, 1)));
        assert_eq!(next(&without, Some(at(1, 1)), None, None), lacks);
        assert_eq!(next(&kept_alone, None, None, None), lacks);
        assert_eq!(next(&kept_alone, None, Some(at(2, 1)), None), lacks);
        assert_eq!(next(&begun, Some(at(1, 1)), None, None), Next::Wait);
        let (skipped, first) = (Some(epoch(2)), Next::Block(at(3, 1)));
        assert_eq!(next(&without, Some(at(1, 1)), None, skipped), first);
        assert_eq!(next(&kept_alone, None, None, skipped), first);
    }

    #[test]
    fn a_reader_that_is_to_start_in_an_epoch_that_was_cut_off_does_not_though_it_holds_none_of_it()
    {
        let logs = Logs::from([
            (epoch(1), held(2, Some(None))),
            (epoch(3), held(1, Some(Some(at(1, 2))))),
        ]);

        let rewind = Next::Rewind(Rewind {
            to: at(1, 2),
            by: epoch(3),
        });
        assert_eq!(next(&logs, None, Some(at(2, 1)), None), rewind);
        assert_eq!(read(&logs, None), [at(1, 1), at(1, 2), at(3, 1)]);
    }

    #[test]
    fn what_is_not_kept_any_more_is_skipped() {
        let info = LogInfo {
            floor: 4,
            end: 6,
            continues: None,
        };
        let logs = Logs::from([(epoch(2), info)]);

        assert_eq!(read(&logs, Some(at(1, 9))), [at(2, 4), at(2, 5), at(2, 6)]);
        assert_eq!(
            next(&logs, Some(at(2, 1)), None, None),
            Next::Block(at(2, 4))
        );
    }

    #[test]
    fn the_chain_up_to_a_block_is_what_a_reader_would_have_read() {
        let logs = Logs::from([
            (epoch(1), held(3, Some(None))),
            (epoch(2), held(5, Some(Some(at(1, 2))))),
            (epoch(3), held(4, Some(Some(at(1, 1))))),
        ]);
        let span = |counter, first, last| (epoch(counter), Span { first, last });

        let newest = chain(&logs, at(3, 2)).expect("every first block was read");
        let before = chain(&logs, at(2, 4)).expect("every first block was read");

        assert_eq!(newest.spans, [span(1, 1, 1), span(3, 1, 2)]);
        assert_eq!(before.spans, [span(1, 1, 2), span(2, 1, 4)]);
        assert!(newest.is_whole && before.is_whole);
        let unread = (epoch(1), held(3, None));
        let follows = (epoch(2), held(1, Some(Some(at(1, 3)))));
        assert_eq!(
            chain(&Logs::from([unread, follows]), at(2, 1)),
            Err(epoch(1))
        );
        let lost_all = (epoch(2), held(1, Some(None)));
        let after_loss = chain(&Logs::from([unread, lost_all]), at(2, 1));
        let after_loss = after_loss.map(|chain| (chain.spans, chain.is_whole));
        assert_eq!(after_loss, Ok((vec![span(2, 1, 1)], true)));
        let kept = LogInfo {
            floor: 2,
            ..held(3, Some(None))
        };
        let rest = chain(&Logs::from([(epoch(1), kept)]), at(1, 3));
        assert_eq!(
            rest.map(|rest| (rest.spans, rest.is_whole)),
            Ok((vec![span(1, 2, 3)], false))
        );

        let short = LogInfo {
            floor: 2,
            ..held(5, Some(Some(at(1, 3))))
        };
        let whole = (epoch(1), held(3, Some(None)));
        let after = chain(&Logs::from([whole, (epoch(2), short)]), at(2, 5));
        assert_eq!(
            after.map(|after| (after.spans, after.is_whole)),
            Ok((vec![span(2, 2, 5)], false)),
            "what lies before a gap is left out, though it is held from its beginning"
        );
    }

    #[test]
    fn retention_moves_a_reader_across_a_cut_to_what_is_kept_and_never_to_stragglers() {
        let kept = |floor, end, continues| LogInfo {
            floor,
            end,
            continues,
        };
        let beginning_gone = Logs::from([
            (epoch(1), held(3, Some(None))),
            (epoch(2), kept(4, 6, Some(Some(at(1, 2))))),
        ]);
        let all_before_the_cut_gone = Logs::from([
            (epoch(1), kept(3, 5, Some(None))),
            (epoch(2), held(1, Some(Some(at(1, 2))))),
        ]);

        let across = [at(1, 1), at(1, 2), at(2, 4), at(2, 5), at(2, 6)];
        assert_eq!(read(&beginning_gone, None), across);
        assert_eq!(read(&all_before_the_cut_gone, Some(at(1, 1))), [at(2, 1)]);
        assert_eq!(
            next(&all_before_the_cut_gone, Some(at(1, 1)), None, None),
            Next::Block(at(2, 1))
        );
    }
}
