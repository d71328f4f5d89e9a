//! Texts from elsewhere, times and values, as people and programs read them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::fmt::temporal::DateTimePrinter;
use proto::v1::{self as pb, quality, value::Kind};
use serde_json::Value as Json;

/// Text from a peer, safe to print: control characters and those that turn or hide text are
/// written as escapes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || INVISIBLE.iter().any(|range| range.contains(&c)) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// A time as RFC 3339 with nanoseconds; empty for one that no calendar has.
pub(crate) fn time(time: Option<&prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok());
    time.map_or_else(String::new, |time| {
        DateTimePrinter::new()
            .precision(Some(9))
            .timestamp_to_string(&time)
    })
}

/// A value as JSON: integers beyond 2⁵³ are strings, bytes base64, NaN and infinities null.
pub(crate) fn value(value: Option<&pb::Value>) -> Json {
    match value.and_then(|value| value.kind.as_ref()) {
        None => Json::Null,
        Some(Kind::Double(value)) => Json::from(*value), // Null unless finite.
        Some(Kind::Integer(value)) => integer(*value),
        Some(Kind::Bool(value)) => Json::from(*value),
        Some(Kind::Text(value)) => Json::from(value.as_str()),
        Some(Kind::Bytes(value)) => Json::from(STANDARD.encode(value)),
    }
}

/// A value in a table: text is escaped, NaN and infinities have their names.
pub(crate) fn value_cell(value: Option<&pb::Value>) -> String {
    match value.and_then(|value| value.kind.as_ref()) {
        None => "-".to_owned(),
        Some(Kind::Double(value)) => value.to_string(),
        Some(Kind::Integer(value)) => value.to_string(),
        Some(Kind::Bool(value)) => value.to_string(),
        Some(Kind::Text(text)) => escape(text),
        Some(Kind::Bytes(bytes)) => STANDARD.encode(bytes),
    }
}

/// An integer as JSON, as a string where a double could not hold it.
pub(crate) fn integer(integer: i64) -> Json {
    if integer.unsigned_abs() <= EXACT_MAX {
        Json::from(integer)
    } else {
        Json::from(integer.to_string())
    }
}

/// A count as JSON, as a string where a double could not hold it.
pub(crate) fn count(count: u64) -> Json {
    i64::try_from(count).map_or_else(|_| Json::from(count.to_string()), integer)
}

/// A quality as LEVEL or LEVEL:REASON. A value that JSON cannot hold is the reason if there is no
/// other, and is not good then.
pub(crate) fn quality(quality: Option<&pb::Quality>, value: Option<&pb::Value>) -> String {
    let quality = quality.copied().unwrap_or_default();
    let level = match quality.level() {
        quality::Level::Good => "good",
        quality::Level::Uncertain => "uncertain",
        quality::Level::Bad => "bad",
        quality::Level::Stale => "stale",
    };
    let reason = match quality.reason() {
        quality::Reason::None => not_finite(value),
        quality::Reason::ClockUnsynchronised => Some("clock-unsynchronised"),
        quality::Reason::OutOfRange => Some("out-of-range"),
        quality::Reason::DeviceUnreachable => Some("device-unreachable"),
        quality::Reason::DeviceFault => Some("device-fault"),
        quality::Reason::Missing => Some("missing"),
        quality::Reason::Malformed => Some("malformed"),
        quality::Reason::TimeAhead => Some("time-ahead"),
    };
    match (level, reason) {
        (level, None) => level.to_owned(),
        ("good", Some(reason)) if not_finite(value).is_some() => format!("bad:{reason}"),
        (level, Some(reason)) => format!("{level}:{reason}"),
    }
}

fn not_finite(value: Option<&pb::Value>) -> Option<&'static str> {
    let Some(Kind::Double(value)) = value?.kind else {
        return None;
    };
    match value {
        _ if value.is_nan() => Some("nan"),
        f64::INFINITY => Some("infinity"),
        f64::NEG_INFINITY => Some("-infinity"),
        _ => None,
    }
}

/// A duration in milliseconds; `None` if there is none.
pub(crate) fn millis(duration: Option<&prost_types::Duration>) -> Option<f64> {
    let duration = std::time::Duration::try_from(*duration?).ok()?;
    Some(duration.as_secs_f64() * 1e3)
}

/// A size for people.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let step = bytes.checked_ilog2().unwrap_or(0) / 10;
    let unit = usize::try_from(step).map_or("EiB", |step| units[step]);
    if step == 0 {
        return format!("{bytes} B");
    }
    let tenths = (u128::from(bytes) * 10) >> (10 * step);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Largest magnitude up to which a double holds every integer. Source: IEEE 754, 53 bits.
const EXACT_MAX: u64 = 1 << 53;

/// Characters that print nothing or change the direction of what follows. Source: Unicode Standard
/// Annex 9, and the zero-width characters.
const INVISIBLE: [std::ops::RangeInclusive<char>; 7] = [
    '\u{061c}'..='\u{061c}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{2064}',
    '\u{2066}'..='\u{2069}',
    '\u{feff}'..='\u{feff}',
    '\u{e0000}'..='\u{e007f}',
];
