//! What a fuzzer has found so far still holds, and what is honest is still accepted.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fuzz::{Outcome, TARGETS};

#[test]
fn every_target_accepts_honest_bytes_and_holds_for_all_that_was_found() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in TARGETS {
        let mut outcomes = BTreeSet::new();
        for (number, bytes) in (target.seeds)().iter().enumerate() {
            let outcome = (target.run)(bytes);
            assert_eq!(
                outcome,
                Outcome::Accepted,
                "seed {number} of {}",
                target.name
            );
        }
        let folder = corpus.join(target.name);
        let entries = fs::read_dir(&folder).expect("a folder for every target");
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let bytes = fs::read(&path).expect("a readable file");
            assert!(
                bytes.len() <= BYTES_MAX,
                "{} is too long to keep",
                path.display()
            );
            let found = std::panic::catch_unwind(|| (target.run)(&bytes));
            outcomes.insert(found.unwrap_or_else(|_| panic!("broken by {}", path.display())));
        }
        let both = BTreeSet::from([Outcome::Accepted, Outcome::Refused]);
        assert_eq!(outcomes, both, "{} is not covered", target.name);
    }
}

/// Largest file in the corpus. Unit: bytes.
const BYTES_MAX: usize = 8_192;
