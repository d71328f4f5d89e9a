//! InfluxDB line protocol: `press,line=3 temperature=21.5,open=t 1700000000000000000`.
//!
//! Each field is a series named `MEASUREMENT/FIELD`, or `MEASUREMENT` for a field named `value`;
//! names go through [`crate::foreign_name`]. Tags are labels. `5i` and `5u` are integers, other
//! numbers doubles. The time is in nanoseconds. Lines that start with `#` are comments.

use std::collections::BTreeMap;

use model::{Labels, NewReading, SeriesName, Timestamp, Value, ValueType};

use super::{Defaults, reading};
use crate::{LineFault, foreign_name, level};

/// Parses one line.
///
/// # Errors
///
/// [`LineFault`] if a part is missing or cannot be read.
pub fn parse_line(line: &str, defaults: &Defaults) -> Result<Vec<NewReading>, LineFault> {
    if line.starts_with('#') {
        return Ok(Vec::new());
    }
    let mut rest = Rest(line);
    let measurement = rest.text(&[',', ' ']);
    let mut tags = BTreeMap::new();
    while rest.takes(',') {
        let key = rest.text(&['=', ',', ' ']);
        if !rest.takes('=') {
            return Err(malformed("a tag has no `=`"));
        }
        tags.insert(level(&key), rest.text(&[',', ' ']));
    }
    let labels = Labels::new(tags)?;
    if !rest.takes_spaces() {
        return Err(malformed("there are no fields"));
    }
    let mut fields = Vec::new();
    loop {
        let key = rest.text(&['=', ',', ' ']);
        if !rest.takes('=') {
            return Err(malformed("a field has no `=`"));
        }
        fields.push((series_name(&measurement, &key)?, rest.value()?));
        if !rest.takes(',') {
            break;
        }
    }
    let time = match (rest.takes_spaces(), rest.0) {
        (_, "") => defaults.now,
        (true, text) => {
            let nanos = text.parse().map_err(|_| {
                LineFault::field("time", text, "nanoseconds since 1970 as an integer")
            })?;
            Timestamp::from_nanos(nanos)
        }
        (false, _) => return Err(malformed("a text has no closing quote, or more follows it")),
    };
    let unit = &defaults.unit;
    fields
        .into_iter()
        .map(|(name, value)| reading(name, unit.clone(), labels.clone(), time, value, None))
        .collect()
}

fn series_name(measurement: &str, field: &str) -> Result<SeriesName, LineFault> {
    let name = match field {
        "value" => foreign_name(measurement)?,
        field => foreign_name(&format!("{measurement}/{field}"))?,
    };
    Ok(name)
}

fn malformed(what: &str) -> LineFault {
    LineFault::Malformed {
        what: what.to_owned(),
        expected: "a line like: press,line=3 temperature=21.5 1700000000000000000",
    }
}

