//! Views: two overlays beside each other, one among the machines of the own site and a thin one
//! that ties sites together.
//!
//! Within a site everyone holds everyone's log, so its machines keep to each other: its overlay
//! never hears of a machine of another site. The other one never hears of a machine of the own
//! site; through it go what must reach everyone and the logs of sites that somebody subscribes to,
//! so a few neighbours do. Which of the two a machine belongs to is told by its membership: the one
//! that it shows over a link, or the one that it has said. Until then it counts as one of the own
//! site.
//!
//! Where there is one site, the thin one knows nobody and does nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip::Interest;
use identity::Membership;
use model::{MachineId, SeriesName};
use overlay::{Config, Contact, Input, Output, Overlay, Recovered};
use statemachine::{Deadline, Instant, Rng, StateMachine as _};

/// The overlays of one machine.
#[derive(Debug)]
pub(crate) struct Views {
    site: Overlay,
    others: Overlay,
    /// Machines of other sites and which, as far as is known; beyond [`FOREIGN_MAX`], some that
    /// have no link are forgotten.
    foreign: BTreeMap<MachineId, SeriesName>,
    /// Those of them to which there is a link.
    linked: BTreeSet<MachineId>,
}

impl Views {
    /// The overlays of a machine that replicates what `interest` says.
    pub(crate) fn new(
        own: MachineId,
        config: &Config,
        interest: &Interest,
        recovered: Recovered,
        rng: &Rng,
    ) -> Self {
        let thin = Config {
            active_max: places_for_others(interest),
            passive_max: config.passive_max.max(CONTACTS_OF_OTHERS),
            ..config.clone()
        };
        let nobody = Recovered::default();
        Self {
            site: Overlay::new(own, config.clone(), recovered, rng.fork("overlay")),
            others: Overlay::new(own, thin, nobody, rng.fork("overlay of sites")),
            foreign: BTreeMap::new(),
            linked: BTreeSet::new(),
        }
    }

    /// The neighbours of the own site, then those of others.
    pub(crate) fn neighbours(&self) -> impl Iterator<Item = MachineId> {
        self.site.neighbours().chain(self.others.neighbours())
    }

    /// Whether somebody of the own site is a neighbour.
    pub(crate) fn has_site(&self) -> bool {
        self.site.neighbours().next().is_some()
    }

    /// How many machines of the own site are known, or may be of it.
    pub(crate) fn known_of_site(&self) -> usize {
        self.site.known()
    }

    /// The last measured round trip to a neighbour.
    pub(crate) fn round_trip(&self, neighbour: &MachineId) -> Option<Duration> {
        let near = self.site.round_trip(neighbour);
        near.or_else(|| self.others.round_trip(neighbour))
    }

    /// Where a machine can be dialled, as far as the address books know.
    pub(crate) fn contact(&self, machine: &MachineId) -> Option<Contact> {
        let near = self.site.contact(machine);
        near.or_else(|| self.others.contact(machine))
    }

    /// Machines of other sites, and which.
    pub(crate) const fn foreign(&self) -> &BTreeMap<MachineId, SeriesName> {
        &self.foreign
    }

    /// Contacts of machines of which machines of other sites have told, and nobody where they
    /// belong.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = Contact> {
        let contacts = self.others.contacts();
        contacts.filter(|c| !c.addresses.is_empty() && !self.foreign.contains_key(&c.machine))
    }

    /// A link stands to a machine that has shown where it belongs: to this site or another one.
    pub(crate) fn link_up(&mut self, now: Instant, machine: MachineId, other: Option<SeriesName>) {
        if other.is_some() {
            self.linked.insert(machine);
        }
        self.place(now, machine, other);
        self.of(&machine).handle(now, Input::LinkUp(machine));
    }

    /// Where a machine belongs has become known: to this site or another one.
    pub(crate) fn place(&mut self, now: Instant, machine: MachineId, other: Option<SeriesName>) {
        let (from, to) = match other {
            Some(_) => (&mut self.site, &mut self.others),
            None => (&mut self.others, &mut self.site),
        };
        if let Some(contact) = from.contact(&machine) {
            from.handle(now, Input::Barred(machine));
            to.handle(now, Input::Discovered(contact));
        }
        match other {
            None => _ = self.foreign.remove(&machine),
            Some(site) => _ = self.foreign.insert(machine, site),
        }
        if self.foreign.len() > FOREIGN_MAX {
            let mut known = self.foreign.keys();
            let spare = known.find(|known| !self.linked.contains(*known)).copied();
            spare.map(|spare| self.foreign.remove(&spare));
        }
    }

    /// Tells the overlays what happened.
    pub(crate) fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Discovered(Contact { machine, .. })
            | Input::LinkUp(machine)
            | Input::Missing(Contact { machine, .. })
            | Input::Received(machine, _) => self.of(&machine).handle(now, input),
            Input::Withholds(machine, instead) => {
                let is_foreign = self.foreign.contains_key(&machine);
                let fits = |c: &Contact| self.foreign.contains_key(&c.machine) == is_foreign;
                let input = Input::Withholds(machine, instead.filter(fits));
                self.of(&machine).handle(now, input);
            }
            Input::LinkDown(machine) => {
                self.linked.remove(&machine);
                self.both(now, &input);
            }
            Input::OwnAddresses(_)
            | Input::DialFailed(_)
            | Input::RoundTrip(..)
            | Input::Barred(_) => self.both(now, &input),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.site.handle_timeout(now);
        self.others.handle_timeout(now); // Also while it knows nobody: no timer is late then.
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        let near = self.site.poll_output();
        near.or_else(|| self.others.poll_output())
    }

    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        let thin = self.others.next_deadline().filter(|_| self.knows_others());
        Deadline::earlier(self.site.next_deadline(), thin)
    }

    fn knows_others(&self) -> bool {
        self.others.known() > 0
    }

    fn of(&mut self, machine: &MachineId) -> &mut Overlay {
        match self.foreign.contains_key(machine) {
            true => &mut self.others,
            false => &mut self.site,
        }
    }

    fn both(&mut self, now: Instant, input: &Input) {
        self.site.handle(now, input.clone());
        self.others.handle(now, input.clone());
    }
}

