//! Subjects of NATS: one for each record, named by its key.
//!
//! `PREFIX.NETWORK.MACHINE.SERIES.[UNIT]{LABELS}.START.LENGTH.EPOCH.SEQUENCE.complete`: the key
//! with dots for slashes, so that a consumer can ask for a machine or a branch of its series with
//! `fieldmesh.NETWORK.MACHINE.press.>`. Different keys give different subjects: a key never has
//! `%2E` or `%2F` in it, which stand for what a dot or a slash within a name would be.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The subject of the record with this key.
pub(super) fn of(prefix: &str, key: &str) -> String {
    let mut subject = format!("{prefix}.");
    let mut in_brackets = false;
    for character in key.chars() {
        match character {
            '[' | '{' => {
                // A token of their own; labels may follow the unit's at once.
                subject.push_str(if subject.ends_with(']') { "" } else { "." });
                in_brackets = true;
            }
            ']' | '}' => in_brackets = false,
            _ => {}
        }
        match character {
            '/' if in_brackets => subject.push_str("%2F"),
            '/' => subject.push('.'),
            '.' => subject.push_str("%2E"),
            other => subject.push(other),
        }
    }
    if subject.len() <= SUBJECT_BYTES_MAX {
        return subject;
    }
    // Labels are what makes keys long. `%s` begins no escape, so no series is named like this.
    let mut levels = key.splitn(3, '/');
    let (network, machine) = (levels.next(), levels.next());
    let mut subject = format!("{prefix}.{}.", network.unwrap_or_default());
    let _ = write!(subject, "{}.%sha256-", machine.unwrap_or_default());
    for byte in Sha256::digest(key) {
        let _ = write!(subject, "{byte:02x}");
    }
    subject
}

/// Longest subject. Unit: bytes. Source: guess; servers take 4,096 bytes for a whole control line
/// (NATS documentation, `max_control_line`), and keep every subject in memory.
const SUBJECT_BYTES_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use aggregate::{SeriesKey, WindowKey};
    use model::{Labels, MachineId, NetworkId, Timestamp};

    use super::*;

    fn key(name: &str, unit: &str, label: Option<(&str, &str)>) -> WindowKey {
        let labels = label.map(|(key, value)| (key.to_owned(), value.to_owned()));
        WindowKey {
            network: NetworkId::from_bytes([1; 32]),
            machine: MachineId::from_bytes([2; 32]),
            series: SeriesKey {
                name: name.parse().expect("a name"),
                unit: unit.parse().expect("a unit"),
                labels: Labels::new(labels.into_iter().collect::<BTreeMap<_, _>>())
                    .expect("labels"),
            },
            window_start: Timestamp::from_nanos(1_767_225_600_000_000_000),
            window_length: Duration::from_secs(10),
            log_epoch: "3-9f2c11aa".parse().expect("an epoch"),
            last_sequence: 17,
            complete: true,
        }
    }

    #[test]
    fn a_subject_has_a_token_for_each_level_and_one_for_unit_and_labels() {
        let key = key("press/oil", "m/s", Some(("hall", "3.1/b *>")));

        let expected = format!(
            "fieldmesh.{}.{}.press.oil.[m%2Fs]{{hall=3%2E1%2Fb%20%2A%3E}}\
             .1767225600000.10000.3-9f2c11aa.17.complete",
            key.network, key.machine
        );
        assert_eq!(of("fieldmesh", &key.to_string()), expected);
    }

    #[test]
    fn keys_that_differ_have_subjects_that_differ_and_that_a_server_takes() {
        let texts = [
            "a", "a/b", "a%2Fb", "a%2Eb", "a[b]", "a{b=c}", "%sha256-", "é", "a$b",
        ];
        let values = ["", ".", "/", "//", "%2F", "%2E", ">", "*", " ", "\u{1f600}"];
        let mut keys: Vec<String> = Vec::new();
        for name in texts {
            keys.push(key(name, "", None).to_string());
            keys.push(key(name, "b", None).to_string());
            keys.push(key(name, "m/s", None).to_string());
            for value in values {
                keys.push(key(name, "", Some(("l", value))).to_string());
                keys.push(key(name, "b", Some(("l", value))).to_string());
            }
        }

        for last in ["a", "b"] {
            let mut long = key(&"é".repeat(120), "b", Some(("z", last)));
            let labels = (0..8).map(|n| (n.to_string(), "%".repeat(128)));
            let labels = labels.chain([("z".to_owned(), last.to_owned())]);
            long.series.labels = Labels::new(labels.collect()).expect("labels");
            keys.push(long.to_string());
        }

        let subjects: BTreeSet<String> = keys.iter().map(|key| of("x", key)).collect();

        assert_eq!(subjects.len(), keys.len());
        for subject in subjects {
            assert!(subject.len() <= SUBJECT_BYTES_MAX, "{subject}");
            assert!(
                subject.split('.').all(|token| !token.is_empty()),
                "{subject}"
            );
            assert!(
                subject.is_ascii() && !subject.contains(['*', '>', ' ']),
                "{subject}"
            );
        }
    }
}
