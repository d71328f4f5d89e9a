//! What the audit log is told.

use model::MachineId;

use crate::{CommandId, CommandName, Status};

/// One attempt at a command that has been decided or has ended, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Who tells it.
    pub side: Side,
    /// The machine on the other side.
    pub peer: MachineId,
    /// Which command.
    pub id: CommandId,
    /// What it is called; `None` if a crash left nothing but the id.
    pub name: Option<CommandName>,
    /// It had come before, and was answered from what is kept.
    pub repeated: bool,
    /// How it ended.
    pub status: Status,
}

/// Who tells of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The machine that sent the command.
    Caller,
    /// The machine that was to carry it out.
    Target,
}
