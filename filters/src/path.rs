//! The one form of a request's target: what rules match is what the upstream gets (RFC 3986 section 6.2.2).
//!
//! In the canonical path every byte is a path character of RFC 3986 or an upper-case escape of one that is not
//! unreserved; there is no empty segment but the last, and no `.` or `..`. A path passes when it climbs nowhere above
//! the root and when decoding it again cannot change its shape: encoded slashes, backslashes in any spelling, NULs and
//! control characters, broken escapes, text that is not UTF-8, doubly encoded separators and dots, and dot segments
//! with parameters (`/..;/`, which servlet containers read as `/../`) are 400. The query is left alone.

use std::borrow::Cow;

use http::Method;
use memchr::memchr;

use crate::denial::{Denial, Reason};
use crate::framing::split_absolute;

/// Bytes of a target; more is 414.
pub const MAX_TARGET: usize = 8 * 1024;

/// A normalised target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// Canonical and percent-encoded; begins with `/`, or is `*`. Borrowed when it came in this form without escapes.
    pub path: Cow<'a, str>,
    /// What follows the first `?`, as received.
    pub query: Option<&'a [u8]>,
    /// Whether the bytes received differ from path and query.
    changed: bool,
}

impl Target<'_> {
    /// The target for the upstream when it is not the one that was received: path, and query if there is one.
    pub fn rewritten(&self) -> Option<Vec<u8>> {
        self.changed.then(|| {
            let mut bytes = self.path.as_bytes().to_vec();
            if let Some(query) = self.query {
                bytes.push(b'?');
                bytes.extend_from_slice(query);
            }
            bytes
        })
    }
}

/// Normalises a target as received: `/path?query`, `http://host/path?query` (whose authority `framing::check` has
/// compared with `Host`), or `*` for OPTIONS. Idempotent. Costs one pass, and an allocation when the path holds
/// anything but plain canonical characters.
pub fn normalise<'a>(method: &Method, raw: &'a [u8]) -> Result<Target<'a>, Denial> {
    if raw.len() > MAX_TARGET {
        return Err(Denial::new(Reason::RequestUriTooLong, "a target of more than 8 KB"));
    }
    if memchr(b'#', raw).is_some() {
        return Err(malformed("a fragment in the target"));
    }
    if raw == b"*" {
        if method != Method::OPTIONS {
            return Err(malformed("the target * for a method other than OPTIONS"));
        }
        return Ok(Target { path: Cow::Borrowed("*"), query: None, changed: false });
    }
    let (rest, absolute) = match split_absolute(raw) {
        Some((_, _, rest)) => (rest, true),
        None => (raw, false),
    };
    let (path, query) = match memchr(b'?', rest) {
        Some(mark) => (&rest[..mark], Some(&rest[mark + 1..])),
        None => (rest, None),
    };
    if query.is_some_and(|query| query.iter().any(|&byte| byte <= b' ' || byte == 0x7f)) {
        return Err(malformed("a space or a control character in the query"));
    }
    if absolute && path.is_empty() {
        return Ok(Target { path: Cow::Borrowed("/"), query, changed: true });
    }
    if path.first() != Some(&b'/') {
        return Err(malformed("a target that is neither a path nor a URL"));
    }
    if let Some(path) = plain(path) {
        return Ok(Target { path: Cow::Borrowed(path), query, changed: absolute });
    }
    let canonical = rebuild(path)?;
    let changed = absolute || canonical.as_bytes() != path;
    Ok(Target { path: Cow::Owned(canonical), query, changed })
}

/// The decoded segments of a canonical path, slashes excluded: `/` has one, which is empty; so is the last of `/a/`.
/// Allocates for a segment with escapes only.
pub fn segments(canonical: &str) -> impl Iterator<Item = Cow<'_, str>> {
    canonical.strip_prefix('/').unwrap_or(canonical).split('/').map(decode)
}

