//! The time-weighted mean of a window.
//!
//! In the order of time, each good number holds until the next reading of its series in the
//! window, the last one until the window's end. Before the first reading nothing is known, and
//! after a reading that is no good number nothing is known until the next one: such time has no
//! weight. Of readings at one time the last in the log counts.
//!
//! Readings may come in any order. The latest [`POINTS_MAX`] of a window are kept; a reading older
//! than all of them and than one that was let go is left out here, and only here: that depends on
//! the log alone, keeps memory flat, and is exact for windows of up to that many readings.

use std::collections::VecDeque;

/// Values with the time for which they held.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// The latest readings in the order of time, then of the log; NaN is no good number.
    points: VecDeque<(i64, f64)>,
    settled: Settled,
}

/// What is known up to a point in time. Unit of time: nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Settled {
    /// The last reading.
    last: Option<(i64, f64)>,
    /// The sum of values times how long they held.
    weighted: f64,
    /// For how long a good number held.
    covered: f64,
}

impl Held {
    /// Adds a reading; `None` is one without a good number.
    pub(crate) fn add(&mut self, time: i64, number: Option<f64>) {
        if self.settled.last.is_some_and(|(settled, _)| time < settled) {
            return;
        }
        let point = (time, number.unwrap_or(f64::NAN));
        match self.points.back() {
            Some(&(latest, _)) if time < latest => {
                let index = self.points.partition_point(|&(other, _)| other <= time);
                self.points.insert(index, point);
            }
            _ => self.points.push_back(point),
        }
        if self.points.len() > POINTS_MAX
            && let Some(oldest) = self.points.pop_front()
        {
            self.settled.pass(oldest);
        }
    }

    /// The mean up to the window's end; `None` if no good number held for any time.
    pub(crate) fn mean(&self, end: i64) -> Option<f64> {
        let mut whole = self.settled;
        self.points.iter().for_each(|&point| whole.pass(point));
        whole.pass((end, f64::NAN));
        let mean = whole.weighted / whole.covered;
        (whole.covered > 0.0 && mean.is_finite()).then_some(mean)
    }
}

impl Settled {
    /// Goes on to the next reading in the order of time.
    fn pass(&mut self, next: (i64, f64)) {
        if let Some((time, value)) = self.last
            && !value.is_nan()
        {
            let held = next.0.saturating_sub(time) as f64;
            self.weighted += value * held;
            self.covered += held;
        }
        self.last = Some(next);
    }
}

/// Most readings of a window that are kept. Unit: readings, of 16 bytes. Source: guess, a minute at
/// four a second.
pub(crate) const POINTS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_holds_until_the_next_reading_whatever_the_order_of_arrival() {
        let mut held = Held::default();

        held.add(60, Some(4.0));
        held.add(20, Some(1.0));
        held.add(50, None);

        // 1.0 from 20 to 50, nothing to 60, 4.0 to 100.
        assert_eq!(held.mean(100), Some((1.0 * 30.0 + 4.0 * 40.0) / 70.0));
    }

    #[test]
    fn a_reading_older_than_what_was_let_go_changes_nothing() {
        let mut held = Held::default();
        (0..=256).for_each(|time| held.add(time, Some(2.0)));

        held.add(-1, Some(1_000.0));

        assert_eq!(held.mean(300), Some(2.0));
        assert_eq!(held.points.len(), POINTS_MAX);
    }

    #[test]
    fn without_a_good_number_there_is_no_mean() {
        let mut held = Held::default();

        held.add(1, None);

        assert_eq!(held.mean(10), None);
    }
}
