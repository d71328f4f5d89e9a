//! Sinks over TLS, into servers that ask for a certificate: certificates are made here.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use uplink::{Access, ClientIdentity, Config, Secret};

use super::broker::Broker;
use super::store::Store;
use super::stream::Stream;
use super::suite::{Counterpart, ORIGIN, Running, outgoing};

/// An authority with certificates that it has signed, in files.
pub(crate) struct Authority {
    dir: TempDir,
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    /// A certificate whose name is that of its signer counts as its own signer, so both have one.
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed");
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("written");
        Self {
            dir,
            certificate,
            key,
        }
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A certificate for a name or address.
    pub(crate) fn sign(&self, name: &str) -> ClientIdentity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.certificate, &self.key);
        let certificate = certificate.expect("signed");
        let path = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        fs::write(path("pem"), certificate.pem()).expect("written");
        fs::write(path("key"), key.serialize_pem()).expect("written");
        ClientIdentity {
            cert_file: path("pem"),
            key_file: path("key"),
        }
    }

    /// What a client needs that trusts this authority and is known by a certificate of it.
    pub(crate) fn client(&self, name: &str) -> ClientConfig {
        let ClientIdentity {
            cert_file,
            key_file,
        } = self.sign(name);
        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.der().clone())
            .expect("a certificate");
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(cert_file).expect("a certificate")],
                PrivateKeyDer::from_pem_file(key_file).expect("a key"),
            )
            .expect("a certificate of this key")
    }
}

fn start(url: &str, access: Access) -> Running {
    let dir = tempfile::tempdir().expect("a directory");
    Running::start_in(dir, url, |config: &mut Config| config.access = access)
}

fn access(authority: &Authority, identity: Option<ClientIdentity>) -> Access {
    Access {
        ca_file: Some(authority.ca_file()),
        identity,
        ..Access::default()
    }
}

async fn error_of(url: &str, access: Access) -> String {
    let mut uplink = start(url, access);
    let status = uplink
        .until_status(|status| status.last_error.is_some())
        .await;
    uplink.stop().await;
    status.last_error.expect("an error")
}

/// A record gets through with certificates that both sides trust, and there is no way for a relay
/// that trusts others than the sink's signer, shows no certificate, or one of another signer.
async fn only_the_known_get_through(
    url: &str,
    ours: &Authority,
    counterpart: &mut impl Counterpart,
) {
    let theirs = Authority::new("theirs");
    let mut uplink = start(url, access(ours, Some(ours.sign("relay"))));
    uplink.submit(vec![outgoing(1, ORIGIN)]);
    uplink.until_delivered(&[1]).await;
    assert_eq!(counterpart.received(1).await.len(), 1);
    uplink.stop().await;

    let other_sink = error_of(url, access(&theirs, Some(ours.sign("relay")))).await;
    assert!(other_sink.contains("UnknownIssuer"), "{other_sink}");
    // With TLS 1.3 a sink refuses after the handshake, so that this may be all there is to see.
    for unknown in [None, Some(theirs.sign("relay"))] {
        let refused = error_of(url, access(ours, unknown)).await;
        let expected = ["alert", "reset", "closed", "lost", "Broken pipe"];
        assert!(
            expected.iter().any(|word| refused.contains(word)),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_broker_and_a_relay_know_each_other_by_certificates() {
    let ours = Authority::new("ours");
    for version in ["5", "3.1.1"] {
        let mut broker = Broker::start_tls(&ours.ca_file(), &ours.sign("127.0.0.1")).await;
        let url = format!("{}?version={version}", broker.tls_url());
        only_the_known_get_through(&url, &ours, &mut broker).await;
    }
}

#[tokio::test]
async fn a_stream_and_a_relay_know_each_other_by_certificates() {
    let ours = Authority::new("ours");
    let mut stream = Stream::start_tls(&ours).await;
    let url = stream.url().replace("nats://", "tls://");
    only_the_known_get_through(&url, &ours, &mut stream).await;
}

#[tokio::test]
async fn a_store_is_written_to_over_tls_and_only_if_its_certificate_is_known() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let mut store = Store::start_victoria_tls(&ours.sign("127.0.0.1")).await;
    let url = store.url().replace("http", "https");

    let refused = error_of(&url, access(&theirs, None)).await;
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    let mut uplink = start(&url, access(&ours, None));
    uplink.submit(vec![outgoing(1, ORIGIN)]);
    uplink.until_delivered(&[1]).await;
    uplink.stop().await;

    store.go_on_without_tls().await;
    assert_eq!(store.received(1).await.len(), 1);
}

#[tokio::test]
async fn a_password_over_tls_opens_a_broker_and_a_wrong_one_does_not() {
    let ours = Authority::new("ours");
    let identity = ours.sign("127.0.0.1");
    let broker = Broker::start_tls_with_password(&identity, "me", "right").await;
    let with = |password: &str| Access {
        user: Some("me".to_owned()),
        password: Some(Secret::Text(password.to_owned())),
        ..access(&ours, None)
    };
    for version in ["5", "3.1.1"] {
        let url = format!("{}?version={version}", broker.tls_url());

        let refused = error_of(&url, with("wrong")).await;
        let mut uplink = start(&url, with("right"));
        uplink.submit(vec![outgoing(1, ORIGIN)]);
        uplink.until_delivered(&[1]).await;

        assert!(
            refused.contains("refuses this user or password"),
            "{refused}"
        );
        uplink.stop().await;
    }
}

#[tokio::test]
async fn a_password_in_a_file_can_be_put_right_while_the_node_runs() {
    let broker = Broker::start_with_password("me", "right").await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("password");
    fs::write(&path, "wrong\n").expect("written");
    let access = Access {
        user: Some("me".to_owned()),
        password: Some(Secret::File(path.clone())),
        ..Access::default()
    };
    let mut uplink = start(&broker.url(), access);
    let status = uplink
        .until_status(|status| status.last_error.is_some())
        .await;
    let error = status.last_error.expect("an error");
    assert!(error.contains("refuses this user or password"), "{error}");

    fs::write(&path, "right\n").expect("written");

    uplink
        .until(|event| matches!(event, uplink::Event::Reachable(_, true)))
        .await;
    uplink.stop().await;
}
