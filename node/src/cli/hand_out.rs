//! `fieldmesh network renew` and `rotate-key`: what the operator gives to machines that run.

use std::collections::BTreeSet;
use std::io::Write;

use identity::Membership;
use model::MachineId;
use proto::v1 as pb;
use serde_json::json;

use super::args::Output;
use super::client::Client;
use super::failure::{Failure, Kind};
use super::local::{failed, print};
use super::mesh::print_json;
use super::network::push_state;
use super::network_args::{RenewArgs, RotateKeyArgs};
use super::render::escape;
use crate::operator::Operator;
use crate::{clock, keys};

/// `fieldmesh network renew`
pub(crate) async fn renew(
    args: RenewArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let operator = Operator::open(&args.operator.dir).map_err(failed)?;
    let mut client = Client::connect(args.node).await?;
    let mut members = members(&mut client, &operator).await?;
    members.retain(|member| member.issuer() == operator.trust().operator());
    let soon = clock::wall_time().saturating_add(args.within);
    if args.machines.is_empty() {
        members.retain(|member| member.grant().not_after < soon);
    } else {
        members = named(&members, &args.machines)?;
    }
    for membership in &members {
        let (renewed, state) = operator.renew(membership, args.valid).map_err(failed)?;
        let grant = renewed.grant();
        let file = format!("{}.{}", grant.name, keys::MEMBERSHIP_FILE);
        let path = args.operator.dir.join(file);
        keys::write_membership(&path, &renewed).map_err(failed)?;
        push_state(&mut client, &state).await?;
        let (name, until) = (escape(&grant.name), grant.not_after);
        match output {
            Output::Json => print_json(
                out,
                &json!({
                    "machine_id": grant.machine.to_string(), "name": grant.name,
                    "not_after": until.to_string(), "membership": path,
                }),
            )?,
            Output::Table => writeln!(out, "{name} is a member until {until}.")?,
        }
    }
    if members.is_empty() && output == Output::Table {
        writeln!(out, "No membership by the operator ends before {soon}.")?;
    }
    Ok(())
}

/// `fieldmesh network rotate-key`
pub(crate) async fn rotate_key(
    args: RotateKeyArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let operator = Operator::open(&args.operator.dir).map_err(failed)?;
    let mut client = Client::connect(args.node).await?;
    let members = members(&mut client, &operator).await?;
    let members: BTreeSet<MachineId> = members.iter().map(Membership::machine).collect();
    let rotation = operator.rotate_key(&members).map_err(failed)?;
    for state in &rotation.sealed {
        push_state(&mut client, state).await?;
    }
    let (epoch, count) = (rotation.epoch.0, rotation.sealed.len());
    let (dir, file) = (args.operator.dir.display(), rotation.file.display());
    let text = format!(
        "Network key {epoch} is on its way to {count} machines, sealed to each of them.\n\
         If this node loses it before others have it: `fieldmesh network push {file}`.\n\
         Machines that are admitted from now on get {dir}/{}.\n\
         A machine that was away finds its way back with the key before; another `rotate-key` ends that.",
        keys::NETWORK_KEY_FILE,
    );
    let fields = json!({ "epoch": epoch, "machines": count, "file": rotation.file });
    Ok(print(output, &fields, &text, out)?)
}

/// Everyone who is a member and was not thrown out, neither by what the node knows nor by what the
/// operator has signed. The node's word counts only as far as the memberships prove it.
async fn members(client: &mut Client, operator: &Operator) -> Result<Vec<Membership>, Failure> {
    let answer = client.admin.list_members(pb::ListMembersRequest {}).await;
    let answer = answer.map_err(|status| client.failure(&status))?;
    let revoked = operator.revoked().map_err(failed)?;
    let mut members = Vec::new();
    for member in answer.into_inner().members {
        let membership = operator.trust().read(member.membership.into());
        let membership = membership.map_err(failed)?;
        let is_out = member.revoked
            || revoked.contains(&membership.machine())
            || revoked.contains(&membership.issuer());
        if !is_out {
            members.push(membership);
        }
    }
    Ok(members)
}

/// Those of the members that were named, by name or id.
fn named(members: &[Membership], names: &[String]) -> Result<Vec<Membership>, Failure> {
    let find = |text: &String| {
        let mut all = members.iter();
        let is_meant = |member: &&Membership| {
            member.grant().name == *text || member.machine().to_string() == *text
        };
        let found = all.find(is_meant).cloned();
        found.ok_or_else(|| {
            let text = escape(text);
            let why = format!(
                "{text} has no membership by the operator that counts; see `fieldmesh network members`"
            );
            Failure::new(Kind::Failed, why)
        })
    };
    names.iter().map(find).collect()
}
