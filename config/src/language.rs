//! The keys of the language: for each section one reading function, which is its grammar, its documentation and its
//! schema. The order of the keys here is their order in the schema.

mod action;
mod auth;
mod gate;
mod header;
mod identity;
mod limit;
mod log;
mod plan;
mod route;
mod scanner;
mod site;
mod store;
mod tenant;
mod upload;
mod upstream;

use std::collections::BTreeMap;

use crate::model::{Audit, Config, ErrorFormat, Errors, Language};
use crate::read::Reader;
use crate::scalar::{integer, path, word};
use crate::tree::Content;

/// A whole policy.
pub(crate) fn policy(r: &Reader<'_>) -> Option<Config> {
    let t = r.table()?;
    let version = t.required("version", "The version of the language: 1.", version);
    let server = t.or("server", "Settings of the whole process.", "{}", gate::server);
    let listeners = t.required("listeners", "Where clients connect.", gate::listeners);
    let admin = t.optional("admin", "The operator's own listener; none when missing.", gate::admin);
    let state = t.or("state", "Where counters, lockouts and the like are kept.", "{}", store::state);
    let spool = t.or("spool", "Where bodies wait while they are checked.", "{}", store::spool);
    let scanner = t.or("scanner", "Who looks for malware.", "{}", scanner::scanner);
    let errors = t.or("errors", "The shape and language of refusals.", "{}", errors);
    let log = t.or("log", "Access log, error log, and what is hidden in both.", "{}", log::log);
    let audit = t.optional("audit", "The append-only audit trail; none when missing.", audit);

    // What routes refer to is read before them. The names count even where their values are wrong.
    let identities = t.or("identities", "Ways to know who asks, by name.", "{}", identity::identities);
    {
        let mut known = r.loading.known.borrow_mut();
        if let Some(Content::Table(entries)) = t.node("upstreams").map(|node| &node.content) {
            known.upstreams = entries.iter().map(|entry| (entry.key.clone(), None)).collect();
        }
        if t.has("tenants") {
            known.tenant_sources = Some(Vec::new());
        }
    }
    let tenants = t.optional("tenants", "The tenants of a multi-tenant app.", tenant::tenants);
    let upstreams = t.or("upstreams", "The apps behind the gateway, by name.", "{}", upstream::upstreams);
    if let Some(upstreams) = &upstreams {
        let limits = upstreams.iter().map(|(name, upstream)| (name.clone(), Some(upstream.timeouts)));
        r.loading.known.borrow_mut().upstreams = limits.collect();
    }
    let sites = t.required("sites", "Hosts and their routes.", |r| r.some(site::site));
    if let Some(sites) = &sites {
        plan::check(&t, r.loading, sites);
    }

    version?;
    Some(Config {
        server: server?,
        listeners: listeners?,
        admin: admin?,
        state: state?,
        spool: spool?,
        scanner: scanner?,
        errors: errors?,
        log: log?,
        audit: audit?,
        identities: identities?,
        tenants: tenants?,
        upstreams: upstreams?,
        sites: sites?,
    })
}

/// `version: 1`
pub(crate) fn version(r: &Reader<'_>) -> Option<u64> {
    integer(1, 1)(r)
}

fn errors(r: &Reader<'_>) -> Option<Errors> {
    let t = r.table()?;
    let format = t.or(
        "format",
        "The shape of a refusal's body: RFC 9457, or {code, message, data, …}.",
        "problem",
        word(&[("problem", ErrorFormat::Problem), ("envelope", ErrorFormat::Envelope)]),
    );
    let language = t.or(
        "language",
        "The language of refusals; auto goes by Accept-Language.",
        "auto",
        word(&[("auto", Language::Auto), ("en", Language::En), ("zh", Language::Zh)]),
    );
    Some(Errors { format: format?, language: language? })
}

fn audit(r: &Reader<'_>) -> Option<Audit> {
    let t = r.table()?;
    let path = t.required("path", "The file that audit lines are appended to.", path);
    Some(Audit { path: path? })
}

/// Names of the operator's own, for identities, upstreams and the like: they become labels and header values.
fn named<T>(r: &Reader<'_>, read: impl Fn(&Reader<'_>) -> Option<T>) -> Option<BTreeMap<String, T>> {
    let values = r.names(|name, r| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let value = read(r);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
            r.problem("this cannot be a name", "use at most 64 letters, digits, -, _ and .");
            return None;
        }
        value
    });
    Some(values?.into_iter().collect())
}
