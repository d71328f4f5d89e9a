//! Runs of one machine again, from what was recorded of it.

use recording::{Difference, ReplayError};
use sim::{ReplayFailure, Scenario};

/// What is recorded of a machine in scenarios that show it all that a node can be told.
fn recordings() -> Vec<Vec<u8>> {
    let scenarios = [
        Scenario::Churn,
        Scenario::Commands,
        Scenario::Enrolment,
        Scenario::Revocation,
    ];
    let lives = scenarios.into_iter().flat_map(|scenario| {
        let (report, lives) = sim::run_recorded(scenario, 5, 3, 0);
        assert!(report.failure.is_none(), "{}", report.to_text());
        lives
    });
    lives.collect()
}

/// The header and the entries of a recording.
fn split(recording: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (header, mut rest) = recording.split_at(recording::HEADER_BYTES);
    let mut entries = Vec::new();
    while let Some((length, _)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length)).expect("a length");
        let (entry, behind) = rest.split_at(8 + length);
        entries.push(entry.to_vec());
        rest = behind;
    }
    (header.to_vec(), entries)
}

fn difference(recording: &[u8]) -> Option<Difference> {
    match sim::replay(recording) {
        Err(ReplayFailure::Replay(ReplayError::Differs(difference))) => Some(*difference),
        Ok(_) | Err(_) => None,
    }
}

#[test]
fn a_simulated_machine_does_the_same_again_in_each_of_its_lives() {
    let recordings = recordings();

    let mut steps = 0;
    for recording in &recordings {
        let replayed = sim::replay(recording.as_slice()).expect("the same again");
        assert_eq!(replayed.summary.checked, replayed.summary.steps);
        assert_eq!(replayed.summary.cut, 0);
        steps += replayed.summary.steps;
    }

    assert!(recordings.len() > 4, "some lives ended in a crash");
    assert!(steps > 10_000, "{steps} steps are too few to show anything");
}

#[test]
fn a_step_that_is_left_out_is_found_where_it_was() {
    let (_, lives) = sim::run_recorded(Scenario::Steady, 3, 1, 0);
    let (header, entries) = split(&lives[0]);
    let steps = entries.len() / 2 - 1; // Each with its outcome, behind start and outcome.
    assert!(difference(&lives[0]).is_none(), "the recording itself");

    for left_out in [1, 2, steps / 2, steps - 1] {
        let mut entries = entries.clone();
        let at = entries.len() - 2 * (steps - left_out + 1);
        entries.drain(at..at + 2);
        let recording = [header.clone(), entries.concat()].concat();

        let found = difference(&recording).map(|difference| difference.step);

        assert_eq!(found, Some(u64::try_from(left_out).expect("a step")));
    }
}
