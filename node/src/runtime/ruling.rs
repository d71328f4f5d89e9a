//! Rules and alarms in the loop: what they hear, what they publish, and what is said of them.

use std::path::Path;

use engine::{Node, PublishError, Published, RequestId};
use model::{Block, NewReading, State};
use proto::v1 as pb;
use statemachine::StateMachine as _;
use store::Store;

use super::Runtime;
use crate::audit::{Kind, Record};
use crate::backend::RulesRequest;
use crate::clock::{self, Monotonic};
use crate::commands;
use crate::rules::{Acts, Alarm, AlarmId, AlarmState, RuleDesk};
use crate::view::View;

impl RuleDesk {
    /// The rules of a configuration, with what is held of the series that they listen to.
    #[must_use]
    pub fn start(
        node: &Node,
        clock: &Monotonic,
        directory: &Path,
        rules: Vec<rule::Rule>,
        store: &Store,
        view: &View,
    ) -> Self {
        let (now, wall) = (clock.now(), clock::wall_time());
        let mut desk = Self::open(node.machine(), directory);
        desk.tell_wall_clock(now, wall);
        desk.load(now, rules, node.catalogue());
        desk.recall(now, wall, store, view);
        desk
    }
}

impl Runtime {
    /// Does what the rules ask for; `false` if that was nothing for the node.
    pub(super) fn perform_rules(&mut self) -> bool {
        let Acts { stopped, orders } = self.rules.perform();
        for rule in stopped {
            let machine = self.node.machine();
            let record = Record::new(clock::wall_time(), Kind::RuleStopped, machine, rule);
            self.record(Some(record.failed("part of a circle of rules")));
        }
        let mut has_asked = !orders.is_empty();
        for (rule, order) in orders {
            self.send_for_rule(rule, order);
        }
        while let Some(input) = self.rules.outbox.ask(RequestId(self.request.0 + 1)) {
            self.request.0 += 1;
            has_asked = true;
            self.node.handle(self.clock.now(), input);
        }
        has_asked
    }

    pub(super) fn rules_on_block(&mut self, block: &Block) {
        self.rules.on_block(self.clock.now(), block);
    }

    pub(super) fn rules_on_state(&mut self, state: &State) {
        let now = self.clock.now();
        self.rules.on_state(now, state, self.node.catalogue());
    }

    /// Whether it was the rules that had published that.
    pub(super) fn rules_on_reply(
        &mut self,
        request: RequestId,
        result: &Result<Published, PublishError>,
    ) -> bool {
        self.rules.outbox.on_reply(request, result)
    }

    /// Puts rules in the place of those before.
    pub(super) fn load_rules(&mut self, rules: Vec<rule::Rule>) {
        let record = Record::new(
            clock::wall_time(),
            Kind::RulesLoaded,
            crate::audit::ADMINISTRATOR,
            self.node.machine(),
        );
        self.record(Some(record.with(format!("{} rules", rules.len()))));
        tracing::info!(rules = rules.len(), "rules were loaded");
        let now = self.clock.now();
        self.rules.load(now, rules, self.node.catalogue());
    }

    pub(super) fn on_rules_request(&mut self, request: RulesRequest) {
        match request {
            RulesRequest::List(reply) => _ = reply.send(self.list_rules()),
            RulesRequest::Alarms { all, reply } => _ = reply.send(self.list_alarms(all)),
            RulesRequest::Acknowledge {
                machine,
                name,
                reply,
            } => _ = reply.send(self.acknowledge(&machine, name)),
        }
    }

    /// The reading that acknowledges an alarm.
    fn acknowledge(&self, machine: &str, name: String) -> Result<NewReading, String> {
        let id = (commands::find_anyone(&self.node, machine)?, name);
        let reading = self.rules.alarms.acknowledge(&id, clock::wall_time());
        reading.ok_or_else(|| {
            let (machine, name) = (self.node.catalogue().name(&id.0), &id.1);
            format!("{machine} has no alarm {name} that was raised; see the list")
        })
    }

    fn list_rules(&self) -> pb::ListRulesResponse {
        let rules = self.rules.states().map(|state| {
            let draft = state.rule.draft();
            pb::Rule {
                name: draft.name.clone(),
                when: draft.when.clone().unwrap_or_default(),
                action: draft.action.kind().to_owned(),
                dry_run: draft.dry_run,
                active: state.is_active,
                blind: state.is_blind,
                stopped: state.is_stopped,
                acted: state.acted_at.map(api::to_timestamp),
            }
        });
        pb::ListRulesResponse {
            rules: rules.collect(),
        }
    }

    fn list_alarms(&self, all: bool) -> pb::ListAlarmsResponse {
        let catalogue = self.node.catalogue();
        let alarm = |((machine, name), alarm): (&AlarmId, &Alarm)| {
            let given = alarm.acknowledgement();
            let label = |wanted: &str| {
                let mut labels = alarm.series.labels.iter();
                let label = labels.find(|(key, _)| *key == wanted);
                label.map(|(_, text)| text.to_owned()).unwrap_or_default()
            };
            let state = match alarm.state {
                AlarmState::Raised => pb::AlarmState::Raised,
                AlarmState::Cleared => pb::AlarmState::Cleared,
                AlarmState::Unknown => pb::AlarmState::Unknown,
            };
            pb::Alarm {
                machine_id: machine.to_string(),
                machine: catalogue.name(machine),
                name: name.clone(),
                priority: label("priority"),
                text: label("text"),
                state: state.into(),
                raised: alarm.raised.map(api::to_timestamp),
                changed: Some(api::to_timestamp(alarm.changed)),
                acknowledged: given.map(|given| api::to_timestamp(given.time)),
                acknowledged_by: given
                    .map(|given| catalogue.name(&given.by))
                    .unwrap_or_default(),
            }
        };
        pb::ListAlarmsResponse {
            alarms: self.rules.alarms.alarms(all).map(alarm).collect(),
        }
    }
}
