//! Where gRPC listens: loopback addresses and a Unix socket of mode 0600.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::ListenError;

/// Bound listeners, ready to be served.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) tcp: Vec<TcpListener>,
    pub(crate) unix: Option<Socket>,
}

/// A Unix socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    /// Keeps the file in place.
    _file: SocketFile,
}

/// The file of a Unix socket, removed when this is dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // One that stays is taken over by the next start.
    }
}

impl Listeners {
    /// Binds loopback addresses and, if given, a Unix socket that only its owner may use. A socket
    /// file that a dead node left behind is replaced.
    ///
    /// # Errors
    ///
    /// [`ListenError`] for the first address that cannot be had.
    pub async fn bind(tcp: &[SocketAddr], unix: Option<&Path>) -> Result<Self, ListenError> {
        let mut listeners = Vec::with_capacity(tcp.len());
        for &address in tcp {
            if !address.ip().is_loopback() {
                return Err(ListenError::NotLoopback(address));
            }
            listeners.push(bind_tcp(address).await?);
        }
        let unix = match unix {
            Some(path) => Some(bind_unix(path).await?),
            None => None,
        };
        Ok(Self {
            tcp: listeners,
            unix,
        })
    }

    /// The TCP addresses, with the ports that the operating system chose for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let addresses = self.tcp.iter().map(TcpListener::local_addr);
        addresses.filter_map(Result::ok).collect()
    }
}

/// Binds an address; the error says whether it is taken.
async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| {
        if source.kind() == ErrorKind::AddrInUse {
            ListenError::Taken(address)
        } else {
            ListenError::Address { address, source }
        }
    })
}

/// Binds beside the path, restricts the file, then moves it into place, so that there is no moment
/// in which others could connect.
async fn bind_unix(path: &Path) -> Result<Socket, ListenError> {
    let failed = |source: io::Error| ListenError::Path {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NoSocket(path.to_owned()));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(ListenError::SocketTaken(path.to_owned()));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        Ok(_) | Err(_) => {}
    }
    let mut beside = OsString::from(path);
    beside.push(".new");
    let beside = SocketFile(beside.into());
    let _ = fs::remove_file(&beside.0);
    let listener = UnixListener::bind(&beside.0).map_err(failed)?;
    fs::set_permissions(&beside.0, Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&beside.0, path).map_err(failed)?;
    Ok(Socket {
        listener,
        _file: SocketFile(path.to_owned()),
    })
}
