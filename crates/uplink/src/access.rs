//! How this machine proves to a sink who it is, and knows the sink: passwords and certificates.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::{Login, SinkError};

/// What the settings say beside the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The user, unless it stands in the URL.
    pub user: Option<String>,
    /// The password or token, unless it stands in the URL.
    pub password: Option<Secret>,
    /// Certificates of those who may sign the sink's, as PEM; those of the system if `None`.
    pub ca_file: Option<PathBuf>,
    /// This machine's certificate with those that lead to its signer, and its key, as PEM.
    pub identity: Option<ClientIdentity>,
}

/// A certificate to show to a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// A password or token, and where it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Here.
    Text(String),
    /// In a file, read at each connection, so that it can be changed while the node runs. White
    /// space at its end does not count.
    File(PathBuf),
}

impl Access {
    /// The files that nobody else may be able to read.
    pub fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let password = match &self.password {
            Some(Secret::File(path)) => Some(path.as_path()),
            Some(Secret::Text(_)) | None => None,
        };
        let key = self.identity.as_ref().map(|identity| &*identity.key_file);
        password.into_iter().chain(key)
    }

    /// Who logs in, by URL and settings; the settings come first.
    pub(crate) fn login(&self, url: &Login) -> Result<Login, SinkError> {
        let password = match &self.password {
            Some(Secret::Text(text)) => Some(text.clone()),
            Some(Secret::File(path)) => Some(read_text(path)?.trim_end().to_owned()),
            None => url.password.clone(),
        };
        let user = self.user.clone().or_else(|| url.user.clone());
        Ok(Login { user, password })
    }

    /// What TLS needs. Read anew for each connection: certificates are renewed.
    pub(crate) fn tls(&self) -> Result<Arc<ClientConfig>, SinkError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| SinkError(format!("TLS cannot be used: {error}")))?
            .with_root_certificates(self.roots()?);
        let Some(ClientIdentity {
            cert_file,
            key_file,
        }) = &self.identity
        else {
            return Ok(Arc::new(builder.with_no_client_auth()));
        };
        let certificates = read_certificates(cert_file)?;
        let key = PrivateKeyDer::from_pem_file(key_file)
            .map_err(|error| unusable(key_file, "a private key", &error))?;
        let config = builder
            .with_client_auth_cert(certificates, key)
            .map_err(|error| unusable(cert_file, "the certificate of that key", &error))?;
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, SinkError> {
        let mut roots = RootCertStore::empty();
        let Some(ca_file) = &self.ca_file else {
            // A certificate that cannot be read is one that nobody can be known by.
            let (added, _) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if added == 0 {
                let advice = "install ca-certificates, or set ca_file";
                return Err(SinkError(format!(
                    "this system trusts no certificate; {advice}"
                )));
            }
            return Ok(roots);
        };
        for certificate in read_certificates(ca_file)? {
            roots
                .add(certificate)
                .map_err(|error| unusable(ca_file, "a certificate", &error))?;
        }
        Ok(roots)
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SinkError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(path, "a certificate", &error))?;
    if certificates.is_empty() {
        return Err(unusable(path, "a certificate", &"none in it"));
    }
    Ok(certificates)
}

fn read_text(path: &Path) -> Result<String, SinkError> {
    let text = fs::read_to_string(path);
    text.map_err(|error| SinkError(format!("cannot read {}: {error}", path.display())))
}

fn unusable(path: &Path, what: &str, error: &dyn fmt::Display) -> SinkError {
    SinkError(format!(
        "{} is not {what} in PEM that can be used: {error}",
        path.display()
    ))
}

impl fmt::Debug for Secret {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
