//! `sites` and their routes.

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use super::upstream::UpstreamTimeouts;
use crate::rules::{Auth, Headers, Limits, Lockout, TenantRule, Upload, WebSocket};

/// One of `sites:`
#[derive(Debug, Clone)]
pub struct Site {
    /// Exact, `*.wild.card` or `*`; lower case. Never empty.
    pub hosts: Vec<HostPattern>,
    /// In the order written; the order does not matter to which one wins.
    pub routes: Vec<Route>,
}

/// One of `hosts:`
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host alone.
    Exact(String),
    /// Any host below this domain, of any depth; held without the `*.`.
    Wildcard(String),
    /// Any host.
    Any,
}

/// One of `routes:`, with the site's `defaults` merged in.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; all when empty.
    pub methods: Vec<Method>,
    /// What becomes of a request that passes every rule.
    pub action: Action,
    /// Who may ask; `None` for everybody.
    pub auth: Option<Auth>,
    /// Whether a tenant must be known.
    pub tenant: TenantRule,
    /// How much and how often.
    pub limits: Limits,
    /// What is locked after failures.
    pub lockout: Option<Lockout>,
    /// What is asked of files.
    pub upload: Option<Upload>,
    /// The header of a 2xx answer that says how many bytes the tenant no longer stores.
    pub release: Option<HeaderName>,
    /// Whether the route may become a WebSocket, and for whom.
    pub websocket: Option<WebSocket>,
    /// Clients that may ask; all when empty.
    pub allow_ips: Vec<IpNet>,
    /// Clients that may not.
    pub deny_ips: Vec<IpNet>,
    /// Changes to the request's head.
    pub request_headers: Headers,
    /// Changes to the response's head.
    pub response_headers: Headers,
    /// Overrides the upstream's time limits.
    pub timeouts: Option<UpstreamTimeouts>,
    /// Rules that judge without refusing.
    pub observe: Vec<RuleName>,
    /// Whether every request is audited, not only refusals.
    pub audit: bool,
}

/// A path pattern: segments that are literal text or `{name}`, then nothing, `/*` or `/{name*}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPattern {
    /// As written; the route's name in logs and metrics.
    pub text: String,
    /// Between the slashes.
    pub segments: Vec<Segment>,
    /// What may follow the segments.
    pub tail: Tail,
}

/// One segment of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// This text, decoded.
    Literal(String),
    /// Anything but a slash, never empty, under this name.
    Param(String),
}

/// What may follow the segments of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tail {
    /// Nothing.
    Exact,
    /// `/*` or `/{name*}`: a slash and anything, also nothing; `/a/*` matches `/a/` and `/a/b/c`, and `/a` too.
    Rest(Option<String>),
}

/// What a route does.
#[derive(Debug, Clone)]
pub enum Action {
    /// Ask an app.
    Upstream {
        /// Its name, in `upstreams`.
        name: String,
        /// Whether the tenant's directory entry may name another.
        by_tenant: bool,
    },
    /// Send the client elsewhere.
    Redirect {
        /// Absolute or path; `{path}`, `{query}`, `{host}` and the pattern's names are filled in.
        to: String,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// Answer at once.
    Respond {
        /// 200 to 599.
        status: u16,
        /// What is sent.
        body: String,
        /// Its type.
        content_type: HeaderValue,
    },
}

/// A rule that `observe:` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum RuleName {
    Ip,
    Origin,
    Auth,
    Tenant,
    Rate,
    Lockout,
    Body,
    Upload,
}

impl RuleName {
    /// As the policy writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleName::Ip => "ip",
            RuleName::Origin => "origin",
            RuleName::Auth => "auth",
            RuleName::Tenant => "tenant",
            RuleName::Rate => "rate",
            RuleName::Lockout => "lockout",
            RuleName::Body => "body",
            RuleName::Upload => "upload",
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Wildcard(domain) => write!(f, "*.{domain}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

impl PathPattern {
    /// The names whose values a match yields, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        let segments = self.segments.iter().filter_map(|segment| match segment {
            Segment::Param(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        });
        let tail = match &self.tail {
            Tail::Rest(name) => name.as_deref(),
            Tail::Exact => None,
        };
        segments.chain(tail)
    }
}
