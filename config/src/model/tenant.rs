//! `tenants`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// What it may store; anything when `None`.
    pub plan: Option<Arc<Plan>>,
    /// Other upstreams for this tenant, by the name of the one they replace.
    pub upstreams: BTreeMap<String, String>,
}

/// One of `tenants.plans`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// As the policy calls it; told to those whose storage is full.
    pub name: String,
    /// Bytes that a tenant may store; without limit when `None`.
    pub storage: Option<u64>,
    /// Classes of files that may come; all when `None`.
    pub uploads: Option<Vec<String>>,
    /// Bytes of one file of a class, where that is less than the route's.
    pub max_size: BTreeMap<String, u64>,
}

impl Plan {
    /// Bytes of one file of a class of which the route takes `most`; `None` when the plan does not have the class.
    pub fn limit(&self, class: &str, most: u64) -> Option<u64> {
        let has = self.uploads.as_ref().is_none_or(|uploads| uploads.iter().any(|one| one == class));
        has.then(|| self.max_size.get(class).map_or(most, |own| most.min(*own)))
    }
}
