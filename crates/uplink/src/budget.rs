//! How many bytes may still go out today: what keeps a cellular contract.
//!
//! A day is one of UTC. What was spent is on disk ahead of time, a share of the day's budget at
//! once, so that a node that is killed again and again spends no more than one that is not: it
//! takes what it had put down for spent. A clock that goes back to yesterday changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Timestamp;

/// What to do with records once the budget of a day is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenSpent {
    /// The uplink counts as unreachable until the next day, so that a machine with another way out
    /// takes over; records wait.
    #[default]
    Hold,
    /// Urgent records still go, whatever they cost; the others wait.
    UrgentOnly,
}

/// The bytes of a day.
#[derive(Debug)]
pub(crate) struct Budget {
    path: PathBuf,
    /// Unit: bytes a day; `None` for no limit.
    limit: Option<u64>,
    /// Days since the Unix epoch.
    day: i64,
    /// Unit: bytes.
    spent: u64,
    /// What stands on disk for spent; at least `spent`. Unit: bytes.
    noted: u64,
}

impl Budget {
    /// Reads what was spent before; without a limit nothing is read or written.
    pub(crate) fn open(dir: &Path, limit: Option<u64>) -> Self {
        let path = dir.join("spent");
        let text = limit.and_then(|_| fs::read_to_string(&path).ok());
        let read = text.and_then(|text| {
            let (day, spent) = text.trim().split_once(' ')?;
            Some((day.parse().ok()?, spent.parse().ok()?))
        });
        let (day, spent) = read.unwrap_or((i64::MIN, 0));
        Self {
            path,
            limit,
            day,
            spent,
            noted: spent,
        }
    }

    /// What may still go out. Unit: bytes.
    pub(crate) fn left(&mut self, now: Timestamp) -> u64 {
        self.turn(now);
        self.limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.spent))
    }

    /// Counts what goes out. Unit: bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be written down; it is counted all the same.
    pub(crate) fn spend(&mut self, now: Timestamp, bytes: u64) -> io::Result<()> {
        self.turn(now);
        self.spent = self.spent.saturating_add(bytes);
        let Some(limit) = self.limit.filter(|_| self.spent > self.noted) else {
            return Ok(());
        };
        self.noted = self.spent.saturating_add(limit / SHARES);
        self.note(self.noted)
    }

    /// Puts down the very number, at the end.
    pub(crate) fn close(&self) -> io::Result<()> {
        match self.limit {
            Some(_) if self.day > i64::MIN => self.note(self.spent),
            _ => Ok(()),
        }
    }

    /// What is left is too little for anything: the day's budget is spent.
    pub(crate) fn exhaust(&mut self, now: Timestamp) {
        self.turn(now);
        self.spent = self.spent.max(self.limit.unwrap_or_default());
    }

    /// Whether there is a limit.
    pub(crate) const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// What went out today. Unit: bytes.
    pub(crate) const fn spent(&self) -> u64 {
        self.spent
    }

    /// When the next day begins.
    pub(crate) fn next_day(&self) -> Timestamp {
        let days = u64::try_from(self.day.saturating_add(1)).unwrap_or_default();
        Timestamp::default().saturating_add(Duration::from_secs(days.saturating_mul(DAY_SECONDS)))
    }

    /// A new day begins with nothing spent.
    fn turn(&mut self, now: Timestamp) {
        let day = now.as_nanos().div_euclid(DAY_NANOS);
        if day > self.day {
            (self.day, self.spent, self.noted) = (day, 0, 0);
        }
    }

    fn note(&self, spent: u64) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, format!("{} {spent}\n", self.day))?;
        fs::rename(&fresh, &self.path)
    }
}

const DAY_SECONDS: u64 = 86_400;
const DAY_NANOS: i64 = 86_400_000_000_000;
/// In how many parts the budget is written down ahead: what a crash may cost of it. Source: guess.
const SHARES: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: u64, seconds: u64) -> Timestamp {
        Timestamp::default().saturating_add(Duration::from_secs(days * DAY_SECONDS + seconds))
    }

    #[test]
    fn what_is_spent_is_gone_until_the_next_day_also_if_the_clock_goes_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut budget = Budget::open(dir.path(), Some(1_000));

        budget.spend(at(10, 5), 600).expect("written");
        assert_eq!(budget.left(at(10, 86_399)), 400);
        assert_eq!(budget.left(at(9, 0)), 400);
        assert_eq!(budget.next_day(), at(11, 0));
        assert_eq!(budget.left(at(11, 0)), 1_000);
    }

    #[test]
    fn a_crash_never_gives_anything_back_and_a_stop_takes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut budget = Budget::open(dir.path(), Some(6_400));
        budget.spend(at(10, 0), 1_000).expect("written");
        drop(budget);

        let mut crashed = Budget::open(dir.path(), Some(6_400));
        assert_eq!(crashed.left(at(10, 1)), 6_400 - 1_000 - 100);
        crashed.close().expect("written");

        let mut stopped = Budget::open(dir.path(), Some(6_400));
        assert_eq!(stopped.left(at(10, 2)), 6_400 - 1_000 - 100);
    }

    #[test]
    fn without_a_limit_nothing_is_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut budget = Budget::open(dir.path(), None);

        budget.spend(at(10, 0), 1 << 40).expect("nothing to write");
        budget.close().expect("nothing to write");

        assert_eq!(budget.left(at(10, 1)), u64::MAX);
        assert!(!dir.path().join("spent").exists());
    }
}
