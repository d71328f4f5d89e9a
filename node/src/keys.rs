//! Key files and memberships of a machine: made, checked and read, and how any secret is written.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use engine::NodeIdentity;
use identity::{CredentialError, FileError, FileKind, Keypair, Membership, NetworkKeys, file};
use model::{MachineId, State};

use crate::config::NetworkSettings;

/// The operator's public key, for every machine.
pub const OPERATOR_FILE: &str = "operator.pub";
/// The network's secret, for every machine.
pub const NETWORK_KEY_FILE: &str = "network.key";
/// A machine's secret key.
pub const MACHINE_KEY_FILE: &str = "machine.key";
/// A machine's membership.
pub const MEMBERSHIP_FILE: &str = "membership";

/// What is wrong with a key file, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A secret that others can read is none.
    #[error("{path} has mode {mode:o}, so others can read the secret in it; run `chmod 600 {path}`, and make a new key if others had access", path = .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A secret of another user.
    #[error("{path} belongs to user {owner}, but this process runs as user {user}; run `chown` on it or start the node as that user", path = .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Whose process this is.
        user: u32,
    },
    /// Existing keys are never overwritten.
    #[error("{path} exists already; keys are never overwritten: move it away first, or use another directory", path = .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The text in it is refused.
    #[error("{path}: {source}", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FileError,
    },
    /// The membership is of another machine.
    #[error("{path} is the membership of machine {found}, but {key} is the key of {own}; put the files of one machine together", path = .path.display(), key = .key.display())]
    OtherMachine {
        /// The membership.
        path: PathBuf,
        /// The machine that it names.
        found: MachineId,
        /// The key.
        key: PathBuf,
        /// The machine that holds it.
        own: MachineId,
    },
    /// No address that a machine which joins can dial.
    #[error("{text:?} cannot be dialled to join; write it like /ip4/192.0.2.7/udp/4001/quic/noise")]
    Address {
        /// What was given.
        text: String,
    },
    /// What is to be signed is refused.
    #[error("{0}")]
    Credential(#[from] CredentialError),
    /// Neither a machine id nor the name of a membership.
    #[error("{text:?} is neither a machine id nor the name of a membership in {dir}; `fieldmesh network members` lists both", dir = .dir.display())]
    NoMachine {
        /// What was given.
        text: String,
        /// Where memberships are looked for.
        dir: PathBuf,
    },
    /// Nothing can be sealed to it.
    #[error("nothing can be sealed to a machine that was named: {0}")]
    Seal(#[from] handshake::HandshakeError),
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Entropy(String),
}

/// A machine's secrets and what goes with them.
#[derive(Debug)]
pub struct LoadedKeys {
    /// Who this machine is.
    pub identity: NodeIdentity,
    /// The network's secrets.
    pub network_keys: NetworkKeys,
}

/// Makes a machine's key in `dir`, or reads the one that is there.
///
/// # Errors
///
/// [`KeyError`] if it can be neither read nor written.
pub fn init(dir: &Path) -> Result<MachineId, KeyError> {
    create_dir(dir)?;
    let path = dir.join(MACHINE_KEY_FILE);
    if path.exists() {
        let text = read_file(&path, FileKind::MachineKey)?;
        return Ok(content(&path, file::read_machine_key(&text))?.machine());
    }
    let key = Keypair::from_seed(&random_bytes()?);
    write_new(&path, FileKind::MachineKey, &file::write_machine_key(&key))?;
    Ok(key.machine())
}

/// Writes a membership to a file, in place of an older one.
///
/// # Errors
///
/// [`KeyError`] if it cannot be written.
pub fn write_membership(path: &Path, membership: &Membership) -> Result<(), KeyError> {
    replace(path, file::write_membership(membership).as_bytes())
}

/// Writes a file of mode 0600, in place of an older one: a reader, and a crash, see either.
///
/// # Errors
///
/// [`KeyError`] if it cannot be written.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), KeyError> {
    let temporary = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
    written
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(io_error("write", path))
}

/// Writes signed states to a file, in place of an older one.
///
/// # Errors
///
/// [`KeyError`] if it cannot be written.
pub fn write_signed(path: &Path, states: &[State]) -> Result<(), KeyError> {
    fs::write(path, file::write_signed(states)).map_err(io_error("write", path))
}

/// Reads everything that a node needs to be itself, and checks that it belongs together.
///
/// # Errors
///
/// [`KeyError`] for the first file that is refused.
pub fn load(files: &NetworkSettings) -> Result<LoadedKeys, KeyError> {
    let key_path = &files.machine_key_file;
    let text = read_file(key_path, FileKind::MachineKey)?;
    let keypair = content(key_path, file::read_machine_key(&text))?;
    let text = read_file(&files.network_key_file, FileKind::NetworkKey)?;
    let network_keys = content(&files.network_key_file, file::read_network_keys(&text))?;
    let text = read_file(&files.operator_file, FileKind::Operator)?;
    let trust = content(&files.operator_file, file::read_operator(&text))?;
    let path = &files.membership_file;
    let text = read_file(path, FileKind::Membership)?;
    let membership = content(path, file::read_membership(&trust, &text))?;
    let (found, own) = (membership.grant().machine, keypair.machine());
    if found != own {
        let (path, key) = (path.clone(), key_path.clone());
        return Err(KeyError::OtherMachine {
            path,
            found,
            key,
            own,
        });
    }
    Ok(LoadedKeys {
        identity: NodeIdentity {
            keypair,
            membership,
            trust,
        },
        network_keys,
    })
}