/// Decodes a part of a canonical path, whose escapes are whole and whose text is UTF-8.
pub fn decode(part: &str) -> Cow<'_, str> {
    if memchr(b'%', part.as_bytes()).is_none() {
        return Cow::Borrowed(part);
    }
    let mut bytes = Vec::with_capacity(part.len());
    decode_once(part.as_bytes(), &mut bytes);
    Cow::Owned(
        String::from_utf8(bytes).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()),
    )
}

fn malformed(detail: &'static str) -> Denial {
    Denial::new(Reason::RequestMalformed, detail)
}

/// The path itself when it is canonical and has neither escapes nor parameters.
fn plain(path: &[u8]) -> Option<&str> {
    let mut after_slash = false;
    for &byte in path {
        match byte {
            b'/' if after_slash => return None,
            b'/' => after_slash = true,
            // A name such as `.well-known` takes the long way too; it is rare and comes out unchanged.
            b'.' if after_slash => return None,
            b';' => return None,
            _ if PATH_CHAR[usize::from(byte)] => after_slash = false,
            _ => return None,
        }
    }
    std::str::from_utf8(path).ok()
}

fn rebuild(path: &[u8]) -> Result<String, Denial> {
    let mut canonical = String::with_capacity(path.len() + 16);
    let mut decoded = Vec::with_capacity(path.len());
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(raw) = segments.next() {
        let last = segments.peek().is_none();
        decoded.clear();
        decode_strictly(raw, &mut decoded)?;
        match decoded.as_slice() {
            b"" | b"." => {
                if last {
                    canonical.push('/');
                }
            }
            b".." => {
                let parent =
                    canonical.rfind('/').ok_or_else(|| malformed("a path that climbs above the root"))?;
                canonical.truncate(parent);
                if last {
                    canonical.push('/');
                }
            }
            _ => {
                check_segment(&decoded)?;
                canonical.push('/');
                encode(raw, &mut canonical);
            }
        }
    }
    Ok(canonical)
}

/// Decodes every escape of a raw segment; refuses what must not be in one, spelled out or escaped.
fn decode_strictly(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Denial> {
    let mut at = 0;
    while at < raw.len() {
        let (byte, width) = match raw[at] {
            b'%' => (escape(&raw[at..]).ok_or_else(|| malformed("a broken escape in the path"))?, 3),
            byte => (byte, 1),
        };
        match byte {
            b'/' => return Err(malformed("an encoded slash in the path")),
            b'\\' => return Err(malformed("a backslash in the path")),
            _ if byte.is_ascii_control() => return Err(malformed("a control character in the path")),
            b' ' if width == 1 => return Err(malformed("a space in the path")),
            _ => out.push(byte),
        }
        at += width;
    }
    Ok(())
}

/// Judges a decoded segment that is neither empty nor a dot segment.
fn check_segment(decoded: &[u8]) -> Result<(), Denial> {
    if !decoded.is_ascii() {
        let text = std::str::from_utf8(decoded).map_err(|_| malformed("a path that is not UTF-8"))?;
        if text.chars().any(char::is_control) {
            return Err(malformed("a control character in the path"));
        }
    }
    if is_dotted(decoded) {
        return Err(malformed("a dot segment with parameters"));
    }
    // Decoded again and again by a careless app, up to three more times: still nothing that changes the shape.
    let mut again = Cow::Borrowed(decoded);
    for _ in 0..3 {
        if memchr(b'%', &again).is_none() {
            break;
        }
        let mut next = Vec::with_capacity(again.len());
        decode_once(&again, &mut next);
        if next.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) || is_dotted(&next) {
            return Err(malformed("a doubly encoded separator, dot segment or NUL in the path"));
        }
        again = Cow::Owned(next);
    }
    Ok(())
}

/// `.` or `..`, alone or before a `;`.
fn is_dotted(segment: &[u8]) -> bool {
    matches!(segment, [b'.'] | [b'.', b'.'] | [b'.', b';', ..] | [b'.', b'.', b';', ..])
}

