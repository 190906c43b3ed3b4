//! `identities`

use std::collections::BTreeMap;

use serde_json::json;
use url::{Host, Url};

use crate::Secret;
use crate::model::{Algorithm, Claims, CredentialPlace, Identity, Jwt, JwtKey};
use crate::read::{Reader, Shape, members};
use crate::scalar::{boolean, duration, line, quoted, time_limit, token, word, written_line};
use crate::secret_source::{document, secret};

pub(super) fn identities(r: &Reader<'_>) -> Option<BTreeMap<String, Identity>> {
    super::named(r, |r| {
        let identity = identity(r);
        let name = r.path.last_key();
        let claims = identity.as_ref().map(|identity| identity.claims.clone());
        r.loading.known.borrow_mut().identities.insert(name.to_owned(), claims);
        identity
    })
}

fn identity(r: &Reader<'_>) -> Option<Identity> {
    let t = r.table()?;
    let jwt = t.required("jwt", "How a token is verified.", jwt);
    let accept = t.or("accept", "Where a credential may stand.", "[header]", |r| r.some(credential_place));
    let claims = t.or("claims", "Which claims say what; a dot leads into an object.", "{}", claims);
    let superuser = t.optional("superuser", "The permission that stands for all of them.", line);
    let forward = t.or("forward", "Whether the upstream gets Authorization: Bearer.", "true", boolean);
    let (accept, claims, superuser) = (accept?, claims?, superuser?);
    if accept.len() > 100 || accept.iter().enumerate().any(|(index, place)| accept[..index].contains(place)) {
        t.problem("accept", "the same place is listed twice, or more than 100 are", "name each place once");
    }
    if superuser.is_some() && claims.permissions.is_none() {
        let remedy = "add \"permissions\" to the identity's claims, or take \"superuser\" away";
        t.problem("superuser", "no claim says the permissions of this identity", remedy);
    }
    Some(Identity { jwt: jwt?, accept, claims, superuser, forward: forward? })
}

fn jwt(r: &Reader<'_>) -> Option<Jwt> {
    let t = r.table()?;
    let keys = t.required("keys", "Keys, each bound to its algorithm, and sets of keys.", |r| r.some(key));
    let issuer = t.optional("issuer", "What iss must be.", line);
    let audience = t.or("audience", "What aud must contain one of; any when empty.", "[]", |r| {
        r.shapes(&[(Shape::Text, &|r| Some(vec![line(r)?])), (Shape::List, &|r| r.list(line))])
    });
    let leeway = t.or("leeway", "Difference between clocks that is forgiven.", "0s", duration);
    let max_age = t.optional("max_age", "How long ago iat may be.", time_limit);
    Some(Jwt { keys: keys?, issuer: issuer?, audience: audience?, leeway: leeway?, max_age: max_age? })
}

const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

fn key(r: &Reader<'_>) -> Option<JwtKey> {
    let t = r.table()?;
    let alg = t.optional("alg", "The algorithm this key is for, and no other.", |r| {
        if r.scalar().is_some_and(|written| written.text.eq_ignore_ascii_case("none")) {
            r.problem(
                "a token without a signature is never accepted",
                "write the algorithm of the key, as in HS256",
            );
            return None;
        }
        word(&ALGORITHMS)(r)
    });
    let secret = t.optional("secret", "The key of HS256, HS384 and HS512.", secret);
    let public_key = t.optional("public_key", "The key of the other algorithms: PEM.", public_key);
    let kid = t.optional("kid", "When given, the key is for tokens that name it only.", line);
    let jwks = t.optional(
        "jwks",
        "Where a set of keys is fetched from, instead of all others: https:, http: or file:.",
        jwks,
    );
    let remedy = "write {alg: HS256, secret: …}, {alg: RS256, public_key: …} or {jwks: URL}";
    let wrong = |key: &str, what: &str| {
        t.problem(key, what, remedy);
        None
    };
    match (alg?, secret?, public_key?, kid?, jwks?) {
        (None, None, None, None, Some(url)) => Some(JwtKey::Jwks { url }),
        (.., Some(_)) => wrong("jwks", "a set of keys needs nothing beside its URL"),
        (None, ..) => wrong("alg", "the key has no algorithm"),
        (Some(alg), Some(secret), None, kid, None) if hash_size(alg).is_some() => {
            if hash_size(alg).is_some_and(|size| secret.expose().len() < size) {
                let what = "the secret is shorter than the algorithm's hash, and can be guessed more easily";
                t.warn("secret", what, "use at least 32 random bytes for HS256, 48 for HS384, 64 for HS512");
            }
            Some(JwtKey::Shared { alg, secret, kid })
        }
        (Some(alg), None, Some(pem), kid, None) if hash_size(alg).is_none() => {
            Some(JwtKey::Public { alg, pem, kid })
        }
        (Some(alg), ..) if hash_size(alg).is_some() => {
            wrong("alg", "this algorithm needs \"secret\", and no other key")
        }
        (Some(_), ..) => wrong("alg", "this algorithm needs \"public_key\", and no other key"),
    }
}

