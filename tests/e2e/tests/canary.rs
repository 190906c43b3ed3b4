//! A token sent in any position of a request is in no byte of anything the gateway writes.

use std::fs;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use harness::http::{Wire, call, get, post};
use harness::sample::PNG;
use harness::socket::Socket;
use harness::{Certificate, Form, Gateway, Origin, Raw, SOON, policy, token, until};
use nix::sys::signal::Signal;
use serde_json::json;

/// A token that is unlike any other, good or not.
fn canary(position: &str, good: bool) -> String {
    let claims = json!({
        "iss": "wecard", "sub": "canary", "tenant_id": "t-acme", "role": "member",
        "permission": ["asset:write"], "position": position, "noise": "Q2FuYXJ5VGhhdE11c3ROb3RTaW5n"
    });
    if good {
        token::mint(claims)
    } else {
        token::mint_with("a key that nobody has, so that this token is wrong", claims)
    }
}

/// What must not be found: the token's parts, and the token as it looks inside base64, whatever stands before it.
fn traces(token: &str) -> Vec<String> {
    let mut parts: Vec<String> = token.split('.').skip(1).map(str::to_owned).collect();
    for shift in 0..3 {
        let shifted = format!("{}{token}", &"xxx"[..shift]);
        for encoded in [BASE64_URL_SAFE_NO_PAD.encode(&shifted), BASE64_STANDARD.encode(&shifted)] {
            // The edges depend on what stands beside the token.
            parts.push(encoded[8..encoded.len() - 8].to_owned());
        }
    }
    // Half of a token is a token's half too many.
    let payload = token.split('.').nth(1).expect("a token has three parts");
    parts.push(payload[payload.len() / 2..].to_owned());
    let signature = token.rsplit('.').next().expect("a token has three parts");
    parts.push(signature[..signature.len() / 2].to_owned());
    parts.push(signature[signature.len() / 2..].to_owned());
    parts
}

/// Everything the gateway has written, by the name of where.
fn written(gateway: &Gateway) -> Vec<(String, String)> {
    let mut all = vec![
        ("standard output".to_owned(), gateway.process().stdout.text()),
        ("standard error".to_owned(), gateway.process().stderr.text()),
    ];
    for path in ["/metrics", "/policy", "/", "/healthz", "/readyz", "/lockouts", "/sessions", "/revocations"]
    {
        if let Ok(answer) = get(path).try_send(gateway.admin()) {
            all.push((path.to_owned(), answer.text()));
        }
    }
    for entry in fs::read_dir(gateway.folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "policy.yaml") {
            all.push((
                path.display().to_string(),
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            ));
        }
    }
    all
}

fn assert_silent(gateway: &Gateway, position: &str, token: &str) {
    for (place, text) in written(gateway) {
        for trace in traces(token) {
            if let Some(at) = text.find(&trace) {
                let line_start = text[..at].rfind('\n').map_or(0, |start| start + 1);
                let line_end = text[at..].find('\n').map_or(text.len(), |end| at + end);
                panic!("a token sent in {position} is in {place}: {}", &text[line_start..line_end]);
            }
        }
    }
}

/// A request that ends up in the log after all those before it.
fn wait_for_the_logs(gateway: &Gateway) {
    let refused = get("/user/the-last-one").send(gateway.address());
    refused.refused(401, "auth.missing");
    let id = refused.must("x-request-id").to_owned();
    gateway.access_line(&id);
    until("the audit to have it", SOON, || {
        gateway.audit().iter().any(|line| line.to_string().contains(&id)).then_some(())
    });
}

