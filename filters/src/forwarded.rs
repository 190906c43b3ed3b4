//! What the gateway tells an app about a request: who sent it, through whom, for which tenant, as part of which trace.
//!
//! Values that come from clients and tokens are written so that they stay one value: every byte that is not visible
//! ASCII, `%`, and in lists the comma too, is percent-encoded. Nothing in a claim ends a line or adds a role.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_http::RequestHeader;

use crate::denial::Denial;
use crate::facts::Caller;
use crate::headers;
use crate::outgoing::OutgoingHead;
use crate::path::push_escaped;

/// What a trusted peer said about where a request came from. Empty for everybody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The entries of `X-Forwarded-For`, all lines joined.
    pub chain: Option<HeaderValue>,
    /// Its `X-Request-Id`, when it is 1 to 128 letters, digits, `-`, `_`, `.`, `:`, `+`, `/`, `=` or `@`.
    pub request_id: Option<String>,
    /// The scheme the client used, by `X-Forwarded-Proto`.
    pub scheme: Option<&'static str>,
}

impl Incoming {
    /// Reads the fields, before `headers::strip` takes them away.
    pub fn read(headers: &HeaderMap, peer_trusted: bool) -> Self {
        if !peer_trusted {
            return Self::default();
        }
        let mut lines = headers.get_all("x-forwarded-for").iter();
        let chain = match (lines.next(), lines.next()) {
            (None, _) => None,
            (Some(line), None) => Some(line.clone()),
            (Some(_), Some(_)) => {
                let lines: Vec<&[u8]> =
                    headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
                HeaderValue::from_bytes(&lines.join(b", ".as_slice())).ok()
            }
        };
        let request_id =
            headers.get("x-request-id").and_then(|id| id.to_str().ok()).filter(|id| is_request_id(id));
        let scheme = headers.get("x-forwarded-proto").and_then(|scheme| match scheme.as_bytes() {
            b"https" => Some("https"),
            b"http" => Some("http"),
            _ => None,
        });
        Self {
            chain: chain.filter(|chain| !chain.is_empty()),
            request_id: request_id.map(str::to_owned),
            scheme,
        }
    }
}

/// Everything an app is told.
#[derive(Debug, Clone, Copy)]
pub struct Forwarding<'a> {
    /// Of this request, in the answer and every log.
    pub request_id: &'a str,
    /// As `client::address` found it.
    pub client: IpAddr,
    /// Who connected, or whom the PROXY line named.
    pub peer: IpAddr,
    /// What the peer said, when it is trusted.
    pub incoming: &'a Incoming,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host the client asked for, with its port if it sent one.
    pub host: &'a HeaderValue,
    /// The port it connected to.
    pub port: u16,
    /// The tenant's id.
    pub tenant: Option<&'a str>,
    /// Who asks.
    pub caller: Option<&'a Caller>,
    /// Which trace this is part of.
    pub trace: &'a Trace,
}

impl Forwarding<'_> {
    /// The head an app gets: what may reach it of the client's, and what the gateway says.
    pub fn head<'r>(&self, request: &'r RequestHeader, websocket: bool) -> Result<OutgoingHead<'r>, Denial> {
        let mut head = OutgoingHead::new(request)?;
        headers::pass_on(request, websocket, &mut head)?;
        self.say(&mut head);
        if self.trace.continued {
            for value in request.headers.get_all(TRACESTATE) {
                head.add(TRACESTATE, value.clone());
            }
        }
        Ok(head)
    }

    fn say(&self, head: &mut OutgoingHead<'_>) {
        let client = address(self.client);
        let chain = match &self.incoming.chain {
            Some(chain) => {
                let mut bytes = Vec::with_capacity(chain.len() + 48);
                bytes.extend_from_slice(chain.as_bytes());
                bytes.extend_from_slice(b", ");
                bytes.extend_from_slice(address(self.peer).as_bytes());
                HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| client.clone())
            }
            None => client.clone(),
        };
        let mut say = |name, value| head.add(name, value);
        say(X_REQUEST_ID, encoded(self.request_id));
        say(X_REAL_IP, client);
        say(X_FORWARDED_FOR, chain);
        say(X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
        say(X_FORWARDED_HOST, self.host.clone());
        say(X_FORWARDED_PORT, HeaderValue::from(self.port));
        say(TRACEPARENT, self.trace.header());
        if let Some(tenant) = self.tenant {
            say(X_TENANT_ID, encoded(tenant));
        }
        if let Some(caller) = self.caller {
            say(X_AUTH_SUBJECT, encoded(&caller.subject));
            say(X_AUTH_IDENTITY, encoded(&caller.identity));
            say(X_AUTH_ROLES, list(&caller.roles));
            say(X_AUTH_PERMISSIONS, list(&caller.permissions));
        }
    }
}

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
const X_AUTH_SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const X_AUTH_IDENTITY: HeaderName = HeaderName::from_static("x-auth-identity");
const X_AUTH_ROLES: HeaderName = HeaderName::from_static("x-auth-roles");
const X_AUTH_PERMISSIONS: HeaderName = HeaderName::from_static("x-auth-permissions");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A place in a trace (W3C Trace Context level 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The whole trace; never zero.
    pub trace_id: u128,
    /// This gateway's part of it; never zero.
    pub span_id: u64,
    /// Whether whoever began it records it. A trace that begins here is to be recorded: apps that follow their
    /// parent's decision would record nothing otherwise.
    pub sampled: bool,
    continued: bool,
}

