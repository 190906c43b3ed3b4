//! What happens when something behind the gateway fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::gateway::Builder;
use harness::http::{Answer, get, post};
use harness::origin::{Origin, Then};
use harness::redis::free_address;
use harness::sample;
use harness::{Clamd, Form, Gateway, Raw, Redis, SOON, policy, until};
use serde_json::json;

fn with_clamd(origin: &Origin, clamd: &Clamd) -> Builder {
    let text = policy::GUARDED
        .replace("backend: builtin, timeout: 5s,", "backend: clamd, address: \"${CLAMD}\", timeout: 2s,");
    Gateway::builder().policy(text).env("APP", origin.address()).env("CLAMD", clamd.tcp())
}

fn upload(gateway: &Gateway) -> Answer {
    let form = Form::of("a.pdf", "application/pdf", &sample::pdf()).body();
    post("/upload").body(&Form::content_type(), form).send(gateway.address())
}

/// Sends the first half of an upload, lets something happen, sends the rest.
fn upload_in_halves(gateway: &Gateway, meanwhile: impl FnOnce()) -> (u16, String, Duration) {
    let form = Form::of("film.mp4", "video/mp4", &sample::mp4_of(2_000_000)).body();
    let mut raw = Raw::sending(
        gateway.address(),
        format!(
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            Form::content_type(),
            form.len()
        ),
    );
    let (first, second) = form.split_at(form.len() / 2);
    raw.write(first);
    until("the first half to be spooled", SOON, || {
        (gateway.metric(&["menshen_spool_bytes"]) >= 500_000.0).then_some(())
    });
    meanwhile();
    let asked = Instant::now();
    raw.write(second);
    let answer = raw.answer().expect("an answer");
    (answer.status, answer.text(), asked.elapsed())
}

