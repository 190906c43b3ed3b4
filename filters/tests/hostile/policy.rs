//! A policy with every rule a route can have, and good tokens for it.

use std::sync::OnceLock;

use config::{Environment, Fallback};
use filters::pipeline::{Pipeline, Stores};
use filters::upload::ScanPolicy;

pub(crate) const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a key for tests, good for nothing else";

/// Every rule a route can have.
const POLICY: &str = r#"
version: 1
server: { trusted_proxies: [10.0.0.0/8] }
listeners: [{ address: "127.0.0.1:0" }]
identities:
  user:
    jwt: { keys: [{ alg: HS256, secret: "@env:KEY" }], issuer: tests, leeway: 30s }
    accept: [header, { cookie: session }, { websocket: bearer }, { query: token }]
    claims: { subject: sub, tenant: tid, roles: role, permissions: scope }
    superuser: root
  machine:
    jwt: { keys: [{ alg: HS512, secret: "@env:KEY" }], audience: [here], max_age: 1h }
    claims: { subject: client.id, roles: role, permissions: scope }
    forward: false
tenants:
  resolve: [claim, { header: X-Tenant-Id }, { subdomain_of: a.example }, { query: tenant }]
  directory: [{ id: t-acme, name: acme }, { id: t-beta, name: beta }, { id: t-gone, name: gone, status: suspended }]
upstreams: { app: { servers: ["127.0.0.1:9"] } }
sites:
  - hosts: [a.example, "*.a.example"]
    routes:
      - path: /api/*
        upstream: app
        auth: { identity: [user, machine], require: { any: [read, write] }, roles: [editor] }
        tenant: required
        limits:
          body: 1MB
          rate:
            - { by: ip, limit: 1000000/s, burst: 1000000 }
            - { by: [tenant, subject, identity, route, "header:X-Key"], limit: 1000000/s, burst: 1000000 }
        request_headers: { set: { X-Edge: "1" }, add: { Via: "1.1 edge" }, remove: [X-Debug] }
        response_headers: { set: { X-Frame-Options: DENY }, remove: [Server] }
      - { path: "/files/{tenant}/{rest*}", upstream: app, auth: { identity: user }, tenant: { required: true, must_equal: "path:tenant" } }
      - path: /ws
        upstream: app
        auth: { identity: user }
        tenant: optional
        websocket: { origins: ["https://a.example", "http://*.a.example:*"], max_message: 64KB }
      - path: /upload
        methods: [POST, PUT]
        upstream: app
        auth: none
        limits: { body: 1MB }
        upload:
          fields: [file, more]
          max_files: 3
          raw: true
          classes:
            image: { extensions: [png, svg, gif], max_size: 64KB }
            document: { extensions: [docx, pdf, txt], max_size: 64KB }
      - { path: /seen, upstream: app, auth: none, limits: { body: 10 }, deny_ips: [0.0.0.0/0, "::/0"], observe: [ip, body] }
      - { path: /office, upstream: app, auth: none, allow_ips: [192.0.2.0/24] }
      - path: /login
        methods: [POST]
        upstream: app
        auth: none
        lockout: { key: [ip, "json:user.name"], failures: 5, within: 15m, lock: 30m, failed_when: { json: { code: [401] } } }
      - path: /form
        methods: [POST]
        upstream: app
        auth: none
        tenant: optional
        lockout: { key: [tenant, "form:name"], failures: 5, within: 15m, lock: 30m, failed_when: { status: [401] } }
  - hosts: ["*"]
    routes:
      - { path: /old/*, redirect: { to: "https://{host}/new{path}?{query}", status: 308 }, auth: none }
      - { path: "/{any*}", respond: { status: 404, body: "nothing here" }, auth: none }
"#;

pub(crate) fn pipeline() -> &'static Pipeline {
    static PIPELINE: OnceLock<Pipeline> = OnceLock::new();
    PIPELINE.get_or_init(|| {
        let environment = Environment::of([("KEY", SECRET)]);
        let loaded = config::load_text("hostile.yaml", POLICY, &environment).unwrap_or_else(|problems| {
            panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        let stores = Stores::local(ScanPolicy { on_failure: Fallback::Deny, on_unscanned: Fallback::Deny });
        Pipeline::build(&loaded.config, &stores).expect("a policy that loads can be built")
    })
}

pub(crate) fn token(tenant: &str, subject: &str) -> String {
    let claims = serde_json::json!({
        "iss": "tests", "sub": subject, "tid": tenant, "role": "editor", "scope": "read write", "exp": NOW + 60,
    });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a shared secret signs")
}
