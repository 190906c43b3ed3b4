//! Tokens as the apps would give them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// The key that the tests' policies and apps share.
pub const KEY: &str = "5f0e4c1b2a3948576d7c8b9aa0b1c2d3e4f5061728394a5b6c7d8e9f00112233";

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs()
}

/// An HS256 token with these claims, signed with [`KEY`], good for an hour unless `exp` says otherwise.
pub fn mint(claims: Value) -> String {
    mint_with(KEY, claims)
}

/// The same with another key.
pub fn mint_with(key: &str, mut claims: Value) -> String {
    if claims.get("exp").is_none() {
        claims["exp"] = json!(now() + 3600);
    }
    let key = EncodingKey::from_secret(key.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("the claims are JSON")
}

/// A token of a WeCard user who may store assets.
pub fn of(subject: &str, tenant: &str) -> String {
    mint(json!({
        "iss": "wecard", "sub": subject, "tenant_id": tenant, "role": "member", "permission": ["asset:write"]
    }))
}

/// A token of a WeCard user without permissions.
pub fn powerless(subject: &str, tenant: &str) -> String {
    mint(json!({ "iss": "wecard", "sub": subject, "tenant_id": tenant, "role": "member", "permission": [] }))
}

/// A token of WeCard's operator, who has no tenant.
pub fn operator() -> String {
    mint(json!({ "iss": "wecard", "sub": "root", "role": "platform_admin", "permission": [] }))
}

/// A token of WeCard that ended long ago.
pub fn expired(subject: &str, tenant: &str) -> String {
    mint(json!({
        "iss": "wecard", "sub": subject, "tenant_id": tenant, "role": "member", "permission": ["asset:write"],
        "exp": now() - 3600
    }))
}
