//! What relays have told of their progress.
//!
//! A progress speaks for the line that it is in, and for no other: who told it need not have known
//! of one.

use std::collections::BTreeMap;

use aggregate::Progress;
use election::UplinkId;
use model::{Epoch, MachineId};

use crate::lines::Lines;

/// The furthest progress in each epoch, by uplink and origin.
#[derive(Debug, Default)]
pub(crate) struct Told {
    told: BTreeMap<(UplinkId, MachineId), BTreeMap<Epoch, Progress>>,
}

impl Told {
    /// A relay has told its progress.
    pub(crate) fn note(
        &mut self,
        uplink: &UplinkId,
        machine: MachineId,
        progress: Progress,
        lines: Option<&Lines>,
    ) {
        let told = self.told.entry((uplink.clone(), machine)).or_default();
        let known = told.entry(progress.through.epoch).or_insert(progress);
        *known = progress.max(*known);
        if told.len() > EPOCHS_MAX {
            let line_of = |epoch: &Epoch| lines.and_then(|lines| lines.of(*epoch));
            let furthest: BTreeMap<_, _> = (told.keys())
                .map(|epoch| (line_of(epoch), *epoch))
                .collect();
            told.retain(|epoch, _| furthest.get(&line_of(epoch)) == Some(epoch));
        }
        if told.len() > EPOCHS_MAX {
            told.pop_first();
        }
    }

    /// The furthest progress in a line.
    pub(crate) fn of(
        &self,
        uplink: &UplinkId,
        machine: MachineId,
        lines: &Lines,
        line: Epoch,
    ) -> Option<Progress> {
        let told = self.told.get(&(uplink.clone(), machine))?;
        let mut furthest = told.values().rev();
        furthest
            .find(|progress| lines.of(progress.through.epoch) == Some(line))
            .copied()
    }
}

/// Epochs of one origin in which progress is remembered; of more, one for each line. Source: guess.
const EPOCHS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use model::{Position, Sequence, Timestamp};

    use super::*;

    const MACHINE: MachineId = MachineId::from_bytes([1; 32]);

    const fn epoch(counter: u64) -> Epoch {
        Epoch { counter, tag: 0 }
    }

    fn progress(counter: u64, sequence: Sequence) -> Progress {
        let epoch = epoch(counter);
        let through = Position { epoch, sequence };
        Progress {
            through,
            watermark: Timestamp::MIN,
            late: None,
            resume: through,
            horizon: Timestamp::MIN,
        }
    }

    #[test]
    fn progress_speaks_for_its_line_alone_and_what_is_far_back_is_forgotten() {
        let uplink: UplinkId = "cloud".parse().expect("an uplink");
        let mut lines = Lines::default();
        let mut told = Told::default();
        for counter in 1..=100 {
            lines.note(epoch(counter), 1, 1);
            let before = (counter > 2).then(|| progress(counter - 1, 1).through);
            lines.note_first(epoch(counter), before);
        }

        for counter in (1..=100).rev() {
            for sequence in [7, 5] {
                told.note(&uplink, MACHINE, progress(counter, sequence), Some(&lines));
            }
        }

        let of = |line| told.of(&uplink, MACHINE, &lines, epoch(line));
        assert_eq!(
            (of(1), of(2)),
            (Some(progress(1, 7)), Some(progress(100, 7)))
        );
        assert_eq!(of(9), None, "it is no line");
        assert!(told.told.values().all(|told| told.len() <= EPOCHS_MAX));
    }
}
