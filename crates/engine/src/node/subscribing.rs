//! Ways to the sites whose logs this node wants.
//!
//! Among the neighbours of other sites must be somebody through whom they come. Every machine
//! repeats its presence, and that goes where its logs go: a site that is heard has a way here. For
//! one that is not, a machine of it is looked for until it answers, as for members of the own site.
//! Where nobody of it is known, contacts that machines of other sites have told of are tried one
//! after the other: what they show says where they belong. Once one machine of a site has found it,
//! those beside it hear of it. Now and then that goes on: parts of the own site may know each other
//! no other way.

use std::collections::BTreeMap;

use model::{MachineId, Pattern, SeriesName};
use statemachine::Instant;

use super::own_word::PRESENCE_SPACING;
use super::{Node, Timer};
use crate::Output;
use crate::views::other_site;

/// What this node knows of the sites that it subscribes to.
#[derive(Debug)]
pub(super) struct Subscriptions {
    /// When each of them was heard last.
    heard: BTreeMap<SeriesName, Instant>,
    /// How many contacts were tried since nothing was lacking.
    tries: u32,
    /// When the last one was.
    tried: Instant,
}

impl Subscriptions {
    /// Nothing is known yet.
    pub(super) const fn new() -> Self {
        Self {
            heard: BTreeMap::new(),
            tries: 0,
            tried: Instant::ZERO,
        }
    }
}

impl Node {
    /// Begins to look for sites.
    pub(super) fn subscribe(&mut self, now: Instant) {
        let pause = self.config.presence_interval / SOON_PARTS;
        self.timers.set(Timer::Subscriptions, now + pause);
    }

    /// A machine has said where it is: so its site is heard.
    pub(super) fn hear_site_of(&mut self, now: Instant, machine: &MachineId) {
        if let Some(member) = self.catalogue.member(machine)
            && let Some(site) = other_site(self.gossip.interest(), &member.membership)
        {
            self.subscriptions.heard.insert(site, now);
        }
    }

    /// Looks for sites that are not heard.
    pub(super) fn look_for_sites(&mut self, now: Instant) {
        let silence = self.spaced(self.config.presence_interval, PRESENCE_SPACING) * INTERVALS;
        let heard = &mut self.subscriptions.heard;
        heard.retain(|_, at| now.since(*at) < silence);
        for contact in self.silent_members() {
            self.overlay.handle(now, overlay::Input::Missing(contact));
        }
        let heard = &self.subscriptions.heard;
        let is_heard = |pattern: &Pattern| heard.keys().any(|site| pattern.matches(site));
        let interest = self.gossip.interest();
        let has_all = interest.patterns().all(is_heard);
        let lacks_some = !has_all || !self.overlay.has_site();
        if !lacks_some {
            self.subscriptions.tries = 0;
        }
        let interval = self.config.presence_interval;
        let is_soon = lacks_some && self.subscriptions.tries < TRIES_SOON;
        if is_soon || now.since(self.subscriptions.tried) >= interval * INTERVALS_LATER {
            self.try_a_stranger(now);
        }
        let again = if is_soon {
            interval / SOON_PARTS
        } else {
            interval
        };
        let again = self.rng.jitter(again);
        self.timers.set(Timer::Subscriptions, now + again);
    }

    /// Opens a link to a machine of which nobody has said where it belongs; of no use, it ends
    /// soon.
    fn try_a_stranger(&mut self, now: Instant) {
        let strangers = self.overlay.strangers().collect::<Vec<_>>();
        if let Some(contact) = self.rng.choose(&strangers) {
            self.subscriptions.tries += 1;
            self.subscriptions.tried = now;
            self.outputs.push_back(Output::Dial(contact.clone()));
        }
    }

    /// One machine of each site that is subscribed to and not heard, if it is known where it is.
    fn silent_members(&mut self) -> Vec<overlay::Contact> {
        let mut silent: BTreeMap<&SeriesName, Vec<MachineId>> = BTreeMap::new();
        for (machine, site) in self.overlay.foreign() {
            if self.lacks(site) {
                silent.entry(site).or_default().push(*machine);
            }
        }
        let machines = silent.into_values().collect::<Vec<_>>();
        let drawn = machines
            .iter()
            .filter_map(|some| self.rng.choose(some).copied());
        let drawn = drawn.collect::<Vec<_>>();
        let contacts = drawn.into_iter().map(|machine| self.contact_of(machine));
        contacts.flatten().collect()
    }

    /// Whether a site is subscribed to and not heard.
    fn lacks(&self, site: &SeriesName) -> bool {
        let is_heard = self.subscriptions.heard.contains_key(site);
        !is_heard && self.gossip.interest().wants(site)
    }

    /// A machine of another site has been met: if that is lacking, it is to be a neighbour.
    pub(super) fn welcome(&mut self, now: Instant, machine: MachineId, site: &SeriesName) {
        if self.lacks(site) {
            let known = self.overlay.contact(&machine);
            let contact = known.unwrap_or(overlay::Contact {
                machine,
                addresses: Vec::new(),
            });
            self.overlay.handle(now, overlay::Input::Missing(contact));
        }
    }

    /// Whether a machine is of the own site, as far as is known: this node elects relays for it,
    /// and uploads what it publishes.
    pub(super) fn is_of_site(&self, machine: &MachineId) -> bool {
        let own = &self.identity.membership.grant().site;
        let member = self.catalogue.member(machine);
        *machine == self.machine
            || member.is_some_and(|member| member.membership.grant().site == *own)
    }
}

/// How many intervals of presences a site may be silent. Source: two at least, as each is jittered
/// by a half.
const INTERVALS: u32 = 4;
/// So many contacts are tried soon after each other while something is lacking. Source: among 32
/// sites all but one machine in fifty find theirs; with 5 kB each they cost 640 kB.
const TRIES_SOON: u32 = 128;
/// In so many parts of the interval of presences, which goes by the kind of link: every second, or
/// every half minute on a thin one. Source: guess.
const SOON_PARTS: u32 = 10;
/// After that, and where nothing is lacking, one is tried in so many intervals. Source: guess; 83
/// B/s, or 3 B/s on a thin link.
const INTERVALS_LATER: u32 = 6;
