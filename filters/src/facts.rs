//! What is known about one request once its head has been read and its route, caller and tenant established.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::Method;

/// What a rule may look at. Every field was established by the spine of the journey, in this order.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The request's own name.
    pub request_id: &'a str,
    /// When the request was read.
    pub now: SystemTime,
    /// The client's address, as far as proxies in front are trusted.
    pub client: IpAddr,
    /// The request's method.
    pub method: &'a Method,
    /// Lower case, without a port.
    pub host: &'a str,
    /// Normalised, percent-encoded: what the upstream gets.
    pub path: &'a str,
    /// The pattern of the route.
    pub route: &'a str,
    /// Decoded values of the pattern's names.
    pub params: &'a [(Arc<str>, String)],
    /// Who asks.
    pub caller: Option<&'a Caller>,
    /// Whose data is asked for.
    pub tenant: Option<&'a config::Tenant>,
}

/// Somebody whose credential was verified. Made once for each credential that is verified, and shared by the requests
/// that bring it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the identity in the policy.
    pub identity: Arc<str>,
    /// The subject claim; never empty.
    pub subject: String,
    /// The tenant claim; never empty.
    pub tenant: Option<String>,
    /// The roles claim. A string is one role, or several with commas between; spaces belong to a role's name.
    pub roles: Vec<String>,
    /// The permissions claim: an array, or a string with spaces or commas between.
    pub permissions: Vec<String>,
    /// Whether the identity's superuser permission is among them.
    pub superuser: bool,
    /// When the credential ends: `exp`, or the end of `max_age` when that is sooner; without the leeway.
    pub expires: SystemTime,
    /// The credential itself, for the upstream. Never written anywhere else.
    pub token: Token,
}

/// A bearer token. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}
