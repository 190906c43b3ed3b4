//! WebSockets (RFC 6455): what is a handshake, which pages may open one, where its credential may stand, and what of
//! its frames the gateway must understand.

pub mod frame;
pub mod offer;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::rules::OriginPattern;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, ORIGIN, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, Method, Version};
use pingora_http::RequestHeader;

use crate::denial::{Denial, Reason};
use crate::facts::Facts;
use crate::filter::{Filter, Judgement};
use crate::host::{self, Authority};

const VERSION: HeaderName = http::header::SEC_WEBSOCKET_VERSION;
const KEY: HeaderName = http::header::SEC_WEBSOCKET_KEY;

/// Whether a request asks for another protocol: any `Upgrade` field counts, whatever it says.
pub fn is_upgrade(request: &RequestHeader) -> bool {
    request.headers.contains_key(UPGRADE)
}

/// Refuses an upgrade that is no WebSocket handshake of RFC 6455 section 4.2.1: GET by HTTP/1.1, no body,
/// `Upgrade: websocket` alone, `Connection` with `upgrade`, version 13, and one key of 16 bytes.
pub fn check_handshake(request: &RequestHeader) -> Result<(), Denial> {
    let malformed = |detail: &'static str| Err(Denial::new(Reason::RequestMalformed, detail));
    if request.method != Method::GET || request.version != Version::HTTP_11 {
        return malformed("a handshake that is not GET by HTTP/1.1");
    }
    if only(request, &UPGRADE).is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return malformed("an upgrade to something other than websocket");
    }
    let mut options =
        request.headers.get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|&b| b == b','));
    if !options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade")) {
        return malformed("a handshake whose Connection does not say upgrade");
    }
    let empty = only(request, &CONTENT_LENGTH).is_none_or(|length| length == "0");
    if !empty || request.headers.contains_key(TRANSFER_ENCODING) {
        return malformed("a handshake with a body");
    }
    if only(request, &VERSION).is_none_or(|version| version != "13") {
        let denial = Denial::new(Reason::RequestMalformed, "a WebSocket version other than 13");
        return Err(denial.header(VERSION, HeaderValue::from_static("13")));
    }
    let key = only(request, &KEY).and_then(|key| STANDARD.decode(key.as_bytes()).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return malformed("a WebSocket key that is not 16 bytes");
    }
    Ok(())
}

/// The value of a field that is there exactly once.
fn only<'a>(request: &'a RequestHeader, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = request.headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Which pages may open a WebSocket. Judges upgrades only: other requests of the route pass.
///
/// Passes when the one `Origin` is on the list. A request without `Origin` passes only when the list has `*`: every
/// browser sends one, and a program that does not may be given `*` by the operator. `null` passes by `*` alone.
#[derive(Debug, Clone)]
pub struct OriginRule {
    origins: Vec<OriginPattern>,
}

impl OriginRule {
    /// From `websocket.origins`.
    pub fn new(origins: Vec<OriginPattern>) -> Self {
        Self { origins }
    }

    fn allows(&self, request: &RequestHeader) -> bool {
        if self.origins.contains(&OriginPattern::Any) {
            return true;
        }
        let Some(origin) = only(request, &ORIGIN).and_then(|origin| Origin::parse(origin.as_bytes())) else {
            return false;
        };
        self.origins.iter().any(|pattern| origin.matches(pattern))
    }
}

impl Filter for OriginRule {
    fn name(&self) -> config::RuleName {
        config::RuleName::Origin
    }

    fn judge(&self, request: &mut RequestHeader, _facts: &Facts<'_>) -> Judgement {
        if !is_upgrade(request) || self.allows(request) {
            return Judgement::PASS;
        }
        Judgement::deny(Denial::new(Reason::OriginDenied, "an Origin that is not on the route's list"))
    }
}

/// A serialised origin (RFC 6454 section 6.2): a scheme, a host, perhaps a port, nothing after it.
struct Origin<'a> {
    scheme: &'static str,
    authority: Authority<'a>,
}

