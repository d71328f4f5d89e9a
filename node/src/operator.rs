//! The operator's directory: the root key that makes a network, and what is signed with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use handshake::deliver_key;
pub use identity::Role;
use identity::{
    Delegation, EpochKey, FileKind, Grant, InvitationId, Issuer, Keypair, Membership, NetworkKey,
    NetworkKeyEpoch, NetworkKeys, Renewal, Revocation, Terms, Token, Trust, file,
};
use model::{MachineId, NetworkId, State};

use crate::clock;
use crate::keys::{
    KeyError, MEMBERSHIP_FILE, NETWORK_KEY_FILE, OPERATOR_FILE, content, create_dir, files_in,
    random_bytes, read_file, replace, write_new, write_signed,
};

/// What files with revocations end with.
pub const REVOCATION_EXTENSION: &str = "revocation";
/// The operator's secret key, which stays off the machines.
pub const OPERATOR_KEY_FILE: &str = "operator.key";

/// A membership to be signed, valid from now on.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The machine, as `fieldmesh init` on it printed.
    pub machine: MachineId,
    /// Its display name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// What it may do.
    pub roles: BTreeSet<Role>,
    /// Names of commands that it may send, as patterns.
    pub commands: Vec<String>,
    /// How long the membership is valid.
    pub lifetime: Duration,
    /// What it may grant to others of its site, with the role `admit`.
    pub delegation: Option<Delegation>,
}

/// An invitation to be signed.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The site of its redeemer.
    pub site: String,
    /// What the redeemer may do.
    pub roles: BTreeSet<Role>,
    /// Names of commands that it may send, as patterns.
    pub commands: Vec<String>,
    /// How long its membership is valid.
    pub lifetime: Duration,
    /// For how long it can be redeemed from now on.
    pub open_for: Duration,
    /// Multiaddresses of machines that may admit.
    pub addresses: Vec<String>,
}

/// The operator, with its key.
#[derive(Debug)]
pub struct Operator {
    dir: PathBuf,
    key: Keypair,
}

impl Operator {
    /// Makes a network: the operator's key, its public half, and the network key, in `dir`.
    ///
    /// # Errors
    ///
    /// [`KeyError`]; nothing that exists is overwritten.
    pub fn create(dir: &Path) -> Result<NetworkId, KeyError> {
        create_dir(dir)?;
        let key = Keypair::from_seed(&random_bytes()?);
        let trust = Trust::new(key.machine());
        let network_keys = NetworkKeys::new(EpochKey {
            epoch: NetworkKeyEpoch::FIRST,
            key: NetworkKey::from_bytes(&random_bytes()?),
        });
        let files = [OPERATOR_KEY_FILE, OPERATOR_FILE, NETWORK_KEY_FILE].map(|name| dir.join(name));
        for path in &files {
            if path.exists() {
                return Err(KeyError::Exists { path: path.clone() });
            }
        }
        let [key_file, public_file, network_file] = &files;
        write_new(
            key_file,
            FileKind::OperatorKey,
            &file::write_operator_key(&key),
        )?;
        write_new(
            public_file,
            FileKind::Operator,
            &file::write_operator(&trust),
        )?;
        let text = file::write_network_keys(&network_keys);
        write_new(network_file, FileKind::NetworkKey, &text)?;
        Ok(trust.network())
    }

