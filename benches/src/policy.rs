//! Policies of any size, and the stores they are built with.

use std::fmt::Write;

use config::{Config, Environment, Fallback};
use filters::pipeline::{Pipeline, Stores};
use filters::upload::ScanPolicy;

/// What tokens are signed with.
pub(crate) const SECRET: &str = "a key for benches, good for nothing else";

const HEAD: &str = r#"version: 1
listeners: [{ address: "127.0.0.1:0" }]
identities:
  user:
    jwt: { keys: [{ alg: HS256, secret: "@env:KEY" }], issuer: bench }
    accept: [header, { cookie: session }]
    claims: { subject: sub, tenant: tenant_id, roles: role, permissions: permission }
upstreams: { app: { servers: ["127.0.0.1:9"] } }
tenants:
  resolve: [claim, { header: X-Tenant-ID }, { subdomain_of: card.example.com }]
  directory:
"#;

const ROUTES: &str = r#"sites:
  - hosts: [card.example.com, "*.card.example.com"]
    defaults: { upstream: app }
    routes:
      - { path: /plain/*, auth: none }
      - { path: /open/*, auth: none, tenant: required }
      - { path: /signed/*, auth: { identity: user, require: { any: [card:write] } }, tenant: required }
      - path: /limited/*
        auth: { identity: user, require: { any: [card:write] } }
        tenant: required
        limits: { rate: [{ by: tenant, limit: 1000000/s, burst: 1000000 }] }
      - path: /upload
        auth: none
        upload: { classes: { image: { extensions: [png], max_size: 2MB } }, scan: false }
"#;

/// Stores in this process's memory, and no fetching of keys.
pub fn stores() -> Stores {
    Stores::local(ScanPolicy { on_failure: Fallback::Deny, on_unscanned: Fallback::Deny })
}

/// A policy with so many tenants, `t-0` and on, and beside the routes that the benches ask for so many of another
/// site, four for each of its services.
pub fn text(tenants: usize, routes: usize) -> String {
    let mut text = HEAD.to_owned();
    for tenant in 0..tenants {
        let _ = writeln!(text, "    - {{ id: t-{tenant}, name: name-{tenant} }}");
    }
    text.push_str(ROUTES);
    if routes > 0 {
        text.push_str("  - hosts: [many.example.com]\n    defaults: { upstream: app, auth: { identity: user } }\n    routes:\n");
    }
    for route in 0..routes {
        let path = match route % 4 {
            0 => "v1/items",
            1 => "v1/items/{id}",
            2 => "v1/items/{id}/parts/{part}",
            _ => "static/*",
        };
        let _ = writeln!(text, "      - {{ path: \"/service-{}/{path}\" }}", route / 4);
    }
    text
}

/// A policy out of its text.
pub fn load(text: &str) -> Config {
    let environment = Environment::of([("KEY", SECRET)]);
    let loaded = config::load_text("bench.yaml", text, &environment);
    let problems =
        |problems: Vec<config::Problem>| problems.iter().map(|one| format!("{one}\n")).collect::<String>();
    loaded.map_err(problems).unwrap_or_else(|problems| panic!("{problems}")).config
}

/// See [`text`].
pub fn policy(tenants: usize, routes: usize) -> Config {
    load(&text(tenants, routes))
}

/// A policy, compiled.
pub fn pipeline(policy: &Config) -> Pipeline {
    Pipeline::build(policy, &stores()).unwrap_or_else(|(key, what)| panic!("{key}: {what}"))
}
