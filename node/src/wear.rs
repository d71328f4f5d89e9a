//! Wear: how much this process writes to disks, as the kernel counts it. Flash wears out by that,
//! not by what is kept.

use std::collections::VecDeque;
use std::fs;
use std::time::Duration;

/// What was written since the start, and in the last day.
#[derive(Debug, Default)]
pub struct Wear {
    written: u64,
    uptime: Duration,
    /// By uptime, oldest first, what had been written then; an hour apart, at most a day back.
    hours: VecDeque<(Duration, u64)>,
}

impl Wear {
    /// Looks how much has been written by now. Where the kernel does not say, it stays 0 (only
    /// Linux does here).
    pub(crate) fn look(&mut self, uptime: Duration) {
        let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
        self.note(uptime, written_of(&text).unwrap_or(0));
    }

    fn note(&mut self, uptime: Duration, written: u64) {
        (self.uptime, self.written) = (uptime, written);
        let is_due = (self.hours.back()).is_none_or(|(last, _)| uptime >= *last + HOUR);
        if is_due {
            self.hours.push_back((uptime, written));
        }
        while (self.hours.front()).is_some_and(|(first, _)| uptime > *first + DAY) {
            self.hours.pop_front();
        }
    }

    /// Since the start. Unit: bytes.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// In the last day, or at the pace of the time since the start if that is shorter, but not of
    /// less than an hour. Unit: bytes.
    #[must_use]
    pub fn per_day(&self) -> u64 {
        let (since, before) = self.hours.front().copied().unwrap_or_default();
        let seconds = self.uptime.saturating_sub(since).max(HOUR).as_secs();
        let written = u128::from(self.written.saturating_sub(before));
        let per_day = written * u128::from(DAY.as_secs()) / u128::from(seconds);
        u64::try_from(per_day).unwrap_or(u64::MAX)
    }
}

/// What `/proc/self/io` says under `write_bytes`.
fn written_of(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"));
    line?.trim().parse().ok()
}

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_what_is_written() {
        assert_eq!(written_of("wchar: 9\nwrite_bytes: 4096\n"), Some(4_096));
        assert_eq!(written_of(""), None);
    }

    #[test]
    fn a_day_is_what_was_written_in_the_last_one_or_at_the_pace_of_a_shorter_time() {
        let mut wear = Wear::default();
        wear.note(Duration::from_secs(1), 0);
        wear.note(HOUR / 2, 100);
        assert_eq!(wear.per_day(), 2_400, "half an hour counts as a whole one");

        for hour in 1..=48 {
            wear.note(HOUR * hour, 1_000 * u64::from(hour));
        }
        let per_day = wear.per_day();

        assert!((23_000..=25_000).contains(&per_day), "{per_day}");
        assert!(wear.hours.len() <= 25);
    }
}
