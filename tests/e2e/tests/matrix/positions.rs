//! Wherever in a body it stands and however that travels, the same evil meets the same verdict.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use harness::http::{Answer, Call, Wire, call, post};
use harness::sample::{self, PHP, PNG};
use harness::{Certificate, Form, Gateway, Origin, Raw, SOON, WeCard, samples, token, until};

use super::{BUILTIN, gateway, http2, tell};

const PATIENCE: Duration = Duration::from_secs(120);
const LARGE: usize = 90 << 20;

/// What is wrong, the evil file's name and content, and its verdict.
fn evils() -> Vec<(&'static str, &'static str, Vec<u8>, u16, &'static str)> {
    vec![
        ("a name", "a.php.png", PNG.to_vec(), 415, "upload.filename_denied"),
        ("an extension", "a.php", PNG.to_vec(), 415, "upload.extension_denied"),
        ("a kind", "a.png", b"MZ\x90\0".repeat(50), 415, "upload.type_mismatch"),
        ("a script", "a.png", [PNG, PHP].concat(), 422, "upload.content_denied"),
        ("malware", "a.pdf", sample::infected_pdf(), 422, "upload.infected"),
    ]
}

#[test]
fn evil_behind_ninety_megabytes_is_found() {
    let (app, certificate) = (Origin::echo(), Certificate::localhost());
    let gateway = gateway(BUILTIN, &app).tls(&certificate).start();
    let film = sample::mp4_of(LARGE);
    let ways = |evil: usize, body: &Bytes, kind: &str, call: Call| {
        let wires = [(Wire::Http1, gateway.address()), (http2(&certificate), gateway.secure())];
        let calls = [call.clone().body(kind, body.clone()), call.bytewise_behind(evil, kind, body.clone())];
        wires.map(|(wire, to)| calls.clone().map(|call| call.patience(PATIENCE).send_over(&wire, to)))
    };
    let answers = |what: &str, answers: [[Answer; 2]; 2], status: u16, code: &str| {
        for answer in answers.iter().flatten() {
            assert_eq!(answer.verdict(), (status, code.to_owned()), "{what}");
        }
        assert_eq!(app.connections(), 0, "{what}");
    };
    // In a file of its own behind the film.
    let (_, name, content, status, code) = evils().remove(3);
    let form =
        Form::new().file("file", "film.mp4", "video/mp4", &film).file("file", name, "image/png", &content);
    let body = Bytes::from(form.body());
    answers("a second file", ways(1000, &body, &Form::content_type(), post("/form")), status, code);
    // At the film's own end, as the body of a request.
    let body = Bytes::from([&film, PHP].concat());
    answers(
        "the end of a raw file",
        ways(PHP.len(), &body, "video/mp4", call("PUT", "/raw/film.mp4")),
        status,
        code,
    );
    // Malware there, which only the scanner knows.
    let body = Bytes::from([&film[..], &sample::eicar()].concat());
    answers("malware", ways(68, &body, "video/mp4", call("PUT", "/raw/film.mp4")), 422, "upload.infected");
    // And the film alone passes.
    let sum = sample::sha256(&film);
    let seen =
        call("PUT", "/raw/film.mp4").body("video/mp4", film).patience(PATIENCE).send(gateway.address());
    assert_eq!(seen.is(200).json()["sha256"], sum.as_str());
}

