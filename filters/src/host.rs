//! The authority of a request: a host name or an IP literal, and a port.
//!
//! Passes: `example.com`, `Example.COM:8443`, `example.com.`, `192.0.2.1`, `[2001:db8::1]:443`. Everything else is
//! no authority: userinfo, commas, spaces, percent escapes, empty labels, zone identifiers, ports above 65535.
//! Stricter than RFC 3986 section 3.2.2, which lets a registered name hold any sub-delimiter: no host that a browser
//! sends has one, and apps read them in different ways.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A host as rules and routes see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Lower case, without the root's trailing dot; an IPv6 address in brackets, in its canonical spelling.
    pub host: Cow<'a, str>,
    /// As sent; `None` when it was not, or was empty.
    pub port: Option<u16>,
}

impl Authority<'_> {
    /// Whether both mean the same place under `scheme`, the scheme's own port being implied.
    pub fn agrees(&self, other: &Authority<'_>, scheme: &str) -> bool {
        let own = if scheme == "https" { 443 } else { 80 };
        self.host == other.host && self.port.unwrap_or(own) == other.port.unwrap_or(own)
    }
}

/// Reads the value of `Host`, `:authority` or the authority of an absolute-form target. Allocates only for upper
/// case and for IPv6 literals that are not spelled canonically.
pub fn parse(raw: &[u8]) -> Option<Authority<'_>> {
    let text = std::str::from_utf8(raw).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        let port = match after.strip_prefix(':') {
            Some(digits) => parse_port(digits)?,
            None if after.is_empty() => None,
            None => return None,
        };
        let canonical = format!("[{}]", inside.parse::<Ipv6Addr>().ok()?);
        let spelled = &text[..inside.len() + 2];
        let host = if canonical == spelled { Cow::Borrowed(spelled) } else { Cow::Owned(canonical) };
        return Some(Authority { host, port });
    }
    let (name, port) = match text.split_once(':') {
        Some((name, digits)) => (name, parse_port(digits)?),
        None => (text, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut upper = false;
    let mut label = 0;
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => {
                upper = true;
                label += 1;
            }
            b'.' if label > 0 => label = 0,
            _ => return None,
        }
    }
    if label == 0 || name.len() > 253 {
        return None;
    }
    let host = if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
    Some(Authority { host, port })
}

fn parse_port(digits: &str) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    let decimal = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    decimal.then(|| digits.parse().ok()).flatten().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(raw: &str) -> Option<(String, Option<u16>)> {
        parse(raw.as_bytes()).map(|a| (a.host.into_owned(), a.port))
    }

    #[test]
    fn lowers_the_case_and_cuts_the_port_and_the_root_dot() {
        assert_eq!(host("Example.COM:8443"), Some(("example.com".into(), Some(8443))));
        assert_eq!(host("example.com."), Some(("example.com".into(), None)));
        assert_eq!(host("example.com.:80"), Some(("example.com".into(), Some(80))));
        assert_eq!(host("example.com:"), Some(("example.com".into(), None)));
        assert_eq!(host("my_app"), Some(("my_app".into(), None)));
    }

    #[test]
    fn borrows_what_is_already_canonical() {
        assert!(matches!(parse(b"example.com:80").unwrap().host, Cow::Borrowed("example.com")));
        assert!(matches!(parse(b"[::1]").unwrap().host, Cow::Borrowed("[::1]")));
    }

    #[test]
    fn spells_ipv6_canonically() {
        assert_eq!(host("[2001:DB8:0:0::1]:443"), Some(("[2001:db8::1]".into(), Some(443))));
        assert_eq!(host("[::1]"), Some(("[::1]".into(), None)));
    }

    #[test]
    fn refuses_everything_else() {
        for raw in [
            "",
            ".",
            ":80",
            "a..b",
            ".a",
            "a..",
            "a b",
            "a,b",
            "user@a",
            "a/b",
            "a\\b",
            "a%41",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+80",
            "a:000080",
            "[::1",
            "::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "[]",
            "名",
            "a\tb",
            "a;b",
            "*",
        ] {
            assert_eq!(host(raw), None, "{raw:?}");
        }
        assert_eq!(host(&"a.".repeat(128)), None);
        assert_eq!(parse(b"a\xff"), None);
    }

    #[test]
    fn the_schemes_own_port_is_implied() {
        let bare = parse(b"a.example").unwrap();
        assert!(bare.agrees(&parse(b"A.example:443").unwrap(), "https"));
        assert!(!bare.agrees(&parse(b"a.example:443").unwrap(), "http"));
        assert!(!bare.agrees(&parse(b"b.example").unwrap(), "http"));
    }
}