impl Trace {
    /// Continues the trace of the one valid `traceparent`, or begins one. The ids come from the caller's randomness.
    pub fn of(headers: &HeaderMap, new_trace_id: u128, new_span_id: u64) -> Self {
        let span_id = new_span_id.max(1);
        let mut lines = headers.get_all("traceparent").iter();
        let parent = match (lines.next(), lines.next()) {
            (Some(line), None) => parse_parent(line.as_bytes()),
            _ => None,
        };
        match parent {
            Some((trace_id, sampled)) => Self { trace_id, span_id, sampled, continued: true },
            None => Self { trace_id: new_trace_id.max(1), span_id, sampled: true, continued: false },
        }
    }

    /// `traceparent` for the app.
    pub fn header(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id.to_be_bytes(), &mut text[3..35]);
        write_hex(&self.span_id.to_be_bytes(), &mut text[36..52]);
        text[54] = if self.sampled { b'1' } else { b'0' };
        HeaderValue::from_bytes(&text).expect("hex digits and dashes are a header value")
    }
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    hex::encode_to_slice(bytes, out).expect("the field has two digits for each byte");
}

/// Trace id and whether it is sampled.
fn parse_parent(text: &[u8]) -> Option<(u128, bool)> {
    if text.len() < 55 || [text[2], text[35], text[52]] != *b"---" {
        return None;
    }
    let version = hex_number(&text[..2])?;
    let shape = match version {
        0 => text.len() == 55,
        255 => false,
        _ => text.len() == 55 || text[55] == b'-',
    };
    let (trace_id, parent, flags) =
        (hex_number(&text[3..35])?, hex_number(&text[36..52])?, hex_number(&text[53..55])?);
    (shape && trace_id != 0 && parent != 0).then_some((trace_id, flags & 1 == 1))
}

/// Lower-case digits only.
fn hex_number(digits: &[u8]) -> Option<u128> {
    let lower = digits.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    lower.then(|| u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()).flatten()
}

fn is_request_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&b))
}

fn address(address: IpAddr) -> HeaderValue {
    let IpAddr::V4(address) = address else {
        return header(&address.to_string());
    };
    let mut text = [0; 15];
    let mut length = 0;
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text[length] = b'.';
            length += 1;
        }
        for (least, divisor) in [(100, 100), (10, 10), (0, 1)] {
            if octet >= least {
                text[length] = b'0' + octet / divisor % 10;
                length += 1;
            }
        }
    }
    HeaderValue::from_bytes(&text[..length]).expect("digits and dots are a header value")
}

fn encoded(value: &str) -> HeaderValue {
    let clean = |byte: u8| byte.is_ascii_graphic() && byte != b'%';
    if value.bytes().all(clean) {
        return header(value);
    }
    let mut out = String::with_capacity(value.len() + 16);
    push_clean(value, clean, &mut out);
    header(&out)
}

fn list(values: &[String]) -> HeaderValue {
    let mut out = String::with_capacity(values.iter().map(|value| value.len() + 1).sum());
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_clean(value, |byte| byte.is_ascii_graphic() && byte != b'%' && byte != b',', &mut out);
    }
    header(&out)
}

fn push_clean(value: &str, clean: impl Fn(u8) -> bool, out: &mut String) {
    for byte in value.bytes() {
        if clean(byte) {
            out.push(char::from(byte));
        } else {
            push_escaped(byte, out);
        }
    }
}

