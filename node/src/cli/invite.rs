//! `network invite`.

use std::io::Write;

use proto::v1 as pb;
use serde_json::json;

use super::args::{NodeArgs, Output};
use super::client::Client;
use super::failure::Failure;
use super::local::{failed, print};
use super::network::{duration, rights};
use super::network_args::InviteArgs;
use super::render::{escape, time};
use crate::operator::{Offer, Operator};

/// `fieldmesh network invite`
pub(crate) async fn invite(
    args: InviteArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let invited = match args.delegated {
        true => invite_delegated(args).await?,
        false => invite_offline(args)?,
    };
    let until = time(invited.not_after.as_ref());
    let text = format!(
        "{}\n\nOne machine becomes a member with it until {until}:\n    fieldmesh join TOKEN\n\
         Keep it secret, also afterwards: the network key is in it.",
        escape(&invited.token)
    );
    let fields = json!({
        "token": invited.token, "invitation_id": invited.invitation_id, "not_after": until,
    });
    Ok(print(output, &fields, &text, out)?)
}

fn invite_offline(args: InviteArgs) -> Result<pb::CreateInvitationResponse, Failure> {
    let operator = Operator::open(&args.operator.dir).map_err(failed)?;
    let offer = Offer {
        site: args.rights.site.unwrap_or_default(),
        roles: args.rights.roles.into_iter().collect(),
        commands: args.rights.commands,
        lifetime: args.rights.valid,
        open_for: args.open_for,
        addresses: args.addresses,
    };
    let token = operator.invite(offer).map_err(failed)?;
    Ok(pb::CreateInvitationResponse {
        token: token.to_text().to_string(),
        invitation_id: token.invitation.id().to_string(),
        not_after: Some(api::to_timestamp(token.invitation.terms().not_after)),
    })
}

async fn invite_delegated(args: InviteArgs) -> Result<pb::CreateInvitationResponse, Failure> {
    let grpc = args.grpc.unwrap_or_default();
    let mut client = Client::connect(NodeArgs { grpc }).await?;
    let request = pb::CreateInvitationRequest {
        rights: Some(rights(args.rights)?),
        open_for: Some(duration(args.open_for)?),
    };
    let answer = client.admin.create_invitation(request).await;
    Ok(answer
        .map_err(|status| client.failure(&status))?
        .into_inner())
}
