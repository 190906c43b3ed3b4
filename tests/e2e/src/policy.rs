//! Policies the tests start gateways with.

use std::fs;

use crate::gateway::{Builder, Gateway};
use crate::{Certificate, Desk, Redis, WeCard, root};

/// The text of a policy that ships, writing into `${DIR}` what it would write elsewhere.
///
/// # Panics
/// When there is no such policy.
pub fn shipped(name: &str) -> String {
    let path = root().join("policies").join(format!("{name}.yaml"));
    let mut text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text = text.replace("path: /tmp/wecard-audit.jsonl", "path: \"${DIR}/audit.jsonl\"");
    if !text.contains("\nlog:") {
        text.push_str("\nlog: { access: { path: \"${DIR}/access.log\", format: json } }\n");
    }
    if !text.contains("\naudit:") {
        text.push_str("\naudit: { path: \"${DIR}/audit.jsonl\" }\n");
    }
    text
}

/// WeCard's own policy in front of WeCard, everything on free ports.
pub fn wecard(app: &WeCard) -> Builder {
    Gateway::builder()
        .policy(shipped("wecard"))
        .env("WECARD_HTTP", "127.0.0.1:0")
        .env("WECARD_ADMIN", "127.0.0.1:0")
        .env("WECARD_FLASK", app.api())
        .env("WECARD_NUXT", "127.0.0.1:1")
        .env("WECARD_AUDIT", "audit.jsonl")
}

/// WeCard's own policy with a route that gives storage back and without limits of rate, its state in `redis` when there
/// is one, which has time to answer on a busy machine. When it is away, `ON_FAILURE` says what happens: refusal.
pub fn wecard_storage(app: &WeCard, redis: Option<&Redis>) -> Builder {
    let text = replaced(shipped("wecard"), "rate: [{ by: tenant, limit: 60/min, burst: 20 }]", "rate: []");
    let patient = "timeout: 5s\n  on_failure: ${ON_FAILURE:-deny} ";
    let text = replaced(text, "on_failure: local ", patient);
    let text = replaced(text, "rate: [{ by: ip, limit: 50/s, burst: 100 }]", "rate: []");
    let deletes = "      - path: /api/v1/assets/{asset}
        methods: [DELETE]
        upstream: flask
        auth: { identity: user, require: { any: [asset:write] } }
        tenant: required
        quota: { release: header:X-Freed-Bytes }

      - path: /uploads/{tenant}/{file*} ";
    let text = replaced(text, "      - path: /uploads/{tenant}/{file*} ", deletes);
    let builder = wecard(app).policy(text);
    match redis {
        Some(redis) => builder.env("WECARD_STATE", "redis").env("WECARD_REDIS", redis.url()),
        None => builder,
    }
}

/// The text with something else in the one place where `from` stands.
///
/// # Panics
/// When it stands nowhere, or twice.
pub fn replaced(text: String, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} stands once in the policy");
    text.replace(from, to)
}

/// The desk's own policy in front of the desk, everything on free ports.
pub fn desk(app: &Desk, certificate: &Certificate) -> Builder {
    let builder = Gateway::builder().policy(shipped("smart-desk"));
    let log = builder.folder().join("access.log");
    builder
        .env("DESK_HTTPS", "127.0.0.1:0")
        .env("DESK_HTTP", "127.0.0.1:0")
        .env("DESK_ADMIN", "127.0.0.1:0")
        .env("DESK_LOG", log.display())
        .env("DESK_CERT", certificate.cert().display())
        .env("DESK_KEY", certificate.key().display())
        .env("DESK_API", app.address())
}

/// Every rule there is, in front of one app at `${APP}`; nobody is behind `${NOBODY}`.
pub const GUARDED: &str = r#"
spool: { memory: 64KB, directory: "${DIR}", max_total: 64MB }
scanner: { backend: builtin, timeout: 5s, on_failure: deny }
identities:
  user:
    jwt:
      keys: [{ alg: HS256, secret: "@env:JWT_KEY" }]
      issuer: wecard
    accept: [header, { cookie: session }, { query: token }, { websocket: bearer }]
    claims: { subject: sub, tenant: tenant_id, roles: role, permissions: permission }
tenants:
  resolve: [claim, { header: X-Tenant-ID }, { subdomain_of: card.example.com }]
  directory:
    - { id: t-acme, name: acme }
    - { id: t-beta, name: beta, plan: tiny }
    - { id: t-gone, name: gone, status: suspended }
  plans: { tiny: { storage: 1KB } }
upstreams:
  app: { servers: ["${APP}"] }
sites:
  - hosts: [localhost, card.example.com, "*.card.example.com"]
    defaults: { upstream: app }
    routes:
      - { path: /open/*, auth: none, limits: { body: 200MB } }
      - { path: /user/*, auth: { identity: user } }
      - { path: /tenant/*, auth: { identity: user }, tenant: required }
      - { path: "/files/{tenant}/{file*}", auth: { identity: user }, tenant: { required: true, must_equal: path:tenant } }
      - { path: /writers/*, auth: { identity: user, require: { any: [asset:write] } } }
      - { path: /operators/*, auth: { identity: user, roles: [platform_admin] } }
      - { path: /only-get, methods: [GET], auth: none }
      - { path: /nearby/*, auth: none, allow_ips: [192.0.2.0/24] }
      - { path: /banned/*, auth: none, deny_ips: [127.0.0.0/8] }
      - { path: /small, auth: none, limits: { body: 1KB } }
      - { path: /once, auth: none, limits: { rate: [{ by: ip, limit: 1/h, burst: 0, name: once }] } }
      - path: /login
        methods: [POST]
        auth: none
        lockout: { key: [ip, "json:username"], failures: 2, within: 15m, lock: 30m, failed_when: { status: [401] } }
      - path: /form-login
        methods: [POST]
        auth: none
        lockout: { key: ["form:username"], failures: 2, within: 15m, lock: 30m, failed_when: { status: [401] } }
      - path: /upload
        methods: [POST]
        auth: none
        upload:
          fields: [file]
          max_files: 2
          classes:
            image: { extensions: [jpg, jpeg, png, gif, webp], max_size: 1MB }
            video: { extensions: [mp4], max_size: 100MB }
            document: { extensions: [pdf], max_size: 20MB }
          scan: true
      - path: /stored
        methods: [POST]
        auth: { identity: user }
        tenant: required
        upload: { classes: { file: { extensions: [png, zip], max_size: 1MB } }, quota: tenant }
      - path: /socket
        auth: { identity: user }
        websocket: { origins: ["http://localhost:*", "https://desk.example.com"], max_message: 64KB, idle_timeout: 5m }
"#;
