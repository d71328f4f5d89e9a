//! One SenML pack (RFC 8428, JSON) a line:
//! `[{"bn": "urn:dev:1:", "n": "temp", "u": "Cel", "v": 21}]`.
//!
//! Base fields count for the records after them in the pack. Numbers are doubles. Times below 2²⁸
//! seconds are relative to now. Names go through [`crate::foreign_name`], since theirs have colons
//! and dots; units that UCUM writes otherwise are translated (`%RH` to `%`, `/` to `1`). A pack is
//! taken as a whole or not at all. Sums (`s`) are ignored beside a value and refused alone.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::{Labels, NewReading, Timestamp, Unit, Value, ValueType};
use serde_json::{Map, Value as Json};

use super::{Defaults, reading};
use crate::error::shorten;
use crate::{LineFault, foreign_name};

/// Parses one pack.
///
/// # Errors
///
/// [`LineFault`] if a field is missing or cannot be read.
pub fn parse_line(line: &str, defaults: &Defaults) -> Result<Vec<NewReading>, LineFault> {
    let records: Vec<Map<String, Json>> =
        serde_json::from_str(line).map_err(|error| LineFault::Malformed {
            what: shorten(&error.to_string()),
            expected: r#"a pack like [{"n": "temp", "u": "Cel", "v": 21.5}] on one line"#,
        })?;
    let mut base = Base::default();
    let mut readings = Vec::new();
    for record in &records {
        base.update(record)?;
        if let Some(value) = value_of(record, base.value)? {
            let name = text(record, "n")?.unwrap_or("");
            let name = foreign_name(&format!("{}{name}", base.name))?;
            let unit = match text(record, "u")?.or(base.unit.as_deref()) {
                Some(unit) => ucum(unit)?,
                None => defaults.unit.clone(),
            };
            let time = time_of(base.time, seconds(record, "t")?, defaults.now);
            readings.push(reading(name, unit, Labels::default(), time, value, None)?);
        } else if record.contains_key("n") {
            return Err(LineFault::Missing("v"));
        }
    }
    Ok(readings)
}

/// The base fields so far.
#[derive(Default)]
struct Base {
    name: String,
    /// Unit: nanoseconds.
    time: i128,
    unit: Option<String>,
    value: f64,
}

impl Base {
    fn update(&mut self, record: &Map<String, Json>) -> Result<(), LineFault> {
        if let Some(field) = record.keys().find(|field| field.ends_with('_')) {
            return Err(LineFault::field(
                "a field that must be understood",
                field,
                "only fields of RFC 8428",
            ));
        }
        if let Some(version) = number(record, "bver")?
            && version > VERSION_MAX
        {
            let found = version.to_string();
            return Err(LineFault::field("bver", &found, "a version of at most 10"));
        }
        if let Some(name) = text(record, "bn")? {
            name.clone_into(&mut self.name);
        }
        if let Some(time) = seconds(record, "bt")? {
            self.time = time;
        }
        if let Some(unit) = text(record, "bu")? {
            self.unit = Some(unit.to_owned());
        }
        if let Some(value) = number(record, "bv")? {
            self.value = value;
        }
        Ok(())
    }
}

/// The value of a record, if it has any.
fn value_of(
    record: &Map<String, Json>,
    base: f64,
) -> Result<Option<(Value, ValueType)>, LineFault> {
    if let Some(value) = number(record, "v")? {
        return Ok(Some((Value::F64(base + value), ValueType::F64)));
    }
    if let Some(value) = text(record, "vs")? {
        return Ok(Some((Value::Text(value.to_owned()), ValueType::Text)));
    }
    if let Some(value) = record.get("vb") {
        let refused = || LineFault::field("vb", &value.to_string(), "true or false");
        let value = value.as_bool().ok_or_else(refused)?;
        return Ok(Some((Value::Bool(value), ValueType::Bool)));
    }
    if let Some(value) = text(record, "vd")? {
        let bytes = URL_SAFE_NO_PAD.decode(value.trim_end_matches('='));
        let bytes = bytes.map_err(|_| LineFault::field("vd", value, "base64url"))?;
        return Ok(Some((Value::Bytes(bytes), ValueType::Bytes)));
    }
    Ok(None)
}

/// Adds base time and time; what is below 2²⁸ seconds is relative to now. Source: RFC 8428, 4.5.3.
fn time_of(base: i128, time: Option<i128>, now: Timestamp) -> Timestamp {
    let mut nanos = base + time.unwrap_or(0);
    if nanos < ABSOLUTE_NANOS_MIN {
        nanos += i128::from(now.as_nanos());
    }
    let nanos = nanos.clamp(i64::MIN.into(), i64::MAX.into());
    Timestamp::from_nanos(i64::try_from(nanos).expect("clamped just now"))
}

