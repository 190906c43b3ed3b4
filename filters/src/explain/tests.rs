use std::time::{Duration, UNIX_EPOCH};

use config::Environment;

use super::*;
use crate::jws::tests::hs256;
use crate::pipeline::Stores;
use crate::upload::ScanPolicy;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

const POLICY: &str = r#"
version: 1
server: { trusted_proxies: [10.0.0.0/8] }
listeners:
  - address: 0.0.0.0:8080
  - { address: "127.0.0.1:8088", redirect: https }
  - { address: "127.0.0.1:443", tls: { certificates: [{ cert: a.pem, key: a.key }] } }
identities:
  user:
    jwt: { keys: [{ alg: HS256, secret: "@env:KEY" }] }
    accept: [header, { query: access }, { websocket: bearer }]
    claims: { tenant: tenant, roles: roles, permissions: scope }
tenants:
  resolve: [claim, { header: X-Tenant }]
  directory: [{ id: t1, name: one }, { id: t2, name: two }]
upstreams:
  app: { servers: ["127.0.0.1:5000"] }
sites:
  - hosts: [shop.example, "*.shop.example"]
    routes:
      - { path: "/old/{rest*}", redirect: { to: "/new/{rest}", status: 301 }, auth: none }
      - { path: /inside/*, upstream: app, auth: none, allow_ips: [192.0.2.0/24] }
      - { path: /tried/*, upstream: app, auth: none, allow_ips: [192.0.2.0/24], observe: [ip] }
      - path: /login
        methods: [POST]
        upstream: app
        auth: none
        lockout: { key: [ip, "json:name"], failures: 5, within: 15m, lock: 30m, failed_when: { status: [401] } }
      - path: /files
        methods: [POST]
        upstream: app
        auth: none
        limits: { body: 2MB }
        upload: { fields: [file], max_files: 2, classes: { image: { extensions: [png], max_size: 1MB } } }
      - path: /ws
        upstream: app
        auth: { identity: user }
        websocket: { origins: ["https://shop.example"] }
      - path: /api/{thing}
        upstream: app
        auth: { identity: user, require: { any: ["thing:read"] } }
        tenant: required
        limits: { rate: [{ by: [tenant, ip], limit: 60/min, burst: 20 }] }
        request_headers: { set: { X-Api-Key: not-to-be-shown } }
"#;

async fn ask(method: &str, url: &str, headers: &[&str]) -> Explanation {
    let environment = Environment::of([("KEY", SECRET)]);
    let config = match config::load_text("menshen.yaml", POLICY, &environment) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{}", problems.iter().map(|one| format!("{one}\n")).collect::<String>()),
    };
    let stores = Stores::local(ScanPolicy::from(&config.scanner));
    let pipeline = Pipeline::build(&config, &stores).unwrap();
    let headers: Vec<String> = headers.iter().map(|one| (*one).to_owned()).collect();
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
    explain(&config, &pipeline, &Question::parse(method, url, &headers, now).unwrap()).await
}

fn token(scope: &str) -> String {
    let claims = format!(r#"{{"sub":"u1","tenant":"t1","roles":["clerk"],"scope":"{scope}","exp":1003600}}"#);
    hs256(SECRET, r#"{"alg":"HS256"}"#, &claims)
}

fn line(explanation: &Explanation, step: &str) -> String {
    let found: Vec<String> =
        explanation.steps.iter().filter(|one| one.step == step).map(Step::line).collect();
    assert_eq!(found.len(), 1, "{step} in {:?}", explanation.steps);
    found.concat()
}

fn names(explanation: &Explanation) -> Vec<&'static str> {
    explanation.steps.iter().map(|step| step.step).collect()
}

fn app(explanation: &Explanation) -> (&str, &[HeaderLine], &[String]) {
    match &explanation.outcome {
        Some(Outcome::Upstream { path, set, cut, .. }) => (path, set, cut),
        other => panic!("{other:?} of {explanation:?}"),
    }
}

fn is_set(explanation: &Explanation, name: &str, value: &str) -> bool {
    app(explanation).1.iter().any(|line| line.name.eq_ignore_ascii_case(name) && line.value == value)
}

#[tokio::test]
async fn tells_every_step_of_a_request_that_is_admitted() {
    let bearer = format!("Authorization: Bearer {}", token("thing:read other"));
    let found = ask(
        "GET",
        "http://eu.shop.example:8080/api/x/../7?a=1",
        &[&bearer, "X-Tenant: one", "X-Tenant-Id: t2"],
    )
    .await;
    let steps = [
        "listener", "framing", "client", "target", "route", "identity", "tenant", "auth", "rate", "body",
        "headers",
    ];
    assert_eq!(names(&found), steps);
    assert!(found.admitted && found.code.is_none());
    assert_eq!(found.depends_on, [COUNTED]);
    assert_eq!(line(&found, "listener"), "passes: address 0.0.0.0:8080");
    assert_eq!(line(&found, "target"), "passes: host eu.shop.example; path /api/7; written /api/x/../7");
    let route = "passes: site shop.example, *.shop.example; pattern /api/{thing}; params thing=7";
    assert_eq!(line(&found, "route"), route);
    let identity =
        "passes: identity user; subject u1; roles clerk; permissions thing:read, other; expires in 1h";
    assert_eq!(line(&found, "identity"), identity);
    assert_eq!(line(&found, "tenant"), "passes: id t1; sources claim says t1, header x-tenant says one");
    assert_eq!(line(&found, "auth"), "passes: any of thing:read");
    let rate = "depends on what was counted before: limits rate: 60/min by tenant+ip with burst 20";
    assert_eq!(line(&found, "rate"), rate);
    assert_eq!(app(&found).0, "/api/7?a=1");
    assert!(app(&found).2.is_empty(), "X-Tenant-Id is replaced, not cut: {found:?}");
    for (name, value) in
        [("X-Tenant-Id", "t1"), ("X-Auth-Subject", "u1"), ("X-Request-Id", "(new)"), ("X-Api-Key", "[…]")]
    {
        assert!(is_set(&found, name, value), "{name}: {found:?}");
    }
}

#[tokio::test]
async fn a_token_is_shown_nowhere() {
    let token = token("thing:read");
    for headers in [vec![format!("Authorization: Bearer {token}")], vec![]] {
        let url = format!("http://shop.example:8080/api/7?access={token}&b=1");
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        let found = ask("GET", &url, &headers).await;
        assert_eq!(app(&found).0, "/api/7?b=1");
        let text = json!(found).to_string();
        for part in token.split('.') {
            assert!(!text.contains(part), "{text}");
        }
        assert!(!text.contains("not-to-be-shown"), "{text}");
        assert_eq!(is_set(&found, "Authorization", "[…]"), headers.is_empty());
    }
}

#[tokio::test]
async fn steps_after_a_refusal_are_not_reached() {
    let bearer = format!("Authorization: Bearer {}", token("other"));
    let found = ask("GET", "http://shop.example:8080/api/7", &[&bearer]).await;
    assert!(!found.admitted && found.outcome.is_none());
    assert_eq!((found.status, found.code), (Some(403), Some("auth.forbidden")));
    let auth = "refuses auth.forbidden 403: You are not allowed to do this. \
        (the caller has none of the permissions); any of thing:read";
    assert_eq!(line(&found, "auth"), auth);
    assert_eq!(line(&found, "rate"), "not reached");
    assert_eq!(line(&found, "headers"), "not reached");
    assert!(found.depends_on.is_empty());

    let found = ask("GET", "http://shop.example:8080/api/7", &[]).await;
    assert_eq!(found.code, Some("auth.missing"));
    let told = line(&found, "identity");
    assert!(told.ends_with("identities user; accepted in header, query access, websocket bearer"), "{told}");
    assert_eq!(line(&found, "tenant"), "not reached");
}

#[tokio::test]
async fn tells_which_sources_name_different_tenants() {
    let bearer = format!("Authorization: Bearer {}", token("thing:read"));
    let found = ask("GET", "http://shop.example:8080/api/7", &[&bearer, "X-Tenant: two"]).await;
    assert_eq!(found.code, Some("tenant.mismatch"));
    let told = line(&found, "tenant");
    assert!(told.ends_with("sources claim says t1, header x-tenant says two"), "{told}");
}

#[tokio::test]
async fn a_url_without_listener_is_refused_with_what_there_is() {
    for url in ["https://shop.example:8080/", "http://shop.example/"] {
        let found = ask("GET", url, &[]).await;
        assert!(!found.admitted && found.status.is_none());
        let told = line(&found, "listener");
        assert!(told.starts_with("nobody listens: port ") && told.contains("0.0.0.0:8080"), "{told}");
        assert_eq!(line(&found, "route"), "not reached");
    }
}

#[tokio::test]
async fn a_listener_that_sends_everybody_to_https_ends_the_journey() {
    let found = ask("GET", "http://shop.example:8088/a//b?c", &[]).await;
    assert!(found.admitted && found.status == Some(308));
    let Some(Outcome::Redirect { location, .. }) = &found.outcome else { panic!("{found:?}") };
    assert_eq!(location, "https://shop.example/a/b?c");
    assert_eq!(names(&found), ["listener", "framing", "target"]);
    assert!(!ask("GET", "http://shop.example:8088/../x", &[]).await.admitted);
}

#[tokio::test]
async fn what_is_malformed_meets_nothing_else() {
    for (header, step) in [
        ("Content-Length: 1, 1", "framing"),
        ("Bad Name: x", "framing"),
        ("X-Bell: \u{7}", "framing"),
        ("Host: a b", "framing"),
        ("Connection: cookie", "headers"),
    ] {
        let found =
            ask("GET", "http://shop.example:8080/inside/", &[header, "X-Forwarded-For: 192.0.2.1"]).await;
        assert_eq!(found.code, Some("request.malformed"), "{header}");
        assert!(line(&found, step).starts_with("refuses request.malformed 400: "), "{header}");
    }
    assert_eq!(ask("GET", "http://shop.example:8080/../x", &[]).await.code, Some("request.malformed"));
    let wrong = ask("PUT", "http://shop.example:8080/login", &[]).await;
    assert_eq!(wrong.status, Some(405));
    assert!(line(&wrong, "route").ends_with("; site shop.example, *.shop.example; allow POST"));
}

#[tokio::test]
async fn the_client_is_named_by_x_forwarded_for_through_a_trusted_proxy() {
    let found = ask("GET", "http://shop.example:8080/inside/", &["X-Forwarded-For: 192.0.2.1"]).await;
    assert!(found.admitted);
    assert_eq!(line(&found, "client"), "passes: address 192.0.2.1; peer 10.0.0.0; by x forwarded for");
    let found = ask("GET", "http://shop.example:8080/inside/", &[]).await;
    assert_eq!(found.code, Some("ip.denied"));
    assert_eq!(line(&found, "client"), "passes: address 127.0.0.1");
}

#[tokio::test]
async fn a_rule_that_only_observes_ends_nothing() {
    let found = ask("GET", "http://shop.example:8080/tried/", &[]).await;
    assert!(found.admitted && found.code.is_none());
    assert!(line(&found, "ip").starts_with("would refuse (only observed) ip.denied 403: "));
}

#[tokio::test]
async fn a_body_rule_is_known_by_the_head_or_left_open() {
    let form = "Content-Type: multipart/form-data; boundary=x";
    let ask = async |headers: &[&str]| ask("POST", "http://shop.example:8080/files", headers).await;
    let open = ask(&[form]).await;
    assert_eq!(names(&open)[7..], ["body", "upload", "headers"]);
    assert_eq!(line(&open, "body"), "depends on the body: limit 2MB");
    let upload = "depends on the body: fields file; files at most 2; classes image (png) 1MB; \
        other fields at most 100, of 1MB each; declared type match; pdf active deny; \
        archives at most 1000 members, of 25MB each, 100MB and 100 times the file together, 3 deep; scan";
    assert_eq!(line(&open, "upload"), upload);
    assert!(is_set(&open, "X-Upload-Files", "(what was found in the files)"));
    assert_eq!(open.depends_on, [THE_BODY]);
    assert_eq!(line(&ask(&[form, "Content-Length: 2097152"]).await, "body"), "passes: limit 2MB");
    let large = ask(&[form, "Content-Length: 2097153"]).await;
    assert_eq!(large.code, Some("body.too_large"));
    assert_eq!(line(&large, "upload"), "not reached");
    let other = ask(&["Content-Type: text/plain", "Content-Length: 5"]).await;
    assert_eq!(other.code, Some("upload.malformed"));
    assert_eq!(line(&other, "headers"), "not reached");
}

#[tokio::test]
async fn a_lockout_depends_on_failures_before() {
    let found = ask("POST", "http://shop.example:8080/login", &[]).await;
    let told = "depends on what was counted before: by ip, json:name; locks after 5 failures in 15m; for 30m; \
        failed when status 401";
    assert_eq!(line(&found, "lockout"), told);
}

#[tokio::test]
async fn a_socket_is_explained_by_its_url() {
    let offer = format!("Sec-WebSocket-Protocol: bearer, {}, chat", token(""));
    let found = ask("GET", "ws://shop.example:8080/ws", &[&offer, "Origin: https://shop.example"]).await;
    assert!(found.admitted, "{found:?}");
    assert_eq!(names(&found)[5..], ["websocket", "identity", "tenant", "origin", "body", "headers"]);
    assert!(is_set(&found, "Authorization", "[…]"));
    let found = ask("GET", "ws://shop.example:8080/ws", &[&offer, "Origin: https://evil.example"]).await;
    assert_eq!(found.code, Some("origin.denied"));
    let found = ask("GET", "ws://shop.example:8080/ws", &["Sec-WebSocket-Version: 8"]).await;
    assert!(line(&found, "websocket").starts_with("refuses request.malformed 400: "));
}

#[tokio::test]
async fn a_route_that_answers_itself_says_what() {
    let found = ask("GET", "http://shop.example:8080/old/a/b", &[]).await;
    let Some(Outcome::Redirect { status: 301, location }) = &found.outcome else { panic!("{found:?}") };
    assert_eq!(location, "/new/a/b");
    assert_eq!(found.status, Some(301));
}

#[tokio::test]
async fn the_json_keys_are_stable() {
    let found = json!(ask("GET", "http://shop.example:8080/tried/", &["Trailer: a"]).await);
    let keys =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(
        keys(&found),
        ["method", "url", "admitted", "status", "code", "depends_on", "steps", "outcome"]
    );
    assert_eq!(keys(&found["steps"][0]), ["step", "verdict", "facts"]);
    let ip = &found["steps"][7];
    assert_eq!(keys(ip), ["step", "verdict", "code", "status", "reason", "detail", "observed", "facts"]);
    assert_eq!(keys(&found["outcome"]), ["kind", "name", "servers", "method", "path", "set", "cut"]);
    assert_eq!(found["outcome"]["cut"], json!(["Trailer"]));
}
