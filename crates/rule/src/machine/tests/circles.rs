//! Rules on several machines that feed each other.

use super::*;

fn derive(name: &str, from: &str) -> Draft {
    Draft {
        name: name.to_owned(),
        when: None,
        ..with_action(DraftAction::Derive {
            series: name.to_owned(),
            unit: String::new(),
            value: format!("last(\"*:{from}\") + 1.0"),
            safe: None,
        })
    }
}

/// Machines, each with one rule, all of which hear what each derives.
struct Site {
    machines: Vec<Probe<Rules>>,
    /// Series in the order in which they were derived first.
    known: Vec<Arc<SeriesDefinition>>,
    readings: usize,
}

impl Site {
    fn new(drafts: Vec<Draft>) -> Self {
        let machines = (10..).zip(drafts).map(|(n, draft)| {
            let machine = MachineId::from_bytes([n; 32]);
            let mut probe = Probe::new(Rules::new(machine, Recovered::default()));
            probe.input(Input::WallClock(start()));
            probe.input(Input::Rules(vec![rule(draft)]));
            probe
        });
        Self {
            machines: machines.collect(),
            known: Vec::new(),
            readings: 0,
        }
    }

    fn publish(&mut self, definition: &Arc<SeriesDefinition>, value: &Value) {
        self.readings += 1;
        let is_new = !self.known.contains(definition);
        if is_new {
            self.known.push(Arc::clone(definition));
        }
        let place = self.known.iter().position(|known| known == definition);
        let number = SeriesNumber(u32::try_from(place.expect("known")).expect("few"));
        for probe in &mut self.machines {
            if is_new {
                let key = (log(BOILER), number);
                probe.input(Input::Series(key, Arc::clone(definition), BTreeSet::new()));
            }
            let reading = Reading {
                series: number,
                time: start().saturating_add(probe.now().since(Instant::ZERO)),
                value: value.clone(),
                quality: Quality::GOOD,
            };
            probe.input(Input::Readings {
                log: log(BOILER),
                readings: vec![reading],
                is_past: false,
            });
        }
    }

    /// Lets the site talk until it is silent or has talked too long; returns what halted.
    fn settle(&mut self) -> Vec<String> {
        let mut halted = Vec::new();
        while self.readings < 1_000 {
            let said: Vec<Output> = self.machines.iter_mut().flat_map(Probe::take).collect();
            if said.is_empty() {
                break;
            }
            for output in said {
                match output {
                    Output::Publish(reading) => self.publish(&reading.series, &reading.value),
                    Output::Event(rule, Event::Circle) => halted.push(rule),
                    Output::Command { .. } | Output::Keep(_) | Output::Event(..) => {}
                }
            }
            for probe in &mut self.machines {
                probe.advance(6 * SECOND); // There are always acts left.
            }
        }
        halted
    }
}

#[test]
fn a_circle_over_two_machines_is_noticed_and_stopped() {
    let mut site = Site::new(vec![derive("a", "b"), derive("b", "a")]);

    site.publish(&definition("b", Labels::default()), &Value::F64(0.0));
    let halted = site.settle();

    assert_eq!(halted, ["a"]);
    assert!(site.readings < 10, "{} readings", site.readings);
}

#[test]
fn a_circle_over_five_machines_is_noticed_and_stopped() {
    let names = ["a", "b", "c", "d", "e"];
    let drafts = (0..5).map(|n| derive(names[n], names[(n + 4) % 5]));
    let mut site = Site::new(drafts.collect());

    site.publish(&definition("e", Labels::default()), &Value::F64(0.0));
    let halted = site.settle();

    assert_eq!(halted, ["a"]);
    assert!(site.readings < 20, "{} readings", site.readings);
}

#[test]
fn a_rule_that_feeds_itself_is_stopped() {
    let mut site = Site::new(vec![derive("a", "a")]);

    site.publish(&definition("a", Labels::default()), &Value::F64(0.0));

    assert_eq!(site.settle(), ["a"]);
}

#[test]
fn a_chain_of_rules_is_no_circle() {
    let chain = [derive("b", "a"), derive("c", "b"), derive("d", "c")];
    let mut site = Site::new(chain.into());

    site.publish(&definition("a", Labels::default()), &Value::F64(0.0));
    let halted = site.settle();

    assert!(halted.is_empty());
    assert_eq!(site.known.len(), 4);
}
