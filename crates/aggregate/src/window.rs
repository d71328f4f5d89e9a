//! One window of one series: what is kept of its readings.

use model::{Position, QualityLevel, Reading, Timestamp, Value};

use crate::Summary;
use crate::held::Held;
use crate::sketch::Sketch;
use crate::slot::Mark;

/// The readings of a window so far, in log order.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// The first block that contributed, if a successor must read the log from there to have the
    /// window too; `None` for one that a [`crate::Scan`] computed and would compute again.
    pub(crate) first: Option<Mark>,
    /// The last block that contributed.
    pub(crate) last: Mark,
    /// When that one was sealed.
    pub(crate) touched: Timestamp,
    /// The name of the last partial record that was given.
    pub(crate) partial: Option<Position>,
    /// All readings.
    total: u64,
    /// Those with a good value.
    good: u64,
    ends: Ends,
    numbers: Numbers,
    held: Held,
    sketch: Sketch,
}

/// The good values with the earliest and the latest time.
#[derive(Clone, Debug, Default)]
struct Ends {
    first: Option<(Timestamp, Value)>,
    last: Option<(Timestamp, Value)>,
}

/// Moments of the good numbers, by Welford's method (Technometrics 4, 1962).
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    count: u64,
    min: f64,
    max: f64,
    sum: f64,
    mean: f64,
    /// The sum of squared distances from the mean.
    squares: f64,
}

impl Window {
    /// An empty window to which `block` is about to contribute.
    pub(crate) fn new(first: Option<Mark>, block: Mark) -> Self {
        Self {
            first,
            last: block,
            touched: Timestamp::MIN,
            partial: None,
            total: 0,
            good: 0,
            ends: Ends::default(),
            numbers: Numbers::default(),
            held: Held::default(),
            sketch: Sketch::default(),
        }
    }

    /// Adds readings of a block, all of them within the window.
    pub(crate) fn add(&mut self, block: Mark, sealed: Timestamp, readings: &[Reading]) {
        (self.last, self.touched) = (block, sealed);
        let (mut first, mut last) = (None::<&Reading>, None::<&Reading>);
        for reading in readings {
            self.total += 1;
            let number = reading.value.as_f64().filter(|number| number.is_finite());
            let number = number.filter(|_| reading.quality.level == QualityLevel::Good);
            self.held.add(reading.time.as_nanos(), number);
            if let Some(number) = number {
                self.numbers.add(number);
                self.sketch.add(number);
            }
            if number.is_none() && !is_good_text(reading) {
                continue;
            }
            self.good += 1;
            if first.is_none_or(|first| reading.time < first.time) {
                first = Some(reading);
            }
            if last.is_none_or(|last| reading.time >= last.time) {
                last = Some(reading);
            }
        }
        self.ends.keep(first, last);
    }

    /// What is known of a window that ends at `end`.
    pub(crate) fn summary(&self, end: Timestamp) -> Summary {
        let numbers = &self.numbers;
        let any = (numbers.count > 0).then_some(numbers);
        let count = numbers.count as f64;
        let quantiles = QUANTILES.iter().filter_map(|&(quantile, permille)| {
            let found = self.sketch.quantile(permille)?;
            Some((quantile, found.clamp(numbers.min, numbers.max)))
        });
        Summary {
            count: self.good,
            min: any.map(|numbers| numbers.min),
            max: any.map(|numbers| numbers.max),
            sum: numbers.sum,
            mean: any
                .map(|numbers| numbers.sum / count)
                .filter(|mean| mean.is_finite()),
            stddev: any
                .map(|numbers| (numbers.squares / count).sqrt())
                .filter(|stddev| stddev.is_finite()),
            first: self.ends.first.as_ref().map(|(_, value)| value.clone()),
            last: self.ends.last.as_ref().map(|(_, value)| value.clone()),
            time_weighted_mean: self.held.mean(end.as_nanos()),
            good_percent: 100.0 * self.good as f64 / self.total as f64,
            quantiles: quantiles.collect(),
        }
    }
}

impl Ends {
    /// Compares the ends of a stretch of readings with the ends so far; only then values are
    /// copied.
    fn keep(&mut self, first: Option<&Reading>, last: Option<&Reading>) {
        if let Some(reading) = first
            && self
                .first
                .as_ref()
                .is_none_or(|(time, _)| reading.time < *time)
        {
            self.first = Some((reading.time, reading.value.clone()));
        }
        if let Some(reading) = last
            && self
                .last
                .as_ref()
                .is_none_or(|(time, _)| reading.time >= *time)
        {
            self.last = Some((reading.time, reading.value.clone()));
        }
    }
}

impl Numbers {
    fn add(&mut self, number: f64) {
        // Not `f64::min`, which leaves open what it makes of zeros of both signs.
        if self.count == 0 || number < self.min {
            self.min = number;
        }
        if self.count == 0 || number > self.max {
            self.max = number;
        }
        self.count += 1;
        self.sum += number;
        let distance = number - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (number - self.mean);
    }
}

fn is_good_text(reading: &Reading) -> bool {
    let is_text = match reading.value {
        Value::Text(_) | Value::Bytes(_) => true,
        Value::Null | Value::F64(_) | Value::I64(_) | Value::Bool(_) => false,
    };
    is_text && reading.quality.level == QualityLevel::Good
}

/// The quantiles of every window, and the same in thousandths.
const QUANTILES: [(f64, u32); 3] = [(0.5, 500), (0.95, 950), (0.99, 990)];
