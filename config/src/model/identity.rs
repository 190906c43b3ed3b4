//! `identities`.

use std::time::Duration;

use crate::secret::Secret;

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
