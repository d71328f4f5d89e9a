//! Runs side by side, one on each core, with their reports in the order of the runs.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use sim::{Report, Scenario};

/// What is to be run: each of the scenarios with each of the seeds.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) nodes: usize,
    /// The first seed.
    pub(crate) seed: u64,
    /// How many of them.
    pub(crate) seeds: u64,
}

impl Runs {
    /// Runs them with `run`, each by itself, as many at a time as there are cores, and gives `take`
    /// the reports: all of a seed, then those of the next one. Memory is that of as many networks;
    /// reports that wait for an earlier run are a few hundred bytes each.
    ///
    /// # Errors
    ///
    /// When `take` fails, or the system has no thread to give.
    pub(crate) fn each(
        &self,
        run: fn(Scenario, usize, u64) -> Report,
        mut take: impl FnMut(&Report) -> io::Result<()>,
    ) -> io::Result<()> {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let next = AtomicU64::new(0);
        thread::scope(|scope| {
            let (told, reports) = sync_channel(cores);
            for core in 0..cores {
                let (told, next) = (told.clone(), &next);
                let work = move || {
                    while let Some((number, scenario, seed)) = self.nth(next) {
                        // Nobody listens any more once a report could not be taken.
                        if told
                            .send((number, run(scenario, self.nodes, seed)))
                            .is_err()
                        {
                            break;
                        }
                    }
                };
                thread::Builder::new()
                    .name(format!("run-{core}"))
                    .spawn_scoped(scope, work)?;
            }
            drop(told);
            let mut early = BTreeMap::new();
            let mut due = 0;
            for (number, report) in reports {
                early.insert(number, report);
                while let Some(report) = early.remove(&due) {
                    take(&report)?;
                    due += 1;
                }
            }
            Ok(())
        })
    }

    /// The next run, with its number from 0 on.
    fn nth(&self, next: &AtomicU64) -> Option<(u64, Scenario, u64)> {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let abreast = u64::try_from(self.scenarios.len()).ok()?;
        let seed = number.checked_div(abreast).filter(|n| *n < self.seeds)?;
        let scenario = usize::try_from(number % abreast).ok()?;
        Some((
            number,
            *self.scenarios.get(scenario)?,
            self.seed.wrapping_add(seed),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_come_in_the_order_of_the_runs_and_are_those_of_single_runs() {
        let runs = Runs {
            scenarios: vec![Scenario::Steady, Scenario::MassFailure],
            nodes: 2,
            seed: 7,
            seeds: 3,
        };
        let mut abreast = Vec::new();

        let taken = runs.each(sim::run_once, |report| {
            abreast.push(report.to_text());
            Ok(())
        });

        assert!(taken.is_ok());
        let alone = (7..10).flat_map(|seed| {
            let run = move |scenario: &Scenario| sim::run_once(*scenario, 2, seed).to_text();
            runs.scenarios.iter().map(run)
        });
        assert_eq!(abreast, alone.collect::<Vec<_>>());
    }

    #[test]
    fn a_report_that_cannot_be_taken_ends_the_runs() {
        let runs = Runs {
            scenarios: vec![Scenario::Steady],
            nodes: 2,
            seed: 1,
            seeds: u64::MAX,
        };

        let taken = runs.each(sim::run_once, |_| Err(io::ErrorKind::BrokenPipe.into()));

        assert!(taken.is_err());
    }
}
