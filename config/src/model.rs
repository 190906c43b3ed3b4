//! What a policy says, as types. A value of these types is right by having been made: names that are referred
//! to exist, sizes and rates are in range, patterns compile. Nothing here reads a file or knows of serving.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use regex::Regex;

use crate::rules::{Auth, Headers, Limits, Lockout, TenantRule, Upload, WebSocket};
use crate::secret::Secret;

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

/// `server:`
#[derive(Debug, Clone)]
pub struct Server {
    /// Where the process id is written; what `menshen reload|quit|stop` read.
    pub pid_file: Option<PathBuf>,
    /// Serving threads, one event loop each. At least 1. Default: cores.
    pub workers: usize,
    /// Peers whose `X-Forwarded-For`, `X-Request-Id` and PROXY line are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of a request's head; more is 431.
    pub max_header_size: usize,
    /// Client connections at a time, all listeners together.
    pub max_connections: usize,
    /// Bytes a second below which a body is too slow.
    pub min_body_rate: u64,
    /// Time limits towards clients.
    pub timeouts: ServerTimeouts,
}

/// `server.timeouts`
#[derive(Debug, Clone, Copy)]
pub struct ServerTimeouts {
    /// For the whole head of a request.
    pub header: Duration,
    /// For a body that stays below `min_body_rate`.
    pub body: Duration,
    /// For an idle connection between requests.
    pub keepalive: Duration,
    /// For running requests after QUIT.
    pub shutdown: Duration,
}

/// One of `listeners:`
#[derive(Debug, Clone)]
pub struct Listener {
    /// Port 0 asks the system for a free one.
    pub address: SocketAddr,
    /// Whether HTTP/2 is offered (by ALPN; on a plain listener by prior knowledge).
    pub http2: bool,
    /// Whether HTTP/1.1 is served.
    pub http1: bool,
    /// TLS, when it ends here.
    pub tls: Option<Tls>,
    /// Answer everything with a redirect to the same URL by https.
    pub redirect_https: bool,
    /// The connection starts with a PROXY v1 or v2 header, believed from trusted proxies only.
    pub proxy_protocol: bool,
}

/// `listeners[].tls`
#[derive(Debug, Clone)]
pub struct Tls {
    /// TLS 1.3 only when true, else 1.2 as well.
    pub tls13_only: bool,
    /// Certificate chains with their keys; chosen by the names they carry, the first is the default. Never empty.
    pub certificates: Vec<Certificate>,
}

/// A PEM chain and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// File of the chain, leaf first.
    pub cert: PathBuf,
    /// File of the private key.
    pub key: PathBuf,
}

/// `admin:`
#[derive(Debug, Clone)]
pub struct Admin {
    /// Loopback unless `token` is set.
    pub address: SocketAddr,
    /// Bearer token asked of every admin call.
    pub token: Option<Secret>,
}

/// `state:`
#[derive(Debug, Clone)]
pub struct State {
    /// Memory of this process, or Redis.
    pub backend: StateBackend,
    /// The longest a request waits for shared state.
    pub timeout: Duration,
    /// What a rule does when shared state is away.
    pub on_failure: OnStateFailure,
}

/// `state.backend`
#[derive(Debug, Clone)]
pub enum StateBackend {
    /// Counters live and die with this process.
    Memory,
    /// Counters are shared through one Redis. The URL may carry a password.
    Redis(Secret),
}

/// `state.on_failure`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStateFailure {
    /// Go on with this process's own counters.
    Local,
    /// Refuse with 503 `state.unavailable`.
    Deny,
    /// Let the request pass uncounted.
    Allow,
}

/// `spool:`
#[derive(Debug, Clone)]
pub struct Spool {
    /// Bytes of one body kept in memory; the rest goes to an unlinked file.
    pub memory: usize,
    /// Where those files are made.
    pub directory: PathBuf,
    /// Bytes of all bodies at a time; beyond it 503 `spool.exhausted`.
    pub max_total: u64,
}

/// `scanner:`
#[derive(Debug, Clone)]
pub struct Scanner {
    /// Who scans.
    pub backend: ScannerBackend,
    /// For one file, from connecting to the verdict.
    pub timeout: Duration,
    /// What happens to a file when no scanner answers.
    pub on_failure: Fallback,
    /// What happens to a file the scanner did not look at whole.
    pub on_unscanned: Fallback,
    /// Scans at a time.
    pub max_concurrent: usize,
    /// Scans that may wait for a place; beyond it 503 `scan.unavailable`.
    pub max_queue: usize,
}

/// `scanner.backend`
#[derive(Debug, Clone)]
pub enum ScannerBackend {
    /// Signatures inside the gateway.
    Builtin,
    /// ClamAV's daemon.
    Clamd(ClamdAddress),
}

/// `scanner.address`: `tcp://host:port` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClamdAddress {
    /// `host:port`
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// `deny | allow`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Refuse.
    Deny,
    /// Let pass, and say so in the audit.
    Allow,
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

