//! A request that was never sent: what an HTTP/1.1 client would write for a method, a URL and some header lines.

use std::time::SystemTime;

use http::{Method, Version};
use pingora_http::RequestHeader;

use crate::host::{self, Authority};

/// Methods that may be written in lower case.
const USUAL: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// What is asked about.
#[derive(Debug, Clone)]
pub struct Question {
    /// Of the request.
    pub method: Method,
    /// Whether the URL says `https:` or `wss:`.
    pub https: bool,
    /// The URL's host: lower case, an IPv6 address in brackets.
    pub host: String,
    /// The URL's port, or its scheme's own.
    pub port: u16,
    /// Path and query as written: nothing of them is normalised here.
    pub target: String,
    /// Header lines, `Host` among them.
    pub headers: Vec<(String, String)>,
    /// The time by which tokens are judged.
    pub now: SystemTime,
}

impl Question {
    /// Reads what an operator typed. Each header is `Name: value`. A `Host` among them takes the place of the URL's; a
    /// `ws:` URL brings the lines of a handshake that are not given. An error is a sentence about wrong usage: what a
    /// gateway would refuse is no error here.
    pub fn parse(method: &str, url: &str, headers: &[String], now: SystemTime) -> Result<Self, String> {
        let usual = USUAL.into_iter().find(|usual| usual.as_str().eq_ignore_ascii_case(method));
        let method = match usual {
            Some(usual) => usual,
            None => Method::from_bytes(method.as_bytes())
                .map_err(|_| format!("{method:?} is no method; write GET, POST or another one"))?,
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("the URL has no scheme; write it whole, as in https://shop.example/cart".to_owned());
        };
        let (https, socket) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (false, false),
            "https" => (true, false),
            "ws" => (false, true),
            "wss" => (true, true),
            _ => return Err(format!("{scheme}: is not served; write http:, https:, ws: or wss:")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?', '\\']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("the URL carries a user; send -H 'Authorization: …' instead".to_owned());
        }
        let Some(Authority { host, port }) = host::parse(authority.as_bytes()) else {
            return Err(format!(
                "{authority:?} is no host; write a name or an address, and a port if needed"
            ));
        };
        let target = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let mut lines = Vec::with_capacity(headers.len() + 1);
        for header in headers {
            let Some((name, value)) = header.split_once(':').filter(|_| !header.contains(['\r', '\n']))
            else {
                return Err("a header is one line with a colon, as in -H 'Accept: text/html'".to_owned());
            };
            lines.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
        let own = if https { 443 } else { 80 };
        let port = port.unwrap_or(own);
        let shown = if port == own { host.clone().into_owned() } else { format!("{host}:{port}") };
        let mut default = |name: &str, value: &str| {
            if !lines.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)) {
                lines.push((name.to_owned(), value.to_owned()));
            }
        };
        default("Host", &shown);
        if socket {
            default("Connection", "Upgrade");
            default("Upgrade", "websocket");
            default("Sec-WebSocket-Version", "13");
            default("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
        }
        Ok(Self { method, https, host: host.into_owned(), port, target, headers: lines, now })
    }

    /// The bytes a client would send.
    pub(super) fn raw_head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The same, parsed. None when it cannot be.
    pub(super) fn head(&self) -> Option<RequestHeader> {
        let size = Some(self.headers.len());
        let mut head = RequestHeader::build(self.method.clone(), self.target.as_bytes(), size).ok()?;
        head.set_version(Version::HTTP_11);
        for (name, value) in &self.headers {
            head.append_header(name.clone(), value.as_bytes()).ok()?;
        }
        Some(head)
    }

    /// The value of a header, the first one.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// What can be said of the body.
    pub(super) fn body(&self) -> Body {
        if self.header("transfer-encoding").is_some() {
            return Body::Unknown;
        }
        match self.header("content-length") {
            Some("0") => Body::None,
            Some(_) => Body::Declared,
            None if [Method::POST, Method::PUT, Method::PATCH].contains(&self.method) => Body::Unknown,
            None => Body::None,
        }
    }
}

/// What a head says of its body. A method that usually has one, but says nothing of its length, leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    None,
    /// Its length is said.
    Declared,
    /// It may be of any length.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, url: &str, headers: &[&str]) -> Result<Question, String> {
        let headers: Vec<String> = headers.iter().map(|one| (*one).to_owned()).collect();
        Question::parse(method, url, &headers, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn writes_the_head_a_client_would_send() {
        let question = parse("get", "https://Shop.example/a/../b?x=1#top", &["Accept: text/html"]).unwrap();
        let head = question.raw_head();
        let expected = "GET /a/../b?x=1 HTTP/1.1\r\nAccept: text/html\r\nHost: shop.example\r\n\r\n";
        assert_eq!(String::from_utf8(head).unwrap(), expected);
        assert_eq!((question.port, question.https), (443, true));
    }

    #[test]
    fn a_port_that_is_not_the_schemes_own_stands_in_host() {
        let host = |url: &str| parse("GET", url, &[]).unwrap().header("host").unwrap().to_owned();
        assert_eq!(host("http://a:80"), "a");
        assert_eq!(host("http://a:443?x"), "a:443");
        assert_eq!(host("https://[::1]:8443/"), "[::1]:8443");
        assert_eq!(parse("GET", "http://a/", &["host: b"]).unwrap().headers.len(), 1);
    }

    #[test]
    fn a_socket_url_brings_its_handshake() {
        let question = parse("GET", "wss://a/ws", &["Sec-WebSocket-Version: 8"]).unwrap();
        assert_eq!(question.header("upgrade"), Some("websocket"));
        assert_eq!(question.header("sec-websocket-version"), Some("8"));
        assert!(question.https);
    }

    #[test]
    fn says_what_is_wrong_with_the_usage() {
        for (method, url, header) in [
            ("GE T", "http://a/", "A: b"),
            ("GET", "a/b", "A: b"),
            ("GET", "ftp://a/", "A: b"),
            ("GET", "http://u:p@a/", "A: b"),
            ("GET", "http://a b/", "A: b"),
            ("GET", "http://a/", "A b"),
            ("GET", "http://a/", "A: b\r\nHost: c"),
        ] {
            assert!(parse(method, url, &[header]).is_err(), "{method} {url} {header}");
        }
    }
}
