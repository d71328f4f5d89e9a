//! Configuration: read raw, checked once, then typed. Unknown keys stop the start.

mod check;
mod commands;
mod error;
mod rules;
mod settings;

use std::path::Path;

pub use check::{
    Configuration, CsvSource, HostSource, RetentionLimits, SourceConfig, UplinkTarget,
};
pub use commands::{AllowSettings, CommandsSettings, RangeSettings};
pub use error::ConfigError;
pub use rules::{
    RuleAlarmSettings, RuleCommandSettings, RuleDeriveSettings, RuleSettings, check_rules,
};
pub use settings::{
    ApiSettings, CostClass, ListenSettings, NetworkSettings, NodeSettings, OverlaySettings,
    Profile, ReadingsSettings, RelaysSettings, Settings, SourceSettings, StoreSettings,
    UplinkSettings, WhenSpent,
};

/// The documented defaults, as `fieldmesh config default` prints them.
pub const DEFAULT: &str = include_str!("default.toml");

/// Reads and checks a configuration file. Relative paths in it start at its directory.
///
/// # Errors
///
/// [`ConfigError`], which names the key and what to do.
pub fn load(path: &Path) -> Result<Configuration, ConfigError> {
    let text = read(path)?;
    let base = path.parent().unwrap_or_else(|| Path::new("."));
    let path = Some(path.to_owned());
    Ok(Configuration {
        path,
        ..parse(&text)?.check(base)?
    })
}

/// Reads and checks the rules of a file, which need not have anything else in it.
///
/// # Errors
///
/// [`ConfigError`], which names the rule and the place of the mistake.
pub fn load_rules(path: &Path) -> Result<Vec<rule::Rule>, ConfigError> {
    check_rules(&parse(&read(path)?)?.rule)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

/// Reads the text of a configuration file.
///
/// # Errors
///
/// [`ConfigError::Syntax`], with the line and, for an unknown key, the nearest known one.
pub fn parse(text: &str) -> Result<Settings, ConfigError> {
    toml::from_str(text).map_err(|error| ConfigError::syntax(&error))
}

#[cfg(test)]
mod tests;