#[test]
fn the_verdict_depends_on_neither_place_nor_pace() {
    let (app, certificate) = (WeCard::start(), Certificate::localhost());
    let nobody = Origin::echo();
    let gateway = gateway(BUILTIN, &nobody).tls(&certificate).env("WECARD", app.api()).start();
    let alice = token::of("alice", "t-acme");
    let (http1, http2) = ((Wire::Http1, gateway.address()), (http2(&certificate), gateway.secure()));
    let kind = Form::content_type();
    for (what, name, content, status, code) in evils() {
        let evil = |form: Form| form.file("file", name, "application/octet-stream", &content);
        let good = |form: Form, name: &str| form.file("file", name, "image/png", PNG);
        let large = |form: Form| form.file("file", "f.mp4", "video/mp4", &sample::mp4_of(5 << 20));
        let fields = || Form::new().text("title", "x").text("tags", "a,b");
        let places = [
            ("the only file", evil(Form::new())),
            ("the first of two", good(evil(Form::new()), "b.png")),
            ("the second of two", evil(good(Form::new(), "b.png"))),
            ("the last part", evil(good(fields(), "b.png").text("note", "y"))),
            ("behind 5 MB", evil(large(Form::new()))),
        ];
        for (place, form) in places {
            let body = Bytes::from(form.body());
            let call = || post("/api/v1/assets").bearer(&alice);
            let tail = body.len().min(2000);
            let paces = [
                ("whole", call().body(&kind, body.clone())),
                ("in chunks", call().chunked(&kind, body.clone())),
                ("byte by byte", call().bytewise_behind(tail, &kind, body.clone())),
            ];
            for (pace, call) in paces {
                for (wire, to) in [&http1, &http2] {
                    let verdict = call.send_over(wire, *to).verdict();
                    assert_eq!(verdict, (status, code.to_owned()), "{what}, {place}, {pace}");
                }
            }
            // The pause is in front of the evil: behind it the verdict may come before the rest is sent.
            if place != "the first of two" {
                let verdict = in_halves(&gateway, http1.1, &alice, &body, content.len() + 200);
                assert_eq!(verdict, (status, true), "{what}, {place}, with a pause");
            }
        }
    }
    assert!(app.log().entries().is_empty(), "{:?}", app.log().entries());
    // The log would show what came.
    let form = Form::of("a.png", "image/png", PNG).body();
    post("/api/v1/assets").bearer(&alice).body(&kind, form).send(gateway.address()).is(201);
    assert_eq!(app.log().entries().len(), 1);
}

/// Sends all but the last bytes, waits until the gateway holds them or has answered, and sends the rest. The status,
/// and whether it is a refusal of an upload.
fn in_halves(gateway: &Gateway, to: SocketAddr, bearer: &str, body: &Bytes, tail: usize) -> (u16, bool) {
    let (first, rest) = body.split_at(body.len().saturating_sub(tail).max(1));
    let head = format!(
        "POST /api/v1/assets HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer}\r\nContent-Type: {}\r\n\
         Content-Length: {}\r\n\r\n",
        Form::content_type(),
        body.len()
    );
    let held = || gateway.metric(&["menshen_spool_bytes"]) as usize;
    until("the spool to be empty", SOON, || (held() == 0).then_some(()));
    let mut raw = Raw::sending(to, head);
    raw.write(first);
    // The first bytes are being inspected, or have been; a pause of the sender changes nothing.
    until("the first half to be held", SOON, || (held() > 0 || first.len() < 200).then_some(()));
    raw.write(rest);
    let answer = raw.answer().expect("an answer");
    (answer.status, answer.text().contains("\"upload."))
}

#[test]
fn hostile_files_leave_no_line_in_the_app_s_log() {
    let app = WeCard::start();
    let nobody = Origin::echo();
    let gateway = gateway(BUILTIN, &nobody).env("WECARD", app.api()).start();
    let alice = token::of("alice", "t-acme");
    let hostile = samples::all().iter().filter(|sample| !sample.is_good());
    let mut sent = 0;
    for sample in hostile {
        let name = format!("a.{}", sample.extension);
        let form = Form::of(&name, "application/octet-stream", &sample.content).body();
        let answer =
            post("/api/v1/assets").bearer(&alice).body(&Form::content_type(), form).send(gateway.address());
        assert_eq!(answer.verdict().1, sample.code, "{}", sample.name);
        sent += 1;
    }
    tell(&format!("{sent} hostile files sent to WeCard"));
    assert!(app.log().entries().is_empty(), "{:?}", app.log().entries());
}
