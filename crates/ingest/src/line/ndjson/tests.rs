use model::Unit;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn defaults() -> Defaults {
    Defaults {
        now: Timestamp::from_nanos(5),
        value_type: None,
        unit: Unit::default(),
    }
}

fn parse(line: &str) -> Result<NewReading, LineFault> {
    parse_line(line, &defaults())
}

/// What a line is refused with.
fn refused(line: &str) -> String {
    parse(line).expect_err("is refused").to_string()
}

#[test]
fn a_full_line_is_read_in_every_field() {
    let reading = parse(
        r#"{"series": "press/oil/temperature", "value": 21.5, "unit": "Cel", "labels": {"line": "3"},
            "time": "2024-01-01T01:00:00.5+01:00", "quality": "uncertain:out-of-range", "extra": []}"#,
    )
    .expect("a reading");

    assert_eq!(reading.series.name.as_str(), "press/oil/temperature");
    assert_eq!(reading.series.unit.as_str(), "Cel");
    assert_eq!(
        reading.series.labels.iter().collect::<Vec<_>>(),
        [("line", "3")]
    );
    assert_eq!(
        reading.time,
        Timestamp::from_nanos(1_704_067_200_500_000_000)
    );
    assert_eq!(reading.value, Value::F64(21.5));
    let quality = Quality::new(QualityLevel::Uncertain, QualityReason::OutOfRange);
    assert_eq!(reading.quality, quality);
}

#[test]
fn a_number_is_a_double_unless_declared_otherwise_or_too_large_for_one() {
    let value = |line: &str| parse(line).expect("a reading").value;

    assert_eq!(value(r#"{"series": "a", "value": 20}"#), Value::F64(20.0));
    let large = r#"{"series": "a", "value": 9007199254740993}"#;
    assert_eq!(value(large), Value::I64(9_007_199_254_740_993));
    assert_eq!(value(r#"{"series": "a", "value": 20.0}"#), Value::F64(20.0));
    assert_eq!(
        value(r#"{"series": "a", "value": 20, "type": "f64"}"#),
        Value::F64(20.0)
    );
    let declared = Defaults {
        value_type: Some(ValueType::F64),
        ..defaults()
    };
    let reading = parse_line(r#"{"series": "a", "value": 20}"#, &declared).expect("a reading");
    assert_eq!(reading.value, Value::F64(20.0));
    let line = r#"{"series": "a", "value": "9007199254740993", "type": "i64"}"#;
    assert_eq!(value(line), Value::I64(9_007_199_254_740_993));
}

#[test]
fn null_is_a_missing_double_now() {
    let reading = parse(r#"{"series": "a", "value": null}"#).expect("a reading");

    assert_eq!(reading.value, Value::Null);
    assert_eq!(reading.series.value_type, ValueType::F64);
    assert_eq!(reading.time, Timestamp::from_nanos(5));
    assert_eq!(
        reading.quality,
        Quality::new(QualityLevel::Bad, QualityReason::Missing)
    );
}

#[test]
fn what_cannot_be_read_is_refused_with_what_to_do() {
    assert_eq!(refused(r#"{"series": "a"}"#), "`value` is missing; add it");
    assert!(refused("{").contains("expected an object like"));
    assert!(refused(r#"{"series": "a b", "value": 1}"#).contains("replace it"));
    assert!(refused(r#"{"series": "a", "value": [1]}"#).contains("give a number"));
    assert!(refused(r#"{"series": "a", "value": 1.5, "type": "i64"}"#).contains("f64"));
    assert!(refused(r#"{"series": "a", "value": 18446744073709551615}"#).contains("f64"));
    let seconds = r#"{"series": "a", "value": 1, "time": 1700000000}"#;
    assert!(refused(seconds).contains("nanoseconds since 1970"));
    assert!(refused(r#"{"series": "a", "value": 1, "quality": "fine"}"#).contains("uncertain"));
    let long = json!({"series": "a", "value": "x".repeat(Value::BYTES_MAX + 1)});
    assert!(refused(&long.to_string()).contains("65,536"));
    let deep = format!(r#"{{"series": "a", "value": {}}}"#, "[".repeat(100_000));
    assert!(
        refused(&deep).contains("recursion limit"),
        "{}",
        refused(&deep)
    );
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<f64>()
            .prop_filter("JSON has no others", |v| v.is_finite())
            .prop_map(Value::F64),
        any::<i64>().prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        any::<String>().prop_map(Value::Text),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ]
}

proptest! {
    #[test]
    fn a_reading_reads_back_from_its_line(
        value in values(),
        nanos in NANOS_MIN..i64::MAX,
        level in prop::sample::select(QualityLevel::ALL.to_vec()),
        reason in prop::sample::select(QualityReason::ALL.to_vec()),
        labels in prop::collection::btree_map("[a-z]{1,5}", "[a-zA-Z0-9 ]{0,9}", 0..4),
    ) {
        let value_type = value.value_type().unwrap_or(ValueType::F64);
        let json = match &value {
            Value::Null => Json::Null,
            Value::F64(value) => json!(value),
            Value::I64(value) => json!(value),
            Value::Bool(value) => json!(value),
            Value::Text(text) => json!(text),
            Value::Bytes(bytes) => json!(STANDARD.encode(bytes)),
        };
        let quality = match reason.name() {
            "" => level.name().to_owned(),
            reason => format!("{}:{reason}", level.name()),
        };
        let time = jiff::Timestamp::from_nanosecond(nanos.into()).expect("a time").to_string();
        let line = json!({
            "series": "a/b", "value": json, "type": value_type.name(), "time": time, "unit": "kW",
            "labels": labels, "quality": quality,
        });

        let reading = parse(&line.to_string()).expect("a reading");

        prop_assert_eq!(reading.value, value);
        prop_assert_eq!(reading.series.value_type, value_type);
        prop_assert_eq!(reading.time, Timestamp::from_nanos(nanos));
        prop_assert_eq!(reading.quality, Quality::new(level, reason));
        prop_assert_eq!(&reading.series.labels, &Labels::new(labels).expect("labels"));
    }
}