fn header(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("only visible ASCII is left")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::facts::Token;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn caller(subject: &str, roles: &[&str]) -> Caller {
        Caller {
            identity: Arc::from("staff"),
            subject: subject.to_owned(),
            tenant: None,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            permissions: vec!["asset:read".into(), "asset:write".into()],
            superuser: false,
            expires: SystemTime::UNIX_EPOCH,
            token: Token(String::new()),
        }
    }

    fn told(incoming: &Incoming, caller: Option<&Caller>, received: &[(&'static str, &str)]) -> HeaderMap {
        let trace = Trace::of(&headers(received), 7, 9);
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in received {
            request.append_header(*name, *value).unwrap();
        }
        let forwarding = Forwarding {
            request_id: "r-1",
            client: "198.51.100.1".parse().unwrap(),
            peer: "10.0.0.1".parse().unwrap(),
            incoming,
            scheme: "https",
            host: &HeaderValue::from_static("a.example:8443"),
            port: 8443,
            tenant: Some("acme"),
            caller,
            trace: &trace,
        };
        forwarding.head(&request, false).unwrap().headers()
    }

    #[test]
    fn an_app_is_told_who_asks() {
        let found = told(&Incoming::default(), Some(&caller("u-1", &["admin", "ops"])), &[]);
        for (name, value) in [
            ("x-request-id", "r-1"),
            ("x-real-ip", "198.51.100.1"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.example:8443"),
            ("x-forwarded-port", "8443"),
            ("x-tenant-id", "acme"),
            ("x-auth-subject", "u-1"),
            ("x-auth-identity", "staff"),
            ("x-auth-roles", "admin,ops"),
            ("x-auth-permissions", "asset:read,asset:write"),
            ("traceparent", "00-00000000000000000000000000000007-0000000000000009-01"),
        ] {
            assert_eq!(found[name], value, "{name}");
        }
    }

    #[test]
    fn nobody_is_not_named() {
        let found = told(&Incoming::default(), None, &[]);
        assert!(found.keys().all(|name| !name.as_str().starts_with("x-auth-")));
    }

    #[test]
    fn a_trusted_peers_chain_is_continued() {
        let received = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-request-id", "lb-7"),
            ("x-forwarded-proto", "http"),
        ];
        let incoming = Incoming::read(&headers(&received), true);
        assert_eq!((incoming.request_id.as_deref(), incoming.scheme), (Some("lb-7"), Some("http")));
        let found = told(&incoming, None, &received);
        assert_eq!(found["x-forwarded-for"], "1.1.1.1, 198.51.100.1, 10.0.0.1");
        assert_eq!(found.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(Incoming::read(&headers(&received), false), Incoming::default());
    }

    #[test]
    fn a_request_id_that_could_be_anything_is_not_kept() {
        for id in ["", "a b", "a\tb", &"x".repeat(129), "é", "<script>"] {
            assert_eq!(Incoming::read(&headers(&[("x-request-id", id)]), true).request_id, None, "{id:?}");
        }
    }

    #[test]
    fn a_claim_stays_one_value() {
        let found = told(
            &Incoming::default(),
            Some(&caller("a\r\nX-Auth-Roles: admin", &["ops,admin", "名", "50%"])),
            &[],
        );
        assert_eq!(found["x-auth-subject"], "a%0D%0AX-Auth-Roles:%20admin");
        assert_eq!(found["x-auth-roles"], "ops%2Cadmin,%E5%90%8D,50%25");
    }

    #[test]
    fn a_valid_trace_is_continued_with_a_new_span() {
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let found = told(&Incoming::default(), None, &[("traceparent", parent), ("tracestate", "a=b")]);
        assert_eq!(found["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000009-00");
        assert_eq!(found["tracestate"], "a=b");
        let later = Trace::of(
            &headers(&[("traceparent", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x")]),
            7,
            9,
        );
        assert!(later.sampled && later.trace_id != 7);
    }

    #[test]
    fn an_invalid_trace_is_begun_anew() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for parent in [
            String::new(),
            format!("00-{id}-00f067aa0ba902b7-0"),
            format!("00-{id}-00f067aa0ba902b7-01-x"),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}-+0f067aa0ba902b7-01"),
        ] {
            let found = told(&Incoming::default(), None, &[("traceparent", &parent), ("tracestate", "a=b")]);
            assert_eq!(
                found["traceparent"], "00-00000000000000000000000000000007-0000000000000009-01",
                "{parent}"
            );
            assert!(!found.contains_key("tracestate"));
        }
        let twice =
            headers(&[("traceparent", &format!("00-{id}-00f067aa0ba902b7-01")), ("traceparent", "x")]);
        assert_eq!(Trace::of(&twice, 7, 9).trace_id, 7);
        assert_eq!(
            Trace::of(&twice, 0, 0).header(),
            "00-00000000000000000000000000000001-0000000000000001-01"
        );
    }

    proptest! {
        #[test]
        fn a_list_has_as_many_entries_as_there_are_values(values in prop::collection::vec(any::<String>(), 1..6)) {
            let found = list(&values);
            let text = found.to_str().unwrap();
            prop_assert_eq!(text.split(',').count(), values.len());
            for (entry, value) in text.split(',').zip(&values) {
                let decoded = crate::path::decode(entry);
                prop_assert_eq!(decoded.as_ref(), value.as_str());
            }
            let one = encoded(&values[0]);
            let decoded = crate::path::decode(one.to_str().unwrap());
            prop_assert_eq!(decoded.as_ref(), values[0].as_str());
        }
    }
}
