//! Bodies: large, slow, announced, unfinished.

use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use harness::http::{Connection, Wire, get, post};
use harness::origin::{Origin, Then};
use harness::sample::{self, PNG, sha256};
use harness::{Certificate, Form, Gateway, Raw, SOON, policy, until};

const MEGABYTE: u64 = 1024 * 1024;

/// A form with one video of 50 MB.
fn large_form() -> Vec<u8> {
    Form::of("film.mp4", "video/mp4", &sample::mp4_of(50 * MEGABYTE as usize)).body()
}

fn guarded_over(origin: &Origin, certificate: &Certificate) -> Gateway {
    // Eight uploads of 50 MB wait on disk, not in memory.
    let text = policy::GUARDED.replace("max_total: 64MB", "max_total: 1GB");
    Gateway::builder().policy(text).tls(certificate).env("APP", origin.address()).start()
}

fn guarded(origin: &Origin, certificate: &Certificate) -> Gateway {
    let gateway = guarded_over(origin, certificate);
    // Warmed up: every code path has its buffers and its signatures.
    for wire in wires(certificate) {
        let to = address(&gateway, &wire);
        let form = Form::of("film.mp4", "video/mp4", &sample::mp4_of(MEGABYTE as usize)).body();
        post("/upload").body(&Form::content_type(), form.clone()).send_over(&wire, to).is(200);
        post("/open/x").chunked("application/octet-stream", form).send_over(&wire, to).is(200);
    }
    gateway
}

fn wires(certificate: &Certificate) -> [Wire; 3] {
    [Wire::Http1, Wire::Http1Tls(certificate.client(&["http/1.1"])), Wire::Http2(certificate.client(&["h2"]))]
}

fn address(gateway: &Gateway, wire: &Wire) -> std::net::SocketAddr {
    if matches!(wire, Wire::Http1) { gateway.address() } else { gateway.secure() }
}

/// Runs `work` and returns by how many bytes the gateway's memory grew at its peak.
fn growth(gateway: &Gateway, work: impl FnOnce()) -> u64 {
    let before = gateway.process().resident();
    gateway.process().forget_peak();
    work();
    gateway.process().peak_resident().saturating_sub(before)
}

#[test]
fn fifty_megabytes_arrive_byte_for_byte_in_little_memory() {
    let origin = Origin::echo();
    let certificate = Certificate::localhost();
    let gateway = guarded(&origin, &certificate);
    let form = bytes::Bytes::from(large_form());
    let hash = sha256(&form);
    for path in ["/upload", "/open/x"] {
        for wire in wires(&certificate) {
            for chunked in [false, true] {
                let call = post(path);
                let call = if chunked {
                    call.chunked(&Form::content_type(), form.clone())
                } else {
                    call.body(&Form::content_type(), form.clone())
                };
                let to = address(&gateway, &wire);
                let grown = growth(&gateway, || {
                    let seen = call.send_over(&wire, to);
                    let seen = seen.is(200).json();
                    assert_eq!(seen["sha256"], hash.as_str(), "{path} chunked: {chunked}");
                    assert_eq!(seen["length"], form.len());
                });
                println!("{path} chunked: {chunked}: grew by {} KiB", grown / 1024);
                assert!(grown < 16 * MEGABYTE, "{path} chunked: {chunked}: grew by {grown} bytes");
            }
        }
    }
}

#[test]
fn eight_at_once_stay_in_little_memory() {
    let origin = Origin::echo();
    let certificate = Certificate::localhost();
    let gateway = guarded(&origin, &certificate);
    let form = bytes::Bytes::from(large_form());
    let hash = sha256(&form);
    let grown = growth(&gateway, || {
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (gateway, form, hash, certificate) = (&gateway, &form, &hash, &certificate);
                scope.spawn(move || {
                    let wire = wires(certificate)[number % 3].clone();
                    let call = if number % 2 == 0 {
                        post("/upload").body(&Form::content_type(), form.clone())
                    } else {
                        post("/upload").chunked(&Form::content_type(), form.clone())
                    };
                    let seen =
                        call.patience(Duration::from_secs(120)).send_over(&wire, address(gateway, &wire));
                    assert_eq!(seen.is(200).json()["sha256"], hash.as_str());
                });
            }
        });
    });
    println!("eight at once: grew by {} KiB", grown / 1024);
    assert!(grown < 64 * MEGABYTE, "grew by {grown} bytes");
    until("the spool to be empty", SOON, || (gateway.metric(&["menshen_spool_bytes"]) == 0.0).then_some(()));
}

