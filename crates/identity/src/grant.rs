//! What a membership says: who, where, what it may do, and what it may grant to others.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{MachineId, NameError, SeriesName, Timestamp};

use crate::{CredentialError, pattern};

/// What a machine may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Be the origin of readings.
    Publish = 1,
    /// Be a candidate, and forward to the internet.
    Relay = 2,
    /// Send commands.
    Command = 3,
    /// Read what others published.
    Observe = 4,
    /// Admit others, within limits.
    Admit = 5,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::Publish,
        Self::Relay,
        Self::Command,
        Self::Observe,
        Self::Admit,
    ];

    /// Its name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Relay => "relay",
            Self::Command => "command",
            Self::Observe => "observe",
            Self::Admit => "admit",
        }
    }

    /// The role with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What a membership says. Signed over the bytes as carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The machine.
    pub machine: MachineId,
    /// Its display name; characters as in one level of a series name.
    pub name: String,
    /// Its site; characters as in one level of a series name.
    pub site: String,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// Names of commands that it may send, as patterns; at most [`Grant::COMMANDS_MAX`].
    pub commands: Vec<String>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until, exclusive.
    pub not_after: Timestamp,
    /// With the role `admit`: what it may grant. Without it, an admitter can admit nobody.
    pub delegation: Option<Delegation>,
}

/// What an admitter may grant to machines of its own site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegation {
    /// The roles; never `admit`, so that a chain ends here.
    pub roles: BTreeSet<Role>,
    /// The commands, as patterns; at most [`Grant::COMMANDS_MAX`].
    pub commands: Vec<String>,
    /// How long a membership may be valid at most, inside the admitter's own window. Whole seconds.
    pub lifetime: Duration,
}

impl Grant {
    /// Longest display name of a machine or a site. Unit: bytes. Source: DNS labels, RFC 1035.
    pub const NAME_BYTES_MAX: usize = 63;
    /// Most patterns of commands. Source: guess.
    pub const COMMANDS_MAX: usize = 32;
    /// Longest pattern of a command. Unit: bytes. Source: guess.
    pub const COMMAND_BYTES_MAX: usize = 128;

    /// Whether the machine may take others in.
    #[must_use]
    pub fn may_admit(&self) -> bool {
        self.roles.contains(&Role::Admit) && self.delegation.is_some()
    }

    pub(crate) fn check(&self) -> Result<(), CredentialError> {
        check_name("the machine's name", &self.name)?;
        check_name("the site's name", &self.site)?;
        check_commands(&self.commands)?;
        if self.not_before >= self.not_after {
            return Err(CredentialError::Malformed(
                "a window that ends before it starts",
            ));
        }
        let Some(delegation) = &self.delegation else {
            return Ok(());
        };
        check_commands(&delegation.commands)?;
        if !self.roles.contains(&Role::Admit) {
            return Err(CredentialError::Malformed(
                "what may be granted, without the role admit",
            ));
        }
        check_not_admit(&delegation.roles)
    }
}

impl Delegation {
    /// Whether an admitter with this grant may give these roles and commands at this site.
    pub(crate) fn check(
        admitter: &Grant,
        site: &str,
        roles: &BTreeSet<Role>,
        commands: &[String],
        lifetime: Duration,
    ) -> Result<(), CredentialError> {
        let Some(delegation) = (admitter.delegation.as_ref()).filter(|_| admitter.may_admit())
        else {
            return Err(CredentialError::NotAdmitter);
        };
        let exceeds = |what| Err(CredentialError::BeyondDelegation(what));
        if site != admitter.site {
            return exceeds("another site");
        }
        if !roles.is_subset(&delegation.roles) {
            return exceeds("roles");
        }
        let covered = |command: &String| {
            let mut broad = delegation.commands.iter();
            broad.any(|broad| pattern::covers(broad, command))
        };
        if !commands.iter().all(covered) {
            return exceeds("commands");
        }
        if lifetime > delegation.lifetime {
            return exceeds("lifetime");
        }
        Ok(())
    }
}

/// Nobody but the operator makes admitters.
pub(crate) fn check_not_admit(roles: &BTreeSet<Role>) -> Result<(), CredentialError> {
    match roles.contains(&Role::Admit) {
        true => Err(CredentialError::BeyondDelegation("the role admit")),
        false => Ok(()),
    }
}

pub(crate) fn check_commands(commands: &[String]) -> Result<(), CredentialError> {
    if commands.len() > Grant::COMMANDS_MAX {
        return Err(CredentialError::Malformed("more than 32 command patterns"));
    }
    let refused = |c: char| c.is_control() || c.is_whitespace();
    let is_command = |command: &String| {
        (1..=Grant::COMMAND_BYTES_MAX).contains(&command.len()) && !command.contains(refused)
    };
    if !commands.iter().all(is_command) {
        return Err(CredentialError::Malformed("a command pattern"));
    }
    Ok(())
}

pub(crate) fn check_name(what: &'static str, text: &str) -> Result<(), CredentialError> {
    let refused = |source| CredentialError::Name { what, source };
    if text.len() > Grant::NAME_BYTES_MAX {
        return Err(refused(NameError::TooLong {
            what: "name",
            length: text.len(),
            limit: Grant::NAME_BYTES_MAX,
        }));
    }
    if text.contains('/') {
        return Err(refused(NameError::Character {
            what: "name",
            character: '/',
        }));
    }
    text.parse::<SeriesName>().map(|_| ()).map_err(refused)
}

/// Roles as numbers; one that is not known here grants nothing here.
pub(crate) fn roles_of(numbers: &[u32]) -> BTreeSet<Role> {
    let is_known = |role: &Role| numbers.contains(&(*role as u32));
    Role::ALL.into_iter().filter(is_known).collect()
}

pub(crate) fn numbers_of(roles: &BTreeSet<Role>) -> Vec<u32> {
    roles.iter().map(|role| *role as u32).collect()
}
