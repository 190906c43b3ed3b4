//! What a policy says, as types. A value of these types is right by having been made: names that are referred
//! to exist, sizes and rates are in range, patterns compile. Nothing here reads a file or knows of serving.

mod gate;
mod identity;
mod log;
mod scanner;
mod site;
mod store;
mod tenant;
mod upstream;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use gate::*;
pub use identity::*;
pub use log::*;
pub use scanner::*;
pub use site::*;
pub use store::*;
pub use tenant::*;
pub use upstream::*;

/// A whole policy: one file, or all `*.yaml` of one directory.
#[derive(Debug, Clone)]
pub struct Config {
    /// Process-wide settings.
    pub server: Server,
    /// Where clients connect. Never empty.
    pub listeners: Vec<Listener>,
    /// The operator's own listener, when there is one.
    pub admin: Option<Admin>,
    /// Where counters that several gateways share are kept.
    pub state: State,
    /// Where bodies wait while they are checked.
    pub spool: Spool,
    /// Who looks for malware.
    pub scanner: Scanner,
    /// The shape and language of refusals.
    pub errors: Errors,
    /// Access log, error log and scrubber.
    pub log: Log,
    /// The append-only audit trail, when one is kept.
    pub audit: Option<Audit>,
    /// Ways to know who asks, by name.
    pub identities: BTreeMap<String, Identity>,
    /// The tenants of a multi-tenant app, when there are any.
    pub tenants: Option<Tenants>,
    /// The apps behind the gateway, by name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Hosts and their routes. Never empty.
    pub sites: Vec<Site>,
}

/// `errors:`
#[derive(Debug, Clone, Copy)]
pub struct Errors {
    /// The shape of a refusal's body.
    pub format: ErrorFormat,
    /// Its language.
    pub language: Language,
}

/// `errors.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// RFC 9457.
    Problem,
    /// `{"code","message","data",…}`
    Envelope,
}

/// `errors.language`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// By `Accept-Language`, English when it names neither.
    Auto,
    /// English.
    En,
    /// Chinese.
    Zh,
}

/// `audit:`
#[derive(Debug, Clone)]
pub struct Audit {
    /// Appended to, never rewritten.
    pub path: PathBuf,
}
