//! Where a redirect leads. Whatever a client puts into its path, query or host, the `Location` stays one header line
//! and leads to the place that the policy names: values are percent-encoded, and a target that begins with `/` never
//! becomes `//elsewhere`.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

use crate::path::{is_unreserved, push_escaped};

/// The `to:` of a redirect route, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    /// Whether the policy itself names the origin, as `https://…` or `//…`.
    absolute: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Path,
    Query,
    Host,
    Param(String),
}

/// A name in a template that the route's pattern does not have, or a brace without its partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTemplate(pub String);

impl fmt::Display for BadTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown name {{{}}} in a redirect", self.0)
    }
}

impl std::error::Error for BadTemplate {}

/// What fills a template.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// As `host::parse` gives it.
    pub host: &'a str,
    /// Canonical.
    pub path: &'a str,
    /// As received, without the `?`.
    pub query: Option<&'a [u8]>,
    /// Decoded.
    pub params: &'a [(Arc<str>, String)],
}

impl Template {
    /// Compiles a `to:`; `names` are those of the route's pattern. `{path}`, `{query}` and `{host}` need none.
    pub fn parse<'n>(
        to: &str,
        names: impl IntoIterator<Item = &'n str> + Clone,
    ) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut rest = to;
        while !rest.is_empty() {
            let (text, after) =
                rest.split_once('{').map_or((rest, None), |(text, after)| (text, Some(after)));
            if !text.is_empty() {
                let mut clean = String::with_capacity(text.len());
                text.bytes().for_each(|byte| push_uri_byte(byte, &mut clean));
                pieces.push(Piece::Text(clean));
            }
            let Some(after) = after else { break };
            let (name, after) = after.split_once('}').ok_or_else(|| BadTemplate(after.to_owned()))?;
            pieces.push(match name {
                "path" => Piece::Path,
                "query" => Piece::Query,
                "host" => Piece::Host,
                _ if names.clone().into_iter().any(|known| known == name) => Piece::Param(name.to_owned()),
                _ => return Err(BadTemplate(name.to_owned())),
            });
            rest = after;
        }
        let scheme =
            to.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(|b| b.is_ascii_alphanumeric()));
        Ok(Self { pieces, absolute: scheme || to.starts_with("//") })
    }

    /// The `Location` for one request. A `?` or `&` before an empty `{query}` is left out.
    pub fn location(&self, filling: &Filling<'_>) -> HeaderValue {
        let mut out = String::with_capacity(64 + filling.path.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Host => out.push_str(filling.host),
                Piece::Path if out.ends_with('/') => out.push_str(filling.path.trim_start_matches('/')),
                Piece::Path => out.push_str(filling.path),
                Piece::Query => match filling.query.filter(|query| !query.is_empty()) {
                    Some(query) => query.iter().for_each(|&byte| push_uri_byte(byte, &mut out)),
                    None if out.ends_with(['?', '&']) => drop(out.pop()),
                    None => {}
                },
                Piece::Param(name) => {
                    let found = filling.params.iter().find(|(known, _)| known.as_ref() == name);
                    if let Some((_, value)) = found {
                        // In the middle of a host a slash would end it early.
                        let host_is_open =
                            self.absolute && out.split_once("//").is_some_and(|(_, at)| !at.contains('/'));
                        push_value(value, !host_is_open, &mut out);
                    }
                }
            }
        }
        let slashes = out.len() - out.trim_start_matches('/').len();
        if !self.absolute && slashes > 1 {
            out.drain(1..slashes);
        }
        if out.is_empty() {
            out.push('/');
        }
        header(&out)
    }
}

/// The same URL by https. `port` is that of the TLS listener, left out when it is 443.
pub fn to_https(host: &str, port: u16, path: &str, query: Option<&[u8]>) -> HeaderValue {
    let mut out = format!("https://{host}");
    if port != 443 {
        out.push_str(&format!(":{port}"));
    }
    out.push_str(if path.starts_with('/') { path } else { "/" });
    if let Some(query) = query {
        out.push('?');
        query.iter().for_each(|&byte| push_uri_byte(byte, &mut out));
    }
    header(&out)
}

fn header(location: &str) -> HeaderValue {
    HeaderValue::from_str(location).expect("only visible ASCII is written into a location")
}

/// A byte that is to keep its meaning in a URI; what cannot stand in one is escaped.
fn push_uri_byte(byte: u8, out: &mut String) {
    match byte {
        b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|' => push_escaped(byte, out),
        b'!'..=b'~' => out.push(char::from(byte)),
        _ => push_escaped(byte, out),
    }
}

