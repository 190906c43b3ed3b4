//! What the gateway writes: access log, metrics, audit, the operator's listener.

use harness::http::{call, get, post};
use harness::sample::{self, PNG};
use harness::{Form, Gateway, Origin, SOON, policy, token, until};
use nix::sys::signal::Signal;
use serde_json::json;

fn gateway(origin: &Origin) -> Gateway {
    Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start()
}

#[test]
fn a_served_request_is_one_line_of_json() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let answer = get("/tenant/x?page=2")
        .bearer(&token::of("alice", "t-acme"))
        .header("user-agent", "journey/1")
        .header("referer", "http://localhost/from")
        .send(gateway.address());
    answer.is(200);
    let seen = answer.json();
    let id = seen["headers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case("x-request-id"))
        .expect("the app is told the request's id")[1]
        .as_str()
        .unwrap()
        .to_owned();
    let line = gateway.access_line(&id);
    for (name, value) in [
        ("method", json!("GET")),
        ("host", json!("localhost")),
        ("path", json!("/tenant/x")),
        ("query", json!("page=2")),
        ("status", json!(200)),
        ("tenant", json!("t-acme")),
        ("subject", json!("alice")),
        ("client", json!("127.0.0.1")),
        ("route", json!("/tenant/*")),
        ("user_agent", json!("journey/1")),
        ("referer", json!("http://localhost/from")),
        ("bytes_out", json!(answer.body.len())),
        ("protocol", json!("HTTP/1.1")),
    ] {
        assert_eq!(line[name], value, "{name} of {line}");
    }
    let names = "time request_id trace_id client tenant subject method host path query status bytes_in bytes_out \
                 duration_ms upstream upstream_ms route code filter user_agent referer tls protocol";
    for name in names.split_whitespace() {
        assert!(line.get(name).is_some(), "{name} is missing in {line}");
    }
    assert!(line["upstream"].to_string().contains(&origin.address().to_string()), "{line}");
    assert_eq!(gateway.access_log().iter().filter(|line| line["request_id"] == id.as_str()).count(), 1);
}

#[test]
fn a_refusal_is_logged_counted_and_audited() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let refused = get("/operators/x").bearer(&token::of("alice", "t-acme")).send(gateway.address());
    refused.refused(403, "auth.forbidden");
    let id = refused.must("x-request-id");
    let line = gateway.access_line(id);
    assert_eq!(line["status"], 403);
    assert_eq!(line["code"], "auth.forbidden");
    assert_eq!(line["route"], "/operators/*");
    until("the counter to grow", SOON, || {
        (gateway.metric(&["menshen_denied_total", "/operators/*", "auth.forbidden"]) == 1.0).then_some(())
    });
    let audited = until("the audit line", SOON, || {
        gateway.audit().into_iter().find(|line| line.to_string().contains(id))
    });
    assert!(audited.to_string().contains("auth.forbidden"), "{audited}");
    assert!(audited.to_string().contains("alice"), "{audited}");
}

#[test]
fn requests_that_do_not_parse_are_counted_all_the_same() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let before = gateway.metric(&["menshen_denied_total", "request.malformed"]);
    let mut raw = harness::Raw::sending(gateway.address(), "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(raw.answer().expect("an answer").status, 400);
    until("the counter to grow", SOON, || {
        (gateway.metric(&["menshen_denied_total", "request.malformed"]) > before).then_some(())
    });
}

#[test]
fn metrics_tell_what_happened() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    for _ in 0..3 {
        get("/open/x").send(gateway.address()).is(200);
    }
    post("/upload")
        .body(&Form::content_type(), Form::of("a.png", "image/png", PNG).body())
        .send(gateway.address())
        .is(200);
    post("/upload")
        .body(&Form::content_type(), Form::of("a.pdf", "application/pdf", &sample::infected_pdf()).body())
        .send(gateway.address())
        .refused(422, "upload.infected");
    until("the last request to be counted", SOON, || {
        (gateway.metric(&["menshen_upload_files_total", "infected"]) >= 1.0).then_some(())
    });
    assert_eq!(gateway.metric(&["menshen_requests_total", "/open/*", "GET", "200"]), 3.0);
    assert_eq!(gateway.metric(&["menshen_request_duration_seconds_count", "/open/*"]), 3.0);
    assert!(gateway.metric(&["menshen_upstream_duration_seconds_count", "app"]) >= 4.0);
    assert_eq!(gateway.metric(&["menshen_upload_files_total", "image"]), 1.0);
    assert!(gateway.metric(&["menshen_scan_duration_seconds_count", "builtin"]) >= 2.0);
    assert!(gateway.metric(&["menshen_config_loaded_timestamp_seconds"]) > 1.7e9);
    assert!(gateway.metric(&["process_resident_memory_bytes"]) > 1e6);
    let text = gateway.ask("/metrics");
    assert!(text.must("content-type").starts_with("text/plain"), "{:?}", text.headers);
}

#[test]
fn nothing_a_client_chooses_becomes_a_label() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    get("/open/label-by-path").send(gateway.address()).is(200);
    get("/nowhere/label-by-path").send(gateway.address()).is(404);
    get("/open/x").host("label-by-host.test").send(gateway.address()).is(404);
    get("/open/x").host("label-by-host.card.example.com").send(gateway.address());
    call("LABELBYMETHOD", "/open/x").send(gateway.address());
    get("/user/x").bearer(&token::of("label-by-subject", "label-by-tenant")).send(gateway.address());
    let text = gateway.ask("/metrics").text().to_lowercase();
    assert!(!text.contains("label-by") && !text.contains("labelby"), "{text}");
}

