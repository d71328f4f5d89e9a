//! Records as InfluxDB line protocol.
//!
//! A window is one point of the measurement `fieldmesh` at the window's start, a raw reading one of
//! `fieldmesh_raw` at its own time, both to the nanosecond. Tags say whose series it is, with the
//! series' labels among them; measurement, tags and time are what a store knows a point by. Numbers
//! are always fields of type float and texts have fields of their own, so that no field has two
//! types, which a store would refuse. What is not finite has no field.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use aggregate::{RawRecord, Record, WindowRecord};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Value;

use crate::Item;

/// Appends one line.
pub(super) fn write(line: &mut String, item: &Item) {
    match &item.record {
        Record::Window(record) => write_window(line, item, record),
        Record::Raw(record) => write_raw(line, item, record),
    }
}

fn write_window(line: &mut String, item: &Item, WindowRecord { key, summary }: &WindowRecord) {
    let length = format!("{}ms", key.window_length.as_millis());
    write_tags(line, "fieldmesh", item, Some(&length));
    let mut fields = Fields::begin(line);
    fields.integer("count", summary.count);
    for (name, value) in [
        ("min", summary.min),
        ("max", summary.max),
        ("mean", summary.mean),
        ("sum", summary.min.map(|_| summary.sum)),
        ("stddev", summary.stddev),
        ("time_weighted_mean", summary.time_weighted_mean),
        ("good_percent", Some(summary.good_percent)),
    ] {
        if let Some(value) = value {
            fields.float(name, value);
        }
    }
    for (rank, value) in &summary.quantiles {
        let percent = format!("p{}", rank * 100.0).replace('.', "_");
        fields.float(&percent, *value);
    }
    for (name, value) in [("first", &summary.first), ("last", &summary.last)] {
        if let Some(value) = value {
            fields.value(name, value);
        }
    }
    fields.bool("complete", key.complete);
    fields.text("log_epoch", &key.log_epoch.to_string());
    fields.integer("last_sequence", key.last_sequence);
    let _ = writeln!(line, " {}", key.window_start.as_nanos());
}

fn write_raw(line: &mut String, item: &Item, record: &RawRecord) {
    write_tags(line, "fieldmesh_raw", item, None);
    let mut fields = Fields::begin(line);
    fields.value("value", &record.value);
    fields.text("quality", record.quality.level.name());
    match record.quality.reason.name() {
        "" => {}
        reason => fields.text("quality_reason", reason),
    }
    fields.text("log_epoch", &record.key.log_epoch.to_string());
    fields.integer("sequence", record.key.sequence);
    fields.integer("index", record.key.index.into());
    let _ = writeln!(line, " {}", record.time.as_nanos());
}

fn write_tags(line: &mut String, measurement: &str, item: &Item, window: Option<&str>) {
    let series = item.record.series();
    let (network, machine) = (item.record.network(), item.record.machine());
    let (network, machine) = (network.to_string(), machine.to_string());
    let mut tags: BTreeMap<Cow<'_, str>, &str> = BTreeMap::new();
    for (key, value) in series.labels.iter() {
        // What would be taken for a tag of ours, or for such a label, gets a name of its own.
        let clashes = RESERVED.contains(&key) || key.starts_with("label_");
        let key = if clashes {
            format!("label_{key}").into()
        } else {
            key.into()
        };
        tags.insert(key, value);
    }
    tags.insert("network".into(), &network);
    tags.insert("machine_id".into(), &machine);
    tags.insert("machine".into(), &item.machine_name);
    tags.insert("series".into(), series.name.as_str());
    tags.insert("unit".into(), series.unit.as_str());
    tags.insert("window".into(), window.unwrap_or_default());
    line.push_str(measurement);
    for (key, value) in tags {
        if !value.is_empty() {
            line.push(',');
            push_tag(line, &key);
            line.push('=');
            push_tag(line, value);
        }
    }
}

/// Within tags a comma, an equals sign and a space are escaped by a backslash, which itself cannot
/// be: it becomes `%5C`, and so that nothing else does, `%5C` and `%25` become `%255C` and `%2525`.
fn push_tag(line: &mut String, text: &str) {
    for (index, character) in text.char_indices() {
        match character {
            ',' | '=' | ' ' => line.extend(['\\', character]),
            '\\' => line.push_str("%5C"),
            '%' if ["5C", "25"]
                .iter()
                .any(|hex| text[index + 1..].starts_with(hex)) =>
            {
                line.push_str("%25");
            }
            other => line.push(other),
        }
    }
}

/// Fields of one line, separated.
struct Fields<'a> {
    line: &'a mut String,
    separator: char,
}

impl<'a> Fields<'a> {
    fn begin(line: &'a mut String) -> Self {
        let separator = ' ';
        Self { line, separator }
    }

