//! Which header fields cross the gateway.
//!
//! Hop-by-hop fields (RFC 9110 section 7.6.1) end here in both directions, and so does, from clients, everything that
//! only the gateway may say, in every spelling that an app could take for it: `_` and all other punctuation count as
//! `-`, because CGI and its heirs fold them into one name. `Transfer-Encoding` and `Content-Length` stay: whoever writes the message frames it.

use config::rules::{GATEWAY_FIELDS, Headers};
use http::header::{CONNECTION, EXPECT, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use pingora_http::{IntoCaseHeaderName, RequestHeader, ResponseHeader};

use crate::denial::{Denial, Reason};
use crate::outgoing::OutgoingHead;

/// What a client never says to an app, besides what the gateway itself sets: the standard's own `Forwarded`, the
/// fields by which some frameworks replace the path that was matched, and `Proxy`, which CGI turns into `HTTP_PROXY`.
const STRIPPED: [&str; 13] = [
    "forwarded",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "x-forwarded-server",
    "x-original-url",
    "x-rewrite-url",
    "proxy",
    "traceparent",
    "tracestate",
    "keep-alive",
    "proxy-connection",
    "trailer",
    "http2-settings",
];

/// Copies to an app's head what may reach it of a client's. `websocket` says whether this is a handshake that
/// `websocket::check_handshake` let pass; only then does `Upgrade` go on.
///
/// Refuses a `Connection` that names an end-to-end field. One walk over the fields; allocates only for names with
/// unusual punctuation and for fields that `Connection` names.
pub fn pass_on(request: &RequestHeader, websocket: bool, to: &mut OutgoingHead<'_>) -> Result<(), Denial> {
    let named = named_by_connection(request)?;
    for (name, value) in &request.headers {
        if is_passed_on(name) && !named.contains(name) {
            to.add(name.clone(), value.clone());
        }
    }
    if wants_trailers(request) {
        to.add(TE, HeaderValue::from_static("trailers"));
    }
    if websocket {
        to.add(CONNECTION, HeaderValue::from_static("Upgrade"));
        to.add(UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(())
}

/// The fields that `Connection` names beside those that are not passed on anyway.
fn named_by_connection(request: &RequestHeader) -> Result<Vec<HeaderName>, Denial> {
    let mut named = Vec::new();
    for line in request.headers.get_all(CONNECTION) {
        for option in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if is_connection_word(option) {
                continue;
            }
            let name = HeaderName::from_bytes(option)
                .map_err(|_| Denial::new(Reason::RequestMalformed, "a Connection option that is no token"))?;
            if is_end_to_end(name.as_str()) {
                return Err(Denial::new(Reason::RequestMalformed, "Connection names an end-to-end field"));
            }
            named.push(name);
        }
    }
    Ok(named)
}

fn is_passed_on(name: &HeaderName) -> bool {
    let text = name.as_str();
    let hop_by_hop = match text.as_bytes()[0] {
        b'c' => *name == CONNECTION,
        b'e' => *name == EXPECT,
        b't' => *name == TE || *name == TRANSFER_ENCODING,
        b'u' => *name == UPGRADE,
        _ => false,
    };
    if hop_by_hop {
        return false;
    }
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        !is_stripped(text)
    } else {
        !is_stripped(&text.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
    }
}

fn wants_trailers(request: &RequestHeader) -> bool {
    request.headers.get_all(TE).iter().any(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// Takes from an answer what was said to the gateway alone. `websocket` keeps `Upgrade` for a 101.
pub fn strip_response(response: &mut ResponseHeader, websocket: bool) {
    let mut named: Vec<HeaderName> = Vec::new();
    for line in response.headers.get_all(CONNECTION) {
        for option in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if is_connection_word(option) {
                continue;
            }
            named.extend(HeaderName::from_bytes(option).ok().filter(|name| !is_end_to_end(name.as_str())));
        }
    }
    for name in &named {
        response.remove_header(name);
    }
    let gone: Vec<HeaderName> = response.headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    for name in &gone {
        response.remove_header(name);
    }
    if websocket {
        set_response(response, CONNECTION, HeaderValue::from_static("Upgrade"));
        set_response(response, UPGRADE, HeaderValue::from_static("websocket"));
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    match name.as_str().as_bytes()[0] {
        b'c' => *name == CONNECTION,
        b'k' => name == "keep-alive",
        b'p' => name == "proxy-connection",
        b't' => *name == TE || *name == TRAILER,
        b'u' => *name == UPGRADE,
        _ => false,
    }
}

/// The operator's changes to a request: takes away, then replaces, then adds.
pub fn edit_request(rules: &Headers, request: &mut OutgoingHead<'_>) {
    for name in &rules.remove {
        request.remove(name);
    }
    for (name, value) in &rules.set {
        request.set(name.clone(), value.clone());
    }
    for (name, value) in &rules.add {
        request.add(name.clone(), value.clone());
    }
}

/// The operator's changes to an answer: takes away, then replaces, then adds.
pub fn edit_response(rules: &Headers, response: &mut ResponseHeader) {
    for name in &rules.remove {
        response.remove_header(name);
    }
    for (name, value) in &rules.set {
        set_response(response, name.clone(), value.clone());
    }
    for (name, value) in &rules.add {
        response
            .append_header(name.clone(), value.clone())
            .expect("a head is far smaller than a header map may be");
    }
}

pub(crate) fn set_request(request: &mut RequestHeader, name: impl IntoCaseHeaderName, value: HeaderValue) {
    request.insert_header(name, value).expect("a parsed name is a name");
}

pub(crate) fn set_response(response: &mut ResponseHeader, name: HeaderName, value: HeaderValue) {
    response.insert_header(name, value).expect("a parsed name is a name");
}

fn is_stripped(name: &str) -> bool {
    // Nearly every name in a browser's request fails here.
    if !matches!(name.as_bytes().first(), Some(b'x' | b'f' | b'p' | b'k' | b't' | b'h')) {
        return false;
    }
    GATEWAY_FIELDS.contains(&name) || STRIPPED.contains(&name)
}

/// What `Connection` says without naming a field that is removed on its own account.
fn is_connection_word(option: &[u8]) -> bool {
    option.is_empty()
        || ["close", "keep-alive", "upgrade", "te", "trailer", "http2-settings", "proxy-connection"]
            .iter()
            .any(|word| option.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether a field is for the app and so not for `Connection` to take away: a filter in front of the app may have
/// relied on it. Everything that begins with `x-`, `sec-`, `content-` or `if-` is.
fn is_end_to_end(name: &str) -> bool {
    let folded = name.replace('_', "-");
    ["sec-", "content-", "if-", "access-control-"].iter().any(|prefix| folded.starts_with(prefix))
        || GATEWAY_FIELDS.contains(&folded.as_str())
        || matches!(
            folded.as_str(),
            "host"
                | "authorization"
                | "proxy-authorization"
                | "www-authenticate"
                | "cookie"
                | "set-cookie"
                | "transfer-encoding"
                | "origin"
                | "referer"
                | "expect"
                | "forwarded"
                | "range"
                | "accept"
                | "accept-encoding"
                | "cache-control"
                | "date"
                | "location"
                | "user-agent"
                | "via"
                | "max-forwards"
                | "traceparent"
                | "tracestate"
                | "strict-transport-security"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn passed(request: &RequestHeader, websocket: bool) -> Result<OutgoingHead<'_>, Denial> {
        let mut head = OutgoingHead::new(request).unwrap();
        pass_on(request, websocket, &mut head).map(|()| head)
    }

    fn stripped(fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let request = request(fields);
        let head = passed(&request, false).unwrap();
        head.fields().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn what_only_the_gateway_may_say_is_stripped_in_every_spelling() {
        for name in GATEWAY_FIELDS.into_iter().chain(STRIPPED) {
            let upper: &'static str = Box::leak(name.to_uppercase().into_boxed_str());
            let under: &'static str = Box::leak(name.replace('-', "_").into_boxed_str());
            let mixed: &'static str = Box::leak(name.replacen('-', "_", 1).into_boxed_str());
            let dotted: &'static str = Box::leak(name.replace('-', ".").into_boxed_str());
            let left = stripped(&[
                (name, "1"),
                (upper, "2"),
                (under, "3"),
                (mixed, "4"),
                (dotted, "5"),
                (under, "6"),
                ("a", "b"),
            ]);
            assert_eq!(left, ["a: b"], "{name}");
        }
    }

    #[test]
    fn what_is_the_apps_stays() {
        let fields = [
            ("host", "a"),
            ("cookie", "x=1"),
            ("x-csrf-token", "t"),
            ("my_header", "u"),
            ("proxy-authorization", "p"),
        ];
        assert_eq!(stripped(&fields).len(), fields.len());
    }

    #[test]
    fn hop_by_hop_fields_end_here() {
        let left = stripped(&[
            ("connection", "close, Hop-One"),
            ("Connection", "keep-alive"),
            ("hop-one", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, trailers;q=0"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("accept", "*/*"),
        ]);
        assert_eq!(left, ["accept: */*"]);
        assert_eq!(stripped(&[("te", "gzip, Trailers")]), ["te: trailers"]);
    }

    #[test]
    fn connection_takes_nothing_from_an_app_that_rules_rely_on() {
        for name in [
            "Authorization",
            "HOST",
            "content-length",
            "x-tenant-id",
            "X_Auth_Subject",
            "Cookie",
            "sec-websocket-protocol",
            "a b",
        ] {
            let request = request(&[("connection", Box::leak(format!("close, {name}").into_boxed_str()))]);
            assert_eq!(passed(&request, false).unwrap_err().reason, Reason::RequestMalformed, "{name}");
        }
    }

    #[test]
    fn only_a_websocket_goes_on_as_an_upgrade() {
        let request = request(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")]);
        let headers = passed(&request, true).unwrap().headers();
        assert_eq!(headers["connection"], "Upgrade");
        assert_eq!(headers["upgrade"], "websocket");
    }

    #[test]
    fn an_answer_loses_what_was_said_to_the_gateway() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("Connection", "close, X-Hop, hop, Set-Cookie"),
            ("hop", "1"),
            ("Set-Cookie", "a=b"),
            ("Keep-Alive", "x"),
            ("Upgrade", "h2c"),
        ] {
            response.append_header(name, value).unwrap();
        }
        strip_response(&mut response, false);
        let left: Vec<_> = response.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["set-cookie"]);
        strip_response(&mut response, true);
        assert_eq!(response.headers["upgrade"], "websocket");
    }

    #[test]
    fn the_operator_removes_then_sets_then_adds() {
        let pair = |name: &'static str, value: &'static str| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let rules = Headers {
            set: vec![pair("a", "set"), pair("gone", "back")],
            add: vec![pair("a", "added"), pair("vary", "origin")],
            remove: vec![HeaderName::from_static("gone")],
        };
        let request = request(&[("a", "1"), ("A", "2"), ("gone", "x"), ("vary", "accept")]);
        let mut head = passed(&request, false).unwrap();
        edit_request(&rules, &mut head);
        let headers = head.headers();
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(
            (all("a"), all("gone"), all("vary")),
            (vec!["set", "added"], vec!["back"], vec!["accept", "origin"])
        );
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.append_header("gone", "x").unwrap();
        edit_response(&rules, &mut response);
        assert_eq!(response.headers.len(), 4);
    }
}