#[test]
fn a_large_answer_arrives_byte_for_byte_in_little_memory() {
    let content = sample::noise(50 * MEGABYTE as usize, 3);
    let hash = sha256(&content);
    let origin = Origin::start(move |exchange| {
        if exchange.head.target.contains("chunked") {
            exchange.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for chunk in content.chunks(100_000) {
                exchange.raw(format!("{:x}\r\n", chunk.len()));
                exchange.raw(chunk);
                exchange.raw("\r\n");
            }
            exchange.raw("0\r\n\r\n");
            return Then::KeepAlive;
        }
        if exchange.head.target.contains("close") {
            exchange.raw("HTTP/1.0 200 OK\r\n\r\n");
            exchange.raw(&content);
            return Then::Close;
        }
        exchange.respond(200, "", &content)
    });
    let certificate = Certificate::localhost();
    let gateway =
        Gateway::builder().policy(policy::GUARDED).tls(&certificate).env("APP", origin.address()).start();
    for wire in wires(&certificate) {
        let to = address(&gateway, &wire);
        for path in ["/open/length", "/open/chunked", "/open/close"] {
            get(path).send_over(&wire, to).is(200);
            let grown = growth(&gateway, || {
                let answer = get(path).send_over(&wire, to);
                assert_eq!(sha256(&answer.is(200).body), hash, "{path}");
            });
            assert!(grown < 16 * MEGABYTE, "{path}: grew by {grown} bytes");
        }
    }
}

#[test]
fn a_client_that_waits_is_told_to_go_on_once_it_is_admitted() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let form = Form::of("a.png", "image/png", PNG).body();
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            Form::content_type(),
            form.len()
        )
    };
    for path in ["/upload", "/open/x"] {
        let mut raw = Raw::sending(gateway.address(), head(path));
        assert_eq!(raw.answer().expect("an interim answer").status, 100, "{path}");
        raw.write(&form);
        let answer = raw.answer().expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.text().contains(&sha256(&form)), "{path}: {answer:?}");
        if answer.header("connection") != Some("close") {
            raw.write("GET /open/next HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(raw.answer().expect("the connection goes on").status, 200, "{path}");
        }
    }
    let before = origin.requests();
    let mut refused = Raw::sending(gateway.address(), head("/user/x"));
    assert_eq!(refused.answer().expect("an answer").status, 401, "and no 100");
    let mut large = Raw::sending(
        gateway.address(),
        "POST /small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(large.answer().expect("an answer").status, 413, "and no 100");
    let mut unknown = Raw::sending(
        gateway.address(),
        "POST /open/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\nx",
    );
    let status = unknown.answer().expect("an answer").status;
    assert!(matches!(status, 100 | 200 | 400 | 417), "{status}");
    assert!(origin.requests() - before <= 1);
}