/// A value that is to be nothing but a value: only unreserved characters stay, and with `slashes` those of a tail,
/// which are not doubled.
fn push_value(value: &str, slashes: bool, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'/' if slashes && out.ends_with('/') => {}
            b'/' if slashes => out.push('/'),
            _ if is_unreserved(byte) => out.push(char::from(byte)),
            _ => push_escaped(byte, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn location(to: &str, path: &str, query: Option<&str>, params: &[(&str, &str)]) -> String {
        let params: Vec<(Arc<str>, String)> =
            params.iter().map(|(n, v)| (Arc::from(*n), (*v).to_owned())).collect();
        let template = Template::parse(to, ["name", "rest"]).unwrap();
        let filling = Filling { host: "a.example", path, query: query.map(str::as_bytes), params: &params };
        template.location(&filling).to_str().unwrap().to_owned()
    }

    #[test]
    fn fills_in_what_it_names() {
        assert_eq!(
            location("https://new.example{path}?{query}", "/a/b", Some("x=1"), &[]),
            "https://new.example/a/b?x=1"
        );
        assert_eq!(location("https://{host}/x", "/a", None, &[]), "https://a.example/x");
        assert_eq!(
            location("/n/{name}/r/{rest}", "/", None, &[("name", "a b/?"), ("rest", "x/y z")]),
            "/n/a%20b/%3F/r/x/y%20z"
        );
        assert_eq!(location("/new", "/a", Some("q"), &[]), "/new");
    }

    #[test]
    fn an_empty_query_leaves_no_mark() {
        assert_eq!(location("/x?{query}", "/", None, &[]), "/x");
        assert_eq!(location("/x?a=1&{query}", "/", Some(""), &[]), "/x?a=1");
    }

    #[test]
    fn never_leads_elsewhere() {
        assert_eq!(location("/{path}", "/evil.example", None, &[]), "/evil.example");
        assert_eq!(location("/{rest}", "/", None, &[("rest", "/evil.example")]), "/evil.example");
        assert_eq!(location("{rest}", "/", None, &[("rest", "//evil.example")]), "/evil.example");
        assert_eq!(location("{path}{path}", "/", None, &[]), "/");
        assert_eq!(
            location("{rest}", "/", None, &[("rest", "https:/evil.example")]),
            "https%3A/evil.example"
        );
        assert_eq!(location("https://app.example/{path}", "/a", None, &[]), "https://app.example/a");
        assert_eq!(
            location("https://{rest}.a.example/x", "/", None, &[("rest", "evil/y")]),
            "https://evil%2Fy.a.example/x"
        );
    }

    #[test]
    fn stays_one_line() {
        assert_eq!(
            location("/x?{query}", "/", Some("a\r\nSet-Cookie: x=1\t\"中"), &[]),
            "/x?a%0D%0ASet-Cookie:%20x=1%09%22%E4%B8%AD"
        );
        assert_eq!(location("/{name}", "/", None, &[("name", "a\r\nb")]), "/a%0D%0Ab");
        assert_eq!(location("/帮助", "/", None, &[]), "/%E5%B8%AE%E5%8A%A9");
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert_eq!(Template::parse("/{nme}", ["name"]), Err(BadTemplate("nme".into())));
        assert_eq!(Template::parse("/{name", ["name"]), Err(BadTemplate("name".into())));
    }

    #[test]
    fn https_is_the_same_url() {
        assert_eq!(to_https("a.example", 443, "/a%20b", Some(b"x=1")), "https://a.example/a%20b?x=1");
        assert_eq!(to_https("[::1]", 8443, "/", None), "https://[::1]:8443/");
        assert_eq!(to_https("a", 443, "*", None), "https://a/");
    }

    proptest! {
        #[test]
        fn a_relative_target_stays_here(value in any::<String>(), query in any::<Vec<u8>>(), to in prop_oneof![
            Just("/{rest}"), Just("{rest}"), Just("/{name}/{rest}?{query}"), Just("/x/{name}{rest}"), Just("/{path}{rest}"), Just("{path}?{query}"),
        ]) {
            let params = [(Arc::from("name"), value.clone()), (Arc::from("rest"), value)];
            let filling = Filling { host: "a", path: "/p", query: Some(&query), params: &params };
            let found = Template::parse(to, ["name", "rest"]).unwrap().location(&filling);
            let text = found.to_str().unwrap();
            let place = text.split('?').next().unwrap();
            prop_assert!(!place.is_empty() || text.starts_with('?'));
            prop_assert!(!place.starts_with("//") && !place.contains('\\') && !place.contains(':'));
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