#[test]
fn a_scanner_that_dies_in_mid_upload_refuses_it_in_time() {
    let origin = Origin::echo();
    let mut clamd = Clamd::start();
    let gateway = with_clamd(&origin, &clamd).start();
    upload(&gateway).is(200);
    let before = origin.requests();
    let (status, text, took) = upload_in_halves(&gateway, || clamd.kill());
    assert!(status == 503 && text.contains("scan.unavailable"), "{status} {text}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    upload(&gateway).refused(503, "scan.unavailable");
    assert_eq!(origin.requests(), before);
    assert!(gateway.metric(&["menshen_scan_failures_total"]) >= 2.0);
    clamd.restart();
    until("uploads to be taken again", SOON, || (upload(&gateway).status == 200).then_some(()));
}

#[test]
fn a_scanner_that_freezes_in_mid_upload_refuses_it_in_time() {
    let origin = Origin::echo();
    let clamd = Clamd::start();
    let gateway = with_clamd(&origin, &clamd).start();
    upload(&gateway).is(200);
    let before = origin.requests();
    let (status, text, took) = upload_in_halves(&gateway, || clamd.freeze());
    assert!(status == 503 && text.contains("scan.unavailable"), "{status} {text}");
    assert!(took < Duration::from_secs(6), "the limit is 2 s, but it took {took:?}");
    assert_eq!(origin.requests(), before);
    clamd.thaw();
    until("uploads to be taken again", SOON, || (upload(&gateway).status == 200).then_some(()));
}

#[test]
fn the_policy_may_let_files_pass_unscanned_and_says_so() {
    let origin = Origin::echo();
    let mut clamd = Clamd::start();
    let text = policy::GUARDED.replace(
        "backend: builtin, timeout: 5s, on_failure: deny",
        "backend: clamd, address: \"${CLAMD}\", timeout: 2s, on_failure: allow",
    );
    let gateway =
        Gateway::builder().policy(text).env("APP", origin.address()).env("CLAMD", clamd.tcp()).start();
    clamd.kill();
    let seen = upload(&gateway);
    let text = seen.is(200).text();
    assert!(text.contains(r#"\"scan\":\"failed\""#), "{text}");
    until("the audit to say so", SOON, || {
        gateway.audit().iter().any(|line| line.to_string().contains("failed")).then_some(())
    });
}

const COUNTED: &str = r#"
state: { backend: redis, url: "${REDIS}", timeout: 100ms, on_failure: "${ON_FAILURE}" }
upstreams:
  app: { servers: ["${APP}"] }
sites:
  - hosts: ["*"]
    defaults: { upstream: app, auth: none }
    routes:
      - { path: /counted, limits: { rate: [{ by: ip, limit: 1/h, burst: 1, name: counted }] } }
      - { path: /plenty, limits: { rate: [{ by: ip, limit: 100000/s, burst: 100000, name: plenty }] } }
      - path: /login
        methods: [POST]
        lockout: { key: ["json:username"], failures: 2, within: 15m, lock: 30m, failed_when: { status: [401] } }
      - { path: /free }
"#;

fn counted(origin: &Origin, redis: &Redis, on_failure: &str) -> Gateway {
    Gateway::builder()
        .policy(COUNTED)
        .env("APP", origin.address())
        .env("REDIS", redis.url())
        .env("ON_FAILURE", on_failure)
        .start()
}

/// Asks some times; statuses, and the longest it took.
fn ask(gateway: &Gateway, path: &str, times: usize) -> (Vec<u16>, Duration) {
    let mut longest = Duration::ZERO;
    let statuses = (0..times)
        .map(|_| {
            let asked = Instant::now();
            let answer = get(path).send(gateway.address());
            longest = longest.max(asked.elapsed());
            if answer.status == 503 {
                answer.refused(503, "state.unavailable");
            }
            answer.status
        })
        .collect();
    (statuses, longest)
}

/// What the limit of 100 ms may become on a busy machine.
const BOUND: Duration = Duration::from_millis(600);

#[test]
fn without_redis_each_gateway_counts_for_itself_when_told_so() {
    let origin = Origin::echo();
    for kill in [true, false] {
        let mut redis = Redis::start();
        let gateway = counted(&origin, &redis, "local");
        get("/plenty").send(gateway.address()).is(200);
        if kill {
            redis.kill()
        } else {
            redis.freeze()
        }
        let (statuses, longest) = ask(&gateway, "/counted", 4);
        assert_eq!(statuses, [200, 200, 429, 429], "kill: {kill}");
        assert!(longest < BOUND, "kill: {kill}: {longest:?}");
        assert!(gateway.metric(&["menshen_state_errors_total"]) >= 1.0);
        let (statuses, longest) = ask(&gateway, "/free", 3);
        assert!(statuses == [200; 3] && longest < BOUND, "{statuses:?} {longest:?}");
    }
}

#[test]
fn without_redis_requests_are_refused_when_told_so() {
    let origin = Origin::echo();
    for kill in [true, false] {
        let mut redis = Redis::start();
        let gateway = counted(&origin, &redis, "deny");
        get("/plenty").send(gateway.address()).is(200);
        if kill {
            redis.kill()
        } else {
            redis.freeze()
        }
        let before = origin.requests();
        let (statuses, longest) = ask(&gateway, "/plenty", 4);
        assert_eq!(statuses, [503; 4], "kill: {kill}");
        assert!(longest < BOUND, "kill: {kill}: {longest:?}");
        post("/login")
            .json(&json!({ "username": "alice", "password": "x" }))
            .send(gateway.address())
            .refused(503, "state.unavailable");
        assert_eq!(origin.requests(), before);
        get("/free").send(gateway.address()).is(200);
        if kill {
            redis.restart()
        } else {
            redis.thaw()
        }
        until("requests to pass again by themselves", SOON, || {
            (get("/plenty").send(gateway.address()).status == 200).then_some(())
        });
    }
}

#[test]
fn without_redis_requests_pass_uncounted_when_told_so() {
    let origin = Origin::echo();
    for kill in [true, false] {
        let mut redis = Redis::start();
        let gateway = counted(&origin, &redis, "allow");
        get("/plenty").send(gateway.address()).is(200);
        if kill {
            redis.kill()
        } else {
            redis.freeze()
        }
        let (statuses, longest) = ask(&gateway, "/counted", 5);
        assert_eq!(statuses, [200; 5], "kill: {kill}");
        assert!(longest < BOUND, "kill: {kill}: {longest:?}");
        if kill {
            redis.restart()
        } else {
            redis.thaw()
        }
        until("requests to be counted again by themselves", SOON, || {
            (get("/counted").send(gateway.address()).status == 429).then_some(())
        });
    }
}

#[test]
fn lockouts_in_redis_hold_for_every_gateway() {
    let origin = Origin::start(|exchange| {
        exchange.body();
        exchange.respond(401, "", b"wrong")
    });
    let redis = Redis::start();
    let (one, other) = (counted(&origin, &redis, "deny"), counted(&origin, &redis, "deny"));
    let attempt = |gateway: &Gateway| {
        post("/login").json(&json!({ "username": "alice", "password": "x" })).send(gateway.address())
    };
    attempt(&one).is(401);
    attempt(&other).is(401);
    attempt(&one).refused(429, "auth.locked");
    attempt(&other).refused(429, "auth.locked");
    assert_eq!(origin.requests(), 2);
}

const APP: &str = r#"
upstreams:
  app: { servers: ["${APP}"], timeouts: { connect: 1s, read: 1s, send: 5s } }
sites:
  - hosts: ["*"]
    routes: [{ path: /*, auth: none, upstream: app }]
"#;

#[test]
fn an_app_that_is_away_is_502_and_comes_back() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(APP).env("APP", origin.address()).start();
    get("/x").send(gateway.address()).is(200);
    origin.down();
    let asked = Instant::now();
    get("/x").send(gateway.address()).refused(502, "upstream.unavailable");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    let form = Form::of("a.pdf", "application/pdf", &sample::pdf()).body();
    post("/x").body("text/plain", form).send(gateway.address()).refused(502, "upstream.unavailable");
    origin.up();
    until("the app to be served again", SOON, || {
        (get("/x").send(gateway.address()).status == 200).then_some(())
    });
}

#[test]
fn an_app_that_does_not_answer_is_504() {
    let origin = Origin::start(|exchange| {
        match exchange.head.target.as_str() {
            "/silent" => _ = exchange.is_closed_within(SOON),
            "/stuck" => {
                exchange.raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstart");
                exchange.is_closed_within(SOON);
            }
            _ => return exchange.respond(200, "", b"fine"),
        }
        Then::Close
    });
    let gateway = Gateway::builder().policy(APP).env("APP", origin.address()).start();
    let asked = Instant::now();
    get("/silent").send(gateway.address()).refused(504, "upstream.timeout");
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(4)).contains(&asked.elapsed()),
        "{:?}",
        asked.elapsed()
    );
    let cut = get("/stuck").try_send(gateway.address());
    assert!(cut.is_err(), "an answer that stops must not look whole: {cut:?}");
    get("/x").send(gateway.address()).is(200);
}

#[test]
fn a_connection_that_the_app_closed_while_idle_is_not_an_error() {
    let origin = Origin::start(|exchange| {
        exchange.respond(200, "", b"fine");
        Then::Close
    });
    let gateway = Gateway::builder().policy(APP).server("workers: 1").env("APP", origin.address());
    let text = gateway.text().replace("workers: 2\n  workers: 1", "workers: 1");
    let gateway = gateway.policy(text).start();
    for _ in 0..30 {
        get("/x").send(gateway.address()).is(200);
    }
}

#[test]
fn a_health_check_takes_a_server_out_and_back() {
    let well = Arc::new(AtomicBool::new(true));
    let checked = Arc::clone(&well);
    let sick = Origin::start(move |exchange| {
        let status =
            if exchange.head.target == "/health" && !checked.load(Ordering::SeqCst) { 503 } else { 200 };
        exchange.respond(status, "X-Server: sick\r\n", b"")
    });
    let good = Origin::start(|exchange| exchange.respond(200, "X-Server: good\r\n", b""));
    let text = r#"
upstreams:
  app:
    servers: ["${SICK}", "${GOOD}"]
    health: { path: /health, every: 200ms, rise: 2, fall: 2 }
sites:
  - hosts: ["*"]
    routes: [{ path: /*, auth: none, upstream: app }]
"#;
    let gateway =
        Gateway::builder().policy(text).env("SICK", sick.address()).env("GOOD", good.address()).start();
    let servers = || {
        let mut seen: Vec<String> =
            (0..8).map(|_| get("/x").send(gateway.address()).is(200).must("x-server").to_owned()).collect();
        seen.sort();
        seen.dedup();
        seen
    };
    assert_eq!(servers(), ["good", "sick"], "round robin asks both");
    well.store(false, Ordering::SeqCst);
    until("the sick server to be left alone", SOON, || (servers() == ["good"]).then_some(()));
    let sick_address = sick.address().to_string();
    assert_eq!(gateway.metric(&["menshen_upstream_up", "app", &sick_address]), 0.0);
    well.store(true, Ordering::SeqCst);
    until("it to be asked again", SOON, || (servers() == ["good", "sick"]).then_some(()));
    assert_eq!(gateway.metric(&["menshen_upstream_up", "app", &sick_address]), 1.0);
    good.down();
    until("the one that is gone to be left alone", SOON, || {
        let answers: Vec<u16> = (0..6).map(|_| get("/x").send(gateway.address()).status).collect();
        answers.iter().all(|&status| status == 200).then_some(())
    });
}

#[test]
fn with_every_server_down_the_answer_is_502_at_once() {
    let text = r#"
upstreams:
  app:
    servers: ["${ONE}", "${OTHER}"]
    health: { path: /health, every: 200ms, rise: 1, fall: 1 }
sites:
  - hosts: ["*"]
    routes: [{ path: /*, auth: none, upstream: app }]
"#;
    let gateway =
        Gateway::builder().policy(text).env("ONE", free_address()).env("OTHER", free_address()).start();
    for _ in 0..3 {
        let asked = Instant::now();
        get("/x").send(gateway.address()).refused(502, "upstream.unavailable");
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    }
}

#[test]
fn a_full_spool_refuses_and_is_emptied() {
    let origin = Origin::echo();
    let text = policy::GUARDED.replace("max_total: 64MB", "max_total: 1MB");
    let gateway = Gateway::builder().policy(text).env("APP", origin.address()).start();
    let large = Form::of("film.mp4", "video/mp4", &sample::mp4_of(3_000_000)).body();
    for _ in 0..3 {
        let refused = post("/upload").body(&Form::content_type(), large.clone()).send(gateway.address());
        refused.refused(503, "spool.exhausted");
        upload(&gateway).is(200);
    }
    until("the spool to be empty", SOON, || (gateway.metric(&["menshen_spool_bytes"]) == 0.0).then_some(()));
    leaves_no_file(&gateway);
}

/// The spool's files have no names, so that nothing is left of them whatever happens.
fn leaves_no_file(gateway: &Gateway) {
    let left: Vec<_> = std::fs::read_dir(gateway.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["policy.yaml", "access.log", "audit.jsonl", "menshen.pid"].contains(&name.as_str()))
        .collect();
    assert!(left.is_empty(), "the spool leaves no file behind: {left:?}");
}

#[test]
fn a_gateway_that_is_killed_in_mid_upload_leaves_no_file() {
    let origin = Origin::echo();
    let mut gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let form = Form::of("film.mp4", "video/mp4", &sample::mp4_of(2_000_000)).body();
    let mut raw = Raw::sending(
        gateway.address(),
        format!(
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            Form::content_type(),
            form.len()
        ),
    );
    raw.write(&form[..1_500_000]);
    until("the body to be on the disk", SOON, || {
        (gateway.metric(&["menshen_spool_bytes", "disk"]) >= 500_000.0).then_some(())
    });
    gateway.kill();
    leaves_no_file(&gateway);
}

#[test]
fn a_disk_that_is_full_refuses_what_needs_it_and_serves_the_rest() {
    let origin = Origin::echo();
    let text = policy::GUARDED
        .replace("directory: \"${DIR}\"", "directory: \"${DIR}/spool\", max_memory: 1MB, min_free: 0KB");
    let builder = Gateway::builder().policy(text).env("APP", origin.address());
    let spool = builder.folder().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let gateway = builder.disk(spool, 2 << 20).start();
    let form = |size| Form::of("film.mp4", "video/mp4", &sample::mp4_of(size)).body();
    let send = |body: Vec<u8>| post("/upload").body(&Form::content_type(), body).send(gateway.address());
    send(form(1_000_000)).is(200);
    let before = origin.requests();
    for _ in 0..3 {
        let refused = send(form(4_000_000));
        refused.refused(503, "spool.exhausted");
        assert!(!refused.text().contains("device"), "{refused:?}");
    }
    assert_eq!(origin.requests(), before);
    send(form(1_000_000)).is(200);
    until("the spool to be empty", SOON, || (gateway.metric(&["menshen_spool_bytes"]) == 0.0).then_some(()));
}

#[test]
fn the_disk_keeps_its_free_bytes() {
    let origin = Origin::echo();
    let text = policy::GUARDED.replace("directory: \"${DIR}\"", "directory: \"${DIR}\", min_free: 1000TB");
    let gateway = Gateway::builder().policy(text).env("APP", origin.address()).start();
    let large = Form::of("film.mp4", "video/mp4", &sample::mp4_of(1_000_000)).body();
    post("/upload")
        .body(&Form::content_type(), large)
        .send(gateway.address())
        .refused(503, "spool.exhausted");
    assert_eq!(origin.requests(), 0);
    upload(&gateway).is(200);
}

#[test]
fn a_spool_without_a_folder_refuses_and_serves_the_rest() {
    let origin = Origin::echo();
    let text = policy::GUARDED.replace("directory: \"${DIR}\"", "directory: \"${DIR}/spool\"");
    let builder = Gateway::builder().policy(text).env("APP", origin.address());
    let spool = builder.folder().join("spool");
    std::fs::create_dir(&spool).unwrap();
    let gateway = builder.start();
    std::fs::remove_dir(&spool).unwrap();
    let large = Form::of("film.mp4", "video/mp4", &sample::mp4_of(3_000_000)).body();
    let refused = post("/upload").body(&Form::content_type(), large).send(gateway.address());
    assert!(matches!(refused.status, 500 | 503), "{refused:?}");
    assert!(!refused.text().contains("spool/") && !refused.text().contains("directory"), "{refused:?}");
    assert_eq!(origin.requests(), 0);
    get("/open/x").send(gateway.address()).is(200);
}