#[test]
fn a_refusal_does_not_wait_for_the_body() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    for (head, status) in [
        ("POST /user/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\nstart", 401),
        ("POST /small HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\nstart", 413),
        (
            "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n",
            404,
        ),
    ] {
        let asked = Instant::now();
        let mut raw = Raw::sending(gateway.address(), head);
        assert_eq!(raw.answer().expect("an answer").status, status, "{head}");
        assert!(asked.elapsed() < Duration::from_secs(3), "{head}");
    }
    // The body that is still coming is not taken for a request.
    let mut raw = Raw::sending(
        gateway.address(),
        "POST /user/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 44\r\n\r\nGET /open/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!(raw.answer().expect("an answer").status, 401);
    let _ = raw.rest(SOON.min(Duration::from_secs(1)));
    assert!(!origin.received_text().contains("smuggled"));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_refusal_without_a_body_keeps_the_connection() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let mut raw = Raw::connect(gateway.address());
    for _ in 0..3 {
        raw.write("GET /user/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(raw.answer().expect("an answer").status, 401);
        raw.write("GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(raw.answer().expect("an answer").status, 200);
    }
    assert_eq!(origin.connections(), 1, "and the app's is used again");
}

#[test]
fn an_early_answer_of_the_app_reaches_the_client() {
    let origin = Origin::start(|exchange| {
        exchange.raw("HTTP/1.1 413 Too Much\r\nContent-Length: 5\r\nConnection: close\r\n\r\nenuff");
        // As servers do: reads on for a while, so that the answer is not lost in a reset.
        while exchange.some() > 0 {}
        Then::Close
    });
    let certificate = Certificate::localhost();
    let gateway =
        Gateway::builder().policy(policy::GUARDED).tls(&certificate).env("APP", origin.address()).start();
    for wire in wires(&certificate) {
        let answer = post("/open/x")
            .body("application/octet-stream", vec![b'x'; 8 * MEGABYTE as usize])
            .send_over(&wire, address(&gateway, &wire));
        assert_eq!((answer.status, answer.text().as_str()), (413, "enuff"));
    }
}

#[test]
fn an_app_that_answers_and_takes_no_more_of_the_body_is_heard_at_once() {
    let (test_ends, ended) = mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let origin = Origin::start(move |exchange| {
        exchange.raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 Who\r\nContent-Length: 3\r\n\r\nyou");
        // As Node.js does when nobody reads: neither does it read on nor does it close.
        let _ = ended.lock().unwrap().recv();
        Then::Close
    });
    // Dropped before the app, whose threads wait for it, also when an assertion fails.
    let _test_ends = test_ends;
    let certificate = Certificate::localhost();
    let gateway = guarded_over(&origin, &certificate);
    for wire in wires(&certificate) {
        let to = address(&gateway, &wire);
        let body = vec![b'x'; 20 * MEGABYTE as usize];
        // Passed on as it comes; received whole, because its length is not known; received whole and checked.
        for call in [
            post("/open/x").body("application/octet-stream", body.clone()),
            post("/open/x").chunked("application/octet-stream", body.clone()),
            post("/upload").body(
                &Form::content_type(),
                Form::of("film.mp4", "video/mp4", &sample::mp4_of(20 * MEGABYTE as usize)).body(),
            ),
        ] {
            let answer = call.send_over(&wire, to);
            assert_eq!((answer.status, answer.text().as_str()), (401, "you"));
        }
    }
}

#[test]
fn an_app_may_answer_while_it_reads() {
    let length = 20 * MEGABYTE;
    let origin = Origin::start(move |exchange| {
        exchange.raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
        let mut left = length as usize;
        while left > 0 {
            let some = exchange.some();
            assert!(some > 0, "{left} bytes of the body never come");
            exchange.raw("y".repeat(some.min(left)));
            left -= some.min(left);
        }
        Then::Close
    });
    let certificate = Certificate::localhost();
    let gateway = guarded_over(&origin, &certificate);
    for wire in wires(&certificate) {
        let to = address(&gateway, &wire);
        let body = vec![b'x'; length as usize];
        for call in [
            post("/open/x").body("application/octet-stream", body.clone()),
            post("/open/x").chunked("application/octet-stream", body.clone()),
        ] {
            assert_eq!(call.send_over(&wire, to).is(200).body.len(), body.len());
        }
    }
}

#[test]
fn interim_answers_and_broken_ones_are_told_apart() {
    let origin = Origin::start(|exchange| {
        exchange.body();
        let answer: &str = match exchange.head.target.as_str() {
            "/open/hints" => {
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            }
            "/open/hundred" => "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "/open/nothing" => "",
            "/open/garbage" => "this is no HTTP\r\n\r\n",
            "/open/two-lengths" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
            "/open/short" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            "/open/cut-chunk" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nshort",
            "/open/switch" => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
            other => panic!("{other}"),
        };
        exchange.raw(answer);
        Then::Close
    });
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let to = gateway.address();
    for path in ["/open/hints", "/open/hundred"] {
        assert_eq!(get(path).send(to).is(200).text(), "ok", "{path}");
    }
    for path in ["/open/nothing", "/open/garbage", "/open/two-lengths", "/open/switch"] {
        get(path).send(to).refused(502, "upstream.unavailable");
    }
    for path in ["/open/short", "/open/cut-chunk"] {
        let answer = get(path).try_send(to);
        assert!(answer.is_err(), "a cut answer must not look whole: {answer:?}");
    }
}

#[test]
fn answers_without_a_body_have_none() {
    let origin = Origin::start(|exchange| match exchange.head.target.as_str() {
        "/open/204" => {
            exchange.raw("HTTP/1.1 204 No Content\r\nContent-Length: 10\r\n\r\n");
            Then::KeepAlive
        }
        "/open/304" => {
            exchange.raw("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 10\r\n\r\n");
            Then::KeepAlive
        }
        _ => {
            exchange.raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
            Then::KeepAlive
        }
    });
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let mut raw = Raw::connect(gateway.address());
    for (path, status, length) in [("/open/204", 204, None), ("/open/304", 304, Some("10"))] {
        raw.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = raw.answer().expect("an answer");
        assert_eq!((answer.status, answer.header("content-length")), (status, length));
    }
    let head = harness::http::call("HEAD", "/open/x").send(gateway.address());
    assert_eq!(head.is(200).header("content-length"), Some("10"));
    assert!(head.body.is_empty());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let mut bytes = Vec::new();
    for number in 0..10 {
        match number % 3 {
            0 => bytes.extend(format!("GET /open/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n").bytes()),
            1 => bytes.extend(
                format!("POST /open/{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello").bytes(),
            ),
            _ => bytes.extend(
                format!(
                    "POST /open/{number} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                )
                .bytes(),
            ),
        }
    }
    let mut raw = Raw::sending(gateway.address(), bytes);
    for number in 0..10 {
        let answer = raw.answer().unwrap_or_else(|| panic!("no answer to {number}"));
        assert!(answer.text().contains(&format!("\"/open/{number}\"")), "{number}: {answer:?}");
    }
}

#[test]
fn a_connection_serves_many_uploads() {
    let origin = Origin::echo();
    let certificate = Certificate::localhost();
    let gateway =
        Gateway::builder().policy(policy::GUARDED).tls(&certificate).env("APP", origin.address()).start();
    let form = Form::of("a.png", "image/png", &sample::png_of(300_000)).body();
    let hash = sha256(&form);
    for wire in wires(&certificate) {
        let mut connection = Connection::to(&wire, address(&gateway, &wire));
        for round in 0..6 {
            let call = post("/upload");
            let call = if round % 2 == 0 {
                call.body(&Form::content_type(), form.clone())
            } else {
                call.chunked(&Form::content_type(), form.clone())
            };
            assert_eq!(connection.exchange(&call).unwrap().is(200).json()["sha256"], hash.as_str());
        }
    }
}

#[test]
fn a_slow_head_ends_in_408() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .policy(policy::GUARDED)
        .server("timeouts: { header: 1s, keepalive: 2s }")
        .env("APP", origin.address())
        .start();
    let mut raw = Raw::sending(gateway.address(), "GET /open/x HTTP/1.1\r\nHost: loc");
    let asked = Instant::now();
    let answer = raw.answer().expect("an answer");
    assert_eq!(answer.status, 408);
    assert!(answer.text().contains("request.timeout"), "{answer:?}");
    assert!(raw.closes_within(SOON));
    assert!(
        (Duration::from_millis(800)..Duration::from_secs(5)).contains(&asked.elapsed()),
        "{:?}",
        asked.elapsed()
    );

    // A byte now and then does not buy more time.
    let mut drip = Raw::sending(gateway.address(), "GET /open/x HTTP/1.1\r\n");
    let asked = Instant::now();
    let mut answer = Vec::new();
    while answer.is_empty() && asked.elapsed() < SOON {
        drip.write("X");
        answer = drip.rest(Duration::from_millis(100)).0;
    }
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());

    // A connection that was idle from the start, or between requests, is closed without a word.
    let mut idle = Raw::connect(gateway.address());
    let (said, ended) = idle.rest(SOON);
    assert!(
        ended && (said.is_empty() || said.starts_with(b"HTTP/1.1 408")),
        "{}",
        String::from_utf8_lossy(&said)
    );
    let mut kept = Raw::sending(gateway.address(), "GET /open/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(kept.answer().expect("an answer").status, 200);
    let (said, ended) = kept.rest(SOON);
    assert!(
        ended && (said.is_empty() || said.starts_with(b"HTTP/1.1 408")),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn a_slow_body_ends_in_408() {
    let origin = Origin::echo();
    let gateway = Gateway::builder()
        .policy(policy::GUARDED)
        .server("min_body_rate: 500/s")
        .server("timeouts: { body: 1s }")
        .env("APP", origin.address())
        .start();
    for path in ["/upload", "/open/x"] {
        let mut raw = Raw::sending(
            gateway.address(),
            format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: 100000\r\n\r\n",
                Form::content_type()
            ),
        );
        let form = Form::of("film.mp4", "video/mp4", &sample::mp4_of(1000)).body();
        raw.write(&form[..300]);
        let asked = Instant::now();
        // Some bytes, but far fewer than asked for.
        let mut answer = None;
        while answer.is_none() && asked.elapsed() < Duration::from_secs(10) {
            raw.write("-");
            let (bytes, ended) = raw.rest(Duration::from_millis(100));
            if !bytes.is_empty() || ended {
                answer = Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        let answer = answer.unwrap_or_else(|| panic!("{path}: no answer after {:?}", asked.elapsed()));
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer:?}");
    }
    assert!(!origin.received_text().contains("/upload"));
}

#[test]
fn a_head_or_an_address_that_is_too_long_says_so() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let status = |request: String| {
        let mut raw = Raw::sending(gateway.address(), request);
        raw.answer().expect("an answer").status
    };
    let long = |target: usize, header: usize| {
        format!(
            "GET /open/{} HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
            "x".repeat(target),
            "y".repeat(header)
        )
    };
    assert_eq!(status(long(8000, 10)), 200);
    assert_eq!(status(long(8300, 10)), 414);
    assert_eq!(status(long(10, 30_000)), 200);
    assert_eq!(status(long(10, 33_000)), 431);
    assert_eq!(status(long(10, 1_000_000)), 431);
    assert_eq!(status(long(1_000_000, 10)), 414);
    let many: String = (0..20_000).map(|number| format!("X-{number}: y\r\n")).collect();
    assert_eq!(status(format!("GET /open/x HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")), 431);
    assert_eq!(origin.requests(), 2);
}

#[test]
fn a_body_beyond_its_limit_is_refused_however_it_is_sent() {
    let origin = Origin::echo();
    let certificate = Certificate::localhost();
    let gateway =
        Gateway::builder().policy(policy::GUARDED).tls(&certificate).env("APP", origin.address()).start();
    for wire in wires(&certificate) {
        let to = address(&gateway, &wire);
        post("/small").body("text/plain", vec![b'x'; 1024]).send_over(&wire, to).is(200);
        post("/small").chunked("text/plain", vec![b'x'; 1024]).send_over(&wire, to).is(200);
        let before = origin.requests();
        post("/small")
            .body("text/plain", vec![b'x'; 1025])
            .send_over(&wire, to)
            .refused(413, "body.too_large");
        assert_eq!(origin.requests(), before);
        let chunked = post("/small").chunked("text/plain", vec![b'x'; 1_000_000]).try_over(&wire, to);
        if let Ok(answer) = chunked {
            answer.refused(413, "body.too_large");
        }
        assert!(
            !origin.received_text().contains(&"x".repeat(1025)),
            "no more than the limit reached the app"
        );
    }
}
