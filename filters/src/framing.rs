//! Whether everybody who reads a request's head would read the same request (RFC 9112, RFC 9113 section 8).
//!
//! An HTTP/1 head passes when: the request line is `METHOD SP target SP HTTP/1.0` or `1.1`; every line ends with CRLF;
//! no field is folded; every name is a token right before its colon; values hold no control characters but tabs; there
//! is exactly one `Host`, valid, and the same as that of an absolute-form target; `Content-Length` is one number;
//! `Transfer-Encoding` is the one word `chunked`, in HTTP/1.1, without `Content-Length`. What the RFC lets a recipient
//! repair (equal duplicates, list syntax, tabs around framing values) is refused: nobody needs it but an attacker.
//! `CONNECT` and `TRACE` are 405, everything else that fails is 400.

use http::Method;
use memchr::{memchr, memrchr};
use pingora_http::RequestHeader;

use crate::denial::{Denial, Reason};
use crate::host;

/// Checks the head of a request as it was received: for HTTP/1 the bytes from the request line to the blank line
/// (one CRLF before it is forgiven, RFC 9112 section 2.2), for HTTP/2 the parsed header, `raw_head` being ignored.
///
/// One pass, no allocation unless the host has upper case. The connection must be closed after a refusal.
pub fn check(raw_head: &[u8], header: &RequestHeader, http2: bool) -> Result<(), Denial> {
    if http2 { check_http2(header) } else { check_http1(raw_head) }
}

/// The methods that a refusal of `CONNECT` and `TRACE` names in `Allow`.
fn served_methods() -> Vec<Method> {
    vec![Method::DELETE, Method::GET, Method::HEAD, Method::OPTIONS, Method::PATCH, Method::POST, Method::PUT]
}

fn malformed(detail: &'static str) -> Denial {
    Denial::new(Reason::RequestMalformed, detail)
}

fn method_not_allowed(detail: &'static str) -> Denial {
    Denial::new(Reason::MethodNotAllowed, detail).allow(served_methods())
}

/// The part of [`check`] for HTTP/1.
pub(crate) fn check_http1(head: &[u8]) -> Result<(), Denial> {
    let mut rest = head.strip_prefix(b"\r\n").unwrap_or(head);
    let request_line = RequestLine::parse(next_line(&mut rest)?)?;
    let mut fields = Framing::default();
    loop {
        let line = next_line(&mut rest)?;
        if line.is_empty() {
            break;
        }
        fields.add(line)?;
    }
    if !rest.is_empty() {
        return Err(malformed("bytes after the blank line of a head"));
    }
    fields.judge(&request_line)
}

/// The next line without its CRLF.
fn next_line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Denial> {
    let end = memchr(b'\n', rest).ok_or_else(|| malformed("a head without a blank line at its end"))?;
    let line = rest[..end].strip_suffix(b"\r").ok_or_else(|| malformed("a bare LF"))?;
    *rest = &rest[end + 1..];
    Ok(line)
}

struct RequestLine<'a> {
    target: &'a [u8],
    http10: bool,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, Denial> {
        let (Some(first), Some(last)) = (memchr(b' ', line), memrchr(b' ', line)) else {
            return Err(malformed("a request line of fewer than three words"));
        };
        if first == last {
            return Err(malformed("a request line of fewer than three words"));
        }
        let (method, target, version) = (&line[..first], &line[first + 1..last], &line[last + 1..]);
        let http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(malformed("a version that is neither HTTP/1.0 nor HTTP/1.1")),
        };
        if !is_token(method) {
            return Err(malformed("a method that is no token"));
        }
        check_target(target)?;
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(method_not_allowed("CONNECT or TRACE"));
        }
        Ok(Self { target, http10 })
    }
}

/// No spaces, no control characters, no fragment. Its form is the business of `path`.
fn check_target(target: &[u8]) -> Result<(), Denial> {
    if target.is_empty() {
        return Err(malformed("an empty target"));
    }
    if target.iter().any(|&byte| byte <= b' ' || byte == 0x7f) {
        return Err(malformed("a space or a control character in the target"));
    }
    if memchr(b'#', target).is_some() {
        return Err(malformed("a fragment in the target"));
    }
    Ok(())
}

