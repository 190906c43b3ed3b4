//! The policies that ship load, mean what they say, and fit the schema's keys.

use std::time::Duration;

use config::rules::{DedupeMode, FailedWhen, LockoutKey, OriginPattern, RateKey, TenantRule};
use config::{
    Action, CredentialPlace, Environment, JwtKey, Loaded, RuleName, StateBackend, TenantSource, load_text,
};
use serde_json::Value;

const QUICKSTART: &str = include_str!("../../policies/quickstart.yaml");
const WECARD: &str = include_str!("../../policies/wecard.yaml");
const SMART_DESK: &str = include_str!("../../policies/smart-desk.yaml");

fn environment() -> Environment {
    Environment::of([
        ("WECARD_JWT_KEY", "a key of WeCard that is long enough"),
        ("DESK_JWT_KEY", "a key of the desk that is long enough"),
    ])
}

fn loaded(name: &str, text: &str) -> Loaded {
    load_text(name, text, &environment()).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn quickstart_loads_without_a_word() {
    let loaded = loaded("quickstart.yaml", QUICKSTART);
    assert_eq!(warnings(&loaded), [""; 0]);
    let [upload, rest] = loaded.config.sites[0].routes.as_slice() else { panic!() };
    let files = upload.upload.as_ref().unwrap();
    assert!(files.scan && !files.raw && files.declared_type && !files.pdf_active);
    assert_eq!((files.max_files, files.max_fields, files.max_field_size), (1, 100, 1 << 20));
    let archives = files.archives;
    assert_eq!((archives.max_members, archives.max_ratio, archives.max_depth), (1000, 100, 3));
    assert_eq!((archives.max_member, archives.max_total), (25 << 20, 100 << 20));
    assert_eq!(upload.limits.body, Some(21 << 20), "the largest class and 1MB");
    assert_eq!(upload.limits.rate[0].burst, 9, "the whole limit at once");
    assert_eq!(rest.limits.body, Some(1 << 20));
    assert_eq!((rest.limits.rate[0].limit, rest.limits.rate[0].burst), (10, 20));
    assert_eq!(rest.limits.rate[0].name, "rate");
    assert!(matches!(loaded.config.state.backend, StateBackend::Memory));
    assert_eq!(loaded.config.state.timeout, Duration::from_millis(50));
    let spool = &loaded.config.spool;
    assert_eq!((spool.memory, spool.max_memory), (256 << 10, 256 << 20));
    assert_eq!((spool.max_total, spool.min_free), (1 << 30, 256 << 20));
}

#[test]
fn wecard_means_what_it_says() {
    let loaded = loaded("wecard.yaml", WECARD);
    let config = &loaded.config;
    assert_eq!((config.sites.len(), config.sites[0].routes.len(), config.upstreams.len()), (1, 7, 2));
    let user = &config.identities["user"];
    assert!(
        matches!(&user.jwt.keys[0], JwtKey::Shared { secret, .. } if secret.expose().starts_with(b"a key of WeCard"))
    );
    assert_eq!(user.accept, [CredentialPlace::Header, CredentialPlace::Cookie("auth._token.local".into())]);
    assert_eq!(user.claims.permissions.as_deref(), Some("permission"));
    let tenants = config.tenants.as_ref().unwrap();
    assert_eq!(tenants.resolve[2], TenantSource::SubdomainOf("card.example.com".into()));
    assert!(tenants.directory[2].suspended);
    let [pro, free] = [0, 1].map(|at: usize| tenants.directory[at].plan.as_ref().unwrap());
    assert_eq!((pro.storage, free.storage), (Some(10 << 30), Some(100 << 20)));
    assert_eq!((pro.limit("video", 1), free.limit("video", 1)), (Some(1), None));
    let routes = &config.sites[0].routes;
    let lockout = routes[1].lockout.as_ref().unwrap();
    assert_eq!(lockout.key, [LockoutKey::Ip, LockoutKey::Json("username".into())]);
    assert!(matches!(&lockout.failed_when, FailedWhen::Status(codes) if codes.len() == 2));
    assert_eq!(routes[2].tenant, TenantRule::Optional);
    assert!(routes[2].audit);
    assert_eq!(routes[3].limits.rate[0].by, [RateKey::Tenant]);
    assert_eq!(routes[3].limits.body, Some(110 << 20));
    let upload = routes[3].upload.as_ref().unwrap();
    assert_eq!(upload.classes[1].name, "video");
    assert!(upload.quota && upload.dedupe.is_some_and(|dedupe| dedupe.mode == DedupeMode::Reject));
    assert_eq!(routes[4].tenant, TenantRule::Required { must_equal_path: Some("tenant".into()) });
    assert_eq!(routes[6].response_headers.set.len(), 2);
    assert_eq!(
        warnings(&loaded),
        [
            "wecard.yaml:78:9: sites[0].routes[3]: GET, PUT, PATCH, DELETE of \"/api/v1/assets\" fall to \"/api/*\" at line 103, which asks less; if that is not meant, add a route for them or take \"methods\" away"
        ]
    );
}

#[test]
fn smart_desk_means_what_it_says() {
    let loaded = loaded("smart-desk.yaml", SMART_DESK);
    let config = &loaded.config;
    let [tls, plain] = config.listeners.as_slice() else { panic!() };
    assert!(tls.http1 && tls.http2 && tls.tls.as_ref().is_some_and(|tls| !tls.tls13_only));
    assert!(plain.redirect_https);
    assert_eq!(config.log.scrub.query, ["token", "access_token", "ticket"]);
    assert!(config.log.scrub.patterns[0].1.is_match("BADGE-12345678"));
    let agent = &config.identities["agent"];
    assert_eq!(
        agent.accept[1..],
        [CredentialPlace::WebSocket("bearer".into()), CredentialPlace::Query("token".into())]
    );
    let routes = &config.sites[0].routes;
    let socket = routes[0].websocket.as_ref().unwrap();
    assert_eq!(
        socket.origins[1],
        OriginPattern::Origin { scheme: "http".into(), host: "localhost".into(), port: None }
    );
    assert!(
        routes.iter().all(|route| matches!(&route.action, Action::Upstream { name, .. } if name == "api"))
    );
    assert!(routes[2].auth.is_none(), "auth: none replaces the default's table");
    assert_eq!(routes[4].auth.as_ref().unwrap().roles, ["admin"]);
}

#[test]
fn defaults_are_merged_under_each_route() {
    let text = r#"
version: 1
listeners: [{ address: "127.0.0.1:0" }]
identities:
  user:
    jwt: { keys: [{ alg: HS256, secret: "@env:WECARD_JWT_KEY" }] }
    claims: { roles: role }
upstreams:
  a: { servers: ["127.0.0.1:1"], timeouts: { connect: 1s, read: 9s } }
  b: { servers: ["127.0.0.1:2"] }
sites:
  - hosts: ["*"]
    observe: [rate]
    defaults:
      upstream: a
      auth: { identity: user, roles: [staff] }
      limits: { body: 7KB, rate: [{ by: ip, limit: 1/s }] }
      response_headers: { set: { x-a: "1" } }
    routes:
      - path: /one
      - { path: /two, redirect: /one, auth: none }
      - { path: /three, upstream: b, auth: { roles: [boss] }, limits: { rate: [] }, observe: [] }
      - { path: /four, timeouts: { read: 5m }, response_headers: { set: { x-b: "2" } } }
"#;
    let loaded = loaded("defaults.yaml", text);
    let [one, two, three, four] = loaded.config.sites[0].routes.as_slice() else { panic!() };
    assert_eq!(one.limits.body, Some(7 << 10));
    assert_eq!(one.observe, [RuleName::Rate]);
    assert!(matches!(&two.action, Action::Redirect { status: 302, .. }));
    assert!(two.auth.is_none());
    assert!(matches!(&three.action, Action::Upstream { name, .. } if name == "b"));
    assert_eq!(three.auth.as_ref().unwrap().roles, ["boss"]);
    assert_eq!(three.auth.as_ref().unwrap().identities, ["user"]);
    assert_eq!((three.limits.body, three.limits.rate.len()), (Some(7 << 10), 0));
    assert!(three.observe.is_empty());
    assert_eq!(four.response_headers.set.len(), 2);
    let timeouts = four.timeouts.unwrap();
    assert_eq!((timeouts.connect, timeouts.read), (Duration::from_secs(1), Duration::from_secs(300)));
}

#[test]
fn every_key_of_the_schema_has_a_sentence() {
    fn visit(path: &str, schema: &Value, keys: &mut usize) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            assert_eq!(schema["additionalProperties"], false, "{path} takes any key");
            for (key, property) in properties {
                let path = format!("{path}.{key}");
                let doc = property["description"].as_str().unwrap_or_default();
                assert!(
                    doc.len() > 5 && (doc.ends_with('.') || doc.ends_with(':')),
                    "{path} has no sentence: {doc}"
                );
                *keys += 1;
                visit(&path, property, keys);
            }
        }
        for (key, value) in schema.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                ("items" | "additionalProperties", Value::Object(_)) => {
                    visit(&format!("{path}[]"), value, keys)
                }
                ("anyOf", Value::Array(any)) => any.iter().for_each(|one| visit(path, one, keys)),
                _ => {}
            }
        }
    }
    let schema = config::schema();
    let mut keys = 0;
    visit("", &schema, &mut keys);
    assert!(keys > 150, "only {keys} keys");
    assert_eq!(schema["properties"]["state"]["properties"]["timeout"]["default"], "50ms");
    assert_eq!(schema["properties"]["sites"]["items"]["required"], serde_json::json!(["hosts", "routes"]));
    assert_eq!(schema["required"], serde_json::json!(["version", "listeners", "sites"]));
}

#[test]
fn the_digest_is_that_of_the_contents() {
    let one = loaded("a.yaml", QUICKSTART).digest;
    assert_eq!(one, loaded("b.yaml", QUICKSTART).digest);
    assert_ne!(one, loaded("a.yaml", &format!("{QUICKSTART}\n")).digest);
}

#[test]
fn problems_found_later_have_a_place_too() {
    let loaded = loaded("desk.yaml", SMART_DESK);
    let problem = loaded.problem(
        "listeners[0].tls.certificates[0].key",
        "this is not the certificate's key",
        "write its key",
    );
    assert_eq!(
        problem.to_string(),
        "desk.yaml:10:65: listeners[0].tls.certificates[0].key: this is not the certificate's key; write its key"
    );
    assert_eq!(loaded.problem("sites[0].nonsense", "a", "b").line, 3, "the first key of the policy");
}