/// Decodes what is an escape and keeps what is not.
fn decode_once(part: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < part.len() {
        match escape(&part[at..]) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(part[at]);
                at += 1;
            }
        }
    }
}

/// The byte that an escape at the start of `bytes` stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Writes a raw segment canonically: unreserved characters plain, other path characters as they came, the rest escaped.
fn encode(raw: &[u8], out: &mut String) {
    let mut at = 0;
    while at < raw.len() {
        match escape(&raw[at..]) {
            Some(byte) => {
                if is_unreserved(byte) {
                    out.push(char::from(byte));
                } else {
                    push_escaped(byte, out);
                }
                at += 3;
            }
            None => {
                if PATH_CHAR[usize::from(raw[at])] {
                    out.push(char::from(raw[at]));
                } else {
                    push_escaped(raw[at], out);
                }
                at += 1;
            }
        }
    }
}

/// Appends `%XX`.
pub(crate) fn push_escaped(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// RFC 3986 section 2.3.
pub(crate) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` of RFC 3986 section 3.3, escapes excluded.
const PATH_CHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = is_unreserved(b)
            || matches!(
                b,
                b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(raw: &str) -> Result<String, Reason> {
        normalise(&Method::GET, raw.as_bytes()).map(|t| t.path.into_owned()).map_err(|denial| denial.reason)
    }

    #[test]
    fn borrows_a_path_that_is_canonical_already() {
        let target = normalise(&Method::GET, b"/api/v1/assets:batch@2/a.png?q=%2f..").unwrap();
        assert!(matches!(target.path, Cow::Borrowed("/api/v1/assets:batch@2/a.png")));
        assert_eq!(target.query, Some(b"q=%2f..".as_slice()));
        assert_eq!(target.rewritten(), None);
    }

    #[test]
    fn brings_every_spelling_to_one_form() {
        for (raw, canonical) in [
            ("/", "/"),
            ("//", "/"),
            ("/.", "/"),
            ("/./", "/"),
            ("/a/", "/a/"),
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/a/%2e%2E/b", "/b"),
            ("/%61%7e", "/a~"),
            ("/a%3bb", "/a%3Bb"),
            ("/a;b=c", "/a;b=c"),
            ("/%e4%b8%ad", "/%E4%B8%AD"),
            ("/中", "/%E4%B8%AD"),
            ("/a\"<>^`{|}", "/a%22%3C%3E%5E%60%7B%7C%7D"),
            ("/a%20b", "/a%20b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a..b", "/a..b"),
            ("/100%25", "/100%25"),
            ("/a//../b", "/b"),
            ("/a/b//", "/a/b/"),
            ("/%2Ehidden", "/.hidden"),
            ("/a%25b", "/a%25b"),
            ("/a%3Fb%23c", "/a%3Fb%23c"),
        ] {
            assert_eq!(path(raw).as_deref(), Ok(canonical), "{raw}");
        }
    }

    #[test]
    fn refuses_what_could_move_a_request_to_another_route() {
        for raw in [
            "/..",
            "/../a",
            "/a/../..",
            "/%2e%2e/",
            "//..",
            "/a%2fb",
            "/a%2Fb",
            "/a\\b",
            "/a%5cb",
            "/a%00",
            "/%00",
            "/a\u{1}",
            "/a%0d%0ab",
            "/a%7f",
            "/%",
            "/%2",
            "/%zz",
            "/%ff",
            "/%c0%af",
            "/%c2%85",
            "/%252e%252e%252f",
            "/%252e%252e/a",
            "/%252fa",
            "/a%255cb",
            "/a%2500",
            "/%25252e%25252e",
            "/..;/a",
            "/a/..;x=y/b",
            "/.;/a",
            "/%2e%2e;/a",
            "/..%3b/a",
            "/%252e%252e;a",
            "/a b",
            "",
            "a",
            "?a",
            "/a#b",
            "*",
            "ftp://a/",
            "http:a",
        ] {
            assert_eq!(path(raw), Err(Reason::RequestMalformed), "{raw}");
        }
        assert!(normalise(&Method::GET, b"/a\xff").is_err());
        assert!(normalise(&Method::GET, b"/a?b\r\nc").is_err());
    }

    #[test]
    fn takes_a_url_and_hands_on_its_path() {
        let target = normalise(&Method::GET, b"http://a.example:80/x/../y?q").unwrap();
        assert_eq!((target.path.as_ref(), target.query), ("/y", Some(b"q".as_slice())));
        assert_eq!(target.rewritten().unwrap(), b"/y?q");
        assert_eq!(normalise(&Method::GET, b"HTTP://a?q").unwrap().rewritten().unwrap(), b"/?q");
        assert_eq!(normalise(&Method::GET, b"https://a/x").unwrap().rewritten().unwrap(), b"/x");
    }

    #[test]
    fn a_star_is_for_options_alone() {
        assert_eq!(normalise(&Method::OPTIONS, b"*").unwrap().path, "*");
        assert!(normalise(&Method::GET, b"*").is_err());
    }

    #[test]
    fn eight_kilobytes_are_enough() {
        let long = format!("/{}", "a".repeat(MAX_TARGET));
        assert_eq!(path(&long), Err(Reason::RequestUriTooLong));
        assert!(path(&long[..MAX_TARGET]).is_ok());
    }

    fn spelled() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/"),
            Just("."),
            Just(".."),
            Just("%2e"),
            Just("%2E"),
            Just("%2f"),
            Just("%252e"),
            Just("%252f"),
            Just("%25"),
            Just(";"),
            Just("%3b"),
            Just("a"),
            Just("%61"),
            Just("B"),
            Just("\\"),
            Just("%5c"),
            Just("%00"),
            Just("中"),
            Just("%e4%b8%ad"),
            Just("%ff"),
            Just("~"),
            Just("?"),
            Just(":"),
            Just("\""),
            Just("%20"),
            Just("%"),
            Just("5c"),
            Just("2e"),
            Just("%c3"),
            Just("%a9"),
        ];
        prop::collection::vec(piece, 0..14).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own_canonical_form(raw in spelled()) {
            if let Ok(target) = normalise(&Method::GET, raw.as_bytes()) {
                let bytes = target.rewritten().unwrap_or_else(|| raw.clone().into_bytes());
                let again = normalise(&Method::GET, &bytes).unwrap();
                prop_assert_eq!(&again.path, &target.path);
                prop_assert_eq!(again.query, target.query);
                prop_assert_eq!(again.rewritten(), None);
            }
        }

        #[test]
        fn the_canonical_form_has_one_reading(raw in spelled()) {
            if let Ok(target) = normalise(&Method::GET, raw.as_bytes()) {
                let path = target.path.as_ref();
                let text = path.is_ascii() && path.starts_with('/');
                prop_assert!(text && !path.contains("//") && !path.contains("/./") && !path.contains("/../"), "{}", path);
                let parts: Vec<_> = segments(path).collect();
                for (index, part) in parts.iter().enumerate() {
                    prop_assert!(!part.is_empty() || index + 1 == parts.len());
                    prop_assert!(!matches!(part.as_ref(), "." | ".."));
                    prop_assert!(!part.contains(['/', '\\', '\0']) && !part.chars().any(char::is_control));
                    let mut twice = Vec::new();
                    decode_once(part.as_bytes(), &mut twice);
                    prop_assert!(!matches!(twice.as_slice(), b"." | b"..") && !twice.contains(&b'/'));
                }
                let mut whole = Vec::new();
                decode_once(path.as_bytes(), &mut whole);
                prop_assert_eq!(String::from_utf8(whole).unwrap(), format!("/{}", parts.join("/")));
            }
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(raw in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = normalise(&Method::GET, &raw);
            let mut rooted = vec![b'/'];
            rooted.extend(&raw);
            if let Ok(target) = normalise(&Method::GET, &rooted) {
                prop_assert!(target.path.is_ascii());
            }
        }
    }
}
