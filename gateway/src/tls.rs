//! Certificates: loaded from files, chosen by the name the client asks for, swapped without dropping a connection.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The certificates of one listener, and when they end.
pub struct Table {
    exact: HashMap<String, Arc<CertifiedKey>>,
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    default: Arc<CertifiedKey>,
    /// For each certificate: its first name and its end.
    pub expiry: Vec<(String, SystemTime)>,
}

/// Chooses a certificate for a handshake. Unknown names get the first one, as with Nginx's default server.
pub struct Resolver(ArcSwap<Table>);

impl Resolver {
    /// Starts with these certificates.
    pub fn new(table: Table) -> Self {
        Self(ArcSwap::from_pointee(table))
    }

    /// From the next handshake on, these.
    pub fn replace(&self, table: Table) {
        self.0.store(Arc::new(table));
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.load();
        let Some(name) = hello.server_name() else {
            return Some(Arc::clone(&table.default));
        };
        let name = name.to_ascii_lowercase();
        let wildcard = || table.wildcard.get(name.split_once('.')?.1);
        Some(Arc::clone(table.exact.get(&name).or_else(wildcard).unwrap_or(&table.default)))
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// What is wrong with a certificate of the policy.
#[derive(Debug)]
pub struct Unusable {
    /// Its place in `certificates`.
    pub index: usize,
    /// `cert` or `key`.
    pub key: &'static str,
    /// What is wrong.
    pub what: String,
}

/// Loads the certificates of one listener. Reads files.
pub fn load(tls: &config::Tls) -> Result<Table, Vec<Unusable>> {
    let mut exact = HashMap::new();
    let mut wildcard = HashMap::new();
    let mut default = None;
    let mut expiry = Vec::new();
    let mut problems = Vec::new();
    for (index, certificate) in tls.certificates.iter().enumerate() {
        match load_one(certificate) {
            Ok((key, names, end)) => {
                let first = names.first().cloned().unwrap_or_default();
                for name in names {
                    match name.strip_prefix("*.") {
                        Some(parent) => wildcard.entry(parent.to_owned()).or_insert_with(|| Arc::clone(&key)),
                        None => exact.entry(name).or_insert_with(|| Arc::clone(&key)),
                    };
                }
                expiry.push((first, end));
                default.get_or_insert(key);
            }
            Err((key, what)) => problems.push(Unusable { index, key, what }),
        }
    }
    match default {
        Some(default) if problems.is_empty() => Ok(Table { exact, wildcard, default, expiry }),
        _ => Err(problems),
    }
}

type Loaded = (Arc<CertifiedKey>, Vec<String>, SystemTime);

fn load_one(certificate: &config::Certificate) -> Result<Loaded, (&'static str, String)> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&certificate.cert)
        .and_then(Iterator::collect)
        .map_err(|error| ("cert", unreadable(&certificate.cert, &error)))?;
    let Some(leaf) = chain.first() else {
        return Err(("cert", format!("{} holds no certificate", certificate.cert.display())));
    };
    let (_, parsed) = X509Certificate::from_der(leaf)
        .map_err(|_| ("cert", "the first certificate cannot be parsed".to_owned()))?;
    let end = SystemTime::UNIX_EPOCH
        + Duration::from_secs(u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0));
    let names = names_of(&parsed);
    let key = PrivateKeyDer::from_pem_file(&certificate.key)
        .map_err(|error| ("key", unreadable(&certificate.key, &error)))?;
    let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|_| {
        ("key", "the key does not belong to the certificate, or is of a kind not supported".to_owned())
    })?;
    Ok((Arc::new(key), names, end))
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => format!("{} cannot be read: {error}", path.display()),
        rustls::pki_types::pem::Error::NoItemsFound => {
            format!("{} holds nothing of this kind", path.display())
        }
        _ => format!("{} is not PEM", path.display()),
    }
}

/// The names a certificate is for: its subject alternative names, or its common name when it has none.
fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names: Vec<_> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if !names.is_empty() {
        return names;
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(str::to_ascii_lowercase).collect()
}

/// The settings of a listener's handshakes.
pub fn server_config(listener: &config::Listener, resolver: Arc<Resolver>) -> Arc<ServerConfig> {
    let tls13_only = listener.tls.as_ref().is_some_and(|tls| tls.tls13_only);
    let versions: &[_] = if tls13_only { &[&rustls::version::TLS13] } else { rustls::ALL_VERSIONS };
    let mut settings = ServerConfig::builder_with_protocol_versions(versions)
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let mut alpn: Vec<Vec<u8>> = Vec::new();
    if listener.http2 {
        alpn.push(b"h2".to_vec());
    }
    if listener.http1 {
        alpn.push(b"http/1.1".to_vec());
    }
    settings.alpn_protocols = alpn;
    if let Ok(tickets) = rustls::crypto::aws_lc_rs::Ticketer::new() {
        settings.ticketer = tickets;
    }
    Arc::new(settings)
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path, name: &str, hosts: &[&str]) -> config::Certificate {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(hosts).unwrap();
        let cert = dir.join(format!("{name}.pem"));
        let key = dir.join(format!("{name}.key"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        config::Certificate { cert, key }
    }

    #[test]
    fn knows_every_name_of_every_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let certificates =
            vec![written(dir.path(), "a", &["a.test", "*.a.test"]), written(dir.path(), "b", &["b.test"])];
        let table = load(&config::Tls { tls13_only: false, certificates }).unwrap();
        assert!(table.exact.contains_key("a.test") && table.exact.contains_key("b.test"));
        assert!(table.wildcard.contains_key("a.test"));
        assert_eq!(table.expiry.len(), 2);
    }

    #[test]
    fn refuses_a_key_of_another_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (written(dir.path(), "a", &["a.test"]), written(dir.path(), "b", &["b.test"]));
        let mixed = config::Certificate { cert: a.cert, key: b.key };
        let problems = load(&config::Tls { tls13_only: false, certificates: vec![mixed] }).err().unwrap();
        assert_eq!((problems[0].index, problems[0].key), (0, "key"));
    }

    #[test]
    fn names_the_file_that_cannot_be_read() {
        let missing = config::Certificate { cert: "/nowhere/a.pem".into(), key: "/nowhere/a.key".into() };
        let problems = load(&config::Tls { tls13_only: false, certificates: vec![missing] }).err().unwrap();
        assert!(problems[0].what.contains("/nowhere/a.pem"), "{}", problems[0].what);
    }
}
