//! Lines that programs write: one reading or a few each.
//!
//! [`Format::parse`] is pure: a line in, readings or a fault out. [`LineReader`] splits input into
//! lines, bounded, and numbers them. A line that is refused says what to do and costs only itself.
//!
//! - [`ndjson`]: one JSON object a line, our own format.
//! - [`senml`]: one SenML pack (RFC 8428) a line.
//! - [`influx`]: InfluxDB line protocol.

pub mod influx;
pub mod ndjson;
mod reader;
pub mod senml;

use std::sync::Arc;

use model::{
    Labels, NewReading, Quality, QualityLevel, QualityReason, SeriesDefinition, SeriesName,
    Timestamp, Unit, Value, ValueType,
};

use crate::{LineError, LineFault};

pub use reader::LineReader;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// See [`ndjson`].
    Ndjson,
    /// See [`senml`].
    Senml,
    /// See [`influx`].
    Line,
}

/// What counts where a line says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// When the line was read.
    pub now: Timestamp,
    /// The type of values where the line declares none; `None` takes it from the value.
    pub value_type: Option<ValueType>,
    /// The unit.
    pub unit: Unit,
}

impl Format {
    /// Parses one line. An empty line has no readings.
    ///
    /// # Errors
    ///
    /// [`LineError`] with the number of the line and what to do.
    pub fn parse(
        self,
        number: u64,
        line: &str,
        defaults: &Defaults,
    ) -> Result<Vec<NewReading>, LineError> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(Vec::new());
        }
        let parsed = match self {
            _ if line.len() > LINE_BYTES_MAX => Err(LineFault::TooLong {
                limit: LINE_BYTES_MAX,
            }),
            Self::Ndjson => ndjson::parse_line(line, defaults).map(|reading| vec![reading]),
            Self::Senml => senml::parse_line(line, defaults),
            Self::Line => influx::parse_line(line, defaults),
        };
        parsed.map_err(|fault| LineError {
            line: number,
            fault,
        })
    }
}

/// Checks what every format must and puts a reading together. Null without a quality is missing.
fn reading(
    name: SeriesName,
    unit: Unit,
    labels: Labels,
    time: Timestamp,
    (value, value_type): (Value, ValueType),
    quality: Option<Quality>,
) -> Result<NewReading, LineFault> {
    let length = match &value {
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::F64(_) | Value::I64(_) | Value::Bool(_) => 0,
    };
    if length > Value::BYTES_MAX {
        return Err(LineFault::Field {
            field: "value",
            found: format!("{length} bytes long"),
            expected: "at most 65,536 bytes",
        });
    }
    let quality = quality.unwrap_or(match value {
        Value::Null => Quality::new(QualityLevel::Bad, QualityReason::Missing),
        Value::F64(_) | Value::I64(_) | Value::Bool(_) | Value::Text(_) | Value::Bytes(_) => {
            Quality::GOOD
        }
    });
    Ok(NewReading {
        series: Arc::new(SeriesDefinition {
            name,
            unit,
            value_type,
            labels,
        }),
        time,
        value,
        quality,
    })
}

/// Longest line. Unit: bytes. Source: sixteen times the longest value.
pub const LINE_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            now: Timestamp::from_nanos(5),
            value_type: None,
            unit: Unit::default(),
        }
    }

    #[test]
    fn a_refused_line_is_named_by_its_number() {
        let refused = Format::Ndjson
            .parse(7, "{}", &defaults())
            .expect_err("no series");

        assert_eq!(refused.to_string(), "line 7: `series` is missing; add it");
        assert_eq!(Format::Ndjson.parse(8, "  ", &defaults()), Ok(Vec::new()));
        let long = " ".repeat(10) + &"x".repeat(LINE_BYTES_MAX + 1);
        let long = Format::Line
            .parse(9, &long, &defaults())
            .expect_err("too long");
        assert_eq!(
            long.fault,
            LineFault::TooLong {
                limit: LINE_BYTES_MAX
            }
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(line in any::<String>()) {
            for format in [Format::Ndjson, Format::Senml, Format::Line] {
                let _ = format.parse(1, &line, &defaults());
            }
        }

        #[test]
        fn no_text_of_their_own_characters_makes_a_parser_panic(
            line in "[\\[\\]{}\":, =\\\\a-c0-9.eEi+-]{0,80}",
        ) {
            for format in [Format::Ndjson, Format::Senml, Format::Line] {
                let _ = format.parse(1, &line, &defaults());
            }
        }
    }
}