/// The site of a membership, if it is another one than that of an interest.
pub(crate) fn other_site(interest: &Interest, membership: &Membership) -> Option<SeriesName> {
    let site = membership.grant().site.parse::<SeriesName>().ok();
    site.filter(|site| !interest.is_own(site))
}

/// How many neighbours of other sites are kept.
fn places_for_others(interest: &Interest) -> usize {
    let of_pattern = |pattern: &model::Pattern| match pattern.to_string().contains('*') {
        true => PLACES_FOR_ALL,
        false => PLACES_FOR_EACH,
    };
    let subscribed: usize = interest.patterns().map(of_pattern).sum();
    (PLACES_FOR_OTHERS + subscribed).min(PLACES_MAX)
}

/// Neighbours of other sites, whatever is subscribed to: what ties all sites together.
/// Source: guess; a graph of ten machines a site with two places each has 20 links a site.
const PLACES_FOR_OTHERS: usize = 2;
/// More of them for each site that is subscribed to. Source: guess.
const PLACES_FOR_EACH: usize = 2;
/// More of them for every site. Source: guess; each site needs one way here.
const PLACES_FOR_ALL: usize = 16;
/// Contacts of machines of other sites that are remembered at least: most are full and refuse, and
/// among them must be some of the site that is looked for. Source: guess, 40 kB.
const CONTACTS_OF_OTHERS: usize = 256;
/// Most neighbours of other sites. Source: with a full view of the own site and what stands above
/// both for a while, gossip serves them all.
const PLACES_MAX: usize = 24;
/// Most machines of other sites that are remembered as such. Source: guess, some 150 bytes each.
const FOREIGN_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use overlay::{Address, Message};

    use super::*;

    fn machine(n: u8) -> MachineId {
        MachineId::from_bytes([n; 32])
    }

    fn contact(n: u8) -> Contact {
        let address = Address::new(format!("/sim/{n}")).expect("short");
        Contact {
            machine: machine(n),
            addresses: vec![address],
        }
    }

    fn views(others: &[&str]) -> Views {
        let patterns = others.iter().map(|text| text.parse().expect("a pattern"));
        let interest = Interest::new(Some("hall-1".parse().expect("a name")), patterns);
        let interest = interest.expect("few patterns");
        let (config, rng) = (Config::default(), Rng::from_u64(1));
        Views::new(machine(0), &config, &interest, Recovered::default(), &rng)
    }

    fn hall_2() -> SeriesName {
        "hall-2".parse().expect("a name")
    }

    fn outputs(views: &mut Views) -> Vec<Output> {
        std::iter::from_fn(|| views.poll_output()).collect()
    }

    #[test]
    fn a_machine_that_turns_out_to_be_of_another_site_takes_no_place_of_this_one() {
        let mut views = views(&[]);
        let now = Instant::ZERO;
        for n in 1..=9 {
            views.handle(now, Input::Discovered(contact(n)));
            views.link_up(now, machine(n), (n > 3).then(hall_2));
        }
        for n in 1..=9 {
            let accepted = Message::NeighbourReply { accepted: true };
            views.handle(now, Input::Received(machine(n), accepted));
        }

        let foreign = views.neighbours().filter(|m| *m > machine(3)).count();
        assert_eq!(foreign, PLACES_FOR_OTHERS);
        assert_eq!(views.neighbours().count(), 3 + foreign);
        assert_eq!(views.known_of_site(), 3);
        assert_eq!(
            views.contact(&machine(9)),
            Some(contact(9)),
            "known as before"
        );
    }

    #[test]
    fn where_there_is_one_site_the_other_overlay_does_nothing() {
        let mut views = views(&["hall-2"]);
        let now = Instant::ZERO;
        views.handle(now, Input::Discovered(contact(1)));
        views.link_up(now, machine(1), None);
        outputs(&mut views);
        let alone = views.site.next_deadline();

        assert!(views.others.next_deadline() <= alone);
        assert_eq!(views.next_deadline(), alone);
        views.handle_timeout(now + Duration::from_secs(60));
        assert_eq!(views.others.poll_output(), None);
    }

    #[test]
    fn who_moves_to_another_site_moves_to_the_other_overlay() {
        let mut views = views(&[]);
        let now = Instant::ZERO;
        views.handle(now, Input::Discovered(contact(1)));
        views.place(now, machine(1), Some(hall_2()));
        assert_eq!(
            (views.site.known(), views.others.known()),
            (0, 1),
            "its membership says so"
        );

        views.link_up(now, machine(1), None);

        assert_eq!((views.site.known(), views.others.known()), (1, 0));
    }

    #[test]
    fn whoever_subscribes_keeps_more_neighbours_of_other_sites_within_a_bound() {
        let places = |others: &[&str]| views(others).others;
        let limit = |others: &[&str]| {
            let patterns = others.iter().map(|text| text.parse().expect("a pattern"));
            places_for_others(&Interest::new(None, patterns).expect("few patterns"))
        };

        assert_eq!(places(&[]).known(), 0);
        assert_eq!(limit(&[]), PLACES_FOR_OTHERS);
        assert_eq!(limit(&["hall-2"]), PLACES_FOR_OTHERS + PLACES_FOR_EACH);
        assert!(limit(&["*", "hall-2", "hall-3", "hall-4", "hall-5", "hall-6"]) <= PLACES_MAX);
    }
}