    /// Reads the operator's key in `dir`.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it cannot be read.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join(OPERATOR_KEY_FILE);
        let text = read_file(&path, FileKind::OperatorKey)?;
        let key = content(&path, file::read_operator_key(&text))?;
        let dir = dir.to_owned();
        Ok(Self { dir, key })
    }

    /// What machines of this network trust.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust::new(self.key.machine())
    }

    /// Signs a membership.
    ///
    /// # Errors
    ///
    /// [`KeyError::Credential`] if it is refused.
    pub fn admit(&self, admission: Admission) -> Result<Membership, KeyError> {
        let issuer = Issuer::operator(&self.key);
        let (not_before, not_after) = issuer.window(clock::wall_time(), admission.lifetime);
        let grant = Grant {
            machine: admission.machine,
            name: admission.name,
            site: admission.site,
            roles: admission.roles,
            commands: admission.commands,
            not_before,
            not_after,
            delegation: admission.delegation,
        };
        Ok(issuer.admit(grant)?)
    }

    /// Signs an invitation, and wraps it up with what its redeemer needs.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is refused, or the network key in the directory cannot be read.
    pub fn invite(&self, offer: Offer) -> Result<Token, KeyError> {
        if let Some(text) = offer.addresses.iter().find(|text| !is_address(text)) {
            return Err(KeyError::Address { text: text.clone() });
        }
        let network_keys = self.network_keys()?;
        let secret = Keypair::from_seed(&random_bytes()?);
        let terms = Terms {
            site: offer.site,
            roles: offer.roles,
            commands: offer.commands,
            lifetime: offer.lifetime,
            not_after: clock::wall_time().saturating_add(offer.open_for),
        };
        let issuer = Issuer::operator(&self.key);
        Ok(Token {
            trust: self.trust(),
            invitation: issuer.invite(InvitationId::of(&secret), terms)?,
            secret,
            network_key: network_keys.current().clone(),
            addresses: offer.addresses,
        })
    }

    /// Signs a revocation, as the state that nodes pass on.
    ///
    /// # Errors
    ///
    /// [`KeyError::Credential`] if the reason is refused.
    pub fn revoke(&self, machine: MachineId, reason: &str) -> Result<State, KeyError> {
        let (network, now) = (self.trust().network(), clock::wall_time());
        Ok(Revocation::sign(&self.key, &network, machine, now, reason)?)
    }

    /// Signs the same membership for a time from now on, and gives it as the state that nodes pass
    /// on.
    ///
    /// # Errors
    ///
    /// [`KeyError::Credential`] if it is refused.
    pub fn renew(
        &self,
        membership: &Membership,
        lifetime: Duration,
    ) -> Result<(Membership, State), KeyError> {
        let (issuer, now) = (Issuer::operator(&self.key), clock::wall_time());
        let (not_before, not_after) = issuer.window(now, lifetime);
        let renewed = issuer.admit(Grant {
            not_before,
            not_after,
            ..membership.grant().clone()
        })?;
        let state = Renewal::sign(&self.key, self.trust(), &renewed, now);
        Ok((renewed, state))
    }

    /// Makes the network key of the next epoch, seals it to these machines, and writes both: the
    /// key to the directory's own file, and what nodes pass on beside it.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if a file cannot be read or written, or an id is no machine's.
    pub fn rotate_key(&self, machines: &BTreeSet<MachineId>) -> Result<Rotation, KeyError> {
        let path = self.dir.join(NETWORK_KEY_FILE);
        let mut keys = self.network_keys()?;
        let epoch = NetworkKeyEpoch(keys.current().epoch.0.saturating_add(1));
        let key = EpochKey {
            epoch,
            key: NetworkKey::from_bytes(&random_bytes()?),
        };
        let seal =
            |machine: &MachineId| Ok(deliver_key(&self.key, *machine, &key, random_bytes()?)?);
        let sealed = machines
            .iter()
            .map(seal)
            .collect::<Result<Vec<_>, KeyError>>()?;
        let file = self.dir.join(format!("network-key-{}.sealed", epoch.0));
        write_signed(&file, &sealed)?;
        keys.advance(key);
        replace(&path, file::write_network_keys(&keys).as_bytes())?;
        Ok(Rotation {
            epoch,
            sealed,
            file,
        })
    }

    /// Every machine that a revocation in the directory throws out.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if one cannot be read.
    pub fn revoked(&self) -> Result<BTreeSet<MachineId>, KeyError> {
        let mut revoked = BTreeSet::new();
        for path in files_in(&self.dir, REVOCATION_EXTENSION)? {
            let text = read_file(&path, FileKind::Signed)?;
            let states = content(&path, file::read_signed(&text))?;
            let machines = states
                .iter()
                .filter_map(|state| Revocation::from_state(state).ok());
            revoked.extend(machines.map(|revocation| revocation.machine));
        }
        Ok(revoked)
    }

    fn network_keys(&self) -> Result<NetworkKeys, KeyError> {
        let path = self.dir.join(NETWORK_KEY_FILE);
        let text = read_file(&path, FileKind::NetworkKey)?;
        content(&path, file::read_network_keys(&text))
    }

    /// The machine that a text names: by its id, or by the name of its membership in the directory.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is neither.
    pub fn machine(&self, text: &str) -> Result<MachineId, KeyError> {
        if let Ok(machine) = text.parse() {
            return Ok(machine);
        }
        let path = self.dir.join(format!("{text}.{MEMBERSHIP_FILE}"));
        if text.contains('/') || !path.exists() {
            return Err(KeyError::NoMachine {
                text: text.to_owned(),
                dir: self.dir.clone(),
            });
        }
        let membership = read_file(&path, FileKind::Membership)?;
        let membership = content(&path, file::read_membership(&self.trust(), &membership))?;
        Ok(membership.machine())
    }
}

/// A newer network key, on its way.
#[derive(Debug)]
pub struct Rotation {
    /// Which one.
    pub epoch: NetworkKeyEpoch,
    /// The key, sealed to each machine.
    pub sealed: Vec<State>,
    /// Where that was written.
    pub file: PathBuf,
}

/// Whether a machine that joins can dial this.
fn is_address(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let is_known = matches!(
        parts[..],
        ["", "ip4" | "ip6", _, "udp", _, "quic", "noise", ..]
            | ["", "ip4" | "ip6", _, "tcp", _, ..]
    );
    is_known && text.len() <= Token::ADDRESS_BYTES_MAX
}

/// Reads the operator's public key in `dir`.
///
/// # Errors
///
/// [`KeyError`] if it cannot be read.
pub fn trust(dir: &Path) -> Result<Trust, KeyError> {
    let path = dir.join(OPERATOR_FILE);
    let text = read_file(&path, FileKind::Operator)?;
    content(&path, file::read_operator(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(machine: MachineId) -> Admission {
        Admission {
            machine,
            name: "press-1".to_owned(),
            site: "hall-3".to_owned(),
            roles: BTreeSet::from([Role::Publish]),
            commands: Vec::new(),
            lifetime: Duration::from_secs(3_600),
            delegation: None,
        }
    }

    #[test]
    fn a_network_is_made_once_and_keys_are_never_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");

        let network = Operator::create(dir.path()).expect("a network");

        assert_eq!(trust(dir.path()).expect("a public key").network(), network);
        let again = Operator::create(dir.path());
        assert!(matches!(again, Err(KeyError::Exists { .. })));
    }

    #[test]
    fn a_machine_is_named_by_its_id_or_by_its_membership_in_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        Operator::create(dir.path()).expect("a network");
        let operator = Operator::open(dir.path()).expect("its key");
        let machine = Keypair::from_seed(&[3; 32]).machine();
        let membership = operator.admit(admission(machine)).expect("a membership");
        let path = dir.path().join("press-1.membership");
        crate::keys::write_membership(&path, &membership).expect("written");

        assert_eq!(operator.machine("press-1").expect("known"), machine);
        assert_eq!(
            operator.machine(&machine.to_string()).expect("an id"),
            machine
        );
        for nobody in ["press-2", "../press-1", ""] {
            assert!(operator.machine(nobody).is_err(), "{nobody:?}");
        }
    }
}
