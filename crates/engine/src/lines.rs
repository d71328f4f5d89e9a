//! Lines of one origin: its epochs, parted by the beginning that they go back to.
//!
//! Each line is a log of its own, with its own followers and its own progress. While an epoch's
//! first block is not known, the epoch goes with the one before it.

use std::collections::{BTreeMap, BTreeSet};

use model::{Epoch, Position, Sequence, line_of, lines};

use crate::canonical::{LogInfo, Logs};

/// What is held of one origin. A line is named by the first of its epochs.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: BTreeMap<Epoch, Logs>,
    /// The line of each epoch.
    of: BTreeMap<Epoch, Epoch>,
    /// Epochs whose first block is held and has not been read.
    unread: BTreeSet<Epoch>,
}

impl Lines {
    /// What is held of an epoch. Returns whether there are other lines now.
    pub(crate) fn note(&mut self, epoch: Epoch, floor: Sequence, end: Sequence) -> bool {
        let is_new = !self.of.contains_key(&epoch);
        if is_new {
            let line = line_of(&self.of, epoch).unwrap_or(epoch);
            self.of.insert(epoch, line);
        }
        let mut known = None;
        if let Some(info) = self.info(epoch) {
            (info.floor, info.end) = (floor, end);
            known = Some(*info);
        }
        if known.is_some_and(|info| info.continues.is_none() && info.holds_first()) {
            self.unread.insert(epoch);
        } else {
            self.unread.remove(&epoch);
        }
        is_new && self.part()
    }

    /// The first block of an epoch names the block before it. Returns whether there are other lines
    /// now.
    pub(crate) fn note_first(&mut self, epoch: Epoch, continues: Option<Position>) -> bool {
        self.unread.remove(&epoch);
        match self.info(epoch) {
            Some(info) if info.continues != Some(continues) => {
                info.continues = Some(continues);
                self.part()
            }
            Some(_) | None => false,
        }
    }

    /// The line of an epoch; that of the one before if it is not known; `None` if nothing is known.
    pub(crate) fn of(&self, epoch: Epoch) -> Option<Epoch> {
        line_of(&self.of, epoch)
    }

    /// The line of the newest epoch.
    pub(crate) fn newest(&self) -> Option<Epoch> {
        self.of.last_key_value().map(|(_, line)| *line)
    }

    /// The names of all lines.
    pub(crate) fn names(&self) -> impl Iterator<Item = Epoch> {
        self.lines.keys().copied()
    }

    /// What is held of a line.
    pub(crate) fn logs(&self, line: Epoch) -> Option<&Logs> {
        self.lines.get(&line)
    }

    /// The epoch whose first block must be read before any line is followed; the oldest has none
    /// before it, so that it need not be parted from any.
    pub(crate) fn unread(&self) -> Option<Epoch> {
        let oldest = self.of.first_key_value().map(|(epoch, _)| *epoch);
        let newest = self.unread.last().copied();
        newest.filter(|newest| Some(*newest) != oldest)
    }

    fn info(&mut self, epoch: Epoch) -> Option<&mut LogInfo> {
        let line = self.of.get(&epoch)?;
        let logs = self.lines.entry(*line).or_default();
        Some(logs.entry(epoch).or_insert(LogInfo {
            floor: FIRST,
            end: 0,
            continues: None,
        }))
    }

    /// Parts all epochs anew. Returns whether that has changed any line's epochs.
    fn part(&mut self) -> bool {
        let all: Logs = std::mem::take(&mut self.lines)
            .into_values()
            .flatten()
            .collect();
        let mut of = lines(all.iter().map(|(epoch, info)| (*epoch, info.continues)));
        let names: BTreeSet<Epoch> = of.values().copied().collect();
        // Nobody loses so many disks: what is too much goes with the oldest.
        let excess = match names.len() > LINES_MAX {
            true => names.len() + 1 - LINES_MAX,
            false => 0,
        };
        if let (Some(oldest), Some(kept)) = (names.first(), names.iter().nth(excess)) {
            let given_up = of.values_mut().filter(|line| **line < *kept);
            given_up.for_each(|line| *line = *oldest);
        }
        for (epoch, info) in all {
            let line = of.get(&epoch).copied().unwrap_or(epoch);
            self.lines.entry(line).or_default().insert(epoch, info);
        }
        let has_changed = of != self.of || self.lines.len() > 1;
        self.of = of;
        has_changed
    }
}

/// The first block of an epoch.
const FIRST: Sequence = 1;
/// Lines of one origin that are followed; what is beyond goes with the oldest. Source: guess, disks
/// that one machine loses while what it said before is held.
const LINES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const fn epoch(counter: u64) -> Epoch {
        Epoch { counter, tag: 0 }
    }

    const fn after(counter: u64) -> Option<Position> {
        let epoch = epoch(counter);
        Some(Position { epoch, sequence: 1 })
    }

    /// Epochs of which the first block is held.
    fn held(counters: &[u64]) -> Lines {
        let mut lines = Lines::default();
        for counter in counters {
            lines.note(epoch(*counter), FIRST, 1);
        }
        lines
    }

    fn lines_of(lines: &Lines, counters: &[u64]) -> Vec<Option<Epoch>> {
        let counters = counters.iter();
        counters.map(|counter| lines.of(epoch(*counter))).collect()
    }

    #[test]
    fn all_is_one_line_until_a_first_block_says_otherwise() {
        let (one, two) = (Some(epoch(1)), Some(epoch(2)));
        let mut lines = held(&[1, 2, 3]);
        assert_eq!(lines_of(&lines, &[1, 2, 3, 9]), [one; 4]);

        assert!(!lines.note_first(epoch(3), after(2)));
        assert!(lines.note_first(epoch(2), None));

        assert_eq!(lines_of(&lines, &[1, 2, 3, 9]), [one, two, two, two]);
        assert_eq!(lines.newest(), two);
        let names: Vec<_> = lines.names().collect();
        assert_eq!(names, [epoch(1), epoch(2)]);
        let held = lines.logs(epoch(2)).map(BTreeMap::len);
        assert_eq!(held, Some(2));
    }

    #[test]
    fn a_line_has_another_name_when_what_came_before_is_known() {
        let mut lines = held(&[3]);
        lines.note_first(epoch(3), after(2));

        assert!(lines.note(epoch(2), FIRST, 0));

        assert_eq!(lines_of(&lines, &[2, 3]), [Some(epoch(2)); 2]);
    }

    #[test]
    fn every_first_block_but_the_oldest_must_be_read_and_it_only_if_it_is_held() {
        let mut lines = held(&[1, 2, 3]);
        lines.note(epoch(4), FIRST, 0);
        assert_eq!(lines.unread(), Some(epoch(3)));

        lines.note_first(epoch(3), after(2));
        assert_eq!(lines.unread(), Some(epoch(2)));
        lines.note(epoch(2), FIRST, 0); // It was damaged.

        assert_eq!(lines.unread(), None);
    }

    #[test]
    fn who_begins_at_nothing_again_and_again_has_few_lines() {
        let counters: Vec<u64> = (1..=40).collect();
        let mut lines = held(&counters);

        for counter in counters {
            lines.note_first(epoch(counter), None);
        }

        assert_eq!(lines.names().count(), LINES_MAX);
        assert_eq!(lines.of(epoch(40)), Some(epoch(40)), "the newest are kept");
        assert_eq!(lines.of(epoch(25)), Some(epoch(1)));
    }
}
