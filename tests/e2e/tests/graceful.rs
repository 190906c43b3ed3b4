//! Ends and beginnings.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use harness::gateway::Builder;
use harness::http::{Wire, get, post};
use harness::origin::Origin;
use harness::process::exit_code;
use harness::wait::within;
use harness::{Certificate, Form, Gateway, Raw, SOON, policy, sample, until};
use nix::sys::signal::Signal;

/// An app that answers `/open/held` only when the test says so.
fn held_app() -> (Origin, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&go);
    let origin = Origin::start(move |exchange| {
        exchange.body();
        if exchange.head.target.contains("held") {
            within(SOON, || told.load(Ordering::SeqCst).then_some(()));
        }
        exchange.respond(200, "", b"finished")
    });
    (origin, go)
}

fn gateway(origin: &Origin) -> Builder {
    Gateway::builder().policy(policy::GUARDED).env("APP", origin.address())
}

#[test]
fn quit_finishes_what_runs_and_takes_no_more() {
    let (origin, go) = held_app();
    let certificate = Certificate::localhost();
    let mut gateway = gateway(&origin).tls(&certificate).start();
    let (to, secure) = (gateway.address(), gateway.secure());
    let held = std::thread::spawn(move || get("/open/held").send(to));
    let wire = Wire::Http2(certificate.client(&["h2"]));
    let held_too = std::thread::spawn(move || get("/open/held").send_over(&wire, secure));
    origin.wait_for_requests(2);
    let form = Form::of("film.mp4", "video/mp4", &sample::mp4_of(1_000_000)).body();
    let mut upload = Raw::sending(
        to,
        format!(
            "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            Form::content_type(),
            form.len()
        ),
    );
    let (first, second) = form.split_at(form.len() / 2);
    upload.write(first);
    until("half of the upload to be there", SOON, || {
        (gateway.metric(&["menshen_spool_bytes"]) > 100_000.0).then_some(())
    });

    gateway.signal(Signal::SIGQUIT);
    until("/readyz to be 503", SOON, || (gateway.ask("/readyz").status == 503).then_some(()));
    gateway.ask("/healthz").is(200);
    until("new connections to be refused", SOON, || get("/open/x").try_send(to).is_err().then_some(()));
    upload.write(second);
    let answer = upload.answer().expect("the upload is finished");
    assert_eq!((answer.status, answer.text().as_str()), (200, "finished"));
    assert!(gateway.ended().is_none(), "two requests still run");
    go.store(true, Ordering::SeqCst);
    assert_eq!(held.join().unwrap().is(200).text(), "finished");
    assert_eq!(held_too.join().unwrap().is(200).text(), "finished");
    assert_eq!(exit_code(gateway.wait(SOON)), 0);
}

#[test]
fn quit_ends_idle_connections_at_once() {
    let (origin, _go) = held_app();
    let mut gateway = gateway(&origin).start();
    let mut idle = Raw::sending(gateway.address(), "GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(idle.answer().expect("an answer").status, 200);
    let asked = Instant::now();
    assert_eq!(gateway.quit_and_wait(), 0);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(idle.closes_within(SOON));
}

#[test]
fn quit_does_not_wait_longer_than_told() {
    let (origin, _go) = held_app();
    let mut gateway = gateway(&origin).server("timeouts: { shutdown: 1s }").start();
    let mut held = Raw::sending(gateway.address(), "GET /open/held HTTP/1.1\r\nHost: localhost\r\n\r\n");
    origin.wait_for_requests(1);
    let asked = Instant::now();
    gateway.signal(Signal::SIGQUIT);
    gateway.wait(SOON);
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(6)).contains(&asked.elapsed()),
        "{:?}",
        asked.elapsed()
    );
    let (_, ended) = held.rest(SOON);
    assert!(ended);
}

#[test]
fn term_and_int_end_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (origin, _go) = held_app();
        let mut gateway = gateway(&origin).start();
        let _held = Raw::sending(gateway.address(), "GET /open/held HTTP/1.1\r\nHost: localhost\r\n\r\n");
        origin.wait_for_requests(1);
        let asked = Instant::now();
        gateway.signal(signal);
        assert_eq!(exit_code(gateway.wait(SOON)), 0, "{signal}: {}", gateway.error_log());
        assert!(asked.elapsed() < Duration::from_secs(3), "{signal}: {:?}", asked.elapsed());
    }
}

#[test]
fn commands_find_the_process_by_its_file() {
    for arguments in
        [vec!["quit", "-c"], vec!["stop", "-c"], vec!["-s", "quit", "-c"], vec!["-s", "stop", "-c"]]
    {
        let (origin, _go) = held_app();
        let mut gateway = gateway(&origin).start();
        let file = gateway.folder().join("menshen.pid");
        let id = std::fs::read_to_string(&file).unwrap();
        assert_eq!(id.trim(), gateway.process().id().to_string());
        let mut command = Command::new(harness::gateway::binary());
        command.args(&arguments).arg(gateway.policy()).env("DIR", gateway.folder());
        command.env("APP", origin.address().to_string()).env("JWT_KEY", harness::token::KEY);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert_eq!(exit_code(gateway.wait(SOON)), 0, "{arguments:?}");
        assert!(!file.exists(), "{arguments:?}: the file is taken away");
        let again = command.output().unwrap();
        assert_eq!(again.status.code(), Some(1), "{arguments:?}: there is nobody left to tell: {again:?}");
    }
}

#[test]
fn an_address_in_use_is_said_and_ends_with_1() {
    let (origin, _go) = held_app();
    let first = gateway(&origin).start();
    let text = gateway(&origin).text().replacen("127.0.0.1:0", &first.address().to_string(), 1);
    let mut second = gateway(&origin).policy(text).launch();
    assert_eq!(exit_code(second.wait(SOON)), 1);
    assert!(second.error_log().contains(&first.address().to_string()), "{}", second.error_log());
    get("/open/x").send(first.address()).is(200);
}

#[test]
fn a_killed_gateway_leaves_its_audit_whole() {
    let (origin, _go) = held_app();
    let mut gateway = gateway(&origin).start();
    for _ in 0..20 {
        get("/user/x").send(gateway.address()).refused(401, "auth.missing");
    }
    until("the audit to be written", SOON, || (gateway.audit().len() >= 20).then_some(()));
    gateway.signal(Signal::SIGKILL);
    gateway.wait(SOON);
    let verified = harness::gateway::run_in(gateway.folder(), &["audit", "verify", "audit.jsonl"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[test]
fn the_audit_goes_on_where_it_ended() {
    let (origin, _go) = held_app();
    let mut first = gateway(&origin).start();
    get("/user/x").send(first.address()).refused(401, "auth.missing");
    assert_eq!(first.quit_and_wait(), 0);
    let audit = first.folder().join("audit.jsonl");
    let text = gateway(&origin).text().replace("${DIR}/audit.jsonl", audit.to_str().unwrap());
    let mut second = gateway(&origin).policy(text).start();
    post("/user/x").send(second.address()).refused(401, "auth.missing");
    assert_eq!(second.quit_and_wait(), 0);
    let verified = harness::gateway::run_in(first.folder(), &["audit", "verify", "audit.jsonl"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    assert!(first.audit().iter().filter(|line| line.to_string().contains("auth.missing")).count() >= 2);
}
