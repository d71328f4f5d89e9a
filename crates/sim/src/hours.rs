//! What goes on for an hour: a neighbour that hardly reads, and members that say again what they
//! heard an hour before.

use std::time::Duration;

use crate::insiders::Malice;
use crate::scenario::{Fault, LIVE_MAX, Plan, UNSERVED_MAX_ROUGH};

/// One machine hardly reads for so long, under load.
pub(crate) const fn slow(steady: Plan, time: Duration) -> Plan {
    Plan {
        set_faults: SLOW,
        queue_bytes_max: 16 * 1024,
        live_max: Some(LIVE_MAX),
        publish_every: Duration::from_secs(2),
        window: Duration::from_mins(1),
        duration: SLOW_FROM.saturating_add(time).saturating_add(SLOW_AFTER),
        settle_max: Duration::from_mins(5),
        ..steady
    }
}

/// A third of the machines keep what they hear first, and say it again after an hour; some of it
/// has been given up by then.
pub(crate) const fn replay(steady: Plan) -> Plan {
    Plan {
        malice: Some(Malice::Hoard),
        set_faults: GIVEN_UP,
        unserved_max: UNSERVED_MAX_ROUGH,
        publish_every: Duration::from_secs(10),
        window: Duration::from_mins(1),
        duration: HOUR.saturating_add(Duration::from_mins(1)),
        settle_max: Duration::from_mins(5),
        ..steady
    }
}

/// How long insiders keep what they have heard.
pub(crate) const HOUR: Duration = Duration::from_hours(1);
/// When the machine begins to read slowly.
const SLOW_FROM: Duration = Duration::from_secs(10);
/// How long the run goes on when it has read slowly for its time.
const SLOW_AFTER: Duration = Duration::from_secs(20);
const SLOW: &[(Duration, Fault)] = &[(SLOW_FROM, Fault::Slow)];
/// Machines give up what is old before it is said again.
const GIVEN_UP: &[(Duration, Fault)] = &[
    (Duration::from_mins(50), Fault::Retain),
    (Duration::from_mins(55), Fault::Retain),
];
