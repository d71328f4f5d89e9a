//! The readings that a testnet replays by default, and where they come from.

use std::path::Path;

use anyhow::Context as _;

/// Two wind turbines at La Haute Borne, France, January to June 2014: ten-minute averages.
/// Source: ENGIE, open data under the Etalab Open Licence 2.0; see `data/README.md`.
pub const TURBINES: &[u8] = include_bytes!("../data/la_haute_borne_2014h1.csv.gz");

/// The machines in [`TURBINES`].
pub const TURBINE_MACHINES: [&str; 2] = ["R80711", "R80721"];

/// Units of the columns of [`TURBINES`], as UCUM codes.
pub const TURBINE_UNITS: [(&str, &str); 7] = [
    ("pitch_angle", "deg"),
    ("active_power", "kW"),
    ("wind_speed", "m/s"),
    ("vane_position", "deg"),
    ("outdoor_temperature", "Cel"),
    ("nacelle_angle", "deg"),
    ("wind_direction", "deg"),
];

/// Writes the turbines' readings to a file, for nodes to replay.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_turbines(path: &Path) -> anyhow::Result<()> {
    std::fs::write(path, TURBINES).with_context(|| format!("cannot write {}", path.display()))
}