/// The fields that decide where a request ends and whose it is.
#[derive(Default)]
struct Framing<'a> {
    host: Option<&'a [u8]>,
    content_length: bool,
    chunked: bool,
}

impl<'a> Framing<'a> {
    fn add(&mut self, line: &'a [u8]) -> Result<(), Denial> {
        if matches!(line[0], b' ' | b'\t') {
            return Err(malformed("a folded field line"));
        }
        let colon = memchr(b':', line).ok_or_else(|| malformed("a field line without a colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) {
            return Err(malformed("a field name that is no token"));
        }
        if !is_field_value(value) {
            return Err(malformed("a control character in a field value"));
        }
        match FramingField::of(name)? {
            Some(FramingField::Host) => self.host(value.trim_ascii()),
            Some(FramingField::ContentLength) => self.content_length(value),
            Some(FramingField::TransferEncoding) => self.transfer_encoding(value),
            None => Ok(()),
        }
    }

    fn host(&mut self, value: &'a [u8]) -> Result<(), Denial> {
        match self.host.replace(value) {
            Some(_) => Err(malformed("more than one Host")),
            None => Ok(()),
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Denial> {
        if std::mem::replace(&mut self.content_length, true) {
            return Err(malformed("more than one Content-Length"));
        }
        if !is_length(value) {
            return Err(malformed("a Content-Length that is not one number"));
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Denial> {
        if std::mem::replace(&mut self.chunked, true) {
            return Err(malformed("more than one Transfer-Encoding"));
        }
        if !trim_spaces(value).eq_ignore_ascii_case(b"chunked") {
            return Err(malformed("a Transfer-Encoding other than chunked"));
        }
        Ok(())
    }

    fn judge(&self, line: &RequestLine<'_>) -> Result<(), Denial> {
        let host = self.host.ok_or_else(|| malformed("no Host"))?;
        let host = host::parse(host).ok_or_else(|| malformed("an invalid Host"))?;
        if self.chunked && self.content_length {
            return Err(malformed("Content-Length with Transfer-Encoding"));
        }
        if self.chunked && line.http10 {
            return Err(malformed("Transfer-Encoding in HTTP/1.0"));
        }
        if matches!(line.target[0], b'/' | b'*') {
            return Ok(());
        }
        let (scheme, authority, _) = split_absolute(line.target)
            .ok_or_else(|| malformed("a target that is neither a path nor a URL"))?;
        let target = host::parse(authority).ok_or_else(|| malformed("an invalid authority in the target"))?;
        if !target.agrees(&host, scheme) {
            return Err(malformed("a target whose authority is not the Host"));
        }
        Ok(())
    }
}

/// Splits an absolute-form target into scheme, authority and the rest. Only `http` and `https`.
pub(crate) fn split_absolute(target: &[u8]) -> Option<(&'static str, &[u8], &[u8])> {
    let (scheme, prefix) = match target {
        [b'h' | b'H', b't' | b'T', b't' | b'T', b'p' | b'P', b':', b'/', b'/', ..] => ("http", 7),
        [b'h' | b'H', b't' | b'T', b't' | b'T', b'p' | b'P', b's' | b'S', b':', b'/', b'/', ..] => {
            ("https", 8)
        }
        _ => return None,
    };
    let rest = &target[prefix..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    Some((scheme, &rest[..end], &rest[end..]))
}

enum FramingField {
    Host,
    ContentLength,
    TransferEncoding,
}

impl FramingField {
    /// Which one a name is, in any case. A name that only differs from one in its punctuation (`Content_Length`,
    /// `Transfer--Encoding`) is refused: some apps fold all punctuation into one.
    fn of(name: &[u8]) -> Result<Option<Self>, Denial> {
        match name {
            [b'h' | b'H', ..] if name.eq_ignore_ascii_case(b"host") => Ok(Some(Self::Host)),
            [
                b'c' | b'C',
                b'o' | b'O',
                b'n' | b'N',
                b't' | b'T',
                b'e' | b'E',
                b'n' | b'N',
                b't' | b'T',
                ..,
            ] => {
                if name.eq_ignore_ascii_case(b"content-length") {
                    return Ok(Some(Self::ContentLength));
                }
                refuse_lookalike(name, b"contentlength")
            }
            [b't' | b'T', b'r' | b'R', b'a' | b'A', ..] => {
                if name.eq_ignore_ascii_case(b"transfer-encoding") {
                    return Ok(Some(Self::TransferEncoding));
                }
                refuse_lookalike(name, b"transferencoding")
            }
            _ => Ok(None),
        }
    }
}

fn refuse_lookalike(name: &[u8], letters: &[u8]) -> Result<Option<FramingField>, Denial> {
    let found = name.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase);
    if found.eq(letters.iter().copied()) {
        return Err(malformed("a framing field with other punctuation"));
    }
    Ok(None)
}

/// Digits only, no larger than a signed 64-bit number: some readers hold lengths in one.
fn is_length(value: &[u8]) -> bool {
    let digits = trim_spaces(value);
    let decimal = !digits.is_empty() && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit);
    decimal && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<i64>().is_ok())
}

fn trim_spaces(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' '] = value {
        value = rest;
    }
    value
}

fn check_http2(header: &RequestHeader) -> Result<(), Denial> {
    if matches!(header.method, Method::CONNECT | Method::TRACE) {
        return Err(method_not_allowed("CONNECT or TRACE"));
    }
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        if header.headers.contains_key(name) {
            return Err(malformed("a connection-specific field in HTTP/2"));
        }
    }
    if header
        .headers
        .get_all(http::header::TE)
        .iter()
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers"))
    {
        return Err(malformed("a TE other than trailers in HTTP/2"));
    }
    let mut hosts = header.headers.get_all(http::header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(malformed("more than one Host"));
    }
    let written = match (header.uri.authority(), host) {
        (Some(authority), None) => authority.as_str().as_bytes(),
        (None, Some(host)) => host.as_bytes(),
        (Some(authority), Some(host))
            if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            host.as_bytes()
        }
        (Some(_), Some(_)) => return Err(malformed(":authority and Host differ")),
        (None, None) => return Err(malformed("no :authority")),
    };
    host::parse(written).ok_or_else(|| malformed("an invalid :authority"))?;
    let mut lengths = header.headers.get_all(http::header::CONTENT_LENGTH).iter();
    if lengths.next().is_some_and(|value| !is_length(value.as_bytes())) || lengths.next().is_some() {
        return Err(malformed("a Content-Length that is not one number"));
    }
    for name in header.headers.keys() {
        FramingField::of(name.as_str().as_bytes())?;
    }
    check_target(header.raw_path())
}