/// Bytes of the hash of an algorithm with a shared key (RFC 7518 section 3.2 asks for a key as long).
fn hash_size(alg: Algorithm) -> Option<usize> {
    match alg {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        _ => None,
    }
}

fn public_key(r: &Reader<'_>) -> Option<Secret> {
    let pem = document(r)?;
    let text = String::from_utf8_lossy(pem.expose());
    if text.contains("PRIVATE KEY-----") {
        r.problem("this is a private key", "give the gateway the public key only");
        return None;
    }
    if !text.contains("-----BEGIN ") {
        r.problem(
            "this is not a PEM key or certificate",
            "write \"@file:path\" of one that begins with -----BEGIN",
        );
        return None;
    }
    r.remember();
    Some(pem)
}

fn jwks(r: &Reader<'_>) -> Option<String> {
    r.describe_with(|schema| schema.extend(members(json!({"type": "string"}))));
    let written = written_line(r)?;
    r.remember();
    if let Some(path) = written.text.strip_prefix("file:") {
        let path = match path.strip_prefix("//") {
            Some(absolute) => absolute.into(),
            None => r.loading.resolve(r.span()?.file, path),
        };
        if r.loading.has_disk()
            && let Err(reason) = r.loading.read_file(&path)
        {
            r.problem(
                format!("the file of {} {reason}", quoted(r)),
                "write the path of a file this user may read",
            );
            return None;
        }
        return Some(format!("file:{}", path.display()));
    }
    let url = Url::parse(&written.text).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    let Some(url) = url else {
        let what = format!("{} is not the URL of a set of keys", written.quoted());
        r.problem(what, "write https://HOST/PATH, or file:PATH");
        return None;
    };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "http" && !loopback {
        r.warn("keys come over a connection that anybody between can change", "use https://");
    }
    Some(written.text)
}

fn credential_place(r: &Reader<'_>) -> Option<CredentialPlace> {
    r.shapes(&[
        (Shape::Text, &|r| word(&[("header", ())])(r).map(|()| CredentialPlace::Header)),
        (Shape::Table, &|r| {
            r.variant(&[
                ("cookie", "A cookie of this name.", &|r| token(r).map(CredentialPlace::Cookie)),
                ("websocket", "Sec-WebSocket-Protocol, behind this marker.", &|r| {
                    token(r).map(CredentialPlace::WebSocket)
                }),
                ("query", "A query parameter, cut out before anyone sees it.", &|r| {
                    token(r).map(CredentialPlace::Query)
                }),
            ])
        }),
    ])
}

fn claims(r: &Reader<'_>) -> Option<Claims> {
    let t = r.table()?;
    let subject = t.or("subject", "Who asks.", "sub", line);
    let tenant = t.optional("tenant", "Whose data they may ask for.", line);
    let roles = t.optional("roles", "As what they ask.", line);
    let permissions = t.optional("permissions", "What they are allowed.", line);
    Some(Claims { subject: subject?, tenant: tenant?, roles: roles?, permissions: permissions? })
}