impl<'a> Origin<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        let (scheme, rest) = match value.strip_prefix(b"https://") {
            Some(rest) => ("https", rest),
            None => ("http", value.strip_prefix(b"http://")?),
        };
        Some(Self { scheme, authority: host::parse(rest)? })
    }

    fn matches(&self, pattern: &OriginPattern) -> bool {
        let OriginPattern::Origin { scheme, host, port } = pattern else { return true };
        let own = if self.scheme == "https" { 443 } else { 80 };
        let name = self.authority.host.as_ref();
        let named = match host.strip_prefix("*.") {
            Some(domain) => {
                name.strip_suffix(domain).is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            None => name == host,
        };
        named && scheme == self.scheme && port.is_none_or(|port| port == self.authority.port.unwrap_or(own))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::SystemTime;

    use super::*;

    fn handshake(changes: &[(&'static str, Option<&str>)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/ws", None).unwrap();
        request.set_version(Version::HTTP_11);
        for (name, value) in [
            ("Upgrade", "websocket"),
            ("Connection", "keep-alive, Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Origin", "https://app.example"),
        ] {
            request.insert_header(name, value).unwrap();
        }
        for (name, value) in changes {
            match value {
                Some(value) => request.insert_header(*name, *value).unwrap(),
                None => drop(request.remove_header(*name)),
            }
        }
        request
    }

    #[test]
    fn a_handshake_of_the_rfc_passes() {
        check_handshake(&handshake(&[])).unwrap();
        check_handshake(&handshake(&[("Upgrade", Some("WebSocket")), ("Content-Length", Some("0"))]))
            .unwrap();
    }

    #[test]
    fn everything_else_with_an_upgrade_field_is_refused() {
        for change in [
            ("Upgrade", Some("h2c")),
            ("Upgrade", Some("websocket, h2c")),
            ("Upgrade", Some("")),
            ("Connection", Some("keep-alive")),
            ("Connection", None),
            ("Sec-WebSocket-Version", Some("8")),
            ("Sec-WebSocket-Version", None),
            ("Sec-WebSocket-Key", Some("dGhl")),
            ("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZQ")),
            ("Sec-WebSocket-Key", None),
            ("Content-Length", Some("5")),
            ("Transfer-Encoding", Some("chunked")),
        ] {
            let request = handshake(&[change]);
            assert!(is_upgrade(&request));
            assert_eq!(check_handshake(&request).unwrap_err().reason, Reason::RequestMalformed, "{change:?}");
        }
        let mut twice = handshake(&[]);
        twice.append_header("Upgrade", "websocket").unwrap();
        assert!(check_handshake(&twice).is_err());
        let mut post = handshake(&[]);
        post.set_method(Method::POST);
        assert!(check_handshake(&post).is_err());
        let mut old = handshake(&[]);
        old.set_version(Version::HTTP_10);
        assert!(check_handshake(&old).is_err());
    }

    #[test]
    fn a_wrong_version_is_told_the_right_one() {
        let denial = check_handshake(&handshake(&[("Sec-WebSocket-Version", Some("8"))])).unwrap_err();
        assert_eq!(denial.extra.unwrap().headers[0].1, "13");
    }

    fn origin(scheme: &str, host: &str, port: Option<u16>) -> OriginPattern {
        OriginPattern::Origin { scheme: scheme.into(), host: host.into(), port }
    }

    fn judged(rule: &OriginRule, mut request: RequestHeader) -> Option<Reason> {
        let facts = Facts {
            request_id: "r-1",
            now: SystemTime::UNIX_EPOCH,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            method: &Method::GET,
            host: "app.example",
            path: "/ws",
            route: "/ws",
            params: &[],
            caller: None,
            tenant: None,
        };
        match rule.judge(&mut request, &facts) {
            Judgement::Now(verdict) => verdict.err().map(|denial| denial.reason),
            Judgement::Ask(_) => panic!("an origin is judged at once"),
        }
    }

    #[test]
    fn only_listed_pages_may_open_one() {
        let rule = OriginRule::new(vec![
            origin("https", "app.example", Some(443)),
            origin("https", "*.desk.example", Some(443)),
            origin("http", "localhost", None),
        ]);
        for good in [
            "https://app.example",
            "https://app.example:443",
            "https://a.b.desk.example",
            "http://localhost:5173",
            "https://APP.example",
        ] {
            assert_eq!(judged(&rule, handshake(&[("Origin", Some(good))])), None, "{good}");
        }
        for bad in [
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil",
            "https://evilapp.example",
            "https://desk.example",
            "https://evildesk.example",
            "https://.desk.example",
            "null",
            "",
            "https://app.example/",
            "https://u@app.example",
            "app.example",
            "file://",
            "https://localhost",
            "https://app.example,https://evil",
        ] {
            assert_eq!(
                judged(&rule, handshake(&[("Origin", Some(bad))])),
                Some(Reason::OriginDenied),
                "{bad}"
            );
        }
        assert_eq!(judged(&rule, handshake(&[("Origin", None)])), Some(Reason::OriginDenied));
        let mut twice = handshake(&[]);
        twice.append_header("Origin", "https://app.example").unwrap();
        assert_eq!(judged(&rule, twice), Some(Reason::OriginDenied));
    }

    #[test]
    fn a_star_is_every_page_and_none() {
        let rule = OriginRule::new(vec![OriginPattern::Any]);
        assert_eq!(judged(&rule, handshake(&[("Origin", None)])), None);
        assert_eq!(judged(&rule, handshake(&[("Origin", Some("null"))])), None);
    }

    #[test]
    fn plain_requests_of_the_route_have_no_origin_to_show() {
        let rule = OriginRule::new(vec![origin("https", "app.example", Some(443))]);
        assert_eq!(judged(&rule, handshake(&[("Origin", None), ("Upgrade", None)])), None);
        assert_eq!(
            judged(&rule, handshake(&[("Origin", None), ("Upgrade", Some("h2c"))])),
            Some(Reason::OriginDenied)
        );
    }
}
