//! Arguments and values of commands as JSON text.
//!
//! Integers are JSON numbers without a fraction, doubles those with one; bytes are
//! `{"$bytes": "BASE64"}`. A double that JSON cannot say becomes null.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use command::Argument;
use serde_json::{Map, Number, Value};
use tonic::Status;

/// Reads JSON; empty text is null.
pub(crate) fn read(text: &str) -> Result<Argument, Status> {
    if text.trim().is_empty() {
        return Ok(Argument::Null);
    }
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("JSON of more than {TEXT_BYTES_MAX} bytes");
        return Err(Status::invalid_argument(message));
    }
    let value: Value = serde_json::from_str(text)
        .map_err(|error| Status::invalid_argument(format!("not JSON: {error}")))?;
    from_value(value)
}

/// Writes JSON.
pub(crate) fn write(argument: &Argument) -> String {
    to_value(argument).to_string()
}

fn from_value(value: Value) -> Result<Argument, Status> {
    Ok(match value {
        Value::Null => Argument::Null,
        Value::Bool(truth) => Argument::Bool(truth),
        Value::Number(number) => number_of(&number)?,
        Value::String(text) => Argument::Text(text),
        Value::Array(items) => {
            let items = items.into_iter().map(from_value);
            Argument::List(items.collect::<Result<_, _>>()?)
        }
        Value::Object(members) => match bytes_of(&members) {
            Some(bytes) => Argument::Bytes(bytes?),
            None => {
                let members = members.into_iter();
                let members = members.map(|(key, member)| Ok((key, from_value(member)?)));
                Argument::Map(members.collect::<Result<BTreeMap<_, _>, Status>>()?)
            }
        },
    })
}

fn number_of(number: &Number) -> Result<Argument, Status> {
    if let Some(integer) = number.as_i64() {
        return Ok(Argument::I64(integer));
    }
    if number.is_u64() {
        let message = format!("{number} does not fit into 64 bits with a sign");
        return Err(Status::invalid_argument(message));
    }
    Ok(number.as_f64().map_or(Argument::Null, Argument::F64))
}

fn bytes_of(members: &Map<String, Value>) -> Option<Result<Vec<u8>, Status>> {
    let Some(Value::String(text)) = members.get(BYTES_KEY).filter(|_| members.len() == 1) else {
        return None;
    };
    let bytes = STANDARD.decode(text);
    Some(bytes.map_err(|error| Status::invalid_argument(format!("{BYTES_KEY}: {error}"))))
}

fn to_value(argument: &Argument) -> Value {
    match argument {
        Argument::Null => Value::Null,
        Argument::Bool(truth) => Value::Bool(*truth),
        Argument::I64(integer) => Value::from(*integer),
        Argument::F64(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Argument::Text(text) => Value::String(text.clone()),
        Argument::Bytes(bytes) => {
            let text = Value::String(STANDARD.encode(bytes));
            Value::Object([(BYTES_KEY.to_owned(), text)].into_iter().collect())
        }
        Argument::List(items) => Value::Array(items.iter().map(to_value).collect()),
        Argument::Map(members) => {
            let members = members.iter().map(|(key, m)| (key.clone(), to_value(m)));
            Value::Object(members.collect())
        }
    }
}

/// The one member of an object that stands for bytes.
const BYTES_KEY: &str = "$bytes";
/// Longest JSON. Unit: bytes. Source: twice the largest argument, for escapes.
const TEXT_BYTES_MAX: usize = 2 * Argument::BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_can_say_reads_back() {
        let text = r#"{"b":{"$bytes":"AQI="},"f":1.0,"i":-1,"l":[null,true,"x"]}"#;
        let value = read(text).expect("JSON");

        assert_eq!(value.get("i"), Some(&Argument::I64(-1)));
        assert_eq!(value.get("f"), Some(&Argument::F64(1.0)));
        assert_eq!(value.get("b"), Some(&Argument::Bytes(vec![1, 2])));
        assert_eq!(write(&value), text);
        assert_eq!(read("").expect("nothing"), Argument::Null);
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for text in [
            "{",
            "18446744073709551615",
            r#"{"$bytes": "?"}"#,
            &"[".repeat(10_000),
        ] {
            assert!(read(text).is_err(), "{text:.20}");
        }
    }
}