/// RFC 9110 section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| TOKEN[usize::from(byte)])
}

fn is_field_value(bytes: &[u8]) -> bool {
    // Without an early end, so that it compiles to vector instructions.
    !bytes.iter().fold(false, |bad, &byte| bad | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f))
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(head: &str) -> Result<(), Reason> {
        check_http1(head.as_bytes()).map_err(|denial| denial.reason)
    }

    fn with(fields: &str) -> Result<(), Reason> {
        verdict(&format!("POST /a HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"))
    }

    const BAD: Result<(), Reason> = Err(Reason::RequestMalformed);

    #[test]
    fn passes_what_everybody_reads_alike() {
        assert_eq!(verdict("GET / HTTP/1.1\r\nHost: a.example:8080\r\n\r\n"), Ok(()));
        assert_eq!(verdict("\r\nGET /?a=b HTTP/1.0\r\nhost:a.example\r\n\r\n"), Ok(()));
        assert_eq!(verdict("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(()));
        assert_eq!(verdict("GET http://A.example:80/x HTTP/1.1\r\nHost: a.example\r\n\r\n"), Ok(()));
        assert_eq!(with("Content-Length: 12\r\n"), Ok(()));
        assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(()));
        assert_eq!(with("X-Text: caf\u{e9}\tau lait\r\nEmpty:\r\n"), Ok(()));
    }

    #[test]
    fn refuses_request_lines_that_are_not_three_words() {
        for line in [
            "GET /",
            "GET",
            "",
            " GET / HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET /a b HTTP/1.1",
            "GET / HTTP/2.0",
            "GET / HTTP/1.2",
            "GET / http/1.1",
            "GET / HTTP/1.1 HTTP/1.1",
            "GE(T / HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET /\u{1} HTTP/1.1",
            "GET /#x HTTP/1.1",
            "GET ftp://a/ HTTP/1.1",
            "GET a.example HTTP/1.1",
            "GET http://b/ HTTP/1.1",
            "GET http://u@a/ HTTP/1.1",
            "GET http:/// HTTP/1.1",
            "GET /\u{7f} HTTP/1.1",
        ] {
            assert_eq!(verdict(&format!("{line}\r\nHost: a\r\n\r\n")), BAD, "{line:?}");
        }
    }

    #[test]
    fn refuses_lines_that_end_or_begin_in_another_way() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
            "GET / HTTP/1.1\r\nX: b\rHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET",
        ] {
            assert_eq!(verdict(head), BAD, "{head:?}");
        }
    }

    #[test]
    fn refuses_field_lines_that_are_no_fields() {
        for field in
            ["X : a", "X\t: a", ": a", "novalue", "X y: a", "X(: a", "X: a\u{1}", "X\0: a", "X: \u{7f}"]
        {
            assert_eq!(with(&format!("{field}\r\n")), BAD, "{field:?}");
        }
    }

    #[test]
    fn refuses_lengths_that_two_readers_may_disagree_about() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 1 1\r\n",
            "Content-Length: 9223372036854775808\r\n",
            "Content-Length:\t1\r\n",
            "Content_Length: 1\r\n",
            "Content--Length: 1\r\n",
            "ContentLength: 1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(with(fields), BAD, "{fields:?}");
        }
    }

    #[test]
    fn refuses_every_coding_but_chunked() {
        for value in [
            "gzip",
            "gzip, chunked",
            "chunked, chunked",
            "\tchunked",
            "chunked\t",
            "xchunked",
            "chunked;q=1",
            "",
            "\"chunked\"",
        ] {
            assert_eq!(with(&format!("Transfer-Encoding: {value}\r\n")), BAD, "{value:?}");
        }
        assert_eq!(with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), BAD);
        assert_eq!(with("Transfer_Encoding: chunked\r\n"), BAD);
        assert_eq!(verdict("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), BAD);
    }

    #[test]
    fn refuses_all_but_one_valid_host() {
        assert_eq!(verdict("GET / HTTP/1.1\r\n\r\n"), BAD);
        assert_eq!(with("Host: a.example\r\n"), BAD);
        for host in ["", "a,b", "a@b", "a b", "a:x", "a/b"] {
            assert_eq!(verdict(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), BAD, "{host:?}");
        }
    }

    #[test]
    fn connect_and_trace_are_not_served() {
        for line in ["TRACE / HTTP/1.1", "CONNECT a:443 HTTP/1.1"] {
            let denial = check_http1(format!("{line}\r\nHost: a:443\r\n\r\n").as_bytes()).unwrap_err();
            assert_eq!(denial.reason, Reason::MethodNotAllowed);
            assert!(denial.extra.unwrap().allow.contains(&Method::GET));
        }
    }

    fn http2(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> Result<(), Reason> {
        let mut request = http::Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let header = RequestHeader::from(request.body(()).unwrap().into_parts().0);
        check(b"", &header, true).map_err(|denial| denial.reason)
    }

    #[test]
    fn http2_has_one_authority_and_no_connection_fields() {
        assert_eq!(
            http2("GET", "https://a.example/x", &[("te", "trailers"), ("content-length", "3")]),
            Ok(())
        );
        assert_eq!(http2("GET", "https://a.example/x", &[("host", "A.example")]), Ok(()));
        assert_eq!(http2("GET", "https://a.example/x", &[("host", "b.example")]), BAD);
        assert_eq!(http2("GET", "/x", &[]), BAD);
        assert_eq!(http2("TRACE", "https://a/x", &[]), Err(Reason::MethodNotAllowed));
        for field in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("keep-alive", "x"),
            ("proxy-connection", "x"),
            ("te", "gzip"),
            ("content-length", "1, 1"),
            ("content_length", "1"),
        ] {
            assert_eq!(http2("POST", "https://a/x", &[field]), BAD, "{field:?}");
        }
    }
}
