//! What becomes of a request's head: which route it meets, and what the app is told.

use harness::gateway::Builder;
use harness::http::{Wire, get};
use harness::{Certificate, Gateway, Origin, Raw, SOON, token};
use serde_json::Value;

const ROUTES: &str = r#"
identities:
  user:
    jwt: { keys: [{ alg: HS256, secret: "@env:JWT_KEY" }], issuer: wecard }
    claims: { subject: sub, tenant: tenant_id, roles: role, permissions: permission }
upstreams:
  app: { servers: ["${APP}"] }
sites:
  - hosts: [localhost, card.example.com]
    defaults: { upstream: app, auth: none }
    routes:
      - path: /*
        response_headers: { set: { X-Route: rest } }
      - path: /admin/*
        auth: { identity: user, roles: [platform_admin] }
      - { path: /a/exact, response_headers: { set: { X-Route: exact } } }
      - { path: "/a/{name}", response_headers: { set: { X-Route: param } } }
      - { path: "/a/{name}/raw", response_headers: { set: { X-Route: raw } } }
      - path: /a/*
        methods: [POST]
        response_headers: { set: { X-Route: posted } }
      - { path: /get-only, methods: [GET, HEAD] }
      - path: /headers
        request_headers: { set: { X-Set: gateway }, add: { X-Added: gateway }, remove: [X-Removed] }
        response_headers: { set: { Server: gate }, add: { X-Extra: one }, remove: [X-Powered-By] }
  - hosts: [redirects.example.com]
    routes:
      - { path: "/old/{name}", auth: none, redirect: { to: "https://{host}/new/{name}?{query}", status: 301 } }
      - { path: /short, auth: none, redirect: /long }
      - { path: /teapot, auth: none, respond: { status: 418, body: "{\"short\": true}", content_type: application/json } }
  - hosts: ["*.wild.example.com"]
    routes:
      - { path: /*, auth: none, respond: { status: 200, body: wild } }
"#;

fn gateway(origin: &Origin) -> Builder {
    Gateway::builder().policy(ROUTES).env("APP", origin.address())
}

/// Sends bytes and returns the status, and whether the connection was closed behind it.
fn raw(gateway: &Gateway, request: &str) -> (u16, bool) {
    let mut raw = Raw::sending(gateway.address(), request);
    let status = raw.answer().map_or(0, |answer| answer.status);
    (status, raw.closes_within(SOON))
}

fn target(gateway: &Gateway, path: &str) -> (u16, String) {
    let mut raw = Raw::sending(
        gateway.address(),
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    );
    let answer = raw.answer().expect("there is an answer");
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    (answer.status, body["target"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_most_specific_pattern_wins_wherever_it_is_written() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    let route = |path: &str| {
        let answer = get(path).send(gateway.address());
        answer.is(200).must("x-route").to_owned()
    };
    assert_eq!(route("/a/exact"), "exact");
    assert_eq!(route("/a/other"), "param");
    assert_eq!(route("/a/other/raw"), "raw");
    assert_eq!(route("/a/other/else"), "rest");
    assert_eq!(route("/"), "rest");
    let posted = harness::http::post("/a/b/c").send(gateway.address());
    assert_eq!(posted.must("x-route"), "posted");
}

#[test]
fn a_path_reached_by_other_methods_only_says_which() {
    let origin = Origin::echo();
    let text = ROUTES.replace("      - path: /*\n        response_headers: { set: { X-Route: rest } }\n", "");
    let gateway = Gateway::builder().policy(text).env("APP", origin.address()).start();
    let refused = harness::http::post("/get-only").send(gateway.address());
    refused.refused(405, "method.not_allowed");
    let allow = refused.must("allow");
    assert!(allow.contains("GET") && allow.contains("HEAD") && !allow.contains("POST"), "{allow}");
    get("/nowhere").send(gateway.address()).refused(404, "route.not_found");
    get("/").host("unknown.example.com").send(gateway.address()).refused(404, "route.not_found");
    assert_eq!(get("/").host("x.y.wild.example.com").send(gateway.address()).text(), "wild");
    get("/").host("wild.example.com").send(gateway.address()).refused(404, "route.not_found");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn no_spelling_of_a_path_moves_a_request_to_another_route() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    for guarded in [
        "/admin/x",
        "/a/../admin/x",
        "/./admin/x",
        "//admin/x",
        "/%61dmin/x",
        "/a/%2e%2e/admin/x",
        "/a/.%2e/admin/x",
        "/a/..%2fadmin/x",
        "/a/..\\admin/x",
        "/a%5c..%5cadmin/x",
        "/admin%2fx",
        "/admin/",
        "/admin",
        "/admin;x=1/x",
        "/admin%00/x",
        "/;/admin/x",
        "http://localhost/admin/x",
    ] {
        let before = origin.requests();
        let (status, _) = target(&gateway, guarded);
        if origin.requests() != before {
            // It may reach the open route only as a path that no app takes for the guarded one.
            let seen = origin.received_text();
            let seen = seen.lines().rfind(|line| line.ends_with("HTTP/1.1")).unwrap_or_default();
            let path = seen.split(' ').nth(1).unwrap_or_default();
            assert!(!path.starts_with("/admin/") && path != "/admin", "{guarded} reached the app as {path}");
            assert!(
                !path.contains("..")
                    && !path.contains('\\')
                    && !path.to_lowercase().contains("%2e")
                    && !path.to_lowercase().contains("%5c")
                    && !path.contains("//"),
                "{guarded} reached the app as {path}"
            );
        } else {
            assert!(matches!(status, 400 | 401 | 404), "{guarded}: {status}");
        }
    }
}

#[test]
fn the_app_gets_the_path_that_was_matched() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    assert_eq!(target(&gateway, "/x/./y/../z?a=1&b=%2F").1, "/x/z?a=1&b=%2F");
    assert_eq!(target(&gateway, "/caf%C3%A9/%7Euser").1, "/caf%C3%A9/~user");
    assert_eq!(target(&gateway, "/with%20space").1, "/with%20space");
    for (path, status) in
        [("/../../etc/passwd", 400), ("/%2e%2e/etc", 400), ("/..%252f..%252fetc", 400), ("/x%zz", 400)]
    {
        let before = origin.requests();
        assert_eq!(target(&gateway, path).0, status, "{path}");
        assert_eq!(origin.requests(), before, "{path}");
    }
}

#[test]
fn the_app_is_told_who_asked_by_the_gateway_alone() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    let seen = get("/x")
        .host("card.example.com")
        .header("x-forwarded-for", "203.0.113.7")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.test")
        .header("x-forwarded-port", "1")
        .header("x_forwarded_for", "203.0.113.7")
        .header("x-real-ip", "203.0.113.7")
        .header("x-request-id", "chosen-by-the-client")
        .header("x-auth-roles", "platform_admin")
        .header("X-AUTH_ROLES", "platform_admin")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .send(gateway.address());
    let seen = seen.is(200).json();
    let value = |name: &str| {
        let all: Vec<_> = seen["headers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name))
            .map(|pair| pair[1].as_str().unwrap().to_owned())
            .collect();
        assert!(all.len() <= 1, "{name}: {all:?}");
        all.into_iter().next()
    };
    assert_eq!(value("host").as_deref(), Some("card.example.com"));
    assert_eq!(value("x-real-ip").as_deref(), Some("127.0.0.1"));
    assert_eq!(value("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(value("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(value("x-forwarded-host").as_deref(), Some("card.example.com"));
    assert_eq!(value("x-forwarded-port"), Some(gateway.address().port().to_string()));
    assert_ne!(value("x-request-id").as_deref(), Some("chosen-by-the-client"));
    assert!(value("traceparent").unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{seen}");
    for absent in ["x-auth-roles", "x_forwarded_for", "x-auth_roles", "x-auth-subject"] {
        assert_eq!(value(absent), None, "{absent}");
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).server("trusted_proxies: [127.0.0.1/32, 10.0.0.0/8]").start();
    let seen = get("/x")
        .header("x-forwarded-for", "198.51.100.1, 203.0.113.7, 10.1.2.3")
        .header("x-forwarded-proto", "https")
        .header("x-request-id", "from-the-proxy")
        .send(gateway.address());
    let text = seen.is(200).text().to_lowercase();
    assert!(text.contains(r#"["x-real-ip","203.0.113.7"]"#), "{text}");
    assert!(text.contains(r#"["x-request-id","from-the-proxy"]"#), "{text}");
    assert_eq!(seen.header("x-request-id").unwrap_or("from-the-proxy"), "from-the-proxy");
}

#[test]
fn hop_by_hop_fields_end_at_the_gateway() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    let seen = get("/x")
        .header("connection", "close")
        .header("keep-alive", "timeout=5")
        .header("te", "gzip")
        .header("x-kept", "end to end")
        .send(gateway.address());
    let text = seen.is(200).text().to_lowercase();
    for absent in ["keep-alive", "\"te\""] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    assert!(text.contains("end to end"));
    for named in ["x-named", "x-real-ip", "authorization", "x-tenant-id"] {
        // What names a field hop-by-hop may be refused, or do without it; the app's identity fields stay.
        let seen = get("/x")
            .header("connection", format!("close, {named}"))
            .header(named, "hop")
            .send(gateway.address());
        let text = seen.text().to_lowercase();
        assert!(matches!(seen.status, 200 | 400) && !text.contains("\"hop\""), "{named}: {text}");
        assert!(seen.status == 400 || text.contains(r#"["x-real-ip","127.0.0.1"]"#), "{named}: {text}");
    }
}

#[test]
fn a_route_edits_both_heads() {
    let origin = Origin::start(|exchange| {
        let seen = format!("{:?}", exchange.head.headers);
        exchange.respond(200, "Server: app/1\r\nX-Powered-By: php\r\nX-Extra: zero\r\n", seen.as_bytes())
    });
    let gateway = gateway(&origin).start();
    let answer = get("/headers")
        .header("x-set", "client")
        .header("x-added", "client")
        .header("x-removed", "client")
        .send(gateway.address());
    let seen = answer.is(200).text().to_lowercase();
    assert!(seen.contains(r#"("x-set", "gateway")"#) && !seen.contains(r#"("x-set", "client")"#), "{seen}");
    assert!(
        seen.contains(r#"("x-added", "gateway")"#) && seen.contains(r#"("x-added", "client")"#),
        "{seen}"
    );
    assert!(!seen.contains("x-removed"), "{seen}");
    assert_eq!(answer.header("server"), Some("gate"));
    assert_eq!(answer.header("x-powered-by"), None);
    assert_eq!(answer.headers.get_all("x-extra").iter().count(), 2);
}

#[test]
fn old_and_wrong_protocols_are_answered_and_closed() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    assert_eq!(raw(&gateway, "GET /x HTTP/1.0\r\nHost: localhost\r\n\r\n"), (200, true));
    for (request, status) in [
        ("GET /x HTTP/1.1\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: local host\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: localhost\r\nX : a\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n", 400),
        ("GET /x HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
        ("GET /x\r\n\r\n", 400),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n", 405),
        ("TRACE /x HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
    ] {
        let before = origin.requests();
        let (got, closed) = raw(&gateway, request);
        assert_eq!(got, status, "{request:?}");
        assert!(closed || status == 405, "{request:?} leaves the connection open");
        assert_eq!(origin.requests(), before, "{request:?}");
    }
}

#[test]
fn http2_meets_the_same_rules() {
    let origin = Origin::echo();
    let certificate = Certificate::localhost();
    let gateway = gateway(&origin).tls(&certificate).start();
    let wire = Wire::Http2(certificate.client(&["h2"]));
    let seen = get("/x/../y?q=1").send_over(&wire, gateway.secure());
    assert_eq!(seen.is(200).json()["target"], "/y?q=1");
    assert!(seen.text().to_lowercase().contains(r#"["x-forwarded-proto","https"]"#), "{}", seen.text());
    assert!(
        seen.text().contains(r#"["host","localhost"]"#) || seen.text().contains(r#"["Host","localhost"]"#)
    );
    get("/admin/x").send_over(&wire, gateway.secure()).refused(401, "auth.missing");
    let operator = get("/admin/x").bearer(&token::operator()).send_over(&wire, gateway.secure());
    operator.is(200);
    get("/x").host("elsewhere.test").send_over(&wire, gateway.secure()).refused(404, "route.not_found");
}

#[test]
fn requests_of_one_connection_do_not_mix() {
    let origin = Origin::echo();
    let certificate = Certificate::localhost();
    let gateway = gateway(&origin).tls(&certificate).start();
    for wire in [Wire::Http1, Wire::Http2(certificate.client(&["h2"]))] {
        let to = if matches!(wire, Wire::Http1) { gateway.address() } else { gateway.secure() };
        let mut connection = harness::http::Connection::to(&wire, to);
        for number in 0..20 {
            let guarded = connection.exchange(&get("/admin/x")).unwrap();
            guarded.refused(401, "auth.missing");
            let open = connection.exchange(&get(&format!("/n/{number}"))).unwrap();
            assert_eq!(open.is(200).json()["target"], format!("/n/{number}"));
        }
    }
}

#[test]
fn some_routes_answer_by_themselves() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    let ask = |path: &str| get(path).host("redirects.example.com").send(gateway.address());
    let moved = ask("/old/card?x=1&y=%2F");
    assert_eq!(moved.is(301).header("location"), Some("https://redirects.example.com/new/card?x=1&y=%2F"));
    assert_eq!(ask("/short").is(302).header("location"), Some("/long"));
    let teapot = ask("/teapot");
    assert_eq!(teapot.is(418).header("content-type"), Some("application/json"));
    assert_eq!(teapot.json()["short"], true);
    let split = ask("/old/a%0d%0aSet-Cookie:%20x=1");
    assert!(split.header("set-cookie").is_none(), "{split:?}");
    assert_eq!(origin.connections(), 0);
}
