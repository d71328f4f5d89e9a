//! Complaints about machines, as far as they are worth a line in the log.
//!
//! A member with bad intent can do something wrong in every frame. The first complaint about it is
//! written at once; what follows is counted, and told in one line a minute. Nothing is lost of the
//! count, and nobody else's complaints wait for it. Pure: the caller says what time it is, and
//! writes.

use std::collections::BTreeMap;
use std::time::Duration;

use model::MachineId;
use statemachine::Instant;

/// Complaints of one kind.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    total: u64,
    machines: BTreeMap<MachineId, Recent>,
    /// Those about machines for which there was no room.
    others: Untold,
}

/// What was said of one machine lately.
#[derive(Debug)]
struct Recent {
    told: Instant,
    untold: Untold,
}

/// Complaints that were counted only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Untold {
    /// How many.
    pub(super) count: u64,
    /// The last one.
    pub(super) last: String,
}

impl Complaints {
    /// A complaint about a machine; returns whether to write it now.
    pub(super) fn hear(&mut self, now: Instant, machine: MachineId, what: &str) -> bool {
        self.total = self.total.saturating_add(1);
        let is_full = self.machines.len() >= MACHINES_MAX;
        let untold = match self.machines.get_mut(&machine) {
            Some(recent) => &mut recent.untold,
            None if is_full => &mut self.others,
            None => {
                let untold = Untold::default();
                self.machines.insert(machine, Recent { told: now, untold });
                return true;
            }
        };
        untold.count += 1;
        what.clone_into(&mut untold.last);
        false
    }

    /// What is to be written now of what was counted only; of a machine that has been quiet for a
    /// minute nothing more is kept. `None` stands for the machines for which there was no room.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(Option<MachineId>, Untold)> {
        let mut due = Vec::new();
        self.machines.retain(|machine, recent| {
            if now.since(recent.told) < INTERVAL {
                return true;
            }
            let untold = std::mem::take(&mut recent.untold);
            let is_quiet = untold.count == 0;
            if !is_quiet {
                recent.told = now;
                due.push((Some(*machine), untold));
            }
            !is_quiet
        });
        // They are told of when somebody else is, or as soon as there is room again.
        if self.others.count > 0 && (!due.is_empty() || self.machines.len() < MACHINES_MAX) {
            due.push((None, std::mem::take(&mut self.others)));
        }
        due
    }

    /// How many there were since the start.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }
}

/// How often what is counted about one machine is told. Source: guess.
const INTERVAL: Duration = Duration::from_mins(1);
/// Most machines that are told apart. Source: guess, four times as many as can be neighbours.
const MACHINES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> MachineId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        MachineId::from_bytes(bytes)
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_flood_costs_one_line_at_once_and_one_a_minute_and_every_complaint_is_counted() {
        let mut complaints = Complaints::default();
        let (mut lines, mut told) = (0, 0);

        for second in 0..600 {
            for _ in 0..1_000 {
                let is_told = complaints.hear(at(second), id(1), "signature");
                lines += u64::from(is_told);
                told += u64::from(is_told);
            }
            let due = complaints.due(at(second));
            lines += u64::try_from(due.len()).expect("few");
            told += due.iter().map(|(_, untold)| untold.count).sum::<u64>();
        }
        told += complaints
            .due(at(700))
            .iter()
            .map(|(_, u)| u.count)
            .sum::<u64>();

        assert_eq!(complaints.total(), 600_000);
        assert_eq!(told, 600_000);
        assert!((9..=11).contains(&lines), "{lines} lines");
    }

    #[test]
    fn a_flood_about_one_machine_holds_back_no_line_about_another() {
        let mut complaints = Complaints::default();
        for _ in 0..1_000 {
            complaints.hear(at(0), id(1), "signature");
        }

        assert!(complaints.hear(at(0), id(2), "columns"));
    }

    #[test]
    fn the_end_of_a_flood_is_told_and_then_forgotten() {
        let mut complaints = Complaints::default();
        complaints.hear(at(0), id(1), "signature");
        complaints.hear(at(1), id(1), "columns");

        assert_eq!(complaints.due(at(59)), []);
        let last = "columns".to_owned();
        assert_eq!(
            complaints.due(at(60)),
            [(Some(id(1)), Untold { count: 1, last })]
        );
        assert_eq!(complaints.due(at(120)), []);
        assert!(complaints.machines.is_empty());
        assert!(
            complaints.hear(at(121), id(1), "signature"),
            "it is news again"
        );
    }

    #[test]
    fn beyond_so_many_machines_complaints_are_told_together() {
        let mut complaints = Complaints::default();
        for n in 0..1_000 {
            complaints.hear(at(0), id(n), "signature");
        }
        assert_eq!(complaints.machines.len(), MACHINES_MAX);

        let due = complaints.due(at(60));

        let beyond = 1_000 - u64::try_from(MACHINES_MAX).expect("few");
        let last = "signature".to_owned();
        assert_eq!(
            due,
            [(
                None,
                Untold {
                    count: beyond,
                    last
                }
            )]
        );
        assert_eq!(complaints.total(), 1_000);
    }
}
