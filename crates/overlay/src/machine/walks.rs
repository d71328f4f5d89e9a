//! Messages that walk: joins, which spread a new machine, and shuffles, which mix what is known.

use model::MachineId;
use statemachine::Instant;

use super::{Fault, Output, Overlay};
use crate::book::Source;
use crate::{Contact, Hops, Message};

impl Overlay {
    /// A new machine asks for a place: it gets one, if there is one, and a sample to find others,
    /// and walks on from each neighbour.
    pub(super) fn on_join(&mut self, now: Instant, from: MachineId, contact: Contact) {
        if !self.meet(from, contact) {
            return;
        }
        let accepted = self.is_neighbour(&from)
            || match self.is_doubted(now, &from) {
                true => self.has_place_for_doubted(true),
                false => self.make_room(now, from),
            };
        self.answer(now, from, accepted);
        let sample = self.sample(from, from);
        self.send(from, Message::ShuffleReply { sample });
        let Some(joiner) = self.book.contact(&from) else {
            return;
        };
        for neighbour in self.neighbours().collect::<Vec<_>>() {
            if neighbour != from {
                let joiner = joiner.clone();
                let ttl = Hops(ACTIVE_WALK);
                self.send(neighbour, Message::ForwardJoin { joiner, ttl });
            }
        }
    }

    /// A joiner walks by. At the end of its walk it is invited as soon as there is a place.
    pub(super) fn on_forward_join(
        &mut self,
        now: Instant,
        from: MachineId,
        joiner: Contact,
        ttl: Hops,
    ) {
        if !self.may_walk(from, ttl) || joiner.machine == self.own {
            return;
        }
        self.heard.hear(now, joiner.machine);
        if ttl.0 <= PASSIVE_WALK {
            self.learn(joiner.clone(), Source::Hearsay);
        }
        if let Some((next, ttl)) = self.next_hop(from, joiner.machine, ttl) {
            self.send(next, Message::ForwardJoin { joiner, ttl });
            return;
        }
        self.invited.retain(|invited| *invited != joiner.machine);
        if self.invited.is_full() {
            self.invited.pop();
        }
        // Room was just made; the invitation stays until there is a place to give.
        let _ = self.invited.push(joiner.machine);
        self.fill(now);
    }

    /// Begins a shuffle of `ttl` hops at a neighbour.
    pub(super) fn shuffle(&mut self, neighbour: MachineId, ttl: Hops) {
        let origin = self.own_contact();
        let sample = self.sample(neighbour, neighbour);
        self.hand_over(
            neighbour,
            Message::Shuffle {
                origin,
                sample,
                ttl,
            },
        );
    }

    /// A shuffle walks by. At its end both sides have learned something.
    pub(super) fn on_shuffle(
        &mut self,
        now: Instant,
        from: MachineId,
        origin: Contact,
        mut sample: Vec<Contact>,
        ttl: Hops,
    ) {
        if !self.may_walk(from, ttl) || origin.machine == self.own {
            return;
        }
        self.heard.hear(now, origin.machine);
        sample.truncate(Message::SAMPLE_MAX);
        if let Some((next, ttl)) = self.next_hop(from, origin.machine, ttl) {
            let shuffle = Message::Shuffle {
                origin,
                sample,
                ttl,
            };
            self.hand_over(next, shuffle);
            return;
        }
        let own_sample = self.sample(from, origin.machine);
        self.send(from, Message::ShuffleReply { sample: own_sample });
        let source = if origin.machine == from {
            Source::Itself
        } else {
            Source::Hearsay
        };
        self.learn(origin, source);
        self.learn_sample(now, sample);
    }

    /// The answer to a shuffle that was handed over.
    pub(super) fn on_shuffle_reply(&mut self, now: Instant, from: MachineId, sample: Vec<Contact>) {
        let due = self
            .links
            .get_mut(&from)
            .is_some_and(|link| link.take_shuffle());
        if due {
            self.learn_sample(now, sample);
        } else {
            self.stats.answers_unasked += 1;
        }
    }

    /// Whether a walk may go on here. Only neighbours hand walks over, so a sender that is none is
    /// told; it believes otherwise because a message was lost with its link.
    fn may_walk(&mut self, from: MachineId, ttl: Hops) -> bool {
        if ttl > Hops::MAX {
            self.say(Output::Misbehaved(from, Fault::WalkTooLong));
            return false;
        }
        if !self.is_neighbour(&from) {
            self.send(from, Message::Disconnect);
            return false;
        }
        true
    }

    /// Where a walk goes next, unless it ends here.
    fn next_hop(
        &mut self,
        from: MachineId,
        origin: MachineId,
        ttl: Hops,
    ) -> Option<(MachineId, Hops)> {
        let ttl = ttl.step()?;
        let others: Vec<MachineId> = self
            .neighbours()
            .filter(|neighbour| *neighbour != from && *neighbour != origin)
            .collect();
        self.rng.choose(&others).map(|next| (*next, ttl))
    }

    fn hand_over(&mut self, to: MachineId, shuffle: Message) {
        if let Some(link) = self.links.get_mut(&to) {
            link.shuffle_sent();
            self.send(to, shuffle);
        }
    }

    /// What this machine knows and neither of two others is: some neighbours, some others.
    fn sample(&mut self, a: MachineId, b: MachineId) -> Vec<Contact> {
        let wanted = |machine: &MachineId| *machine != a && *machine != b;
        let active = &self.active;
        let mut sample = self.book.sample(
            SAMPLE_ACTIVE,
            |machine| active.contains_key(machine) && wanted(machine),
            &mut self.rng,
        );
        sample.extend(self.book.sample(
            SAMPLE_PASSIVE,
            |machine| !active.contains_key(machine) && wanted(machine),
            &mut self.rng,
        ));
        sample
    }

    fn learn_sample(&mut self, now: Instant, sample: Vec<Contact>) {
        for contact in sample.into_iter().take(Message::SAMPLE_MAX) {
            self.learn(contact, Source::Hearsay);
        }
        self.fill(now);
    }
}

/// How far a joiner walks. Unit: hops. Source: HyParView, section 5.1.
const ACTIVE_WALK: u8 = 6;

/// How far before its end a joiner's walk begins to leave its contact. Unit: hops. Source:
/// HyParView, section 5.1; the paper has it left at this one hop only.
const PASSIVE_WALK: u8 = 3;

/// How far a shuffle walks. Source: HyParView, section 5.1.
pub(super) const SHUFFLE_WALK: Hops = Hops(ACTIVE_WALK);

/// Neighbours in a sample. Unit: machines. Source: HyParView, section 5.1.
const SAMPLE_ACTIVE: usize = 3;

/// Others in a sample. Unit: machines. Source: HyParView, section 5.1.
const SAMPLE_PASSIVE: usize = 4;

const _: () = assert!(SAMPLE_ACTIVE + SAMPLE_PASSIVE <= Message::SAMPLE_MAX);
const _: () = assert!(ACTIVE_WALK <= Hops::MAX.0);