/// Draws 32 bytes of the operating system's entropy: the only source of keys and seeds.
///
/// # Errors
///
/// [`KeyError::Entropy`] if there is none.
pub fn random_bytes() -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| KeyError::Entropy(error.to_string()))?;
    Ok(bytes)
}

/// Checks that a file with a secret is there and is this process's user's alone.
///
/// # Errors
///
/// [`KeyError`], with what to do about it.
pub fn check_secret(path: &Path) -> Result<(), KeyError> {
    let metadata = fs::metadata(path).map_err(io_error("read", path))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != user {
        return Err(KeyError::Owner {
            path: path.to_owned(),
            owner,
            user,
        });
    }
    Ok(())
}

/// The files in a directory whose names end with `.extension`, in the order of their names.
pub(crate) fn files_in(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, KeyError> {
    let entries = fs::read_dir(dir).map_err(io_error("read", dir))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths
        .collect::<io::Result<Vec<_>>>()
        .map_err(io_error("read", dir))?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

pub(crate) fn create_dir(dir: &Path) -> Result<(), KeyError> {
    fs::create_dir_all(dir).map_err(io_error("create", dir))
}

pub(crate) fn write_new(path: &Path, kind: FileKind, text: &str) -> Result<(), KeyError> {
    let mode = if kind.is_secret() { 0o600 } else { 0o644 };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    match file {
        Ok(mut file) => file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io_error("write", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(KeyError::Exists {
            path: path.to_owned(),
        }),
        Err(error) => Err(io_error("create", path)(error)),
    }
}

/// Reads a key file; a secret must be its owner's alone.
pub(crate) fn read_file(
    path: &Path,
    kind: FileKind,
) -> Result<zeroize::Zeroizing<String>, KeyError> {
    if kind.is_secret() {
        check_secret(path)?;
    }
    fs::read_to_string(path)
        .map(zeroize::Zeroizing::new)
        .map_err(io_error("read", path))
}

pub(crate) fn content<T>(path: &Path, read: Result<T, FileError>) -> Result<T, KeyError> {
    read.map_err(|source| KeyError::Content {
        path: path.to_owned(),
        source,
    })
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;
    use crate::operator::{Admission, Operator, Role};

    /// A network and one machine of it, in one directory.
    fn machine_in(dir: &Path) -> NetworkSettings {
        Operator::create(dir).expect("a network");
        let machine = init(dir).expect("a key");
        let admission = Admission {
            machine,
            name: "press-1".to_owned(),
            site: "hall-3".to_owned(),
            roles: BTreeSet::from([Role::Publish]),
            commands: Vec::new(),
            lifetime: Duration::from_secs(3_600),
            delegation: None,
        };
        let operator = Operator::open(dir).expect("its key");
        let membership = operator.admit(admission).expect("a membership");
        write_membership(&dir.join(MEMBERSHIP_FILE), &membership).expect("written");
        NetworkSettings {
            machine_key_file: dir.join(MACHINE_KEY_FILE),
            network_key_file: dir.join(NETWORK_KEY_FILE),
            operator_file: dir.join(OPERATOR_FILE),
            membership_file: dir.join(MEMBERSHIP_FILE),
            ..NetworkSettings::default()
        }
    }

    #[test]
    fn what_create_init_and_admit_write_loads() {
        let dir = tempfile::tempdir().expect("a directory");

        let keys = load(&machine_in(dir.path())).expect("keys that belong together");

        assert_eq!(keys.identity.membership.grant().name, "press-1");
        assert_eq!(
            keys.identity.membership.grant().machine,
            keys.identity.keypair.machine()
        );
    }

    #[test]
    fn secrets_are_written_with_mode_0600_and_refused_with_any_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = machine_in(dir.path());
        for path in [&files.machine_key_file, &files.network_key_file] {
            let mode = fs::metadata(path).expect("a file").mode() & 0o777;
            assert_eq!(mode, 0o600);
        }

        let readable = fs::Permissions::from_mode(0o644);
        fs::set_permissions(&files.network_key_file, readable).expect("chmod");
        let refused = load(&files).expect_err("exposed").to_string();

        assert!(refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn a_membership_of_another_network_or_machine_is_refused() {
        let (own, other) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        let mut files = machine_in(own.path());
        let others = machine_in(other.path());

        files.membership_file.clone_from(&others.membership_file);
        assert!(matches!(load(&files), Err(KeyError::Content { .. })));

        files.operator_file.clone_from(&others.operator_file);
        assert!(matches!(load(&files), Err(KeyError::OtherMachine { .. })));
    }

    #[test]
    fn keys_are_never_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = machine_in(dir.path());
        let machine = load(&files).expect("keys").identity.keypair.machine();

        assert_eq!(init(dir.path()).expect("the same key"), machine);
    }
}