/// `log:`
#[derive(Debug, Clone)]
pub struct Log {
    /// The least severe error-log line that is written.
    pub level: LogLevel,
    /// Where error-log lines go.
    pub error: LogTarget,
    /// The access log; `None` when it is off.
    pub access: Option<AccessLog>,
    /// What is hidden in all of them, beside what always is.
    pub scrub: Scrub,
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only what needs somebody now.
    Error,
    /// And what is likely wrong.
    Warn,
    /// And what happened.
    Info,
    /// And why.
    Debug,
}

/// `log.access`
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// Where it goes.
    pub path: LogTarget,
    /// One JSON object a line, or Nginx's combined format.
    pub format: AccessFormat,
}

/// `log.access.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object a line.
    Json,
    /// Nginx's `combined`.
    Combined,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, reopened on USR1.
    File(PathBuf),
}

/// `log.scrub`: the operator's own secrets, beside the built-in list.
#[derive(Debug, Clone, Default)]
pub struct Scrub {
    /// Query parameters whose values are hidden, lower case.
    pub query: Vec<String>,
    /// Headers whose values are hidden.
    pub headers: Vec<HeaderName>,
    /// Named patterns whose matches are hidden.
    pub patterns: Vec<(String, Regex)>,
}

/// `audit:`
#[derive(Debug, Clone)]
pub struct Audit {
    /// Appended to, never rewritten.
    pub path: PathBuf,
}

/// One of `identities:`
#[derive(Debug, Clone)]
pub struct Identity {
    /// How a credential is verified.
    pub jwt: Jwt,
    /// Where a credential may stand. Never empty; the header alone by default.
    pub accept: Vec<CredentialPlace>,
    /// Which claims say what.
    pub claims: Claims,
    /// The permission that stands for all of them.
    pub superuser: Option<String>,
    /// Whether the upstream gets `Authorization: Bearer`.
    pub forward: bool,
}

/// `identities.NAME.jwt`
#[derive(Debug, Clone)]
pub struct Jwt {
    /// Keys, each bound to its algorithm. Never empty.
    pub keys: Vec<JwtKey>,
    /// `iss` must be this.
    pub issuer: Option<String>,
    /// `aud` must contain one of these; a token without `aud` fails when any is given.
    pub audience: Vec<String>,
    /// Clock difference forgiven in `exp` and `nbf`.
    pub leeway: Duration,
    /// `iat` must not be longer ago.
    pub max_age: Option<Duration>,
}

/// One of `jwt.keys`
#[derive(Debug, Clone)]
pub enum JwtKey {
    /// HS256, HS384, HS512.
    Shared {
        /// The algorithm this key is for, and no other.
        alg: Algorithm,
        /// The key's bytes.
        secret: Secret,
        /// When given, only tokens that name it.
        kid: Option<String>,
    },
    /// RS*, PS*, ES*, EdDSA by a PEM public key or certificate.
    Public {
        /// The algorithm this key is for, and no other.
        alg: Algorithm,
        /// PEM text.
        pem: Secret,
        /// When given, only tokens that name it.
        kid: Option<String>,
    },
    /// Keys fetched from a URL (RFC 7517), or read from `file:`.
    Jwks {
        /// `https:`, `http:` or `file:`.
        url: String,
    },
}

/// A JWS algorithm (RFC 7518 section 3.1, RFC 8037). `none` is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// One of `accept:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialPlace {
    /// `Authorization: Bearer`
    Header,
    /// A cookie of this name.
    Cookie(String),
    /// `Sec-WebSocket-Protocol`, behind this marker.
    WebSocket(String),
    /// A query parameter of this name, cut out before anyone sees it.
    Query(String),
}

/// `claims:`: the names of the claims, or paths into them with dots.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Who. Default `sub`.
    pub subject: String,
    /// Whose.
    pub tenant: Option<String>,
    /// As what.
    pub roles: Option<String>,
    /// Allowed what.
    pub permissions: Option<String>,
}

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

/// One of `upstreams:`
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Never empty.
    pub servers: Vec<UpstreamServer>,
    /// Active checks; without them only failed connections are remembered.
    pub health: Option<Health>,
    /// Idle connections kept per server and worker.
    pub keepalive: usize,
    /// Time limits towards the app.
    pub timeouts: UpstreamTimeouts,
}

/// One of `upstreams.NAME.servers`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// `host:port`, resolved when the policy is built.
    pub address: String,
    /// Its share in round robin. At least 1.
    pub weight: u32,
    /// Asked only when no other server is up.
    pub backup: bool,
}

/// `upstreams.NAME.health`
#[derive(Debug, Clone)]
pub struct Health {
    /// What is asked with GET; 2xx and 3xx are well.
    pub path: String,
    /// Time between checks.
    pub every: Duration,
    /// For one answer.
    pub timeout: Duration,
    /// Good answers in a row that bring a server up.
    pub rise: u32,
    /// Bad answers in a row that take it down.
    pub fall: u32,
}

/// `timeouts` of an upstream, and of a route, which wins.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamTimeouts {
    /// For a connection.
    pub connect: Duration,
    /// Between two reads of an answer; 504 `upstream.timeout`.
    pub read: Duration,
    /// Between two writes of a request.
    pub send: Duration,
}

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
