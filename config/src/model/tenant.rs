//! `tenants`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::HeaderName;

/// `tenants:`
#[derive(Debug, Clone)]
pub struct Tenants {
    /// Where a request may say its tenant, the most trusted first. All that answer must agree.
    pub resolve: Vec<TenantSource>,
    /// Every tenant there is.
    pub directory: Vec<Tenant>,
    /// The file the directory came from, watched for changes.
    pub file: Option<PathBuf>,
}

/// One of `tenants.resolve`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantSource {
    /// The identity's tenant claim.
    Claim,
    /// A request header.
    Header(HeaderName),
    /// The label in front of this domain, lower case; it is a tenant's `name`.
    SubdomainOf(String),
    /// A query parameter.
    Query(String),
}

/// One tenant of the directory.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// What claims and headers say, and what the upstream is told.
    pub id: String,
    /// What a subdomain says. The id when not given.
    pub name: String,
    /// Suspended tenants are refused with 403.
    pub suspended: bool,
    /// Other upstreams for this tenant, by the name of the one they replace.
    pub upstreams: BTreeMap<String, String>,
}
