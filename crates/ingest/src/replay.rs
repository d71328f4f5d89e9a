//! Replays a recorded table as if it happened now.
//!
//! The table is CSV (`.csv`, or gzipped with `.gz`) with a line of column names: `time` (RFC 3339;
//! without an offset it counts as UTC), optionally `machine`, and every other column is a series of
//! doubles. The first row is re-based to the present, and the spacing of all rows is divided by the
//! speed. At the end it stops, or starts over one spacing after the last row.
//!
//! An empty cell, or one that is not finite, is a null of bad quality, reason missing; a cell that
//! is no number is a null of bad quality, reason malformed. A row without a readable time, or with
//! too many or too few cells, is left out. Both are counted, and the first of each pass are logged
//! with their line.
//!
//! Waiting uses monotonic time, so a clock that is set does not stop a replay. Rows that are due
//! already, as after a pause of the process, follow at once with the times that they were due at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use csv::StringRecord;
use flate2::read::MultiGzDecoder;
use model::{
    Labels, NewReading, Quality, QualityLevel, QualityReason, SeriesDefinition, SeriesName,
    Timestamp, Unit, Value, ValueType,
};

use crate::{Clock, Readings, SourceError, level};

/// What to replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The table.
    pub file: PathBuf,
    /// Only rows with this in the column `machine`.
    pub machine: Option<String>,
    /// What the names of the columns are put under; none leaves them as they are.
    pub prefix: Option<SeriesName>,
    /// Units by column; a column that is not named has none.
    pub units: BTreeMap<String, Unit>,
    /// How many times faster than recorded. Positive.
    pub speed: f64,
    /// Start over at the end.
    pub repeat: bool,
}

/// How a replay went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows sent.
    pub rows: u64,
    /// Rows left out, and rows with a cell that is no number.
    pub malformed: u64,
}

/// Replays until the end, if it does not repeat, or until nobody listens.
///
/// # Errors
///
/// [`SourceError`] if the table cannot be read, lacks a column, or has no row to replay.
pub async fn run(config: Config, clock: Clock, readings: Readings) -> Result<Summary, SourceError> {
    if !(config.speed.is_finite() && config.speed > 0.0) {
        return Err(SourceError::Setting(
            "the speed of a replay must be a positive number; 600 makes ten minutes a second",
        ));
    }
    let mut summary = Summary::default();
    let mut pass = Pass {
        speed: config.speed,
        base: clock(),
        // The runtime's own notion of now, without a second clock.
        started: tokio::time::sleep(Duration::ZERO).deadline(),
        first: None,
        last: Duration::ZERO,
        spacing: Duration::ZERO,
    };
    loop {
        let mut table = Table::open(&config)?;
        let (rows, malformed) = (summary.rows, summary.malformed);
        while let Some(row) = table.next_row(&mut summary)? {
            let offset = pass.offset(row.time);
            tokio::time::sleep_until(pass.started + offset).await;
            let time = pass.base.saturating_add(offset);
            if readings.send(table.batch(time, row.cells)).await.is_err() {
                return Ok(summary);
            }
            summary.rows += 1;
        }
        if summary.rows == rows {
            return Err(SourceError::Empty {
                path: config.file,
                malformed: summary.malformed - malformed,
            });
        }
        if summary.malformed > malformed {
            let malformed = summary.malformed - malformed;
            tracing::warn!(file = %config.file.display(), malformed, "replay had malformed rows");
        }
        if !config.repeat {
            return Ok(summary);
        }
        pass.start_over();
    }
}

/// One way through the table, and when it began.
struct Pass {
    speed: f64,
    base: Timestamp,
    started: tokio::time::Instant,
    first: Option<Timestamp>,
    /// The greatest offset so far, and the last step that it made.
    last: Duration,
    spacing: Duration,
}

impl Pass {
    /// How long after the first row this one is due. A row before the first one is due with it.
    fn offset(&mut self, time: Timestamp) -> Duration {
        let first = *self.first.get_or_insert(time);
        let recorded = time.since(first).as_secs_f64();
        let offset = Duration::try_from_secs_f64(recorded / self.speed).unwrap_or(OFFSET_MAX);
        let offset = offset.min(OFFSET_MAX);
        if offset > self.last {
            self.spacing = offset - self.last;
            self.last = offset;
        }
        offset
    }

    /// Goes on one spacing after the last row; a table of one moment repeats every second.
    fn start_over(&mut self) {
        let spacing = if self.spacing.is_zero() {
            SPACING_DEFAULT
        } else {
            self.spacing
        };
        let step = self.last.saturating_add(spacing);
        self.base = self.base.saturating_add(step);
        self.started += step;
        self.first = None;
        self.last = Duration::ZERO;
    }
}

/// An open table.
struct Table {
    path: PathBuf,
    rows: csv::Reader<Box<dyn Read + Send>>,
    layout: Layout,
    record: StringRecord,
}

