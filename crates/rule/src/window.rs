//! A window: the readings of the last while, in a bounded number of cells.
//!
//! Readings closer together than a 256th of the window share a cell, which keeps their count, sum
//! and extremes. So the far edge of a full window is exact to that, and everything else exactly.

use std::collections::VecDeque;
use std::time::Duration;

use model::Timestamp;

#[derive(Clone, Copy, Debug)]
struct Cell {
    /// The first reading's time.
    time: Timestamp,
    first: f64,
    /// The last reading's time.
    last_time: Timestamp,
    last: f64,
    count: u64,
    sum: f64,
    least: f64,
    greatest: f64,
}

/// The numbers that a series had in the last while.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    length: Duration,
    cell_length: Duration,
    /// In the order of their times.
    cells: VecDeque<Cell>,
    /// Over all cells; counted anew whenever some are dropped, so that errors do not add up.
    total: Total,
}

#[derive(Clone, Copy, Debug)]
struct Total {
    count: u64,
    sum: f64,
    least: f64,
    greatest: f64,
}

impl Total {
    const NONE: Self = Self {
        count: 0,
        sum: 0.0,
        least: f64::INFINITY,
        greatest: f64::NEG_INFINITY,
    };

    fn add(&mut self, count: u64, sum: f64, least: f64, greatest: f64) {
        self.count += count;
        self.sum += sum;
        self.least = self.least.min(least);
        self.greatest = self.greatest.max(greatest);
    }
}

impl Window {
    /// Most cells of one window. Source: guess; 18 KiB.
    const CELLS_MAX: u32 = 256;

    pub(crate) fn new(length: Duration) -> Self {
        Self {
            length,
            cell_length: length / Self::CELLS_MAX,
            cells: VecDeque::new(),
            total: Total::NONE,
        }
    }

    /// Adds a number that was true at `time`; one older than the window is left out.
    pub(crate) fn add(&mut self, now: Timestamp, time: Timestamp, value: f64) {
        if time <= now.saturating_sub(self.length) {
            return;
        }
        self.total.add(1, value, value, value);
        let at = self.cells.partition_point(|cell| cell.time <= time);
        let before = at.checked_sub(1).and_then(|at| self.cells.get_mut(at));
        if let Some(cell) = before
            && time.since(cell.time) < self.cell_length
        {
            cell.add(time, value);
            return;
        }
        let cell = Cell {
            time,
            first: value,
            last_time: time,
            last: value,
            count: 1,
            sum: value,
            least: value,
            greatest: value,
        };
        self.cells.insert(at, cell);
        if self.cells.len() > 2 * Self::CELLS_MAX as usize {
            self.cells.pop_front(); // Only readings in great disorder make that many cells.
            self.count_anew();
        }
    }

    /// Lets go what has become older than the window.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let edge = now.saturating_sub(self.length);
        let before = self.cells.len();
        while self
            .cells
            .front()
            .is_some_and(|cell| cell.last_time <= edge)
        {
            self.cells.pop_front();
        }
        if self.cells.len() < before {
            self.count_anew();
        }
    }

    pub(crate) const fn count(&self) -> u64 {
        self.total.count
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 readings")]
    pub(crate) fn mean(&self) -> Option<f64> {
        self.unless_empty(self.total.sum / self.total.count as f64)
    }

    pub(crate) fn least(&self) -> Option<f64> {
        self.unless_empty(self.total.least)
    }

    pub(crate) fn greatest(&self) -> Option<f64> {
        self.unless_empty(self.total.greatest)
    }

    fn unless_empty(&self, number: f64) -> Option<f64> {
        (self.total.count > 0).then_some(number)
    }

    /// The change per second from the first to the last; `None` with fewer than two.
    pub(crate) fn rate(&self) -> Option<f64> {
        let (first, last) = (self.cells.front()?, self.cells.back()?);
        let seconds = last.last_time.since(first.time).as_secs_f64();
        (seconds > 0.0).then(|| (last.last - first.first) / seconds)
    }

    fn count_anew(&mut self) {
        self.total = Total::NONE;
        for cell in &self.cells {
            self.total
                .add(cell.count, cell.sum, cell.least, cell.greatest);
        }
    }
}

impl Cell {
    fn add(&mut self, time: Timestamp, value: f64) {
        self.count += 1;
        self.sum += value;
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
        if time >= self.last_time {
            self.last_time = time;
            self.last = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn window(readings: &[(i64, f64)]) -> Window {
        let mut window = Window::new(Duration::from_secs(10));
        for &(millis, value) in readings {
            window.add(at(millis), at(millis), value);
        }
        window
    }

    #[test]
    fn a_window_tells_mean_extremes_rate_and_count() {
        let window = window(&[(1_000, 1.0), (2_000, 4.0), (3_000, 2.0), (5_000, 9.0)]);

        assert_eq!(window.mean(), Some(4.0));
        assert_eq!((window.least(), window.greatest()), (Some(1.0), Some(9.0)));
        assert_eq!(window.rate(), Some(2.0));
        assert_eq!(window.count(), 4);
    }

    #[test]
    fn what_has_become_older_than_the_window_counts_no_more() {
        let mut window = window(&[(1_000, 1.0), (2_000, 4.0)]);

        window.expire(at(11_500));

        assert_eq!((window.mean(), window.count()), (Some(4.0), 1));
        window.expire(at(12_000));
        assert_eq!((window.mean(), window.count()), (None, 0));
    }

    #[test]
    fn readings_out_of_order_count_as_if_they_had_come_in_order() {
        let ordered = window(&[(1_000, 1.0), (2_000, 4.0), (3_000, 2.0)]);
        let mut shuffled = window(&[]);
        for (millis, value) in [(3_000, 2.0), (1_000, 1.0), (2_000, 4.0)] {
            shuffled.add(at(3_000), at(millis), value);
        }

        assert_eq!(shuffled.rate(), ordered.rate());
        assert_eq!(shuffled.mean(), ordered.mean());
    }

    #[test]
    fn a_flood_of_readings_keeps_a_bounded_number_of_cells() {
        let mut window = Window::new(Duration::from_secs(10));
        for n in 0..1_000_000 {
            let time = Timestamp::from_nanos(n * 10_000);
            window.add(time, time, 1.0);
        }

        assert!(window.cells.len() <= 2 * 256);
        assert_eq!((window.mean(), window.count()), (Some(1.0), 1_000_000));
    }
}
