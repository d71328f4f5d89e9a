//! Members that were there and are not heard any more: they may be the other half of a site that
//! fell apart so long ago that no overlay remembers it.
//!
//! Every machine repeats its presence. Each node watches one other member at a time, at random: if
//! its presence is still the same after several intervals, the overlay is told to look for it.
//! Together the nodes of a half soon watch somebody of the other one.

use model::{MachineId, StateKey, StateKind, StateVersion};
use statemachine::Instant;

use super::own_word::PRESENCE_SPACING;
use super::{Node, Timer};

/// Whom a node watches, and the presence that it had when that began.
pub(super) type Watched = Option<(MachineId, StateVersion)>;

impl Node {
    /// Judges whoever was watched, and watches another one.
    pub(super) fn watch(&mut self, now: Instant) {
        if let Some((machine, before)) = self.watched.take()
            && self.presence_version(machine) == Some(before)
            && let Some(contact) = self.contact_of(machine)
        {
            self.overlay.handle(now, overlay::Input::Missing(contact));
        }
        let members = self.catalogue.members().map(|(machine, _)| *machine);
        let is_away = |m: &MachineId| *m != self.machine && !self.links.is_up(m);
        // Of admitters of other sites no more is known than that they are.
        let is_heard = |m: &MachineId| self.presence_version(*m).is_some();
        let others = members.filter(|machine| is_away(machine) && is_heard(machine));
        let next = self.rng.choose(&others.collect::<Vec<_>>()).copied();
        self.watched = next.and_then(|next| Some((next, self.presence_version(next)?)));
        let interval = self.spaced(self.config.presence_interval, PRESENCE_SPACING);
        let again = self.rng.jitter(interval * INTERVALS);
        self.timers.set(Timer::Watch, now + again);
    }

    fn presence_version(&self, machine: MachineId) -> Option<StateVersion> {
        let key = StateKey {
            origin: machine,
            kind: StateKind::Presence,
            subject: String::new(),
        };
        Some(self.gossip.state(&key)?.version())
    }
}

/// How many intervals of presences pass on average until a machine is judged. Source: two at least,
/// as each pause is jittered by a half.
const INTERVALS: u32 = 4;
