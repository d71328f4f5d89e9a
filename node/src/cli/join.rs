//! `join`.

use std::io::{Read as _, Write};

use identity::Token;
use serde_json::json;
use zeroize::Zeroizing;

use super::args::Output;
use super::failure::{Failure, Kind};
use super::local::{failed, print};
use super::network_args::JoinArgs;
use super::render::escape;
use crate::join::{self, JoinError};

/// `fieldmesh join`
pub(crate) async fn join(
    args: JoinArgs,
    output: Output,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let text = token_text(args.token)?;
    let token = Token::from_text(&text).map_err(failed)?;
    let joined = join::join(&token, args.name, &args.dir).await;
    let joined = joined.map_err(|error| match error {
        JoinError::Unreachable(_) => Failure::new(Kind::Unreachable, escape(&error.to_string())),
        JoinError::Refused(_) => Failure::new(Kind::Refused, escape(&error.to_string())),
        JoinError::Name(_) | JoinError::Files(_) | JoinError::Answer(_) => failed(error),
    })?;
    let (network, grant) = (token.trust.network(), joined.membership.grant());
    let config = joined.config.display();
    let text = format!(
        "Joined network {network} as {} at {}, machine {}.\n\
         Look at {config}, then start the node: `fieldmesh run --config {config}`.",
        grant.name, grant.site, grant.machine,
    );
    let fields = json!({
        "network": network.to_string(),
        "machine_id": grant.machine.to_string(),
        "name": grant.name,
        "site": grant.site,
        "dir": args.dir,
        "config": joined.config,
    });
    Ok(print(output, &fields, &text, out)?)
}

/// The token itself: from standard input if the argument says so.
fn token_text(argument: String) -> Result<Zeroizing<String>, Failure> {
    if argument != "-" {
        return Ok(Zeroizing::new(argument));
    }
    let mut text = Zeroizing::new(String::new());
    let input = std::io::stdin().lock();
    input.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// What is read of standard input at most. Unit: bytes. Source: several times the longest token.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;
