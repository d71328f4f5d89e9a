//! Configuration: read raw, checked once, then typed. Unknown keys stop the start.

mod check;
mod commands;
mod error;
mod settings;

use std::path::Path;

pub use check::{
    Configuration, CsvSource, HostSource, RetentionLimits, SourceConfig, UplinkTarget,
};
pub use commands::{AllowSettings, CommandsSettings, RangeSettings};
pub use error::ConfigError;
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
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let base = path.parent().unwrap_or_else(|| Path::new("."));
    let mut configuration = parse(&text)?.check(base)?;
    configuration.path = Some(path.to_owned());
    Ok(configuration)
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
