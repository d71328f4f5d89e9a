//! Handlers: who serves which command, whose turn it is, and what runs.

use std::collections::{BTreeMap, VecDeque};

use crate::{CallKey, Code, CommandName, HandlerId, Offer, RunId, Status};

#[derive(Debug)]
struct Handler {
    concurrent: usize,
    running: usize,
    /// Commands whose turn has not come, oldest first.
    queue: VecDeque<CallKey>,
}

/// The handlers of this machine.
#[derive(Debug, Default)]
pub(crate) struct Handlers {
    handlers: BTreeMap<HandlerId, Handler>,
    served: BTreeMap<CommandName, (HandlerId, bool)>,
    runs: BTreeMap<RunId, (HandlerId, CallKey)>,
    last: u64,
}

impl Handlers {
    pub(crate) fn add(&mut self, handler: HandlerId, offer: Offer) -> Result<(), Status> {
        if self.handlers.len() >= HANDLERS_MAX
            || self.served.len() + offer.commands.len() > SERVED_MAX
        {
            let message = "this machine serves as many programs and commands as it can";
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        let mut names = offer.commands.iter().map(|(name, _)| name);
        if let Some(name) = names.find(|name| self.served.contains_key(*name)) {
            let message = format!("another program serves {name} already; stop it first");
            return Err(Status::new(Code::AlreadyExists, message));
        }
        for (name, is_safe) in offer.commands {
            self.served.insert(name, (handler, is_safe));
        }
        let concurrent = usize::from(offer.concurrent.max(1));
        self.handlers.insert(
            handler,
            Handler {
                concurrent,
                running: 0,
                queue: VecDeque::new(),
            },
        );
        Ok(())
    }

    /// Takes a handler out; returns what it was running, and what waited for it.
    pub(crate) fn remove(&mut self, handler: HandlerId) -> Option<(Vec<CallKey>, Vec<CallKey>)> {
        let removed = self.handlers.remove(&handler)?;
        self.served
            .retain(|_, (served_by, _)| *served_by != handler);
        let runs = self.runs.iter().filter(|(_, (by, _))| *by == handler);
        let runs: Vec<(RunId, CallKey)> = runs.map(|(run, (_, key))| (*run, *key)).collect();
        for (run, _) in &runs {
            self.runs.remove(run);
        }
        let running = runs.into_iter().map(|(_, key)| key).collect();
        Some((running, removed.queue.into()))
    }

    /// Who serves a command, and whether it changes nothing.
    pub(crate) fn find(&self, name: &CommandName) -> Option<(HandlerId, bool)> {
        self.served.get(name).copied()
    }

    /// Queues a command; `false` if the handler is gone. Bounded by the commands that are active.
    pub(crate) fn queue(&mut self, handler: HandlerId, key: CallKey) -> bool {
        let Some(handler) = self.handlers.get_mut(&handler) else {
            return false;
        };
        handler.queue.push_back(key);
        true
    }

    /// How many commands wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.handlers.values().map(|h| h.queue.len()).sum()
    }

    /// A command ended before its turn came.
    pub(crate) fn unqueue(&mut self, handler: HandlerId, key: &CallKey) {
        if let Some(handler) = self.handlers.get_mut(&handler) {
            handler.queue.retain(|queued| queued != key);
        }
    }

    /// The next command of a handler that has a turn free, under a new run.
    pub(crate) fn take_turn(&mut self, handler: HandlerId) -> Option<(RunId, CallKey)> {
        let waiting = self.handlers.get_mut(&handler)?;
        if waiting.running >= waiting.concurrent {
            return None;
        }
        let key = waiting.queue.pop_front()?;
        waiting.running += 1;
        self.last += 1;
        let run = RunId(self.last);
        self.runs.insert(run, (handler, key));
        Some((run, key))
    }

    /// What a run carries out, while it does.
    pub(crate) fn run(&self, run: RunId) -> Option<(HandlerId, CallKey)> {
        self.runs.get(&run).copied()
    }

    pub(crate) fn end_turn(&mut self, run: RunId) {
        if let Some((handler, _)) = self.runs.remove(&run)
            && let Some(handler) = self.handlers.get_mut(&handler)
        {
            handler.running -= 1;
        }
    }
}

/// Most handlers of one machine. Source: guess.
const HANDLERS_MAX: usize = 64;
/// Most names that all handlers serve. Source: guess.
const SERVED_MAX: usize = 1_024;
