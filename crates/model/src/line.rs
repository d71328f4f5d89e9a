//! Lines: which epochs of one machine go back to the same beginning.
//!
//! A machine begins at nothing once, and again whenever its disk was lost. What begins there cannot
//! name what was before, and does not know of it: so a later epoch that goes back to this beginning
//! says nothing about where the epochs of another one end. Each line is a log of its own.

use std::collections::BTreeMap;

use crate::{Epoch, Position};

/// Returns the line of each epoch of one machine, named by the first epoch of it that is known.
///
/// `epochs` are in order, each with what its first block names as the one before it; `None` where
/// that is not known. Such an epoch goes with the one before it until it is known: only a first
/// block that names nothing, or one of another line, parts what is beside each other.
#[must_use]
pub fn lines(
    epochs: impl IntoIterator<Item = (Epoch, Option<Option<Position>>)>,
) -> BTreeMap<Epoch, Epoch> {
    let mut lines = BTreeMap::new();
    for (epoch, continues) in epochs {
        let before = match continues {
            None => Some(epoch),
            // A block that claims to continue its own future continues nothing.
            Some(named) => named
                .map(|named| named.epoch)
                .filter(|named| *named < epoch),
        };
        let line = before.and_then(|before| line_of(&lines, before));
        lines.insert(epoch, line.unwrap_or(epoch));
    }
    lines
}

/// Returns the line of an epoch, which is that of the one before it if it is not known itself;
/// `None` if nothing is known.
#[must_use]
pub fn line_of(lines: &BTreeMap<Epoch, Epoch>, epoch: Epoch) -> Option<Epoch> {
    let at = lines.range(..=epoch).next_back();
    at.or_else(|| lines.first_key_value())
        .map(|(_, line)| *line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn epoch(counter: u64, tag: u32) -> Epoch {
        Epoch { counter, tag }
    }

    fn after(counter: u64, tag: u32) -> Option<Option<Position>> {
        let epoch = epoch(counter, tag);
        Some(Some(Position { epoch, sequence: 1 }))
    }

    #[test]
    fn epochs_are_of_one_line_if_they_go_back_to_one_beginning_whatever_lies_between() {
        for lost in [1, 9] {
            let (old, new) = (epoch(1, 5), epoch(1, lost));
            let mut epochs = vec![
                (old, Some(None)),
                (new, Some(None)),
                (epoch(2, 7), after(1, 5)),
                (epoch(3, 7), after(2, 7)),
                (epoch(4, 7), after(1, lost)),
            ];
            epochs.sort_by_key(|(epoch, _)| *epoch);

            let lines = lines(epochs);

            let first_of = |counter| lines[&epoch(counter, 7)];
            assert_eq!([first_of(2), first_of(3), first_of(4)], [old, old, new]);
            assert_eq!([lines[&old], lines[&new]], [old, new]);
        }
    }

    #[test]
    fn what_is_not_known_goes_with_the_epoch_before_until_it_is() {
        let (first, second, third) = (epoch(1, 0), epoch(2, 0), epoch(3, 0));
        let known = |continues| lines([(first, Some(None)), (second, continues)]);

        assert_eq!(known(None)[&second], first);
        assert_eq!(known(Some(None))[&second], second, "control");
        assert_eq!(known(after(9, 0))[&second], second, "its own future");
        assert_eq!(line_of(&known(None), third), Some(first));
        let unheld = lines([(second, after(1, 0)), (third, after(1, 0))]);
        assert_eq!(unheld[&third], second, "what both name is not held");
        assert_eq!(line_of(&BTreeMap::new(), first), None);
    }
}
