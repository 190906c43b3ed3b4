//! Requests that are nearly good.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use filters::exchange::Arrival;
use http::{HeaderName, HeaderValue, Version};
use pingora_http::RequestHeader;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::policy::{NOW, token};

/// A request as it came: a head that may be good, and its bytes, that may be another head.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: Vec<u8>,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) http2: bool,
    pub(crate) trusted: bool,
}

impl Asked {
    pub(crate) fn raw(&self) -> Vec<u8> {
        let mut raw = [self.method.as_bytes(), b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        for (name, value) in &self.fields {
            raw.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        raw.extend(b"\r\n");
        raw
    }

    /// `None` when no parser would hand it on.
    pub(crate) fn header(&self) -> Option<RequestHeader> {
        let mut header = RequestHeader::build(self.method.as_str(), &self.target, None).ok()?;
        header.set_version(if self.http2 { Version::HTTP_2 } else { Version::HTTP_11 });
        for (name, value) in &self.fields {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            header.append_header(name, HeaderValue::from_bytes(value).ok()?).ok()?;
        }
        Some(header)
    }
}

pub(crate) fn arrival(trusted: bool, raw_head: Option<&[u8]>) -> Arrival<'_> {
    let peer: IpAddr = if trusted { [10, 0, 0, 1].into() } else { [198, 51, 100, 7].into() };
    Arrival {
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW),
        peer,
        https: true,
        port: 443,
        raw_head,
        random: 0x0123_4567_89ab_cdef,
    }
}

/// What follows a path.
fn tails() -> impl Strategy<Value = Vec<u8>> {
    let mut pieces: Vec<String> = [
        "/",
        ".",
        "..",
        "%2e",
        "%2f",
        "%252f",
        "%5c",
        "%00",
        ";",
        "%3b",
        ";x=1",
        "?",
        "&",
        "=",
        "token=",
        "tenant=acme",
        "tenant=beta",
        "#",
        "%",
        "%e4%b8%ad",
        "\u{4e2d}",
        "api",
        "files",
        "t-acme",
        "a b",
        "\\",
        "https://a.example",
    ]
    .map(str::to_owned)
    .to_vec();
    pieces.extend([format!("?token={}", token("t-acme", "u1")), "a".repeat(3000)]);
    let harmless = select(vec!["", "", "/x", "/%7Ea/b.c", "?a=b", "?tenant=acme", "/a/../b?x"]);
    prop_oneof![
        4 => harmless.prop_map(|tail| tail.as_bytes().to_vec()),
        3 => vec(select(pieces), 1..6).prop_map(|pieces| pieces.concat().into_bytes()),
        1 => vec(any::<u8>(), 0..40),
    ]
}

/// Lines that a parser would hand on, though not all that a gateway should.
fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        8 => select(vec![
            "origin", "cookie", "authorization", "X-Tenant-Id", "x_tenant_id", "X-Auth-Subject", "x.auth.roles", "X_AUTH_PERMISSIONS",
            "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "x-real-ip", "traceparent", "tracestate", "te",
            "trailer", "expect", "accept-encoding", "x-key", "content-type", "content-encoding", "proxy", "via", "sec-websocket-protocol",
        ]).prop_map(str::to_owned),
        1 => select(vec![
            "host", "content-length", "Content_Length", "transfer-encoding", "connection", "upgrade", "sec-websocket-version",
            "sec-websocket-key",
        ]).prop_map(str::to_owned),
        1 => "[!#-'*+.0-9A-Z^_`a-z|~-]{1,20}",
    ];
    let mut values: Vec<String> = [
        "a.example",
        "A.example:443",
        "b.test",
        "0",
        "10",
        "chunked",
        "close, x-hop",
        "keep-alive, Upgrade",
        "websocket",
        "13",
        "dGhlIHNhbXBsZSBub25jZQ==",
        "bearer, chat",
        "https://a.example",
        "acme",
        "t-beta",
        "gone",
        "1.2.3.4, 10.0.0.9",
        "::1",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "trailers",
        "100-continue",
        "multipart/form-data; boundary=b",
        "admin",
        "session=x; session=y",
        "Basic dTpw",
        "",
    ]
    .map(str::to_owned)
    .to_vec();
    for good in [token("t-acme", "u1"), token("t-beta", "u\u{4e2d},2"), token("nobody", "u3")] {
        values.extend([
            format!("Bearer {good}"),
            format!("session={good}"),
            format!("bearer, {good}, chat"),
            format!("bearer.{good}, chat"),
        ]);
    }
    let visible = |byte: u8| if byte.is_ascii_control() { b'x' } else { byte };
    let value = prop_oneof![
        8 => select(values).prop_map(String::into_bytes),
        1 => vec(any::<u8>().prop_map(visible), 0..60),
        1 => "[ -~]{0,200}".prop_map(String::into_bytes),
    ];
    // One in two hundred has more fields than any browser sends.
    let many = prop_oneof![200 => 0..5_usize, 1 => 300..1000_usize];
    many.prop_flat_map(move |many| vec((name.clone(), value.clone()), many))
}

/// Requests that are nearly good, so that they get far.
pub(crate) fn requests() -> impl Strategy<Value = Asked> {
    let places = select(vec![
        ("GET", "/api/cards", ""),
        ("POST", "/api", "Transfer-Encoding: chunked"),
        ("GET", "/files/t-acme/a", ""),
        ("HEAD", "/files/acme/x", ""),
        (
            "GET",
            "/ws",
            "Upgrade: websocket|Connection: Upgrade|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==|Origin: https://a.example",
        ),
        ("POST", "/upload", "Content-Type: multipart/form-data; boundary=b|Transfer-Encoding: chunked"),
        ("POST", "/upload", "Content-Disposition: attachment; filename=a.png|Content-Length: 9"),
        ("GET", "/seen", "Content-Length: 100"),
        ("GET", "/office", ""),
        ("POST", "/login", "Content-Length: 9"),
        ("POST", "/form", "X-Tenant-Id: acme|Content-Length: 9"),
        ("DELETE", "/old/x", ""),
        ("OPTIONS", "*", ""),
        ("GET", "http://a.example/api/x", ""),
    ]);
    let method = prop_oneof![
        8 => Just(None),
        1 => select(vec!["GET", "POST", "PUT", "HEAD", "CONNECT", "TRACE"]).prop_map(|method| Some(method.to_owned())),
        1 => "[A-Z!-&^-~]{1,12}".prop_map(Some),
    ];
    let host = select(vec!["a.example", "a.example", "acme.a.example", "A.example.:443", "b.test", ""]);
    let about = (host, prop::bool::weighted(0.6), prop::bool::weighted(0.2), prop::bool::weighted(0.4));
    (places, method, tails(), fields(), about).prop_map(
        |((usual, path, lines), method, tail, fields, (host, signed, http2, trusted))| {
            let mut own: Vec<(&str, &str)> =
                lines.split('|').filter_map(|line| line.split_once(": ")).collect();
            let bearer = format!("Bearer {}", token("t-acme", "u1"));
            own.extend((!host.is_empty()).then_some(("Host", host)));
            own.extend(signed.then_some(("Authorization", bearer.as_str())));
            let own = own.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
            Asked {
                method: method.unwrap_or_else(|| usual.to_owned()),
                target: [path.as_bytes(), &tail].concat(),
                fields: own.chain(fields).collect(),
                http2,
                trusted,
            }
        },
    )
}
