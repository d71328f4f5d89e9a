//! Samples, their percentiles, and results as a table or as JSON.

use std::io::Write as _;
use std::time::Duration;

use comfy_table::Table;
use serde::Serialize;

/// Measured values of one thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = f64>) {
        self.0.extend(values);
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        self.0.iter().copied()
    }

    /// The value in the middle.
    pub(crate) fn median(&self) -> f64 {
        percentile(&self.sorted(), 50)
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.0.clone();
        values.sort_by(f64::total_cmp);
        values
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// The smallest value that `percent` of all values do not exceed; 0 of no values.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// Which values are good. `p99` is always on the bad side: what 99 % of all values are as good as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// One result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Line {
    bench: &'static str,
    case: String,
    unit: &'static str,
    p50: f64,
    p99: f64,
    /// Of how many measured values.
    count: usize,
    /// What was measured, and what limits it.
    note: String,
}

/// The results of one run.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    lines: Vec<Line>,
}

/// What is measured, in which unit, and which values are good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) bench: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

impl Measure {
    /// A measure of which less is better.
    pub(crate) const fn lower(bench: &'static str, unit: &'static str) -> Self {
        Self {
            bench,
            unit,
            better: Better::Lower,
        }
    }

    /// A measure of which more is better.
    pub(crate) const fn higher(bench: &'static str, unit: &'static str) -> Self {
        Self {
            bench,
            unit,
            better: Better::Higher,
        }
    }
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            lines: Vec::new(),
        }
    }

    /// Adds a result; as JSON it is printed at once.
    ///
    /// # Errors
    ///
    /// If nothing was measured, or standard output is gone.
    pub(crate) fn add(
        &mut self,
        measure: Measure,
        case: impl Into<String>,
        sample: &Sample,
        note: impl Into<String>,
    ) -> anyhow::Result<()> {
        let (case, mut values) = (case.into(), sample.sorted());
        anyhow::ensure!(!values.is_empty(), "{case}: nothing was measured");
        if measure.better == Better::Higher {
            values.reverse();
        }
        let line = Line {
            bench: measure.bench,
            case,
            unit: measure.unit,
            p50: round(percentile(&values, 50)),
            p99: round(percentile(&values, 99)),
            count: values.len(),
            note: note.into(),
        };
        if self.json {
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&line)?)?;
        }
        self.lines.push(line);
        Ok(())
    }

    /// Prints the table, unless everything was printed as JSON.
    ///
    /// # Errors
    ///
    /// If standard output is gone.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        table.set_header(["bench", "case", "unit", "p50", "p99", "count", "note"]);
        for line in self.lines {
            table.add_row([
                line.bench.to_owned(),
                line.case,
                line.unit.to_owned(),
                line.p50.to_string(),
                line.p99.to_string(),
                line.count.to_string(),
                line.note,
            ]);
        }
        writeln!(std::io::stdout(), "{table}")?;
        Ok(())
    }
}

/// Rounds to four significant digits, but keeps whole numbers.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10_f64.powf((3.0 - value.abs().log10().floor()).max(0.0));
    (value * scale).round() / scale
}

/// A duration in microseconds.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A count as a number to divide.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^53"
)]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// The length of something as a number to divide.
pub(crate) fn length(count: usize) -> f64 {
    number(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();

        assert!((percentile(&values, 50) - 100.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 99) - 198.0).abs() < f64::EPSILON);
        assert!((percentile(&values[..1], 99) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn numbers_keep_four_digits_and_whole_parts() {
        assert!((round(0.012_345_6) - 0.012_35).abs() < 1e-12);
        assert!((round(1_234_567.8) - 1_234_568.0).abs() < 1e-6);
    }
}