#[test]
fn the_operator_s_listener_answers() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    for path in ["/healthz", "/readyz", "/metrics", "/policy"] {
        gateway.ask(path).is(200);
    }
    let policy = gateway.ask("/policy").json();
    for name in ["version", "generation", "digest", "loaded_at", "files", "last_error"] {
        assert!(policy.get(name).is_some(), "{name} is missing in {policy}");
    }
    assert!(policy["last_error"].is_null(), "{policy}");
    gateway.ask("/nothing").is(404);
    assert_eq!(post("/metrics").send(gateway.admin()).status, 405);
}

#[test]
fn another_site_s_page_changes_nothing() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let (admin, before) = (gateway.admin(), gateway.generation());
    let here = admin.to_string();
    let reload = || post("/reload").host(&here);
    reload().header("origin", "http://evil.example").send(admin).is(403);
    reload().header("origin", "null").send(admin).is(403);
    post("/reload").host("evil.example").send(admin).is(403);
    post("/reload").host("evil.example").header("origin", "http://evil.example").send(admin).is(403);
    call("DELETE", "/lockouts/0123456789abcdef").host("evil.example").send(admin).is(403);
    assert_eq!(gateway.generation(), before);
    // Prometheus asks by any name, and the operator from here.
    for path in ["/healthz", "/readyz", "/metrics"] {
        get(path).host("gate.internal").header("origin", "http://evil.example").send(admin).is(200);
    }
    reload().send(admin).is(200);
    reload().header("origin", format!("http://{here}")).send(admin).is(200);
    post("/reload").send(admin).is(200);
    assert_eq!(gateway.generation(), before + 3);
}

#[test]
fn an_operator_s_token_is_asked_for() {
    let origin = Origin::echo();
    let text = Gateway::builder().policy(policy::GUARDED).text();
    let text = text.replace(
        "admin: { address: \"127.0.0.1:0\" }",
        "admin: { address: \"127.0.0.1:0\", token: \"@env:ADMIN\" }",
    );
    let gateway = Gateway::builder()
        .policy(text)
        .env("APP", origin.address())
        .env("ADMIN", "a-long-token-of-the-operator")
        .launch();
    let asked = until("the operator's listener", SOON, || get("/metrics").try_send(gateway.admin()).ok());
    asked.is(401);
    get("/metrics").bearer("another-token").send(gateway.admin()).is(401);
    get("/metrics").bearer("a-long-token-of-the-operator").send(gateway.admin()).is(200);
    assert!(
        !get("/policy")
            .bearer("a-long-token-of-the-operator")
            .send(gateway.admin())
            .text()
            .contains("a-long-token")
    );
}

#[test]
fn a_moved_log_file_is_opened_anew_on_usr1() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    get("/open/first").send(gateway.address()).is(200);
    until("the first line", SOON, || {
        gateway.access_log().iter().any(|line| line["path"] == "/open/first").then_some(())
    });
    let moved = gateway.folder().join("access.log.1");
    std::fs::rename(gateway.folder().join("access.log"), &moved).unwrap();
    gateway.signal(Signal::SIGUSR1);
    until("a line in the new file", SOON, || {
        get("/open/second").send(gateway.address()).is(200);
        gateway.access_log().iter().any(|line| line["path"] == "/open/second").then_some(())
    });
    assert!(std::fs::read_to_string(moved).unwrap().contains("/open/first"));
}

#[test]
fn usr2_ends_nothing() {
    let origin = Origin::echo();
    let mut gateway = gateway(&origin);
    gateway.signal(Signal::SIGUSR2);
    until("it to be said", SOON, || gateway.error_log().contains("USR2 is ignored").then_some(()));
    get("/open/x").send(gateway.address()).is(200);
    assert_eq!(gateway.ended(), None);
}

#[test]
fn the_access_log_may_be_nginx_s() {
    let origin = Origin::echo();
    let text = Gateway::builder().policy(policy::GUARDED).text().replace("format: json", "format: combined");
    let gateway = Gateway::builder().policy(text).env("APP", origin.address()).start();
    get("/open/x?a=1")
        .header("user-agent", "journey/1")
        .header("referer", "http://r/")
        .send(gateway.address())
        .is(200);
    let line = until("a line", SOON, || {
        let text = std::fs::read_to_string(gateway.folder().join("access.log")).ok()?;
        text.contains('\n').then_some(text)
    });
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.contains("\"GET /open/x?a=1 HTTP/1.1\" 200 "), "{line}");
    assert!(line.trim_end().ends_with("\"http://r/\" \"journey/1\""), "{line}");
}

#[test]
fn each_audit_line_carries_the_hash_of_the_one_before() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    for _ in 0..5 {
        get("/user/x").send(gateway.address()).refused(401, "auth.missing");
    }
    until("five lines", SOON, || (gateway.audit().len() >= 5).then_some(()));
    let file = gateway.folder().join("audit.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let verified = harness::gateway::run_in(gateway.folder(), &["audit", "verify", "audit.jsonl"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.remove(2);
    std::fs::write(gateway.folder().join("shorter.jsonl"), lines.join("\n") + "\n").unwrap();
    let broken = harness::gateway::run_in(gateway.folder(), &["audit", "verify", "shorter.jsonl"]);
    assert_eq!(broken.code, 1, "{broken:?}");
}