fn text<'a>(
    record: &'a Map<String, Json>,
    field: &'static str,
) -> Result<Option<&'a str>, LineFault> {
    let Some(value) = record.get(field) else {
        return Ok(None);
    };
    let refused = || LineFault::field(field, &value.to_string(), "a text");
    value.as_str().map(Some).ok_or_else(refused)
}

fn number(record: &Map<String, Json>, field: &'static str) -> Result<Option<f64>, LineFault> {
    let Some(value) = record.get(field) else {
        return Ok(None);
    };
    let refused = || LineFault::field(field, &value.to_string(), "a number");
    value.as_f64().map(Some).ok_or_else(refused)
}

/// A number of seconds in nanoseconds.
fn seconds(record: &Map<String, Json>, field: &'static str) -> Result<Option<i128>, LineFault> {
    let Some(value) = number(record, field)? else {
        return Ok(None);
    };
    let duration = Duration::try_from_secs_f64(value.abs())
        .map_err(|_| LineFault::field(field, &value.to_string(), "seconds since 1970"))?;
    let nanos = i128::try_from(duration.as_nanos()).expect("a duration has 94 bits");
    Ok(Some(if value < 0.0 { -nanos } else { nanos }))
}

/// A unit of SenML's registry as UCUM writes it.
fn ucum(unit: &str) -> Result<Unit, LineFault> {
    let translated = match unit {
        "%RH" | "%EL" => "%",
        "/" | "count" => "1",
        "1/s" => "/s",
        "1/min" | "beat/min" => "/min",
        "lon" | "lat" => "deg",
        unit => unit,
    };
    Ok(translated.parse()?)
}

/// Source: RFC 8428, section 4.4.
const VERSION_MAX: f64 = 10.0;
/// 2²⁸ seconds. Unit: nanoseconds. Source: RFC 8428, section 4.5.3.
const ABSOLUTE_NANOS_MIN: i128 = (1 << 28) * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

    fn parse(line: &str) -> Result<Vec<NewReading>, LineFault> {
        let defaults = Defaults {
            now: NOW,
            value_type: None,
            unit: Unit::default(),
        };
        parse_line(line, &defaults)
    }

    #[test]
    fn base_fields_count_for_the_records_after_them() {
        // After the example in RFC 8428, section 5.1.2.
        let readings = parse(
            r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,
                "n":"voltage","u":"V","v":120.1},
               {"n":"current","t":-5,"v":1.2}, {"n":"open","vb":true}, {"n":"raw","vd":"aGkgCg"}]"#,
        )
        .expect("a pack");

        let name = |n: usize| readings[n].series.name.as_str();
        assert_eq!(name(0), "urn/dev/ow/10e2073a0108006/voltage");
        assert_eq!(readings[0].series.unit.as_str(), "V");
        assert_eq!(readings[1].series.unit.as_str(), "A");
        let apart = readings[0].time.since(readings[1].time);
        assert_eq!(apart, Duration::from_secs(5));
        assert_eq!(readings[1].value, Value::F64(1.2));
        assert_eq!(readings[2].value, Value::Bool(true));
        assert_eq!(readings[3].value, Value::Bytes(b"hi \n".to_vec()));
    }

    #[test]
    fn small_times_are_relative_to_now() {
        let readings = parse(r#"[{"n":"a","u":"%RH","v":20,"t":-60},{"n":"b","v":1}]"#);

        let readings = readings.expect("a pack");
        assert_eq!(NOW.since(readings[0].time), Duration::from_mins(1));
        assert_eq!(readings[0].series.unit.as_str(), "%");
        assert_eq!(readings[1].time, NOW);
    }

    #[test]
    fn a_pack_with_one_bad_record_is_refused() {
        assert_eq!(
            parse(r#"[{"n":"a","v":1},{"n":"b"}]"#),
            Err(LineFault::Missing("v"))
        );
        assert!(parse(r#"[{"n":"a","v":"1"}]"#).is_err());
        assert!(parse(r#"[{"n":"a","v":1,"x_":1}]"#).is_err());
        assert!(parse(r#"[{"bver":11,"n":"a","v":1}]"#).is_err());
        assert!(parse(r#"{"n":"a","v":1}"#).is_err());
    }
}
