//! What a policy says about hosts, paths and origins.

use std::collections::HashSet;
use std::net::Ipv6Addr;

use serde_json::json;

use crate::model::{HostPattern, PathPattern, Segment, Tail};
use crate::read::{Reader, members};
use crate::rules::OriginPattern;
use crate::scalar::written_line;

/// What is wrong with a pattern, and what to write.
type Wrong = (&'static str, &'static str);

/// `/exact`, `/prefix/*`, `/files/{name}/raw`, `/{a}/{rest*}`
pub(crate) fn path(r: &Reader<'_>) -> Option<PathPattern> {
    let examples = ["/exact", "/prefix/*", "/files/{name}/raw", "/{a}/{rest*}"];
    r.describe_with(|schema| schema.extend(members(json!({"type": "string", "examples": examples}))));
    parsed(r, parse_path)
}

/// `card.example.com`, `*.card.example.com`, `*`
pub(crate) fn host(r: &Reader<'_>) -> Option<HostPattern> {
    let examples = ["card.example.com", "*.card.example.com", "*"];
    r.describe_with(|schema| schema.extend(members(json!({"type": "string", "examples": examples}))));
    parsed(r, parse_host)
}

/// `*`, `https://host`, `https://*.host`, `http://host:*`
pub(crate) fn origin(r: &Reader<'_>) -> Option<OriginPattern> {
    let examples = ["https://desk.example.com", "https://*.example.com", "http://localhost:*", "*"];
    r.describe_with(|schema| schema.extend(members(json!({"type": "string", "examples": examples}))));
    parsed(r, parse_origin)
}

/// A domain without a wildcard, lower case.
pub(crate) fn domain(r: &Reader<'_>) -> Option<String> {
    r.describe_with(|schema| schema.insert("type".into(), json!("string")));
    parsed(r, |text| match parse_host(text)? {
        HostPattern::Exact(domain) => Ok(domain),
        _ => Err(("is not a domain", "write it without a star, as in example.com")),
    })
}

fn parsed<T>(r: &Reader<'_>, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
    let written = written_line(r)?;
    parse(&written.text)
        .map_err(|(what, remedy)| r.problem(format!("{} {what}", written.quoted()), remedy))
        .ok()
}

/// Segments of a pattern; more serve nobody.
const MAX_SEGMENTS: usize = 64;

pub(crate) fn parse_path(text: &str) -> Result<PathPattern, Wrong> {
    let Some(inner) = text.strip_prefix('/') else {
        return Err(("does not begin with a slash", "write a path, as in /api/*"));
    };
    if text.contains(['?', '#']) {
        return Err(("holds more than a path", "leave out what begins with ? or #"));
    }
    let mut parts: Vec<&str> = inner.split('/').collect();
    let tail = match parts.last().copied() {
        Some("*") => Tail::Rest(None),
        Some(last) if last.starts_with('{') && last.ends_with("*}") => {
            Tail::Rest(Some(name(&last[1..last.len() - 2])?))
        }
        _ => Tail::Exact,
    };
    if tail != Tail::Exact || parts == [""] {
        parts.pop();
    }
    if parts.len() > MAX_SEGMENTS {
        return Err(("has more than 64 segments", "write a shorter pattern that ends with /*"));
    }
    if parts.iter().rev().skip(1).any(|part| part.is_empty())
        || (tail != Tail::Exact && parts.last() == Some(&""))
    {
        return Err(("holds two slashes in a row", "write one; requests are matched with one"));
    }
    let segments = parts.into_iter().map(segment).collect::<Result<Vec<_>, _>>()?;
    let mut names = HashSet::new();
    let params = segments.iter().filter_map(|segment| match segment {
        Segment::Param(name) => Some(name),
        Segment::Literal(_) => None,
    });
    let rest = match &tail {
        Tail::Rest(name) => name.as_ref(),
        Tail::Exact => None,
    };
    if !params.chain(rest).all(|name| names.insert(name)) {
        return Err(("has the same name twice", "give every {name} a name of its own"));
    }
    Ok(PathPattern { text: text.to_owned(), segments, tail })
}

fn segment(part: &str) -> Result<Segment, Wrong> {
    if let Some(inner) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        return match inner.strip_suffix('*') {
            Some(_) => Err(("has {name*} before its end", "put {name*} last")),
            None => name(inner).map(Segment::Param),
        };
    }
    if part.contains('*') {
        return Err(("has a star that is not its whole last segment", "write * only as in /prefix/*"));
    }
    if part.contains(['{', '}']) {
        return Err((
            "has a brace inside of a segment",
            "let {name} be a whole segment, as in /files/{name}/raw",
        ));
    }
    let decoded = decode(part)
        .ok_or(("is not percent-encoded UTF-8", "write the text itself, or %XX for each byte"))?;
    if decoded == "." || decoded == ".." {
        return Err(("has a segment \".\" or \"..\"", "write the path that it leads to"));
    }
    if decoded.chars().any(|letter| letter == '/' || letter == '\\' || letter.is_control()) {
        return Err(("has a slash, backslash or control character in a segment", "leave it out"));
    }
    Ok(Segment::Literal(decoded))
}

fn name(text: &str) -> Result<String, Wrong> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !text.is_empty() && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(("has no proper name between its braces", "use letters, digits, - and _, as in {name} or {rest*}"))
}

fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

