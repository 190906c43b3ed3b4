//! Requests that two servers could read in two ways.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use harness::{Gateway, Origin, Raw, SOON, root};
use serde::Deserialize;

/// One vector of `tests/conformance/http-framing`.
#[derive(Debug, Deserialize)]
struct Vector {
    name: String,
    uri: String,
    method: String,
    version: String,
    #[serde(default)]
    headers: Vec<Line>,
    expected: Expected,
}

#[derive(Debug, Deserialize)]
struct Line {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct Expected {
    tier: String,
}

const OPEN: &str = r#"
upstreams:
  app: { servers: ["${APP}"] }
sites:
  - hosts: ["*"]
    routes: [{ path: /*, auth: none, upstream: app, limits: { body: 200MB } }]
"#;

/// What is never finished is given up after a second.
fn gateway(origin: &Origin) -> Gateway {
    Gateway::builder()
        .policy(OPEN)
        .server("timeouts: { header: 1s, body: 1s, keepalive: 5s }")
        .env("APP", origin.address())
        .start()
}

fn vectors() -> Vec<(String, Vector)> {
    let mut all = Vec::new();
    let mut files: Vec<_> = fs::read_dir(root().join("tests/conformance/http-framing"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        let vectors: Vec<Vector> =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        all.extend(vectors.into_iter().map(|vector| (file.clone(), vector)));
    }
    all
}

/// Text of a vector as bytes: `\xNN` is one byte.
fn bytes(text: &str) -> Vec<u8> {
    if text.chars().all(|c| u32::from(c) < 256) {
        text.chars().map(|c| u32::from(c) as u8).collect()
    } else {
        text.as_bytes().to_vec()
    }
}

/// The request of a vector, with a body as its head announces it, and whether that is so.
fn request(vector: &Vector) -> Vec<u8> {
    let mut request = bytes(&vector.method);
    request.push(b' ');
    request.extend(bytes(&vector.uri));
    if !vector.version.is_empty() {
        request.push(b' ');
        request.extend(bytes(&vector.version));
    }
    request.extend_from_slice(b"\r\n");
    let names: Vec<String> = vector.headers.iter().map(|line| line.name.trim().to_lowercase()).collect();
    if !names.iter().any(|name| name == "host") {
        request.extend_from_slice(b"Host: localhost\r\n");
    }
    for line in &vector.headers {
        request.extend(bytes(&line.name));
        request.extend_from_slice(b": ");
        request.extend(bytes(&line.value));
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    let length = vector.headers.iter().find(|line| line.name.eq_ignore_ascii_case("content-length"));
    if vector.headers.iter().any(|line| line.name.eq_ignore_ascii_case("transfer-encoding")) {
        request.extend_from_slice(b"5\r\nhello\r\n0\r\n\r\n");
    } else if let Some(length) = length.and_then(|line| line.value.trim().parse::<usize>().ok()) {
        request.extend(std::iter::repeat_n(b'x', length.min(4096)));
    }
    request
}

/// What a request leads to.
struct Outcome {
    status: u16,
    closed: bool,
    received: Vec<u8>,
}

fn outcome(gateway: &Gateway, origin: &Origin, bytes: &[u8]) -> Outcome {
    let before: Vec<usize> = origin.received().iter().map(Vec::len).collect();
    let mut raw = Raw::sending(gateway.address(), bytes);
    let status = raw.answer().map_or(0, |answer| answer.status);
    // A served connection may stay open; nothing more is asked on it.
    let closed = status == 200 || raw.closes_within(SOON);
    let received = origin
        .received()
        .into_iter()
        .enumerate()
        .flat_map(|(index, bytes)| bytes[before.get(index).copied().unwrap_or(0)..].to_vec())
        .collect();
    Outcome { status, closed, received }
}

/// Says what in the head of a request could be read in two ways.
fn ambiguity(received: &[u8]) -> Option<String> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let first: Vec<&str> = lines.next()?.split(' ').collect();
    if first.len() != 3 || first[2] != "HTTP/1.1" || first[0].is_empty() || !first[1].starts_with('/') {
        return Some(format!("the request line {first:?}"));
    }
    if first[1].bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
        return Some(format!("the target {:?}", first[1]));
    }
    let mut count: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.is_empty()
            || name.bytes().any(|byte| !(byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)))
        {
            return Some(format!("the name {name:?}"));
        }
        if value.bytes().any(|byte| byte == 0 || byte == b'\r' || byte == b'\n') {
            return Some(format!("the value {value:?}"));
        }
        count.entry(name.to_lowercase()).or_default().push(value.trim().to_owned());
    }
    let of = |name: &str| count.get(name).map_or(&[][..], Vec::as_slice);
    if of("host").len() != 1 {
        return Some(format!("{} hosts", of("host").len()));
    }
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    if lengths.len() + codings.len() > 1 {
        return Some(format!("lengths {lengths:?} and codings {codings:?}"));
    }
    if codings.iter().any(|coding| coding != "chunked") {
        return Some(format!("the coding {codings:?}"));
    }
    if lengths.iter().any(|length| length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit())) {
        return Some(format!("the length {lengths:?}"));
    }
    None
}

/// What others call compliant and the contract refuses: any coding but one `chunked`, a target that is empty or holds
/// what no URI may hold, and control characters in a path, encoded or not.
fn asks_too_much(vector: &Vector) -> bool {
    let codings: Vec<&str> = vector
        .headers
        .iter()
        .filter(|line| line.name.eq_ignore_ascii_case("transfer-encoding"))
        .map(|line| line.value.trim())
        .collect();
    let uri = &vector.uri;
    !(codings.is_empty() || codings == ["chunked"])
        || uri.is_empty()
        || uri.contains(['"', '<', '>', '\\', '^', '`', '{', '|', '}', '#'])
        || ["%09", "%0A", "%0D"].iter().any(|control| uri.contains(control))
}

#[test]
fn dangerous_requests_are_refused_and_the_others_made_canonical() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let mut wrong = Vec::new();
    let (mut refused, mut passed) = (0, 0);
    for (file, vector) in vectors() {
        let request = request(&vector);
        let Outcome { status, closed, received } = outcome(&gateway, &origin, &request);
        let name = format!("{file}: {} ({})", vector.name, vector.expected.tier);
        if received.is_empty() {
            refused += 1;
            // A connection that ends without an answer is refused too, when what came was no request line.
            if !matches!(status, 400 | 405 | 414 | 431 | 501 | 505) {
                wrong.push(format!("{name}: refused with {status}"));
            }
            if !closed {
                wrong.push(format!("{name}: the connection stays open"));
            }
            if vector.expected.tier == "Compliant" && !asks_too_much(&vector) {
                wrong.push(format!(
                    "{name}: refused with {status}, though nothing is wrong with {:?}",
                    String::from_utf8_lossy(&request[..request.len().min(300)])
                ));
            }
            continue;
        }
        passed += 1;
        if vector.expected.tier == "Severe" {
            wrong.push(format!("{name}: reached the app: {:?}", String::from_utf8_lossy(&received)));
        } else if let Some(what) = ambiguity(&received) {
            wrong.push(format!("{name}: the app received {what}"));
        }
    }
    assert!(wrong.is_empty(), "{refused} refused, {passed} passed, wrong:\n{}", wrong.join("\n"));
    assert!(refused > 60 && passed > 20, "{refused} refused, {passed} passed");
}

/// A request whose body, read in another way, is a second request.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn no_second_request_hides_in_the_first() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let length = SECOND.len();
    let chunked = format!("0\r\n\r\n{SECOND}");
    for head in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunked.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunked.len()),
        format!("Transfer-Encoding: chunked, identity\r\nContent-Length: {}\r\n", chunked.len()),
        format!("Transfer-Encoding: identity, chunked\r\nContent-Length: {}\r\n", chunked.len()),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding:\u{b}chunked\r\n".to_owned(),
        "Transfer-Encoding: \"chunked\"\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n".to_owned(),
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        "X: y\r\n Transfer-Encoding: chunked\r\n".to_owned(),
        "X: y\nTransfer-Encoding: chunked\r\n".to_owned(),
        "X: y\rTransfer-Encoding: chunked\r\n".to_owned(),
        "Content-Length: 0\r\nContent-Length: 5\r\n".to_owned(),
        "Content-Length: +5\r\n".to_owned(),
        "Content-Length: 0x5\r\n".to_owned(),
        "Content-Length: 5, 6\r\n".to_owned(),
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: 99999999999999999999\r\n".to_owned(),
        "Content-Length:\r\n".to_owned(),
        "Content-Length: 0 \u{0}\r\n".to_owned(),
        "Content-Length: 5\r\nContent_Length: 0\r\nTransfer_Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".to_owned(),
    ] {
        let outcome = outcome(
            &gateway,
            &origin,
            format!("POST /first HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{chunked}").as_bytes(),
        );
        assert!(matches!(outcome.status, 400 | 501), "{head:?}: {}", outcome.status);
        assert!(outcome.closed, "{head:?}");
        assert_eq!(String::from_utf8_lossy(&outcome.received), "", "{head:?}");
    }
    // A body is a body, whatever it looks like.
    let hidden = outcome(
        &gateway,
        &origin,
        format!("POST /first HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{SECOND}")
            .as_bytes(),
    );
    assert_eq!(hidden.status, 200);
    assert_eq!(origin.requests(), 1);
}

#[test]
fn nothing_is_read_behind_a_method_that_is_never_served() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    for request in [
        "TRACE / HTTP/1.1\r\nHost: localhost\r\n",
        "TRACE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        "TRACE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 60\r\n",
        "TRACE / HTTP/1.1\r\nX: y\nContent-Length: 60\r\n",
        "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n",
    ] {
        let outcome = outcome(&gateway, &origin, format!("{request}\r\n{SECOND}").as_bytes());
        assert_eq!(outcome.status, 405, "{request:?}");
        assert!(outcome.closed, "{request:?}");
        assert_eq!(String::from_utf8_lossy(&outcome.received), "", "{request:?}");
    }
}

#[test]
fn a_broken_chunk_ends_the_connection() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    for body in [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";x\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "0\r\nhello\r\n0\r\n\r\n",
        "zz\r\nhello\r\n0\r\n\r\n",
    ] {
        let request = format!(
            "POST /chunks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SECOND}"
        );
        let before = origin.received_text().matches("/smuggled").count();
        let mut raw = Raw::sending(gateway.address(), request);
        let status = raw.answer().map_or(0, |answer| answer.status);
        let (rest, closed) = raw.rest(Duration::from_secs(10));
        assert!(closed, "{body:?}");
        assert_ne!(status, 200, "{body:?}");
        assert!(
            !String::from_utf8_lossy(&rest).contains(" 200 "),
            "{body:?}: {}",
            String::from_utf8_lossy(&rest)
        );
        assert_eq!(origin.received_text().matches("GET /smuggled").count(), before, "{body:?}");
    }
}

#[test]
fn trailers_and_chunk_extensions_end_at_the_gateway() {
    let origin = Origin::echo();
    let gateway = gateway(&origin);
    let outcome = outcome(
        &gateway,
        &origin,
        b"POST /chunks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
          5;name=value\r\nhello\r\n0\r\nX-Auth-Roles: platform_admin\r\nContent-Length: 3\r\n\r\n",
    );
    let received = String::from_utf8_lossy(&outcome.received).into_owned();
    assert!(matches!(outcome.status, 200 | 400), "{}", outcome.status);
    assert!(!received.contains("name=value") && !received.contains("platform_admin"), "{received}");
    assert_eq!(ambiguity(&outcome.received), None);
}