    fn name(&mut self, name: &str) -> &mut String {
        self.line.push(self.separator);
        self.separator = ',';
        self.line.push_str(name);
        self.line.push('=');
        self.line
    }

    fn float(&mut self, name: &str, value: f64) {
        if value.is_finite() {
            let _ = write!(self.name(name), "{value:?}");
        }
    }

    /// Integers of the protocol have 63 bits.
    fn integer(&mut self, name: &str, value: u64) {
        if let Ok(value) = i64::try_from(value) {
            let _ = write!(self.name(name), "{value}i");
        }
    }

    fn bool(&mut self, name: &str, value: bool) {
        let _ = write!(self.name(name), "{value}");
    }

    fn text(&mut self, name: &str, value: &str) {
        let line = self.name(name);
        line.push('"');
        for character in value.chars() {
            match character {
                '"' | '\\' => line.extend(['\\', character]),
                '\n' => line.push_str("\\n"), // Some stores end the line here.
                '\r' => line.push_str("\\r"),
                other => line.push(other),
            }
        }
        line.push('"');
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a float field is all that fits a series whatever its type"
    )]
    fn value(&mut self, name: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::F64(value) => self.float(name, *value),
            Value::I64(value) => self.float(name, *value as f64),
            Value::Bool(value) => self.bool(&format!("{name}_bool"), *value),
            Value::Text(value) => self.text(&format!("{name}_text"), value),
            Value::Bytes(value) => self.text(&format!("{name}_base64"), &STANDARD.encode(value)),
        }
    }
}

/// Names that a label cannot have as a tag: ours, and those that InfluxDB and VictoriaMetrics give
/// a meaning to.
const RESERVED: [&str; 10] = [
    "_field",
    "_measurement",
    "db",
    "machine",
    "machine_id",
    "network",
    "series",
    "time",
    "unit",
    "window",
];

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::*;
    use crate::item::samples;

    fn line(record: Record) -> String {
        let mut line = String::new();
        write(&mut line, &samples::of(record));
        line
    }

    #[test]
    fn a_window_is_one_point_at_its_start() {
        let window = samples::window("press/oil", 17);
        let (network, machine) = (window.key.network, window.key.machine);

        let expected = format!(
            "fieldmesh,line=3,machine=press-1,machine_id={machine},network={network},\
             series=press/oil,unit=Cel,window=100ms count=2i,min=1.5,max=2.5,mean=2.0,sum=4.0,\
             stddev=0.5,time_weighted_mean=2.25,good_percent=50.0,p50=1.5,p95=2.5,p99=2.5,\
             first=1.5,last=2.5,complete=true,log_epoch=\"3-9f2c11aa\",last_sequence=17i \
             1767225600000000000\n"
        );
        assert_eq!(line(Record::Window(window)), expected);
    }

    #[test]
    fn a_raw_reading_is_a_point_at_its_own_nanosecond() {
        let raw = line(Record::Raw(samples::raw("a/b", Value::I64(-3))));

        let fields = " value=-3.0,quality=\"bad\",quality_reason=\"device-fault\",\
                      log_epoch=\"3-9f2c11aa\",sequence=17i,index=4i 1767225600000000001\n";
        assert!(
            raw.starts_with("fieldmesh_raw,") && raw.ends_with(fields),
            "{raw}"
        );
    }

    #[test]
    fn a_field_has_one_type_and_what_is_not_finite_has_none() {
        let fields = |value| {
            let raw = line(Record::Raw(samples::raw("a/b", value)));
            let (_, fields) = raw.split_once(' ').expect("fields");
            fields.split(",quality").next().expect("text").to_owned()
        };

        assert_eq!(fields(Value::F64(1e300)), "value=1e300");
        assert_eq!(fields(Value::Bool(true)), "value_bool=true");
        assert_eq!(
            fields(Value::Text("a\"\\\nb".to_owned())),
            r#"value_text="a\"\\\nb""#
        );
        assert_eq!(fields(Value::Bytes(vec![0, 255])), "value_base64=\"AP8=\"");
        assert!(fields(Value::F64(f64::NAN)).starts_with("quality="));
    }

    #[test]
    fn labels_that_differ_make_tags_that_differ() {
        let values = [
            "a b", "a,b", "a=b", "a\\", "a%5C", "a%255C", "a%25", "a%", "50 %", "é",
        ];
        let mut seen = Vec::new();
        for key in ["unit", "label_unit", "label_label_unit", "x"] {
            for value in values {
                let mut window = samples::window("press/oil", 1);
                let labels = [(key.to_owned(), value.to_owned())];
                window.key.series.labels = Labels::new(labels.into()).expect("labels");
                seen.push(line(Record::Window(window)));
            }
        }

        let count = seen.len();
        seen.sort();
        seen.dedup();

        assert_eq!(seen.len(), count);
        assert!(
            seen.iter().all(|line| !line.contains("\\,machine")),
            "{seen:?}"
        );
    }
}
