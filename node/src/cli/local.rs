//! Commands that need no running node: keys, memberships, configuration, completions.

use std::collections::BTreeSet;
use std::io::{self, Write};

use clap::CommandFactory as _;
use serde_json::{Value as Json, json};

use super::args::{AdmitArgs, CheckArgs, Cli, CompletionsArgs, InitArgs, OperatorArgs, Output};
use super::failure::{Failure, Kind};
use super::mesh::print_json;
use super::render::escape;
use crate::{config, keys};

/// `fieldmesh network create`
pub(crate) fn create(
    args: &OperatorArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let network = keys::network_create(&args.dir).map_err(failed)?;
    let dir = args.dir.display();
    let text = format!(
        "Made network {network}.\n\
         Keep {dir}/{} off the machines and back it up: whoever has it can admit machines.\n\
         Every machine gets {dir}/{} and {dir}/{}.",
        keys::OPERATOR_KEY_FILE,
        keys::NETWORK_KEY_FILE,
        keys::OPERATOR_FILE,
    );
    let fields = json!({ "network": network.to_string(), "dir": args.dir });
    Ok(print(output, &fields, &text, out)?)
}

/// `fieldmesh network admit`
pub(crate) fn admit(args: AdmitArgs, output: Output, out: &mut impl Write) -> Result<(), Failure> {
    let dir = args.operator.dir;
    let file = format!("{}.{}", args.name, keys::MEMBERSHIP_FILE);
    let path = args.out.unwrap_or_else(|| dir.join(file));
    let admission = keys::Admission {
        machine: args.machine,
        name: args.name,
        site: args.site,
        roles: args.roles.into_iter().collect::<BTreeSet<_>>(),
        commands: args.commands,
        lifetime: args.valid,
    };
    let membership = keys::network_admit(&dir, admission).map_err(failed)?;
    keys::write_membership(&path, &membership).map_err(failed)?;
    let text = format!(
        "Wrote {}; put it onto machine {} as its `{}`.",
        path.display(),
        args.machine,
        keys::MEMBERSHIP_FILE
    );
    let fields = json!({ "machine_id": args.machine.to_string(), "membership": path });
    Ok(print(output, &fields, &text, out)?)
}

/// `fieldmesh network show`
pub(crate) fn show(
    args: &OperatorArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let trust = keys::network_show(&args.dir).map_err(failed)?;
    let (network, operator) = (trust.network(), trust.operator());
    let text = format!("network   {network}\noperator  {operator}");
    let fields = json!({ "network": network.to_string(), "operator": operator.to_string() });
    Ok(print(output, &fields, &text, out)?)
}

/// `fieldmesh init`
pub(crate) fn init(args: &InitArgs, output: Output, out: &mut impl Write) -> Result<(), Failure> {
    let machine = keys::init(&args.dir).map_err(failed)?;
    let fields = json!({ "machine_id": machine.to_string(), "dir": args.dir });
    Ok(print(output, &fields, &machine.to_string(), out)?)
}

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

fn print(output: Output, fields: &Json, text: &str, out: &mut impl Write) -> io::Result<()> {
    match output {
        Output::Json => print_json(out, fields),
        Output::Table => writeln!(out, "{text}"),
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::new(
        Kind::Failed,
        escape(&format!("{:#}", anyhow::Error::new(error))),
    )
}
