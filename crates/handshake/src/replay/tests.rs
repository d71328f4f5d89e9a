use std::collections::BTreeSet;

use identity::NetworkKeyEpoch;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const NOW: Timestamp = Timestamp::from_nanos(1_714_608_000_000_000_000);

fn flight(number: u32, time: Option<Timestamp>) -> FirstFlight {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    FirstFlight {
        id: FlightId(id),
        time,
        epoch: NetworkKeyEpoch::FIRST,
    }
}

fn sent(number: u32, time: Timestamp) -> FirstFlight {
    flight(number, Some(time))
}

fn ago(duration: Duration) -> Timestamp {
    NOW.saturating_sub(duration)
}

fn ahead(duration: Duration) -> Timestamp {
    NOW.saturating_add(duration)
}

/// Judges at [`NOW`], an hour after the start, an address that has not been validated.
fn judge(guard: &mut ReplayGuard, flight: &FirstFlight) -> Freshness {
    guard.judge(flight, Some(NOW), HOUR, false)
}

/// What is left of a guard when its process ends and the next one starts.
fn restarted(guard: &ReplayGuard) -> ReplayGuard {
    ReplayGuard::from_bytes(&guard.to_bytes()).expect("its own bytes")
}

#[test]
fn a_flight_is_answered_once() {
    let mut guard = ReplayGuard::new();

    assert_eq!(judge(&mut guard, &sent(1, NOW)), Freshness::Fresh);
    assert_eq!(judge(&mut guard, &sent(1, NOW)), Freshness::Seen);
    assert_eq!(judge(&mut guard, &sent(2, NOW)), Freshness::Fresh);
}

#[test]
fn clocks_may_differ_by_two_minutes() {
    let at = |time| judge(&mut ReplayGuard::new(), &sent(1, time));
    let tolerance = ReplayGuard::TOLERANCE;

    assert_eq!(at(ahead(tolerance)), Freshness::Fresh);
    assert_eq!(at(ahead(tolerance + SECOND)), Freshness::FromFuture);
    assert_eq!(at(ago(tolerance - SECOND)), Freshness::Fresh);
    assert_eq!(at(ago(tolerance)), Freshness::TooOld);
}

#[test]
fn nothing_from_before_the_start_of_the_process_is_answered() {
    let at = |time| {
        let mut guard = ReplayGuard::new();
        guard.judge(&sent(1, time), Some(NOW), 10 * SECOND, false)
    };

    assert_eq!(at(ago(9 * SECOND)), Freshness::Fresh);
    assert_eq!(at(ago(10 * SECOND)), Freshness::TooOld);
    assert_eq!(at(ago(HOUR)), Freshness::TooOld);
}

#[test]
fn what_was_seen_is_refused_after_a_restart_also_if_it_came_from_a_clock_ahead() {
    let mut guard = ReplayGuard::new();
    let early = sent(1, ahead(60 * SECOND));
    assert_eq!(judge(&mut guard, &early), Freshness::Fresh);
    assert!(guard.must_save());

    let mut restarted = restarted(&guard);
    let mut without_memory = ReplayGuard::new();
    let later = Some(ahead(30 * SECOND));

    assert_eq!(
        restarted.judge(&early, later, SECOND, false),
        Freshness::Seen
    );
    let forgotten = without_memory.judge(&early, later, SECOND, false);
    assert_eq!(forgotten, Freshness::Fresh);
}

#[test]
fn only_what_the_next_start_would_not_refuse_has_to_be_saved_at_once() {
    let mut guard = ReplayGuard::new();
    for number in 0..10 {
        judge(&mut guard, &sent(number, ago(SECOND)));
    }
    assert!(!guard.must_save());

    judge(&mut guard, &sent(10, ahead(SECOND)));
    assert!(guard.must_save());
    guard.saved();
    assert!(!guard.must_save());
}

#[test]
fn a_clock_that_was_set_back_opens_nothing_to_a_recording() {
    let mut guard = ReplayGuard::new();
    let recorded = sent(1, ago(HOUR));
    guard.judge(&recorded, Some(ago(HOUR)), HOUR, false);
    judge(&mut guard, &sent(2, NOW));

    for mut guard in [restarted(&guard), guard] {
        let set_back = Some(ago(HOUR));
        assert_eq!(
            guard.judge(&sent(2, NOW), set_back, SECOND, false),
            Freshness::Seen
        );
        // What was forgotten since cannot be told from what is new: asked back, not answered.
        let again = guard.judge(&recorded, set_back, SECOND, false);
        assert_eq!(again, Freshness::Challenge);
        let much_older = sent(3, ago(2 * HOUR));
        assert_eq!(
            guard.judge(&much_older, set_back, SECOND, false),
            Freshness::TooOld
        );
        let fresh = sent(4, ago(HOUR));
        assert_eq!(
            guard.judge(&fresh, set_back, SECOND, true),
            Freshness::Fresh
        );
    }
}

