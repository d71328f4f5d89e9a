//! `fieldmesh network …` and `init`: keys and memberships, and what is pushed to running nodes.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use identity::{Delegation, FileKind, Membership, file};
use model::State;
use proto::v1::{self as pb, admit_request, revoke_request::How};
use serde_json::{Value as Json, json};

use super::args::{NodeArgs, Output};
use super::client::Client;
use super::failure::{Failure, Kind};
use super::local::{failed, print};
use super::mesh::print_json;
use super::network_args::{AdmitArgs, InitArgs, OperatorArgs, PushArgs, RevokeArgs, RightsArgs};
use super::render::{escape, time};
use super::table;
use crate::keys;
use crate::operator::{self, Admission, Operator, Role};

/// `fieldmesh network create`
pub(crate) fn create(
    args: &OperatorArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let network = Operator::create(&args.dir).map_err(failed)?;
    let dir = args.dir.display();
    let text = format!(
        "Made network {network}.\n\
         Keep {dir}/{} off the machines and back it up: whoever has it can admit machines.\n\
         Every machine gets {dir}/{} and {dir}/{}.",
        operator::OPERATOR_KEY_FILE,
        keys::NETWORK_KEY_FILE,
        keys::OPERATOR_FILE,
    );
    let fields = json!({ "network": network.to_string(), "dir": args.dir });
    Ok(print(output, &fields, &text, out)?)
}

/// `fieldmesh network admit`
pub(crate) async fn admit(
    args: AdmitArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let file = format!("{}.{}", args.name, keys::MEMBERSHIP_FILE);
    let path = args.out.clone();
    let path = path.unwrap_or_else(|| args.operator.dir.join(file));
    let machine = args.machine;
    let text = match args.delegated {
        true => file::write_membership_bytes(&admit_delegated(args).await?),
        false => file::write_membership(&admit_offline(args)?),
    };
    keys::replace(&path, text.as_bytes()).map_err(failed)?;
    let text = format!(
        "Wrote {}; put it onto machine {machine} as its `{}`.",
        path.display(),
        keys::MEMBERSHIP_FILE
    );
    let fields = json!({ "machine_id": machine.to_string(), "membership": path });
    Ok(print(output, &fields, &text, out)?)
}

fn admit_offline(args: AdmitArgs) -> Result<Membership, Failure> {
    let roles: BTreeSet<Role> = args.rights.roles.into_iter().collect();
    let delegation = roles.contains(&Role::Admit).then(|| Delegation {
        roles: args.grant_roles.into_iter().collect(),
        commands: args.grant_commands,
        lifetime: args.grant_valid,
    });
    let admission = Admission {
        machine: args.machine,
        name: args.name,
        site: args.rights.site.unwrap_or_default(),
        roles,
        commands: args.rights.commands,
        lifetime: args.rights.valid,
        delegation,
    };
    let operator = Operator::open(&args.operator.dir).map_err(failed)?;
    operator.admit(admission).map_err(failed)
}

/// The bytes of a membership that a node has signed.
async fn admit_delegated(args: AdmitArgs) -> Result<Vec<u8>, Failure> {
    let grpc = args.grpc.unwrap_or_default();
    let mut client = Client::connect(NodeArgs { grpc }).await?;
    let candidate = pb::Candidate {
        machine_id: args.machine.to_string(),
        name: args.name,
        rights: Some(rights(args.rights)?),
    };
    let how = Some(admit_request::How::Candidate(candidate));
    let answer = client.admin.admit(pb::AdmitRequest { how }).await;
    let answer = answer.map_err(|status| client.failure(&status))?;
    Ok(answer.into_inner().membership)
}

/// What a node is asked to grant.
pub(crate) fn rights(args: RightsArgs) -> Result<pb::Rights, Failure> {
    Ok(pb::Rights {
        roles: args
            .roles
            .iter()
            .map(|role| role.name().to_owned())
            .collect(),
        commands: args.commands,
        lifetime: Some(duration(args.valid)?),
    })
}

pub(crate) fn duration(duration: Duration) -> Result<prost_types::Duration, Failure> {
    prost_types::Duration::try_from(duration)
        .map_err(|_| Failure::new(Kind::Usage, "a duration is too long"))
}

