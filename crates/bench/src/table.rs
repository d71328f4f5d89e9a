//! Readings of real machines from a table, as the testnet replays them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;
use model::{
    Labels, NewReading, Quality, QualityLevel, QualityReason, Reading, SeriesDefinition,
    SeriesNumber, Timestamp, Unit, Value, ValueType,
};

/// A table's readings.
#[derive(Debug)]
pub(crate) struct Table {
    /// What the columns are; number `n` is element `n - 1`.
    pub(crate) series: Vec<Arc<SeriesDefinition>>,
    /// The readings of each machine in the order of the table, row by row.
    pub(crate) machines: BTreeMap<String, Vec<Reading>>,
}

impl Table {
    /// Reads a CSV file, gzipped or not: `time` (RFC 3339), optionally `machine`, and every other
    /// column is a series of doubles. Without a file: the two wind turbines of the testnet.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has no readings.
    pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let bytes = match file {
            Some(path) => {
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            None => testnet::data::TURBINES.to_vec(),
        };
        let text = if bytes.starts_with(&GZIP_MAGIC) {
            let mut text = Vec::new();
            MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text)?;
            text
        } else {
            bytes
        };
        let table = Self::parse(&text)?;
        anyhow::ensure!(!table.machines.is_empty(), "the table has no rows");
        Ok(table)
    }

    fn parse(text: &[u8]) -> anyhow::Result<Self> {
        let mut rows = csv::Reader::from_reader(text);
        let header = rows.headers()?.clone();
        let column = |name: &str| header.iter().position(|column| column == name);
        let time = column("time").context("the table has no column `time`")?;
        let machine = column("machine");
        let columns: Vec<usize> = (0..header.len())
            .filter(|column| *column != time && Some(*column) != machine)
            .collect();
        let series = columns.iter().map(|column| define(&header[*column]));
        let series = series.collect::<anyhow::Result<Vec<_>>>()?;

        let mut machines: BTreeMap<String, Vec<Reading>> = BTreeMap::new();
        for row in rows.records() {
            let row = row?;
            let name = machine.map_or("", |column| &row[column]).to_owned();
            let time = parse_time(&row[time])?;
            let cells = (1..).zip(&columns);
            let readings = cells.map(|(number, column)| reading(number, time, &row[*column]));
            machines.entry(name).or_default().extend(readings);
        }
        Ok(Self { series, machines })
    }

    /// All readings of one machine after the other, as a source gives them.
    pub(crate) fn as_new(&self) -> Vec<NewReading> {
        let readings = self.machines.values().flatten();
        let new = readings.filter_map(|reading| {
            let index = usize::try_from(reading.series.0).ok()?.checked_sub(1)?;
            Some(NewReading {
                series: Arc::clone(self.series.get(index)?),
                time: reading.time,
                value: reading.value.clone(),
                quality: reading.quality,
            })
        });
        new.collect()
    }
}

fn define(column: &str) -> anyhow::Result<Arc<SeriesDefinition>> {
    Ok(Arc::new(SeriesDefinition {
        name: format!("turbine/{column}").parse()?,
        unit: Unit::default(),
        value_type: ValueType::F64,
        labels: Labels::default(),
    }))
}

fn parse_time(text: &str) -> anyhow::Result<Timestamp> {
    let time: jiff::Timestamp = text
        .parse()
        .with_context(|| format!("{text:?} is no time as RFC 3339 has them"))?;
    Ok(Timestamp::from_nanos(time.as_nanosecond().try_into()?))
}

/// An empty cell is a null of bad quality.
fn reading(number: u32, time: Timestamp, cell: &str) -> Reading {
    let (value, quality) = match cell.parse() {
        Ok(value) => (Value::F64(value), Quality::GOOD),
        Err(_) => {
            let missing = Quality::new(QualityLevel::Bad, QualityReason::Missing);
            (Value::Null, missing)
        }
    };
    Reading {
        series: SeriesNumber(number),
        time,
        value,
        quality,
    }
}

/// How a gzipped file begins. Source: RFC 1952.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_cell_is_a_missing_value_and_machines_are_kept_apart() {
        let text = b"time,machine,a,b\n2014-01-01T00:00:00Z,m1,1.5,\n2014-01-01T00:00:00Z,m2,2,3\n";

        let table = Table::parse(text).expect("a table");

        assert_eq!(table.machines.len(), 2);
        let values: Vec<_> = table.machines["m1"]
            .iter()
            .map(|reading| reading.value.clone())
            .collect();
        assert_eq!(values, [Value::F64(1.5), Value::Null]);
        assert_eq!(table.as_new().len(), 4);
    }

    #[test]
    fn the_default_is_the_two_turbines() {
        let table = Table::read(None).expect("the testnet's data");

        assert_eq!(table.machines.len(), 2);
        assert_eq!(table.series.len(), 7);
    }
}
