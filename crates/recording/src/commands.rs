//! What a node is told about commands, as plain data and back.

use std::time::Duration;

use bytes::Bytes;
use command::{
    Argument, Call, CallId, Code, CommandId, CommandName, HandlerId, Lineage, Offer, RunId, Status,
};
use engine::CommandInput;
use serde::{Deserialize, Serialize};

use crate::error::{Damaged, Unrecordable};
use crate::plain::{self, PlainMachine};
use crate::settings::{PlainPolicy, of_policy, policy};

/// A [`CommandInput`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum PlainCommand {
    Call(u64, PlainCall),
    Post(u64, PlainCall),
    Abandon(u64),
    HandlerUp(u64, Vec<(String, bool)>, u16),
    HandlerDown(u64),
    Item(u64, Bytes),
    Ended(u64, u8, String),
    Policy(PlainPolicy),
}

/// A [`Call`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlainCall {
    target: PlainMachine,
    id: [u8; 16],
    is_repeat: bool,
    name: String,
    argument: Bytes,
    lineage: Vec<u32>,
    deadline: Duration,
}

impl PlainCommand {
    pub(crate) fn of(input: &CommandInput) -> Result<Self, Unrecordable> {
        let name = |(name, safe): &(CommandName, bool)| (name.to_string(), *safe);
        Ok(match input {
            CommandInput::Call(id, call) => Self::Call(id.0, PlainCall::of(call)?),
            CommandInput::Post(id, call) => Self::Post(id.0, PlainCall::of(call)?),
            CommandInput::Abandon(id) => Self::Abandon(id.0),
            CommandInput::HandlerUp(id, offer) => {
                let commands = offer.commands.iter().map(name).collect();
                Self::HandlerUp(id.0, commands, offer.concurrent)
            }
            CommandInput::HandlerDown(id) => Self::HandlerDown(id.0),
            CommandInput::Item(id, value) => Self::Item(id.0, value.encode()?),
            CommandInput::Ended(id, status) => {
                Self::Ended(id.0, status.code.number(), status.message.clone())
            }
            CommandInput::Policy(policy) => Self::Policy(of_policy(policy)),
        })
    }

    pub(crate) fn into_input(self) -> Result<CommandInput, Damaged> {
        let name = |(text, safe): (String, bool)| Ok((name(&text)?, safe));
        Ok(match self {
            Self::Call(id, call) => CommandInput::Call(CallId(id), call.into_call()?),
            Self::Post(id, call) => CommandInput::Post(CallId(id), call.into_call()?),
            Self::Abandon(id) => CommandInput::Abandon(CallId(id)),
            Self::HandlerUp(id, commands, concurrent) => {
                let commands = commands.into_iter().map(name);
                let offer = Offer {
                    commands: commands.collect::<Result<_, Damaged>>()?,
                    concurrent,
                };
                CommandInput::HandlerUp(HandlerId(id), offer)
            }
            Self::HandlerDown(id) => CommandInput::HandlerDown(HandlerId(id)),
            Self::Item(id, value) => CommandInput::Item(RunId(id), argument(&value)?),
            Self::Ended(id, code, message) => {
                let code = Code::from_number(code.into()).ok_or(Damaged("a status"))?;
                CommandInput::Ended(RunId(id), Status::new(code, message))
            }
            Self::Policy(plain) => CommandInput::Policy(policy(plain)?),
        })
    }
}

impl PlainCall {
    fn of(call: &Call) -> Result<Self, Unrecordable> {
        Ok(Self {
            target: plain::of_machine(call.target),
            id: call.id.to_bytes(),
            is_repeat: call.is_repeat,
            name: call.name.to_string(),
            argument: call.argument.encode()?,
            lineage: call.lineage.rules().to_vec(),
            deadline: call.deadline,
        })
    }

    fn into_call(self) -> Result<Call, Damaged> {
        Ok(Call {
            target: plain::machine(self.target),
            id: CommandId::from_bytes(self.id),
            is_repeat: self.is_repeat,
            name: name(&self.name)?,
            argument: argument(&self.argument)?,
            lineage: Lineage::new(self.lineage).ok_or(Damaged("a lineage"))?,
            deadline: self.deadline,
        })
    }
}

fn name(text: &str) -> Result<CommandName, Damaged> {
    text.parse().map_err(|_| Damaged("the name of a command"))
}

fn argument(bytes: &[u8]) -> Result<Argument, Damaged> {
    Argument::decode(bytes).map_err(|_| Damaged("a value of a command"))
}
