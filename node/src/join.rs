//! Becomes a member by an invitation: makes the machine's key, redeems the token at one of its
//! addresses, and writes what a node needs to run.
//!
//! The membership is written last: until it is there, joining again with the same token goes on
//! where it stopped, and gets the same membership.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use identity::{
    Claim, CredentialError, FileKind, Keypair, Membership, NetworkKeys, Roll, Token, Trust, file,
};
use overlay::Address;
use swarm::{Answer, Joining, WallClock};

use crate::clock;
use crate::keys::{
    self, KeyError, MACHINE_KEY_FILE, MEMBERSHIP_FILE, NETWORK_KEY_FILE, OPERATOR_FILE, content,
    read_file,
};

/// The configuration file of a machine that has joined.
pub const CONFIG_FILE: &str = "fieldmesh.toml";

/// A machine that is a member now.
#[derive(Debug)]
pub struct Joined {
    /// What it may do.
    pub membership: Membership,
    /// Its configuration file.
    pub config: PathBuf,
}

/// Why a machine has not become a member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The name is none.
    #[error("{0}; choose a name with `--name`")]
    Name(#[source] CredentialError),
    /// Key files cannot be read or written, or are others'.
    #[error(transparent)]
    Files(#[from] KeyError),
    /// No machine at the token's addresses has answered.
    #[error("no machine that may admit was reached:{0}")]
    Unreachable(String),
    /// A machine that may admit does not let this one in.
    #[error("not admitted: {0}")]
    Refused(String),
    /// The answer is no membership of this machine.
    #[error("the answer is no membership of this machine: {0}")]
    Answer(#[source] CredentialError),
}

/// Redeems a token for the machine in `dir`; `name` is its host name if there is none.
///
/// # Errors
///
/// [`JoinError`], with what to do. Nothing that exists is overwritten.
pub async fn join(token: &Token, name: Option<String>, dir: &Path) -> Result<Joined, JoinError> {
    let membership_path = dir.join(MEMBERSHIP_FILE);
    if membership_path.exists() {
        let path = membership_path;
        return Err(KeyError::Exists { path }.into());
    }
    check_network(dir, token.trust)?;
    keys::init(dir)?;
    let path = dir.join(MACHINE_KEY_FILE);
    let key = read_file(&path, FileKind::MachineKey)?;
    let key = content(&path, file::read_machine_key(&key))?;
    let name = name.unwrap_or_else(host_name);
    let invitation = token.invitation.clone();
    let claim = Claim::sign(token.trust, invitation, &token.secret, key.machine(), &name);
    let claim = claim.map_err(JoinError::Name)?;
    let (membership, network_keys) = redeem(token, &key, &claim).await?;
    let text = file::write_operator(&token.trust);
    keys::replace(&dir.join(OPERATOR_FILE), text.as_bytes())?;
    let text = file::write_network_keys(&network_keys);
    keys::replace(&dir.join(NETWORK_KEY_FILE), text.as_bytes())?;
    let config = dir.join(CONFIG_FILE);
    if !config.exists() {
        keys::replace(&config, config_of(token).as_bytes())?;
    }
    let text = file::write_membership(&membership);
    keys::replace(&membership_path, text.as_bytes())?;
    Ok(Joined { membership, config })
}

/// The files of another network are not touched.
fn check_network(dir: &Path, trust: Trust) -> Result<(), KeyError> {
    let path = dir.join(OPERATOR_FILE);
    if !path.exists() {
        return Ok(());
    }
    let text = read_file(&path, FileKind::Operator)?;
    match content(&path, file::read_operator(&text))? == trust {
        true => Ok(()),
        false => Err(KeyError::Exists { path }),
    }
}

/// Asks at one address after the other until a machine decides.
async fn redeem(
    token: &Token,
    key: &Keypair,
    claim: &Claim,
) -> Result<(Membership, NetworkKeys), JoinError> {
    let network_keys = NetworkKeys::new(token.network_key.clone());
    let roll = Roll::new(token.trust, std::time::Duration::ZERO);
    let joining = Joining {
        machine_key: key,
        claim,
        roll: &roll,
        network_keys: &network_keys,
    };
    let clock = clock::WallClock::new(model::Timestamp::MIN);
    let config = swarm::Config::new(WallClock(Arc::new(move || clock.trusted())));
    let (mut silent, mut refused) = (String::new(), None);
    for text in &token.addresses {
        let answer = match Address::new(text.clone()) {
            Some(address) => joining.ask(&config, &address).await,
            None => continue, // No address is that long.
        };
        match answer {
            Ok(Answer::Admitted {
                membership,
                network_keys,
            }) => {
                let membership = token.trust.read(membership).map_err(JoinError::Answer)?;
                if membership.machine() != key.machine() {
                    let other = CredentialError::OtherMachine(membership.machine());
                    return Err(JoinError::Answer(other));
                }
                return Ok((membership, network_keys));
            }
            // Another one may have a clock, or be allowed to grant more.
            Ok(Answer::Refused(why)) => refused = Some(why),
            Err(error) => silent.push_str(&format!("\n  {text}: {error}")),
        }
    }
    match refused {
        Some(why) => Err(JoinError::Refused(why)),
        None => Err(JoinError::Unreachable(silent)),
    }
}

/// What differs from the defaults: whom to dial at first.
fn config_of(token: &Token) -> String {
    let addresses = token.addresses.iter();
    let addresses: Vec<String> = addresses
        .map(|address| format!("    {address:?},\n"))
        .collect();
    format!(
        "# Made by `fieldmesh join`. `fieldmesh config default` prints every key with its default.\n\n\
         [network]\n\
         bootstrap = [\n{}]\n",
        addresses.concat()
    )
}

fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}