#[test]
fn a_token_in_any_position_is_written_nowhere() {
    let origin = Origin::start(|exchange| {
        exchange.body();
        let status = if exchange.head.target.contains("login") { 401 } else { 200 };
        exchange.respond(status, "", b"fine")
    });
    let certificate = Certificate::localhost();
    let gateway = Gateway::builder()
        .policy(policy::GUARDED)
        .log_level("debug")
        .tls(&certificate)
        .env("APP", origin.address())
        .start();
    let to = gateway.address();
    let mut sent = Vec::new();
    for good in [true, false] {
        let mut fresh = |position: &'static str| {
            let token = canary(position, good);
            sent.push((position, token.clone()));
            token
        };
        let percent = |token: &str| token.replace('.', "%2E").replace('_', "%5F").replace('-', "%2d");

        let _ = get("/user/x").bearer(&fresh("Authorization")).send(to);
        let _ = get("/nowhere").bearer(&fresh("Authorization of an unknown route")).send(to);
        let _ = get("/open/x")
            .header("authorization", format!("Basic {}", fresh("Authorization, another scheme")))
            .send(to);
        let _ = get("/open/x").header("x-custom", fresh("a header nobody knows")).send(to);
        let _ = get("/open/x")
            .header("proxy-authorization", format!("Bearer {}", fresh("Proxy-Authorization")))
            .send(to);
        let _ = get("/user/x").header("cookie", format!("a=b; session={}", fresh("the cookie"))).send(to);
        let _ = get("/open/x").header("cookie", format!("other={}", fresh("another cookie"))).send(to);
        let _ = get(&format!("/user/x?token={}", fresh("the query"))).send(to);
        let _ = get(&format!("/open/x?a=1&access_token={}&b=2", fresh("a known query parameter"))).send(to);
        let _ = get(&format!("/open/x?q={}", fresh("an unknown query parameter"))).send(to);
        let _ = get(&format!("/open/x?{}=1", fresh("a query parameter's name"))).send(to);
        let _ = get(&format!("/open/x?q={}", percent(&fresh("the query, percent-encoded")))).send(to);
        let _ =
            get(&format!("/open/x?q={}", BASE64_URL_SAFE_NO_PAD.encode(fresh("the query, in base64url"))))
                .send(to);
        let _ = get(&format!("/open/{}", fresh("the path"))).send(to);
        let _ = get(&format!("/open/{}/x", percent(&fresh("the path, percent-encoded")))).send(to);
        let _ = get(&format!("/nowhere/{}", fresh("the path of an unknown route"))).send(to);
        let _ = get(&format!("/files/{}/x", fresh("a path parameter")))
            .bearer(&token::of("a", "t-acme"))
            .send(to);
        let _ = get("/open/x")
            .header("referer", format!("http://localhost/from?token={}", fresh("Referer")))
            .send(to);
        let _ = get("/open/x")
            .header("referer", format!("http://localhost/{}", fresh("Referer's path")))
            .send(to);
        let _ = get("/open/x").header("user-agent", format!("agent {}", fresh("User-Agent"))).send(to);
        let _ = get("/open/x").header("x-request-id", fresh("X-Request-Id")).send(to);
        let _ = get("/open/x").header("traceparent", fresh("traceparent")).send(to);
        let _ = get("/open/x").header("x-forwarded-for", fresh("X-Forwarded-For")).send(to);
        let _ = get("/tenant/x")
            .bearer(&token::of("alice", "t-acme"))
            .header("x-tenant-id", fresh("X-Tenant-ID"))
            .send(to);
        let _ = get("/open/x").host(&fresh("Host").replace('_', "-")).try_send(to);
        let _ = get("/open/x").header("accept-language", fresh("Accept-Language")).send(to);
        for username in [fresh("a JSON body"), fresh("another JSON body")] {
            for _ in 0..3 {
                let _ = post("/login")
                    .json(&json!({ "username": username, "password": fresh("a password") }))
                    .send(to);
            }
            for _ in 0..3 {
                let body = format!("username={username}&password=x");
                let _ = post("/form-login").body("application/x-www-form-urlencoded", body).send(to);
            }
        }
        for (filename, field) in [
            (format!("{}.png", fresh("a file's name")), "file".to_owned()),
            ("a.png".to_owned(), fresh("a field's name")),
            (format!("{}.exe", fresh("a refused file's name")), "file".to_owned()),
            (fresh("a file's name without an extension"), "file".to_owned()),
        ] {
            let body = Form::new()
                .text("note", &fresh("a form field"))
                .file(&field, &filename, "image/png", PNG)
                .body();
            let _ = post("/upload").body(&Form::content_type(), body).send(to);
        }
        let _ = post("/upload")
            .body(&format!("multipart/form-data; boundary={}", fresh("the boundary")), "x")
            .send(to);
        let _ = post("/upload")
            .body(
                &Form::content_type(),
                Form::of("a.png", &format!("image/png; x={}", fresh("a part's type")), PNG).body(),
            )
            .send(to);
        let _ = call("GET", "/open/x")
            .header(&fresh("a header's name").replace(['.', '_'], "-"), "x")
            .try_send(to);

        for protocols in [
            vec!["bearer".to_owned(), fresh("the subprotocol, as a pair")],
            vec![format!("bearer.{}", fresh("the subprotocol, as one"))],
            vec![format!(
                "base64url.bearer.{}",
                BASE64_URL_SAFE_NO_PAD.encode(fresh("the subprotocol, in base64url"))
            )],
            vec![fresh("a subprotocol without a marker"), "chat.v1".to_owned()],
        ] {
            let protocols: Vec<&str> = protocols.iter().map(String::as_str).collect();
            let _ = Socket::to("/socket")
                .header("origin", "http://localhost:1")
                .protocols(&protocols)
                .try_open(to, None);
            let _ = Socket::to("/socket")
                .header("origin", "https://evil.test")
                .protocols(&protocols)
                .try_open(to, None);
        }
        let _ = Socket::to("/socket")
            .header("origin", &format!("https://{}", fresh("Origin")))
            .try_open(to, None);

        for request in [
            format!(
                "GET /open/x?token={} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                fresh("a request with two hosts")
            ),
            format!("GET {} \r\n\r\n", fresh("a request line without a version")),
            format!(
                "GET /{} HTTP/9.9\r\nHost: localhost\r\n\r\n",
                fresh("a request line of another version")
            ),
            format!("{} / HTTP/1.1\r\nHost: localhost\r\n\r\n", fresh("the method")),
            format!("{}\r\n\r\n", fresh("a request line that is none")),
            format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n\r\n", fresh("a header line that is none")),
            format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization : Bearer {}\r\n\r\n",
                fresh("a header with a space")
            ),
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\0\r\n\r\n", fresh("a header with a NUL")),
            format!("GET / HTTP/1.1\r\nHost: {}:x\r\n\r\n", fresh("a broken host")),
            format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
                fresh("Content-Length")
            ),
            format!(
                "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: {}\r\n\r\n",
                fresh("Transfer-Encoding")
            ),
            format!(
                "POST /small HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{}\r\n",
                fresh("a chunk's size")
            ),
            format!("\x16\x03\x01{}", fresh("a TLS greeting on a plain port")),
            format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{}", fresh("an HTTP/2 greeting")),
        ] {
            let mut raw = Raw::sending(to, request);
            raw.end_of_writing();
            let _ = raw.rest(SOON);
        }
        let secure = Wire::Http2(certificate.client(&["h2"]));
        let _ = get(&format!("/open/x?q={}", fresh("the query over HTTP/2")))
            .send_over(&secure, gateway.secure());
        let _ =
            get("/user/x").bearer(&fresh("Authorization over HTTP/2")).send_over(&secure, gateway.secure());
        let _ =
            get("/open/x").host(&fresh(":authority").replace('_', "-")).try_over(&secure, gateway.secure());
        let mut plain = Raw::sending(
            gateway.secure(),
            format!("GET /{} HTTP/1.1\r\n\r\n", fresh("plain HTTP on a TLS port")),
        );
        let _ = plain.rest(SOON);
    }
    origin.down();
    for good in [true, false] {
        let token = canary("a request whose app is away", good);
        let _ = get(&format!("/open/x?token={token}")).bearer(&token).send(to);
        sent.push(("a request whose app is away", token));
    }
    gateway.signal(Signal::SIGHUP);
    wait_for_the_logs(&gateway);
    for (position, token) in &sent {
        assert_silent(&gateway, position, token);
    }
    assert!(sent.len() > 120, "{}", sent.len());
    let lines = gateway.access_log();
    assert!(lines.len() > 120, "the log was there to be searched: {}", lines.len());
    assert!(lines.iter().any(|line| {
        line["path"].as_str().is_some_and(|path| path.starts_with("/open/") && path != "/open/x")
    }));
}

