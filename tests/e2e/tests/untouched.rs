//! A refused request never opens a connection to the app.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use harness::http::{Answer, Call, call, get, post};
use harness::redis::free_address;
use harness::sample::{self, PNG};
use harness::socket::Socket;
use harness::{Form, Gateway, Origin, Raw, WeCard, policy, token};
use serde_json::{Value, json};

/// Refusals of the table that come after the app was asked, or for which it is what is missing; other journeys show
/// those: `failures` the first three, `graceful` the fourth.
const ELSEWHERE: [&str; 4] = ["upstream.unavailable", "upstream.timeout", "internal", "gateway.draining"];

/// Refusals that only the rules of later policies give.
const RULES_TO_COME: [&str; 9] = [
    "request.invalid",
    "webhook.invalid",
    "webhook.denied",
    "auth.revoked",
    "auth.step_up",
    "auth.session_ended",
    "waf.blocked",
    "csrf.denied",
    "rate.concurrency",
];

fn form(filename: &str, content_type: &str, content: &[u8]) -> Call {
    post("/upload").body(&Form::content_type(), Form::of(filename, content_type, content).body())
}

/// A file that would count towards a very small storage.
fn stored(filename: &str, content_type: &str, content: &[u8]) -> Call {
    let form = Form::of(filename, content_type, content).body();
    post("/stored").bearer(&token::of("bob", "t-beta")).body(&Form::content_type(), form)
}

/// Every refusal that a request can meet on its own under [`policy::GUARDED`].
fn refusals() -> Vec<(u16, &'static str, Call)> {
    let alice = token::of("alice", "t-acme");
    let wrong = token::mint_with(
        "another key, as long as the right one, but not the same",
        json!({ "sub": "alice" }),
    );
    let mut hidden = PNG.to_vec();
    hidden.extend_from_slice(sample::PHP);
    let three = (0..3).fold(Form::new(), |form, _| form.file("file", "a.png", "image/png", PNG)).body();
    let twice = Form::new()
        .part(
            "Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"; filename=\"a.php\"\r\n",
            PNG,
        )
        .body();
    vec![
        (400, "request.malformed", get("/%2e%2e/x")),
        (
            400,
            "request.malformed",
            get("/user/x").bearer(&alice).header("cookie", format!("session={wrong}")),
        ),
        (414, "request.malformed", get(&format!("/open/{}", "x".repeat(9 * 1024)))),
        (431, "request.malformed", get("/open/x").header("x-long", "x".repeat(40 * 1024))),
        (405, "method.not_allowed", post("/only-get")),
        (405, "method.not_allowed", call("TRACE", "/open/x")),
        (404, "route.not_found", get("/nowhere")),
        (404, "route.not_found", get("/open/x").host("elsewhere.test")),
        (400, "tenant.missing", get("/tenant/x").bearer(&token::operator())),
        (404, "tenant.unknown", get("/tenant/x").bearer(&token::of("x", "t-nowhere"))),
        (403, "tenant.mismatch", get("/tenant/x").bearer(&alice).header("x-tenant-id", "t-beta")),
        (403, "tenant.mismatch", get("/tenant/x").bearer(&alice).host("beta.card.example.com")),
        (403, "tenant.mismatch", get("/files/t-beta/x").bearer(&alice)),
        (403, "tenant.suspended", get("/tenant/x").bearer(&token::of("gone", "t-gone"))),
        (401, "auth.missing", get("/user/x")),
        (401, "auth.invalid", get("/user/x").bearer(&wrong)),
        (401, "auth.invalid", get("/user/x").bearer("nonsense")),
        (401, "auth.expired", get("/user/x").bearer(&token::expired("alice", "t-acme"))),
        (403, "auth.forbidden", get("/writers/x").bearer(&token::powerless("carol", "t-acme"))),
        (403, "auth.forbidden", get("/operators/x").bearer(&alice)),
        (403, "ip.denied", get("/nearby/x")),
        (403, "ip.denied", get("/banned/x")),
        (413, "body.too_large", post("/small").body("text/plain", vec![b'x'; 1025])),
        (400, "upload.malformed", post("/upload").body(&Form::content_type(), "nothing of the kind")),
        (400, "upload.malformed", post("/upload").body(&Form::content_type(), twice)),
        (413, "upload.too_large", form("a.png", "image/png", &sample::png_of(1024 * 1024 + 1))),
        (413, "upload.too_many_files", post("/upload").body(&Form::content_type(), three)),
        (415, "upload.extension_denied", form("a.txt", "image/png", PNG)),
        (415, "upload.type_mismatch", form("a.png", "image/png", &sample::pdf())),
        (415, "upload.filename_denied", form("a\u{202e}gnp.png", "image/png", PNG)),
        (422, "upload.infected", form("a.pdf", "application/pdf", &sample::infected_pdf())),
        (422, "upload.content_denied", form("a.png", "image/png", &hidden)),
        (
            422,
            "upload.archive_denied",
            stored("a.zip", "application/zip", b"PK\x03\x04 and nothing more of a zip"),
        ),
        (413, "upload.quota_exceeded", stored("a.png", "image/png", &sample::png_of(2000))),
    ]
}