#[test]
fn without_a_trusted_clock_at_either_end_a_flight_is_challenged_and_then_answered_once() {
    for (time, now) in [(None, Some(NOW)), (Some(NOW), None), (None, None)] {
        let mut guard = ReplayGuard::new();
        let flight = flight(1, time);

        assert_eq!(guard.judge(&flight, now, HOUR, false), Freshness::Challenge);
        assert_eq!(guard.judge(&flight, now, HOUR, false), Freshness::Challenge);
        assert_eq!(guard.judge(&flight, now, HOUR, true), Freshness::Fresh);
        for is_validated in [false, true] {
            let again = guard.judge(&flight, now, HOUR, is_validated);
            assert_eq!(again, Freshness::Seen);
        }
    }
}

#[test]
fn a_clock_that_is_trusted_later_counts_from_the_start_of_the_process() {
    let mut guard = ReplayGuard::new();
    assert_eq!(
        guard.judge(&sent(1, ago(SECOND)), None, SECOND, true),
        Freshness::Fresh
    );

    let mut at = |number, time| guard.judge(&sent(number, time), Some(NOW), 20 * SECOND, false);

    assert_eq!(at(1, ago(SECOND)), Freshness::Seen);
    assert_eq!(at(2, ago(19 * SECOND)), Freshness::Fresh);
    assert_eq!(at(3, ago(20 * SECOND)), Freshness::TooOld);
}

#[test]
fn full_memory_challenges_and_is_free_again_when_time_has_passed() {
    let mut guard = ReplayGuard::new();
    let count = u32::try_from(ReplayGuard::FLIGHTS_MAX).expect("small");
    for number in 0..count {
        assert_eq!(judge(&mut guard, &sent(number, NOW)), Freshness::Fresh);
    }

    assert_eq!(judge(&mut guard, &sent(count, NOW)), Freshness::Challenge);
    let validated = guard.judge(&sent(count, NOW), Some(NOW), HOUR, true);
    assert_eq!(validated, Freshness::Fresh);
    assert_eq!(guard.seen.len(), ReplayGuard::FLIGHTS_MAX);
    assert_eq!(judge(&mut guard, &sent(7, NOW)), Freshness::Seen);
    let later = ahead(ReplayGuard::TOLERANCE);
    let fresh = guard.judge(&sent(count + 1, later), Some(later), HOUR, false);
    assert_eq!(fresh, Freshness::Fresh);
    assert_eq!(guard.seen.len(), 1);
}

#[test]
fn only_whole_undamaged_bytes_are_read() {
    let mut guard = ReplayGuard::new();
    for number in 0..3 {
        judge(&mut guard, &sent(number, NOW));
    }
    let bytes = guard.to_bytes();
    let mut too_many = bytes[..16].to_vec();
    too_many[12..].copy_from_slice(&8_193_u32.to_be_bytes());
    for number in 0..8_193_u32 {
        too_many.extend(flight(number, None).id.0);
        too_many.extend([0; 8]);
    }

    assert_eq!(ReplayGuard::from_bytes(&bytes), Ok(guard));
    for length in 0..bytes.len() {
        let cut = ReplayGuard::from_bytes(&bytes[..length]);
        assert_eq!(cut, Err(ReplayError::Damaged), "{length}");
    }
    let longer = [&bytes[..], &[0]].concat();
    for damaged in [&longer, &too_many] {
        assert_eq!(ReplayGuard::from_bytes(damaged), Err(ReplayError::Damaged));
    }
}

/// One thing that happens to a guard, in the order of real time.
#[derive(Clone, Debug)]
enum Step {
    /// Real time passes.
    Wait(Duration),
    /// A flight arrives, for the first time or again; its sender's clock is off by so much.
    Arrive(u32, i64),
    /// The process ends and starts again; its memory was saved if it asked for it.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..200).prop_map(|seconds| Step::Wait(Duration::from_secs(seconds))),
        (0_u32..20, -200_i64..200).prop_map(|(number, skew)| Step::Arrive(number, skew)),
        Just(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn no_flight_is_answered_twice_whatever_happens(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut guard = ReplayGuard::new();
        let mut saved = guard.clone();
        let (mut now, mut started) = (NOW, NOW);
        let mut flights = BTreeMap::new();
        let mut answered = BTreeSet::new();
        for step in steps {
            match step {
                Step::Wait(duration) => now = now.saturating_add(duration),
                Step::Restart => {
                    guard = restarted(&saved);
                    started = now;
                }
                Step::Arrive(number, skew) => {
                    let time = now.as_nanos() + skew * 1_000_000_000;
                    let flight = *flights
                        .entry(number)
                        .or_insert_with(|| sent(number, Timestamp::from_nanos(time)));
                    let uptime = now.since(started);
                    if guard.judge(&flight, Some(now), uptime, false) == Freshness::Fresh {
                        prop_assert!(answered.insert(number), "flight {} twice", number);
                    }
                    if guard.must_save() {
                        guard.saved();
                        saved = guard.clone();
                    }
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let framed = [&MAGIC[..], &bytes].concat();
        for bytes in [&bytes, &framed] {
            if let Ok(guard) = ReplayGuard::from_bytes(bytes) {
                prop_assert_eq!(ReplayGuard::from_bytes(&guard.to_bytes()), Ok(guard));
            }
        }
    }
}