/// `fieldmesh network revoke`
pub(crate) async fn revoke(
    args: RevokeArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if args.delegated {
        return revoke_delegated(args, output, out).await;
    }
    let operator = Operator::open(&args.operator.dir).map_err(failed)?;
    let machine = operator.machine(&args.machine).map_err(failed)?;
    let state = operator.revoke(machine, &args.reason).map_err(failed)?;
    let file = format!("{}.{}", args.machine, operator::REVOCATION_EXTENSION);
    let path = args.out.unwrap_or_else(|| args.operator.dir.join(file));
    keys::write_signed(&path, std::slice::from_ref(&state)).map_err(failed)?;
    let is_pushed = args.grpc.is_some();
    if let Some(grpc) = args.grpc {
        let mut client = Client::connect(NodeArgs { grpc }).await?;
        push_state(&mut client, &state).await?;
    }
    let path = path.display();
    let mut text = match is_pushed {
        true => format!("Machine {machine} is thrown out; {path} says so."),
        false => format!(
            "Wrote {path}; machine {machine} is thrown out when a node has it: \
             `fieldmesh network push {path} --grpc ADDR`."
        ),
    };
    text.push_str(
        "\nIt still knows the network key: `fieldmesh network rotate-key` takes that from it.",
    );
    let fields = json!({
        "machine_id": machine.to_string(), "file": path.to_string(), "pushed": is_pushed,
    });
    Ok(print(output, &fields, &text, out)?)
}

async fn revoke_delegated(
    args: RevokeArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(NodeArgs {
        grpc: args.grpc.unwrap_or_default(),
    })
    .await?;
    let outcast = pb::Outcast {
        machine_id: args.machine.clone(),
        reason: args.reason,
    };
    let how = Some(How::Outcast(outcast));
    let answer = client.admin.revoke(pb::RevokeRequest { how }).await;
    answer.map_err(|status| client.failure(&status))?;
    let text = format!("Machine {} is thrown out.", args.machine);
    let fields = json!({ "machine_id": args.machine, "pushed": true });
    Ok(print(output, &fields, &text, out)?)
}

/// `fieldmesh network push`
pub(crate) async fn push(
    args: PushArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let states = args.files.iter().map(|path| read_signed(path));
    let states: Vec<Vec<State>> = states.collect::<Result<_, _>>()?;
    let mut client = Client::connect(args.node).await?;
    let (mut count, mut news) = (0_u64, 0_u64);
    for state in states.iter().flatten() {
        count += 1;
        news += u64::from(push_state(&mut client, state).await?);
    }
    let text = format!("The node passes on {count} signed states, {news} of them news to it.");
    let fields = json!({ "pushed": count, "news": news });
    Ok(print(output, &fields, &text, out)?)
}

/// Gives a node one signed state; returns whether it was news.
pub(crate) async fn push_state(client: &mut Client, state: &State) -> Result<bool, Failure> {
    let signed = state.as_bytes().to_vec();
    let answer = client.admin.push(pb::PushRequest { signed }).await;
    let answer = answer.map_err(|status| client.failure(&status))?;
    Ok(answer.into_inner().news)
}

fn read_signed(path: &Path) -> Result<Vec<State>, Failure> {
    let text = keys::read_file(path, FileKind::Signed).map_err(failed)?;
    keys::content(path, file::read_signed(&text)).map_err(failed)
}

/// `fieldmesh network members`
pub(crate) async fn members(
    args: NodeArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(args).await?;
    let answer = client.admin.list_members(pb::ListMembersRequest {}).await;
    let members = answer
        .map_err(|status| client.failure(&status))?
        .into_inner()
        .members;
    match output {
        Output::Json => members
            .iter()
            .try_for_each(|member| print_json(out, &json_of(member)))?,
        Output::Table => {
            let header = [
                "MACHINE",
                "SITE",
                "ROLES",
                "UNTIL",
                "STANDING",
                "MACHINE ID",
            ];
            table::print(out, header, members.iter().map(row_of))?;
        }
    }
    Ok(())
}

fn json_of(member: &pb::Member) -> Json {
    json!({
        "machine_id": member.machine_id,
        "name": member.name,
        "site": member.site,
        "roles": member.roles,
        "commands": member.commands,
        "not_before": time(member.not_before.as_ref()),
        "not_after": time(member.not_after.as_ref()),
        "issuer_id": member.issuer_id,
        "revoked": member.revoked,
    })
}

fn row_of(member: &pb::Member) -> [String; 6] {
    let standing = if member.revoked { "revoked" } else { "member" };
    [
        escape(&member.name),
        escape(&member.site),
        member.roles.join(" "),
        time(member.not_after.as_ref()),
        standing.to_owned(),
        member.machine_id.clone(),
    ]
}

/// `fieldmesh network show`
pub(crate) fn show(
    args: &OperatorArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let trust = operator::trust(&args.dir).map_err(failed)?;
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