#[test]
fn other_private_text_is_written_nowhere() {
    let origin = Origin::echo();
    let text = policy::GUARDED.to_owned();
    let whole = Gateway::builder().policy(text).text().replace(
        "format: json }\n",
        "format: json }\n  scrub: { query: [ticket], headers: [x-otp], patterns: [{ name: badge, regex: 'BADGE-[0-9]{8}' }] }\n",
    );
    let gateway = Gateway::builder().policy(whole).env("APP", origin.address()).start();
    let to = gateway.address();
    let secrets = [
        ("whk_", "whk_9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
        ("dw_", "dw_1a2b3c4d5e6f708192a3b4c5d6e7f809"),
        ("a mobile number", "13812345678"),
        ("an identity card", "11010519491231002X"),
        ("a bank card", "6222021234567890128"),
        ("an e-mail", "somebody.private@example.com"),
        ("the operator's own", "BADGE-12345678"),
    ];
    for (_, secret) in secrets {
        let _ = get(&format!("/open/x?q={secret}")).send(to);
        let _ = get(&format!("/open/{secret}")).send(to);
        let _ = get("/open/x").header("user-agent", format!("agent {secret}")).send(to);
        let _ = get("/open/x").header("referer", format!("http://localhost/?q={secret}")).send(to);
        let _ = post("/login").json(&json!({ "username": secret, "password": "x" })).send(to);
    }
    let opaque = "an-opaque-value-that-only-its-place-betrays";
    let _ = get(&format!("/open/x?ticket={opaque}")).send(to);
    let _ = get(&format!("/open/x?access_token={opaque}")).send(to);
    let _ = get("/open/x").header("x-otp", opaque).send(to);
    let _ = get("/user/x").bearer(opaque).send(to);
    let _ = get("/open/x").header("cookie", format!("session={opaque}")).send(to);
    let _ = get("/open/x").header("referer", format!("http://localhost/?token={opaque}")).send(to);
    wait_for_the_logs(&gateway);
    for (place, text) in written(&gateway) {
        for (what, secret) in secrets.iter().chain(&[("an opaque credential", opaque)]) {
            if let Some(at) = text.find(secret) {
                let line_start = text[..at].rfind('\n').map_or(0, |start| start + 1);
                panic!("{what} is in {place}: {}", &text[line_start..(at + 300).min(text.len())]);
            }
        }
    }
}

#[test]
fn a_policy_s_secrets_are_written_nowhere() {
    let origin = Origin::echo();
    let gateway =
        Gateway::builder().policy(policy::GUARDED).log_level("debug").env("APP", origin.address()).start();
    let _ = get("/user/x").bearer(&token::of("alice", "t-acme")).send(gateway.address());
    gateway.rewrite(|text| text + "\nwrong: \"@env:JWT_KEY\"\n");
    until("the wrong policy to be reported", SOON, || gateway.error_log().contains("wrong").then_some(()));
    wait_for_the_logs(&gateway);
    for (place, text) in written(&gateway) {
        assert!(!text.contains(token::KEY), "the key is in {place}");
    }
    for arguments in [
        vec!["check", "policy.yaml"],
        vec!["-T", "-c", "policy.yaml"],
        vec!["explain", "-c", "policy.yaml", "GET", "http://localhost/user/x"],
    ] {
        let finished = harness::gateway::run_in(gateway.folder(), &arguments);
        assert!(
            !finished.stdout.contains(token::KEY) && !finished.stderr.contains(token::KEY),
            "{arguments:?}"
        );
    }
}
