//! Ways to other sites whose logs this node subscribes to.
//!
//! Among the neighbours of other sites must be somebody through whom they come. Every machine repeats
//! its presence, and that goes where its logs go: a site that is heard has a way here. For one that is
//! not, a machine of it is looked for until it answers, as for members of the own site. Where nobody
//! of it is known at all, contacts of other sites are tried one after the other: what they show says
//! where they belong. Once one machine of a site has found it, those beside it hear of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{MachineId, Pattern, SeriesName};
use statemachine::Instant;

use super::own_word::PRESENCE_SPACING;
use super::{Node, Timer};
use crate::Output;

/// What this node knows of the sites that it subscribes to.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// When each of them was heard last.
    heard: BTreeMap<SeriesName, Instant>,
    /// How long it waits before it tries the next contact.
    pause: Duration,
}

impl Node {
    /// Begins to look for the sites that are subscribed to, if there are any.
    pub(super) fn subscribe(&mut self, now: Instant) {
        if self.gossip.interest().patterns().next().is_some() {
            self.subscriptions.pause = PAUSE_MIN;
            self.timers.set(Timer::Subscriptions, now + PAUSE_MIN);
        }
    }

    /// A machine has said where it is: so its site is heard.
    pub(super) fn hear_site_of(&mut self, now: Instant, machine: &MachineId) {
        if let Some(site) = self.site_of(machine)
            && !self.gossip.interest().is_own(&site)
        {
            self.subscriptions.heard.insert(site, now);
        }
    }

    /// Looks for sites that are not heard.
    pub(super) fn look_for_sites(&mut self, now: Instant) {
        let silence = self.spaced(self.config.presence_interval, PRESENCE_SPACING) * INTERVALS;
        let heard = &mut self.subscriptions.heard;
        heard.retain(|_, at| now.since(*at) < silence);
        let heard: BTreeSet<SeriesName> = heard.keys().cloned().collect();
        for contact in self.silent_members(&heard) {
            self.overlay.handle(now, overlay::Input::Missing(contact));
        }
        let interest = self.gossip.interest();
        let is_heard = |pattern: &Pattern| heard.iter().any(|site| pattern.matches(site));
        let is_unheard = interest.patterns().any(|pattern| !is_heard(pattern));
        let is_open = interest
            .patterns()
            .any(|pattern| pattern.to_string().contains('*'));
        if is_unheard || is_open {
            self.try_a_contact();
        }
        let pause = match is_unheard {
            true => (self.subscriptions.pause * 5 / 4).min(PAUSE_MAX),
            false if is_open => PAUSE_MAX,
            false => PAUSE_MIN,
        };
        self.subscriptions.pause = pause;
        let again = self.rng.jitter(pause);
        self.timers.set(Timer::Subscriptions, now + again);
    }

    /// One member of each site that is subscribed to and not heard, if it is known where it is.
    fn silent_members(&mut self, heard: &BTreeSet<SeriesName>) -> Vec<overlay::Contact> {
        let interest = self.gossip.interest();
        let mut silent: BTreeMap<SeriesName, Vec<MachineId>> = BTreeMap::new();
        for (machine, member) in self.catalogue.members() {
            let site = member.membership.grant().site.parse::<SeriesName>();
            if let Ok(site) = site
                && interest.wants(&site)
                && !interest.is_own(&site)
                && !heard.contains(&site)
            {
                silent.entry(site).or_default().push(*machine);
            }
        }
        let drawn = silent
            .values()
            .filter_map(|members| self.rng.choose(members).copied());
        let drawn = drawn.collect::<Vec<_>>();
        drawn
            .into_iter()
            .filter_map(|machine| self.contact_of(machine))
            .collect()
    }

    /// Opens a link to some machine of another site, to see which one; it ends soon if nobody has a
    /// use for it.
    fn try_a_contact(&mut self) {
        let contacts = self.overlay.unlinked_others();
        let contacts = contacts.filter(|contact| !contact.addresses.is_empty());
        let contacts = contacts.collect::<Vec<_>>();
        if let Some(contact) = self.rng.choose(&contacts) {
            self.outputs.push_back(Output::Dial(contact.clone()));
        }
    }

    /// A machine of a site that is subscribed to and not heard has been met: it is to be a neighbour.
    pub(super) fn welcome(&mut self, now: Instant, machine: MachineId, site: &str) {
        let Ok(site) = site.parse::<SeriesName>() else {
            return;
        };
        let interest = self.gossip.interest();
        let is_unheard = !self.subscriptions.heard.contains_key(&site);
        if is_unheard && interest.wants(&site) && !interest.is_own(&site) {
            let addresses = self.overlay.contact(&machine);
            let contact = addresses.unwrap_or(overlay::Contact {
                machine,
                addresses: Vec::new(),
            });
            self.overlay.handle(now, overlay::Input::Missing(contact));
        }
    }

    /// The site of a machine, as its membership says.
    fn site_of(&self, machine: &MachineId) -> Option<SeriesName> {
        let member = self.catalogue.member(machine)?;
        member.membership.grant().site.parse().ok()
    }

    /// Whether a machine is of the own site, as far as is known: this node elects relays for it, and
    /// uploads what it publishes.
    pub(super) fn is_of_site(&self, machine: &MachineId) -> bool {
        let own = &self.identity.membership.grant().site;
        let member = self.catalogue.member(machine);
        *machine == self.machine
            || member.is_some_and(|member| member.membership.grant().site == *own)
    }
}

/// How many intervals of presences a site may be silent. Source: two at least, as each is jittered by
/// a half.
const INTERVALS: u32 = 4;
/// First pause between two contacts that are tried; each try in vain makes it a quarter longer.
/// Source: guess; with a link of 5 kB a second, 30 contacts are tried in ten minutes.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause. Source: guess.
const PAUSE_MAX: Duration = Duration::from_secs(60);
