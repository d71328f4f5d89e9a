//! What the seed draws of a site beside its faults: settings within their legal ranges, machine by
//! machine, and whom each finds by itself.

use std::time::Duration;

use engine::Config;
use statemachine::Rng;

use crate::network::Weather;
use crate::scenario::{Discovery, Plan};
use crate::world::{Event, World};

/// Settings of one machine, anywhere within the ranges in which a site must work.
pub(crate) fn settings(usual: Config, rng: &mut Rng) -> Config {
    let mut between = |least: u64, most: u64| least + rng.below(most - least + 1);
    let mut config = usual;
    config.overlay.active_max = usize::try_from(between(2, 6)).unwrap_or(2);
    config.overlay.passive_max = usize::try_from(between(8, 64)).unwrap_or(8);
    config.overlay.shuffle_interval = Duration::from_millis(between(500, 20_000));
    config.gossip.announce_interval = Duration::from_millis(between(1, 300));
    config.gossip.graft_timeout = Duration::from_millis(between(50, 1_500));
    config.gossip.want_timeout = Duration::from_millis(between(300, 3_000));
    config.gossip.want_bytes_max = usize::try_from(between(1, 1_024 * 1_024)).unwrap_or(1);
    config.gather = Duration::from_millis(between(0, 50));
    config.watermark_delay = Duration::from_millis(between(0, 1_000));
    config.presence_interval = Duration::from_millis(between(1_000, 30_000));
    config.recovery = Duration::from_millis(between(100, 2_000));
    config
}

/// Whom machines find by themselves.
pub(crate) fn discovery(rng: &mut Rng) -> Discovery {
    let kinds = [Discovery::Segment, Discovery::Bootstrap, Discovery::Line];
    rng.choose(&kinds).copied().unwrap_or(Discovery::Segment)
}

/// How good the network is; where the seed draws, what is lost may be lost in one direction only.
pub(crate) fn weather(plan: &Plan, rng: &mut Rng) -> Weather {
    Weather {
        is_one_way: plan.is_varied && rng.chance(500),
        ..plan.weather
    }
}

impl World {
    /// A machine finds others.
    pub(crate) fn discover(&mut self, machine: usize) {
        let life = self.machines[machine].life;
        let (count, again) = match self.discovery {
            Discovery::Segment => (FOUND, DISCOVER_INTERVAL),
            Discovery::Bootstrap | Discovery::Line => (1, REDIAL_INTERVAL),
        };
        for number in 0..count {
            let found = match self.discovery {
                Discovery::Segment => {
                    // The next one is among them, so that nobody is left out for good.
                    let next = (machine + 1) % self.site.len();
                    let any = self.faults.index(self.site.len()).unwrap_or(0);
                    let found = if number == 0 { next } else { any };
                    let found = self.on_segment_of(machine, found);
                    self.insiders.found_by(machine).unwrap_or(found)
                }
                Discovery::Bootstrap => 0,
                Discovery::Line => machine.saturating_sub(1),
            };
            if found != machine && self.network.meets(machine, found) {
                let contact = self.site.contact(found);
                self.input(machine, engine::Input::Discovered(contact));
            }
        }
        if self.plan.discovers_again {
            self.after(again, Event::Discover(machine, life));
        }
    }
}

impl World {
    /// Whom a machine finds in the place of another one: a site is a segment, and now and then
    /// somebody of another one is named by an address in the settings.
    fn on_segment_of(&mut self, machine: usize, found: usize) -> usize {
        let sites = self.site.sites();
        if sites.are_together(machine, found) || self.faults.chance(FOREIGN_PERMILLE) {
            return found;
        }
        let near = found - sites.of(found) + sites.of(machine);
        if near < self.site.len() {
            near
        } else {
            machine
        }
    }
}

/// How often multicast discovery finds somebody.
const DISCOVER_INTERVAL: Duration = Duration::from_secs(20);
/// How many it finds.
const FOUND: usize = 3;
/// How often whoever is found may be of another site. Unit: per mille.
const FOREIGN_PERMILLE: u32 = 200;
/// How often an address in the settings is tried. Source: guess, as `swarm` has.
const REDIAL_INTERVAL: Duration = Duration::from_secs(5);