impl Table {
    fn open(config: &Config) -> Result<Self, SourceError> {
        let failed = |source| SourceError::File {
            path: config.file.clone(),
            source,
        };
        let file = BufReader::new(File::open(&config.file).map_err(failed)?);
        let is_gzipped = config
            .file
            .extension()
            .is_some_and(|extension| extension == "gz");
        let bytes: Box<dyn Read + Send> = if is_gzipped {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
        let header = rows
            .headers()
            .map_err(|error| failed(error.into()))?
            .clone();
        Ok(Self {
            path: config.file.clone(),
            rows,
            layout: Layout::new(config, &header)?,
            record: StringRecord::new(),
        })
    }

    /// Returns the next row of the machine; what is malformed is counted and left out.
    fn next_row(&mut self, summary: &mut Summary) -> Result<Option<Row>, SourceError> {
        loop {
            let line = self.rows.position().line();
            match self.rows.read_record(&mut self.record) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                    self.malformed(summary, line, "not UTF-8");
                    continue;
                }
                Err(error) => {
                    return Err(SourceError::File {
                        path: self.path.clone(),
                        source: error.into(),
                    });
                }
            }
            let line = self.record.position().map_or(line, csv::Position::line);
            match self.layout.row(&self.record) {
                Ok(Some(row)) => {
                    if row.is_malformed {
                        self.malformed(summary, line, "a cell is no number");
                    }
                    return Ok(Some(row));
                }
                Ok(None) => {}
                Err(reason) => self.malformed(summary, line, reason),
            }
        }
    }

    fn malformed(&self, summary: &mut Summary, line: u64, reason: &str) {
        summary.malformed += 1;
        if summary.malformed <= MALFORMED_LOGGED_MAX {
            tracing::warn!(file = %self.path.display(), line, reason, "malformed row");
        }
    }

    fn batch(&self, time: Timestamp, cells: Vec<(Value, Quality)>) -> Vec<NewReading> {
        let series = self.layout.series.iter();
        series
            .zip(cells)
            .map(|((_, series), (value, quality))| NewReading {
                series: Arc::clone(series),
                time,
                value,
                quality,
            })
            .collect()
    }
}

/// Which column is what.
struct Layout {
    columns: usize,
    time: usize,
    machine: Option<(usize, String)>,
    series: Vec<(usize, Arc<SeriesDefinition>)>,
}

/// One row of the table.
#[derive(Debug, PartialEq)]
struct Row {
    time: Timestamp,
    /// In the order of the layout's series.
    cells: Vec<(Value, Quality)>,
    is_malformed: bool,
}

impl Layout {
    fn new(config: &Config, header: &StringRecord) -> Result<Self, SourceError> {
        let find = |wanted: &str| header.iter().position(|name| name.trim() == wanted);
        let missing = |column: &str| SourceError::Column {
            path: config.file.clone(),
            column: column.to_owned(),
        };
        let time = find("time").ok_or_else(|| missing("time"))?;
        let machine_column = find("machine");
        let machine = match &config.machine {
            Some(machine) => {
                let column = machine_column.ok_or_else(|| missing("machine"))?;
                Some((column, machine.clone()))
            }
            None => None,
        };
        for column in config.units.keys() {
            find(column).ok_or_else(|| missing(column))?;
        }
        let mut series = Vec::new();
        for (column, name) in header.iter().map(str::trim).enumerate() {
            if column != time && Some(column) != machine_column {
                series.push((column, definition(config, name)?));
            }
        }
        Ok(Self {
            columns: header.len(),
            time,
            machine,
            series,
        })
    }

    /// Reads a row; `None` if it is another machine's.
    fn row(&self, record: &StringRecord) -> Result<Option<Row>, &'static str> {
        if record.len() != self.columns {
            return Err("more or fewer cells than columns");
        }
        if let Some((column, wanted)) = &self.machine
            && record[*column].trim() != wanted
        {
            return Ok(None);
        }
        let time = read_time(record[self.time].trim()).ok_or("the time is not RFC 3339")?;
        let cells = self
            .series
            .iter()
            .map(|(column, _)| cell(record[*column].trim()));
        let cells: Vec<(Value, Quality)> = cells.collect();
        let is_malformed = cells
            .iter()
            .any(|(_, quality)| quality.reason == QualityReason::Malformed);
        Ok(Some(Row {
            time,
            cells,
            is_malformed,
        }))
    }
}

fn definition(config: &Config, column: &str) -> Result<Arc<SeriesDefinition>, SourceError> {
    let name = match &config.prefix {
        Some(prefix) => format!("{prefix}/{}", level(column)),
        None => level(column),
    };
    let name = name.parse().map_err(|source| SourceError::Name {
        column: column.to_owned(),
        source,
    })?;
    Ok(Arc::new(SeriesDefinition {
        name,
        unit: config.units.get(column).cloned().unwrap_or_default(),
        value_type: ValueType::F64,
        labels: Labels::default(),
    }))
}

fn cell(text: &str) -> (Value, Quality) {
    let bad = |reason| (Value::Null, Quality::new(QualityLevel::Bad, reason));
    if text.is_empty() {
        return bad(QualityReason::Missing);
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => (Value::F64(value), Quality::GOOD),
        Ok(_) => bad(QualityReason::Missing),
        Err(_) => bad(QualityReason::Malformed),
    }
}

fn read_time(text: &str) -> Option<Timestamp> {
    let nanos = match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.as_nanosecond(),
        Err(_) => {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            let utc = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
            utc.timestamp().as_nanosecond()
        }
    };
    i64::try_from(nanos).ok().map(Timestamp::from_nanos)
}

/// A row that is due later than this is due then. Source: tokio's timers reach a few years.
const OFFSET_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// What a table whose rows are of one moment repeats after. Source: guess.
const SPACING_DEFAULT: Duration = Duration::from_secs(1);
/// Most malformed rows that are logged one by one. Source: guess.
const MALFORMED_LOGGED_MAX: u64 = 10;

#[cfg(test)]
mod tests;