/// What is left of the line.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    /// Takes characters up to one of `stops`; a backslash makes comma, equals sign, space and
    /// itself plain.
    fn text(&mut self, stops: &[char]) -> String {
        let mut text = String::new();
        let mut characters = self.0.char_indices();
        while let Some((at, character)) = characters.next() {
            if stops.contains(&character) {
                self.0 = &self.0[at..];
                return text;
            }
            let next = characters.as_str().chars().next();
            match next.filter(|next| character == '\\' && matches!(next, ',' | '=' | ' ' | '\\')) {
                Some(next) => {
                    text.push(next);
                    characters.next();
                }
                None => text.push(character),
            }
        }
        self.0 = "";
        text
    }

    fn takes(&mut self, character: char) -> bool {
        let rest = self.0.strip_prefix(character);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn takes_spaces(&mut self) -> bool {
        let rest = self.0.trim_start_matches(' ');
        let is_any = rest.len() < self.0.len();
        self.0 = rest;
        is_any
    }

    fn value(&mut self) -> Result<(Value, ValueType), LineFault> {
        if self.takes('"') {
            return Ok((Value::Text(self.quoted()?), ValueType::Text));
        }
        let text = self.text(&[',', ' ']);
        let expected = "a double, 5i, 5u, t, f, or a text in double quotes";
        let refused = || LineFault::field("value", &text, expected);
        match text.as_str() {
            "t" | "T" | "true" | "True" | "TRUE" => {
                return Ok((Value::Bool(true), ValueType::Bool));
            }
            "f" | "F" | "false" | "False" | "FALSE" => {
                return Ok((Value::Bool(false), ValueType::Bool));
            }
            _ => {}
        }
        if let Some(digits) = text.strip_suffix(['i', 'u']) {
            let integer = digits.parse().map_err(|_| refused())?;
            return Ok((Value::I64(integer), ValueType::I64));
        }
        match text.parse::<f64>() {
            Ok(double) if double.is_finite() => Ok((Value::F64(double), ValueType::F64)),
            Ok(_) | Err(_) => Err(refused()),
        }
    }

    /// Takes a text up to its closing quote.
    fn quoted(&mut self) -> Result<String, LineFault> {
        let mut text = String::new();
        let mut characters = self.0.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => {
                    self.0 = characters.as_str();
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some(escaped @ ('"' | '\\')) => text.push(escaped),
                    Some(other) => text.extend(['\\', other]),
                    None => break,
                },
                plain => text.push(plain),
            }
        }
        Err(malformed("a text has no closing quote"))
    }
}

#[cfg(test)]
mod tests {
    use model::Unit;
    use proptest::prelude::*;

    use super::*;

    fn parse(line: &str) -> Result<Vec<NewReading>, LineFault> {
        let defaults = Defaults {
            now: Timestamp::from_nanos(5),
            value_type: None,
            unit: Unit::default(),
        };
        parse_line(line, &defaults)
    }

    #[test]
    fn fields_become_series_and_tags_become_labels() {
        let line = r#"press\ one,line=3,hall=a\,b temperature=21.5,count=5i,open=t,note="a \"b\", c",value=1 1700000000000000000"#;

        let readings = parse(line).expect("readings");

        let found: Vec<(&str, Value)> = readings
            .iter()
            .map(|reading| (reading.series.name.as_str(), reading.value.clone()))
            .collect();
        let expected = [
            ("press_one/temperature", Value::F64(21.5)),
            ("press_one/count", Value::I64(5)),
            ("press_one/open", Value::Bool(true)),
            ("press_one/note", Value::Text("a \"b\", c".to_owned())),
            ("press_one", Value::F64(1.0)),
        ];
        assert_eq!(found, expected);
        let labels: Vec<_> = readings[0].series.labels.iter().collect();
        assert_eq!(labels, [("hall", "a,b"), ("line", "3")]);
        assert!(
            readings
                .iter()
                .all(|r| r.time.as_nanos() == 1_700_000_000_000_000_000)
        );
    }

    #[test]
    fn a_line_without_a_time_is_of_now_and_a_comment_is_nothing() {
        let readings = parse("press value=1").expect("a reading");

        assert_eq!(readings[0].time, Timestamp::from_nanos(5));
        assert_eq!(parse("# press value=1"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_malformed_is_refused_with_what_to_do() {
        for line in [
            "press",
            "press value",
            "press value=",
            "press value=1x",
            "press value=\"open",
            "press value=\"a\"b",
            "press,line value=1",
            "press value=1 yesterday",
            "press value=99999999999999999999i",
            " value=1",
        ] {
            let message = parse(line).expect_err(line).to_string();
            assert!(
                message.contains("expected")
                    || message.contains("give")
                    || message.contains("write"),
                "{message}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_text_reads_back_from_its_quotes(text in any::<String>()) {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");

            let readings = parse(&format!("press value=\"{escaped}\" 7")).expect("a reading");

            prop_assert_eq!(&readings[0].value, &Value::Text(text));
            prop_assert_eq!(readings[0].time, Timestamp::from_nanos(7));
        }
    }
}
