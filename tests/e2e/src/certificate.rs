//! A certificate made for one test.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

/// A self-signed certificate and its key, as files.
pub struct Certificate {
    folder: TempDir,
    der: rustls_pki_types::CertificateDer<'static>,
}

impl Certificate {
    /// For these names and addresses.
    pub fn new(names: &[&str]) -> Self {
        Self::made(rcgen::CertificateParams::new(names_of(names)).expect("the names are valid"))
    }

    /// For `localhost`, ending in so many days.
    pub fn ending_in(days: u32) -> Self {
        let mut parameters =
            rcgen::CertificateParams::new(names_of(&["localhost"])).expect("the names are valid");
        let seconds = crate::token::now() + u64::from(days) * 24 * 60 * 60;
        parameters.not_after = std::time::SystemTime::UNIX_EPOCH
            .checked_add(std::time::Duration::from_secs(seconds))
            .expect("the time is near")
            .into();
        Self::made(parameters)
    }

    fn made(parameters: rcgen::CertificateParams) -> Self {
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let made = parameters.self_signed(&key).expect("the parameters are valid");
        let folder = TempDir::new().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("cert.pem"), made.pem()).expect("the folder is writable");
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).expect("the folder is writable");
        Self { folder, der: made.der().clone() }
    }

    /// For `localhost` and 127.0.0.1.
    pub fn localhost() -> Self {
        Self::new(&["localhost", "127.0.0.1"])
    }

    /// The chain, PEM.
    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The key, PEM.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Settings of a client that trusts this certificate alone and offers these protocols.
    pub fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("the certificate is well formed");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut settings = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider speaks them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        settings.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(settings)
    }
}

fn names_of(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
