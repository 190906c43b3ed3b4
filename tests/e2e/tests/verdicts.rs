//! Verdicts that are kept, of a real clamd whose signatures change.

use harness::database::Database;
use harness::http::{Answer, post};
use harness::{Clamd, Form, Gateway, SOON, WeCard, policy, sample, token, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// WeCard's own policy without limits of rate, which takes a file as often as it comes, scanned for by this clamd.
fn gateway(app: &WeCard, clamd: &Clamd) -> Gateway {
    let builder = policy::wecard_storage(app, None);
    let text = policy::replaced(builder.text(), "dedupe: reject ", "dedupe: off ");
    builder.policy(text).env("WECARD_SCANNER", "clamd").env("WECARD_CLAMD", clamd.tcp()).start()
}

/// Uploads a PDF that says something.
fn upload(gateway: &Gateway, text: &str) -> Answer {
    let mut file = sample::pdf();
    file.extend_from_slice(format!("% {text}\n").as_bytes());
    post("/api/v1/assets")
        .bearer(&token::of("alice", "t-acme"))
        .body(&Form::content_type(), Form::of("a.pdf", "application/pdf", &file).body())
        .send(gateway.address())
}

fn hits(gateway: &Gateway) -> f64 {
    gateway.metric(&["menshen_scan_cache_hits_total", "clamav"])
}

/// Uploads it until its verdict comes from those that are kept: that a server's can be is found out after its first.
fn is_known_as_clean(gateway: &Gateway, text: &str) {
    until("a verdict to be kept", SOON, || {
        let before = hits(gateway);
        upload(gateway, text).is(201);
        (hits(gateway) > before).then_some(())
    });
}

/// The next upload of it is refused, and the app hears nothing of it.
fn is_found_at_once(app: &WeCard, gateway: &Gateway, text: &str) {
    let (received, known) = (app.log().mark(), hits(gateway));
    let answer = upload(gateway, text);
    answer.refused(422, "upload.infected");
    assert_eq!(hits(gateway), known, "no verdict was given again");
    assert_eq!(app.log().since(received), Vec::<Value>::new());
    let line = gateway.access_line(answer.must("x-request-id"));
    assert_eq!((&line["status"], &line["code"]), (&json!(422), &json!("upload.infected")));
}

#[test]
fn a_restarted_clamd_with_new_signatures_finds_what_was_known_as_clean() {
    let app = WeCard::start();
    let mut clamd = Clamd::builder().database(Database::new(27_001)).start();
    assert!(clamd.ask("VERSION").contains("/27001/"), "{}", clamd.ask("VERSION"));
    let gateway = gateway(&app, &clamd);
    let text = "malware that a new version knows";
    is_known_as_clean(&gateway, text);

    clamd.kill();
    let received = app.log().mark();
    upload(&gateway, text).refused(503, "scan.unavailable");
    assert_eq!(
        app.log().since(received),
        Vec::<Value>::new(),
        "what is kept is worth nothing without its server"
    );

    clamd.update(&Database::new(27_002).finds("Second", text.as_bytes()));
    clamd.restart();
    assert!(clamd.ask("VERSION").contains("/27002/"), "{}", clamd.ask("VERSION"));
    is_found_at_once(&app, &gateway, text);
}

#[test]
fn a_restarted_clamd_with_signatures_of_the_same_version_finds_it_too() {
    let app = WeCard::start();
    let mut clamd = Clamd::builder().database(Database::new(27_001)).start();
    let version = clamd.ask("VERSION");
    let gateway = gateway(&app, &clamd);
    let text = "malware that only a signature of one's own knows";
    is_known_as_clean(&gateway, text);
    clamd.add_signature("Own", text.as_bytes());
    clamd.kill();
    clamd.restart();
    assert_eq!(clamd.ask("VERSION"), version);
    is_found_at_once(&app, &gateway, text);
}

#[test]
fn a_clamd_that_loads_another_version_in_place_finds_what_was_known_as_clean() {
    let app = WeCard::start();
    let clamd = Clamd::builder().database(Database::new(27_001)).start();
    let gateway = gateway(&app, &clamd);
    for (version, by_signal) in [(27_002, false), (27_003, true)] {
        let text = format!("malware that version {version} knows");
        is_known_as_clean(&gateway, &text);
        clamd.update(&Database::new(version).finds("New", text.as_bytes()));
        is_known_as_clean(&gateway, &text);
        if by_signal {
            clamd.signal(Signal::SIGUSR2);
        } else {
            assert_eq!(clamd.ask("RELOAD"), "RELOADING");
        }
        let named = format!("/{version}/");
        until("the new version", SOON, || clamd.ask("VERSION").contains(&named).then_some(()));
        is_found_at_once(&app, &gateway, &text);
    }
}