pub(crate) fn parse_host(text: &str) -> Result<HostPattern, Wrong> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    if text.contains("://") || text.contains('/') {
        return Err(("is not a host", "write the name alone, as in card.example.com"));
    }
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        let address: Ipv6Addr =
            address.parse().map_err(|_| ("is not an IPv6 address", "write it as in [::1]"))?;
        return Ok(HostPattern::Exact(format!("[{address}]")));
    }
    if text.contains(':') {
        return Err(("holds a port", "write the name alone; the port does not matter to which site answers"));
    }
    if !text.is_ascii() {
        return Err(("is not ASCII", "write it in its xn-- form"));
    }
    let lower = text.to_ascii_lowercase();
    let (wildcard, name) = match lower.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, lower.as_str()),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.contains('*') {
        return Err(("has a star that is not its whole first label", "write it as in *.example.com"));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(fits);
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(("is not a host", "write a name as in card.example.com"));
    }
    Ok(if wildcard { HostPattern::Wildcard(name.to_owned()) } else { HostPattern::Exact(name.to_owned()) })
}

fn parse_origin(text: &str) -> Result<OriginPattern, Wrong> {
    if text == "*" {
        return Ok(OriginPattern::Any);
    }
    let form =
        ("is not an origin", "write SCHEME://HOST or SCHEME://HOST:PORT, as in https://desk.example.com");
    let (scheme, rest) = text.split_once("://").ok_or(form)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        known @ ("http" | "https") => known.to_owned(),
        "ws" | "wss" => {
            return Err((
                "has the scheme of a socket, where browsers send the page's",
                "write https:// for wss://, http:// for ws://",
            ));
        }
        _ => return Err(form),
    };
    if rest.contains(['/', '?', '#', '@']) {
        return Err(("holds more than an origin", "end it after the host or port, without a slash"));
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host = match parse_host(host)? {
        HostPattern::Exact(host) => host,
        HostPattern::Wildcard(host) => format!("*.{host}"),
        HostPattern::Any => return Err(("names no host", "write \"*\" alone for every origin")),
    };
    let port = match port {
        None => Some(if scheme == "https" { 443 } else { 80 }),
        Some("*") => None,
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0).ok_or(form)?),
    };
    Ok(OriginPattern::Origin { scheme, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.to_owned())
    }

    #[test]
    fn paths_are_literals_names_and_a_rest() {
        let path = |text| parse_path(text).map(|path| (path.segments, path.tail)).unwrap();
        assert_eq!(path("/"), (vec![], Tail::Exact));
        assert_eq!(path("/*"), (vec![], Tail::Rest(None)));
        assert_eq!(path("/a/b"), (vec![literal("a"), literal("b")], Tail::Exact));
        assert_eq!(path("/a/"), (vec![literal("a"), literal("")], Tail::Exact));
        assert_eq!(path("/a/*"), (vec![literal("a")], Tail::Rest(None)));
        assert_eq!(
            path("/uploads/{tenant}/{file*}"),
            (vec![literal("uploads"), Segment::Param("tenant".into())], Tail::Rest(Some("file".into())))
        );
        assert_eq!(path("/caf%C3%A9/%7Bx%7D"), (vec![literal("café"), literal("{x}")], Tail::Exact));
    }

    #[test]
    fn paths_that_no_request_can_have_are_refused() {
        let wrong = [
            "",
            "api",
            "/a//b",
            "//",
            "/a//*",
            "/a/../b",
            "/./a",
            "/%2e%2e/a",
            "/a?x",
            "/a#x",
            "/*/a",
            "/a*",
            "/a/**",
            "/{a}/{a}",
            "/{a}/{a*}",
            "/{}",
            "/{a*}/b",
            "/x{a}",
            "/{a b}",
            "/a%2fb",
            "/%",
            "/%zz",
            "/%ff",
            "/a%00",
            "/a\\b",
            "/{*}",
        ];
        for text in wrong {
            assert!(parse_path(text).is_err(), "{text} is accepted");
        }
        assert!(parse_path(&"/a".repeat(65)).is_err());
    }

    #[test]
    fn hosts_are_exact_wild_or_any() {
        assert_eq!(parse_host("Card.Example.com"), Ok(HostPattern::Exact("card.example.com".into())));
        assert_eq!(parse_host("*.example.com"), Ok(HostPattern::Wildcard("example.com".into())));
        assert_eq!(parse_host("*"), Ok(HostPattern::Any));
        assert_eq!(parse_host("127.0.0.1"), Ok(HostPattern::Exact("127.0.0.1".into())));
        assert_eq!(parse_host("[0::1]"), Ok(HostPattern::Exact("[::1]".into())));
        for wrong in ["", "a..b", "https://a", "a:80", "a/b", "a.*.b", "*a.b", "é.fr", "a b", "[x]"] {
            assert!(parse_host(wrong).is_err(), "{wrong} is accepted");
        }
    }

    #[test]
    fn origins_have_scheme_host_and_port() {
        let origin = |scheme: &str, host: &str, port| {
            Ok(OriginPattern::Origin { scheme: scheme.into(), host: host.into(), port })
        };
        assert_eq!(parse_origin("https://Desk.example.com"), origin("https", "desk.example.com", Some(443)));
        assert_eq!(parse_origin("http://localhost:*"), origin("http", "localhost", None));
        assert_eq!(parse_origin("http://[::1]:8080"), origin("http", "[::1]", Some(8080)));
        assert_eq!(parse_origin("https://[::1]"), origin("https", "[::1]", Some(443)));
        assert_eq!(parse_origin("https://*.example.com"), origin("https", "*.example.com", Some(443)));
        assert_eq!(parse_origin("*"), Ok(OriginPattern::Any));
        for wrong in [
            "desk.example.com",
            "wss://a",
            "ftp://a",
            "https://a/",
            "https://a:0",
            "https://a:x",
            "https://*",
        ] {
            assert!(parse_origin(wrong).is_err(), "{wrong} is accepted");
        }
    }
}