#[test]
fn a_refused_request_opens_no_connection() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    for (status, code, call) in refusals() {
        call.send(gateway.address()).refused(status, code);
        assert_eq!(origin.connections(), 0, "{code}");
    }
    let slow = get("/open/x");
    slow.send(gateway.address()).is(200);
    assert_eq!(origin.connections(), 1, "and one that is let through does");
}

#[test]
fn every_refusal_of_the_table_is_shown_not_to_reach_the_app() {
    let source = std::fs::read_to_string(harness::root().join("filters/src/denial.rs")).unwrap();
    let named: BTreeSet<&str> = source
        .split('"')
        .filter(|text| {
            text.contains('.') && text.chars().all(|c| c.is_ascii_lowercase() || c == '.' || c == '_')
        })
        .collect();
    let mut shown: BTreeSet<&str> = refusals().iter().map(|(_, code, _)| *code).collect();
    shown.extend(ELSEWHERE);
    shown.extend(["origin.denied", "auth.locked", "rate.limited", "request.timeout", "upload.duplicate"]);
    shown.extend(["scan.unavailable", "state.unavailable", "spool.exhausted"]);
    let missing: Vec<_> = named.difference(&shown).filter(|code| !RULES_TO_COME.contains(code)).collect();
    assert!(missing.is_empty(), "no journey shows these: {missing:?}");
}

#[test]
fn the_app_s_own_log_shows_no_refused_request() {
    let app = WeCard::start();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", app.api()).start();
    for (status, code, call) in refusals() {
        call.send(gateway.address()).refused(status, code);
    }
    assert_eq!(app.log().entries(), Vec::<Value>::new());
    get("/open/x").send(gateway.address()).is(404);
    assert_eq!(app.log().entries().len(), 1);
}

#[test]
fn a_socket_from_another_page_opens_no_connection() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let refused = Socket::to("/socket")
        .header("origin", "https://evil.test")
        .protocols(&["bearer", &token::of("alice", "t-acme")])
        .refused(gateway.address());
    assert!(refused.status == 403 && refused.body.contains("origin.denied"), "{refused:?}");
    assert_eq!(origin.connections(), 0);
}

#[test]
fn one_too_many_opens_no_connection() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    get("/once").send(gateway.address()).is(200);
    get("/once").send(gateway.address()).refused(429, "rate.limited");
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_locked_name_opens_no_connection() {
    let origin = Origin::start(|exchange| {
        exchange.body();
        exchange.respond(401, "", b"wrong")
    });
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let attempt =
        || post("/login").json(&json!({ "username": "alice", "password": "guess" })).send(gateway.address());
    attempt().is(401);
    attempt().is(401);
    attempt().refused(429, "auth.locked");
    let attempt = || {
        post("/form-login")
            .body("application/x-www-form-urlencoded", "username=al%69ce&password=x")
            .send(gateway.address())
    };
    attempt().is(401);
    attempt().is(401);
    attempt().refused(429, "auth.locked");
    assert_eq!(origin.requests(), 4);
}

/// Starts a gateway whose `away` is nobody and sends one request.
fn without(what: &str, from: &str, to: &str, call: &Call) -> (Answer, usize) {
    let origin = Origin::echo();
    let nobody: SocketAddr = free_address();
    let text = policy::GUARDED.replace(from, &to.replace("NOBODY", &nobody.to_string()));
    assert_ne!(text, policy::GUARDED, "{what}");
    let gateway = Gateway::builder().policy(text).env("APP", origin.address()).start();
    (call.send(gateway.address()), origin.connections())
}

#[test]
fn what_cannot_be_scanned_counted_or_kept_opens_no_connection() {
    let (answer, connections) = without(
        "scanner",
        "scanner: { backend: builtin,",
        "scanner: { backend: clamd, address: \"tcp://NOBODY\",",
        &form("a.pdf", "application/pdf", &sample::pdf()),
    );
    answer.refused(503, "scan.unavailable");
    assert_eq!(connections, 0);
    let (answer, connections) = without(
        "state",
        "\nscanner:",
        "\nstate: { backend: redis, url: \"redis://NOBODY/0\", timeout: 100ms, on_failure: deny }\nscanner:",
        &get("/once"),
    );
    answer.refused(503, "state.unavailable");
    assert_eq!(connections, 0);
    let (answer, connections) = without(
        "spool",
        "max_total: 64MB",
        "max_total: 1MB",
        &form("film.mp4", "video/mp4", &sample::mp4_of(3_000_000)),
    );
    answer.refused(503, "spool.exhausted");
    assert_eq!(connections, 0);
}

#[test]
fn an_unfinished_upload_opens_no_connection() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .policy(policy::GUARDED)
        .server("timeouts: { header: 1s, body: 1s }")
        .env("APP", origin.address())
        .start();
    let body = Form::of("a.png", "image/png", PNG).body();
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        Form::content_type(),
        body.len()
    );
    let mut raw = Raw::sending(gateway.address(), &head);
    raw.write(&body[..body.len() - 1]);
    assert_eq!(raw.answer().expect("an answer").status, 408);
    let mut left = Raw::sending(gateway.address(), &head);
    left.write(&body[..20]);
    drop(left);
    get("/user/x").send(gateway.address()).refused(401, "auth.missing");
    assert_eq!(origin.connections(), 0);
}
