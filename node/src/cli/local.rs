//! Commands that need no running node: configuration, completions.

use std::io::{self, Write};

use clap::CommandFactory as _;
use serde_json::Value as Json;

use super::args::{CheckArgs, Cli, CompletionsArgs, Output};
use super::failure::{Failure, Kind};
use super::mesh::print_json;
use super::render::escape;
use crate::config;

/// `fieldmesh config default`
pub(crate) fn print_default(out: &mut impl Write) -> Result<(), Failure> {
    Ok(out.write_all(config::DEFAULT.as_bytes())?)
}

/// `fieldmesh config check`
pub(crate) fn check(args: &CheckArgs, out: &mut impl Write) -> Result<(), Failure> {
    config::load(&args.file).map_err(failed)?;
    Ok(writeln!(out, "{} is in order", args.file.display())?)
}

/// `fieldmesh completions`
pub(crate) fn completions(args: &CompletionsArgs, out: &mut impl Write) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fieldmesh", &mut script);
    Ok(out.write_all(&script)?)
}

pub(crate) fn print(
    output: Output,
    fields: &Json,
    text: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    match output {
        Output::Json => print_json(out, fields),
        Output::Table => writeln!(out, "{text}"),
    }
}

pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(
        Kind::Failed,
        escape(&format!("{:#}", anyhow::Error::new(error))),
    )
}
