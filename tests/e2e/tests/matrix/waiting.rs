//! Clients that wait for a word before they send, and clients that keep the gateway waiting.

use std::time::{Duration, Instant};

use harness::http::{Wire, call, post};
use harness::sample::{self, PNG, sha256};
use harness::{Certificate, Form, Origin, Raw, token};

use super::{BUILTIN, gateway, http2};

/// What is wrong with the head, its first lines, and the status it is refused with.
fn refused_heads() -> Vec<(&'static str, String, u16)> {
    let form = Form::content_type();
    let alice = token::of("alice", "t-acme");
    let large = 111 << 20;
    vec![
        (
            "no token",
            format!("POST /api/v1/assets HTTP/1.1\r\nContent-Type: {form}\r\nContent-Length: 500"),
            401,
        ),
        (
            "a token of nobody's",
            format!(
                "POST /api/v1/assets HTTP/1.1\r\nAuthorization: Bearer {alice}x\r\nContent-Type: {form}\r\nContent-Length: 500"
            ),
            401,
        ),
        ("a method", format!("PATCH /form HTTP/1.1\r\nContent-Type: {form}\r\nContent-Length: 500"), 405),
        ("a path", format!("POST /nowhere HTTP/1.1\r\nContent-Type: {form}\r\nContent-Length: 500"), 404),
        (
            "a large form",
            format!("POST /form HTTP/1.1\r\nContent-Type: {form}\r\nContent-Length: {large}"),
            413,
        ),
        ("no form", "POST /form HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 500".to_owned(), 400),
        (
            "no boundary",
            "POST /form HTTP/1.1\r\nContent-Type: multipart/form-data\r\nContent-Length: 500".to_owned(),
            400,
        ),
        (
            "a coded form",
            format!(
                "POST /form HTTP/1.1\r\nContent-Type: {form}\r\nContent-Encoding: gzip\r\nContent-Length: 500"
            ),
            400,
        ),
        ("a raw extension", "PUT /raw/a.php HTTP/1.1\r\nContent-Length: 500".to_owned(), 415),
        ("a raw name", "PUT /raw/a.php.png HTTP/1.1\r\nContent-Length: 500".to_owned(), 415),
        ("a large raw file", "PUT /raw/a.png HTTP/1.1\r\nContent-Length: 6000000".to_owned(), 413),
    ]
}

#[test]
fn a_refused_head_is_refused_at_once_instead_of_being_told_to_go_on() {
    let app = Origin::echo();
    let gateway = gateway(BUILTIN, &app).start();
    for (what, head, status) in refused_heads() {
        let mut raw = Raw::sending(
            gateway.address(),
            format!("{head}\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n"),
        );
        let answer = raw.answer().expect("an answer");
        assert_eq!(answer.status, status, "{what}: {answer:?}");
    }
    assert_eq!(app.connections(), 0);
}

#[test]
fn an_admitted_head_is_told_to_go_on_and_the_body_is_judged_all_the_same() {
    let app = Origin::echo();
    let gateway = gateway(BUILTIN, &app).start();
    let good = Form::of("a.png", "image/png", PNG).body();
    let bad = Form::of("a.png", "image/png", &[PNG, sample::PHP].concat()).body();
    let form = format!("POST /form HTTP/1.1\r\nContent-Type: {}", Form::content_type());
    let put = "PUT /raw/a.png HTTP/1.1\r\nContent-Type: image/png".to_owned();
    let hidden = [PNG, sample::PHP].concat();
    for (head, body, status) in
        [(&form, &bad[..], 422), (&put, &hidden[..], 422), (&form, &good[..], 200), (&put, PNG, 200)]
    {
        let before = app.connections();
        let mut raw = Raw::sending(
            gateway.address(),
            format!(
                "{head}\r\nHost: localhost\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
                body.len()
            ),
        );
        assert_eq!(raw.answer().expect("an interim answer").status, 100, "{head}");
        assert_eq!(app.connections(), before, "the app is not asked before the body was judged");
        raw.write(body);
        let answer = raw.answer().expect("an answer");
        assert_eq!(answer.status, status, "{head}: {answer:?}");
        assert_eq!(answer.text().contains(&sha256(body)), status == 200, "{answer:?}");
        assert!(status == 200 || app.connections() == before);
    }
}

#[test]
fn a_sender_that_stops_in_mid_file_is_timed_out() {
    let (app, certificate) = (Origin::echo(), Certificate::localhost());
    let gateway = gateway(BUILTIN, &app)
        .server("min_body_rate: 500/s")
        .server("timeouts: { body: 1s }")
        .tls(&certificate)
        .start();
    let form = Form::of("a.png", "image/png", &sample::png_of(100_000)).body();
    let started = Instant::now();
    for (wire, to) in [(Wire::Http1, gateway.address()), (http2(&certificate), gateway.secure())] {
        let starts = [
            post("/form").stalled(&Form::content_type(), form[..50_000].to_vec()),
            call("PUT", "/raw/a.png").stalled("image/png", sample::png_of(100_000)[..50_000].to_vec()),
        ];
        for start in starts {
            start.send_over(&wire, to).refused(408, "request.timeout");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    assert_eq!(app.connections(), 0);
}
