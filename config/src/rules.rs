//! The rules a route may carry.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

/// `auth:`
#[derive(Debug, Clone)]
pub struct Auth {
    /// Names in `identities`; the credential must satisfy one of them. Never empty.
    pub identities: Vec<String>,
    /// At least one of these permissions; no demand when empty.
    pub any: Vec<String>,
    /// All of these permissions.
    pub all: Vec<String>,
    /// At least one of these roles; no demand when empty.
    pub roles: Vec<String>,
}

/// `tenant:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRule {
    /// Nobody asks, and the upstream is told nothing.
    None,
    /// Told when known; what is said must still be true.
    Optional,
    /// 400 `tenant.missing` without one.
    Required {
        /// The path parameter that must be the tenant's id or name.
        must_equal_path: Option<String>,
    },
}

/// `limits:`
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Bytes of body; more is 413 `body.too_large`.
    pub body: Option<u64>,
    /// Requests in time.
    pub rate: Vec<Rate>,
}

/// One of `limits.rate`
#[derive(Debug, Clone)]
pub struct Rate {
    /// Metric and header label; `rate`, `rate-2`, … of its route when not given.
    pub name: String,
    /// Together they make the counter's key. Never empty.
    pub by: Vec<RateKey>,
    /// Requests per `per`. At least 1.
    pub limit: u32,
    /// The period.
    pub per: Duration,
    /// Requests beyond the steady rate that may come at once. At least 1 with `limit` alone.
    pub burst: u32,
}

/// One of `by:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address; IPv6 by /64.
    Ip,
    /// The tenant.
    Tenant,
    /// Who asks.
    Subject,
    /// The identity's name.
    Identity,
    /// The route.
    Route,
    /// A request header's value.
    Header(HeaderName),
}

/// `lockout:`
#[derive(Debug, Clone)]
pub struct Lockout {
    /// Together they make what is locked. Never empty.
    pub key: Vec<LockoutKey>,
    /// How many failures lock. At least 1.
    pub failures: u32,
    /// In which time.
    pub within: Duration,
    /// For how long.
    pub lock: Duration,
    /// What counts as a failure.
    pub failed_when: FailedWhen,
}

/// One of `lockout.key`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockoutKey {
    /// The client's address; IPv6 by /64.
    Ip,
    /// The tenant.
    Tenant,
    /// A field of a JSON body, a path with dots.
    Json(String),
    /// A field of a form body.
    Form(String),
}

/// `lockout.failed_when`
#[derive(Debug, Clone)]
pub enum FailedWhen {
    /// The answer's status is one of these.
    Status(Vec<StatusCode>),
    /// A field of the answer's JSON body has one of these values.
    Json {
        /// A path with dots.
        field: String,
        /// Values, as JSON.
        values: Vec<serde_json::Value>,
    },
}

/// `upload:`
#[derive(Debug, Clone)]
pub struct Upload {
    /// Fields that may carry files; any when empty.
    pub fields: Vec<String>,
    /// Files in one request. At least 1.
    pub max_files: usize,
    /// Kinds of file that may come. Never empty.
    pub classes: Vec<UploadClass>,
    /// Whether files are scanned for malware.
    pub scan: bool,
    /// Whether the body may be one file instead of a form.
    pub raw: bool,
    /// Parts of one form that are no files.
    pub max_fields: usize,
    /// Bytes of one of them.
    pub max_field_size: u64,
    /// Whether a file's own `Content-Type` must not contradict it.
    pub declared_type: bool,
    /// Whether a PDF may act.
    pub pdf_active: bool,
    /// What happens to a file that was stored before; nothing when `None`.
    pub dedupe: Option<Dedupe>,
    /// Whether files count towards the storage of the tenant's plan.
    pub quota: bool,
    /// What an archive, or an office file, may unpack to.
    pub archives: Archives,
}

/// `upload.dedupe`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dedupe {
    /// What happens to a file that was stored before.
    pub mode: DedupeMode,
    /// How long a stored file is remembered.
    pub remember: Duration,
}

/// `upload.dedupe.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DedupeMode {
    /// The app is told under which request it came first.
    Annotate,
    /// 409 `upload.duplicate`
    Reject,
}

/// `upload.archives`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archives {
    /// Members of all archives in a file together.
    pub max_members: u64,
    /// Bytes of one member.
    pub max_member: u64,
    /// Bytes of all members together.
    pub max_total: u64,
    /// Bytes of all members for each byte of the file.
    pub max_ratio: u64,
    /// Archives in archives; the file itself is the first. At least 1.
    pub max_depth: usize,
}

/// One of `upload.classes`
#[derive(Debug, Clone)]
pub struct UploadClass {
    /// `image`, `document`, … as the operator named it.
    pub name: String,
    /// Lower case, without the dot; no extension is in two classes.
    pub extensions: Vec<String>,
    /// Bytes of one file.
    pub max_size: u64,
}

/// `websocket:`
#[derive(Debug, Clone)]
pub struct WebSocket {
    /// Which pages may open it.
    pub origins: Vec<OriginPattern>,
    /// Bytes of one message; more closes with 1009.
    pub max_message: u64,
    /// Silence that closes with 1001.
    pub idle_timeout: Option<Duration>,
}

/// One of `origins:`: `*`, `https://host`, `https://*.host`, `http://host:*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// Every origin, and none at all.
    Any,
    /// Scheme, host and port must match.
    Origin {
        /// `http` or `https`.
        scheme: String,
        /// Lower case; with a leading `*.`, any host below.
        host: String,
        /// `None` for any port; the scheme's own when not written.
        port: Option<u16>,
    },
}

/// `request_headers:` or `response_headers:`
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// Replaces.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Adds beside what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Takes away.
    pub remove: Vec<HeaderName>,
}

/// The header fields by which an app is told what the gateway found out. Nobody else sets them.
pub const GATEWAY_FIELDS: [&str; 14] = [
    "x-request-id",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-tenant-id",
    "x-auth-subject",
    "x-auth-identity",
    "x-auth-roles",
    "x-auth-permissions",
    "x-upload-files",
    "x-webhook-app",
    "x-deployment-id",
];
