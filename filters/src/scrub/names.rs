//! Values that are secret because of their names.

use http::HeaderName;

use super::{Kind, Span};

/// Names that tell in any text, wherever they end a longer name (`X-Api-Key`, `newPassword`, `user[token]`), in
/// any case, with or without hyphens and underscores: what they name is a credential and nothing else.
const TELLING: [&str; 26] = [
    "token",
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "secret",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "signingkey",
    "jwt",
    "credential",
    "credentials",
    "authorization",
    "cookie",
    "signature",
    "sessionid",
    "sessid",
    "sessionkey",
    "otp",
    "bearer",
    "accesscode",
    "authcode",
    "verificationcode",
];

/// Names that tell only as a query's or form's parameter, and whole: elsewhere they are ordinary words. OAuth and
/// OpenID (`code`, `state`, `nonce`, `assertion`), CAS and WeChat (`ticket`), SAML, signed links (`sig`, `sign`,
/// `hmac`, `key`, `auth`), sessions (`sid`, `session`), one-time codes (`pin`, `captcha`).
const TELLING_PARAMETERS: [&str; 22] = [
    "code",
    "state",
    "nonce",
    "assertion",
    "clientassertion",
    "ticket",
    "samlresponse",
    "samlrequest",
    "sig",
    "sign",
    "hmac",
    "key",
    "auth",
    "sid",
    "session",
    "sess",
    "pin",
    "pass",
    "captcha",
    "smscode",
    "verifycode",
    "invite",
];

/// Segments of a path after which a secret stands: links that are sent by mail.
const TELLING_SEGMENTS: [&str; 12] = [
    "token",
    "tokens",
    "reset",
    "resetpassword",
    "passwordreset",
    "verify",
    "verification",
    "confirm",
    "activate",
    "invite",
    "unsubscribe",
    "magic",
];

/// Lines whose whole value is secret.
const TELLING_LINES: [&str; 4] = ["authorization", "proxyauthorization", "cookie", "setcookie"];

/// Whether a header of this name (lower case) carries a credential: the known ones, and any whose name says so.
pub(super) fn is_secret_header(name: &str) -> bool {
    matches!(name, "sec-websocket-protocol" | "x-csrf" | "x-auth" | "x-session") || {
        let plain = Plain::of(name.as_bytes());
        TELLING.iter().any(|telling| plain.ends_with(telling))
    }
}

/// Finds `name=value`, `name: value` and `"name": "value"` with a telling name, and `//user:password@`.
pub(super) fn find_values(
    text: &[u8],
    begins_with_name: bool,
    parameters: &[String],
    headers: &[HeaderName],
    spans: &mut Vec<Span>,
) {
    let mut hidden = 0;
    for at in memchr::memchr2_iter(b'=', b':', text) {
        if at < hidden {
            continue;
        }
        if text[at..].starts_with(b"://") {
            spans.extend(user_info(text, at + 3));
            continue;
        }
        if text[at..].starts_with(b"::") || text[..at].ends_with(b":") {
            continue;
        }
        let (start, end) = name_before(text, at);
        let name = &text[start..end];
        if name.is_empty() {
            continue;
        }
        let as_parameter = text[at] == b'='
            && match start.checked_sub(1).map(|before| text[before]) {
                None => begins_with_name,
                Some(before) => matches!(before, b'?' | b'&' | b';' | b'#'),
            };
        let plain = Plain::of(name);
        let tells = TELLING.iter().any(|telling| plain.ends_with(telling))
            || as_parameter && TELLING_PARAMETERS.iter().any(|telling| plain.is(telling))
            || as_parameter && parameters.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
            || text[at] == b':'
                && headers.iter().any(|own| name.eq_ignore_ascii_case(own.as_str().as_bytes()));
        if !tells {
            continue;
        }
        let to_line_end = text[at] == b':' && TELLING_LINES.iter().any(|telling| plain.is(telling));
        let (start, end) = value_after(text, at, as_parameter, to_line_end);
        if end > start {
            spans.push(Span { start, end, kind: Kind::Secret });
            hidden = end;
        }
    }
}

/// Finds segments of a path that follow a telling one: eight characters or more, with a digit among them.
pub(super) fn find_segments(path: &[u8], spans: &mut Vec<Span>) {
    let mut start = 0;
    let mut follows = false;
    for segment in path.split(|byte| *byte == b'/') {
        let end = start + segment.len();
        if follows && segment.len() >= 8 && segment.iter().any(u8::is_ascii_digit) {
            spans.push(Span { start, end, kind: Kind::Secret });
        }
        follows = segment.len() >= 5 && {
            let plain = Plain::of(segment);
            TELLING_SEGMENTS.iter().any(|telling| plain.is(telling))
        };
        start = end + 1;
    }
}

/// The name in front of the sign at `at`, behind quotes, spaces and a closing bracket.
fn name_before(text: &[u8], at: usize) -> (usize, usize) {
    let mut end = at;
    let skipped = text[..at].iter().rev().take(4).take_while(|byte| b" \t\"'\\]".contains(byte)).count();
    end -= skipped;
    let length = text[..end]
        .iter()
        .rev()
        .take(64)
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
        .count();
    (end - length, end)
}

fn value_after(text: &[u8], at: usize, as_parameter: bool, to_line_end: bool) -> (usize, usize) {
    let mut start = at + 1;
    let until = |from: usize, stop: &dyn Fn(u8) -> bool| {
        from + text[from..].iter().take_while(|byte| !stop(**byte)).count()
    };
    if as_parameter {
        return (start, until(start, &|byte| byte.is_ascii_whitespace() || b"&#\"'<>".contains(&byte)));
    }
    start += text[start..].iter().take(4).take_while(|byte| b" \t\\".contains(byte)).count();
    match text.get(start) {
        _ if to_line_end => (start, until(start, &|byte| byte == b'\r' || byte == b'\n')),
        Some(quote @ (b'"' | b'\'')) => (start + 1, closing_quote(text, start + 1, *quote)),
        Some(b'[') => (start, until(start, &|byte| byte == b']')),
        Some(b'{') => (start, until(start, &|byte| byte == b'}')),
        _ => (start, until(start, &|byte| byte.is_ascii_whitespace() || b",;&\"'<>)]}".contains(&byte))),
    }
}

/// The quote that ends the value: in JSON within a JSON string, where quotes are escaped, the next one; else the
/// next that is not.
fn closing_quote(text: &[u8], start: usize, quote: u8) -> usize {
    let within_string = start >= 2 && text[start - 2] == b'\\';
    let mut at = start;
    while at < text.len() && text[at] != quote {
        if text[at] == b'\\' {
            if within_string && text.get(at + 1) == Some(&quote) {
                break;
            }
            at += 1;
        }
        at += 1;
    }
    at.min(text.len())
}

fn user_info(text: &[u8], start: usize) -> Option<Span> {
    let authority = text[start..]
        .iter()
        .take(1024)
        .take_while(|byte| !byte.is_ascii_whitespace() && !b"/?#\"'<>".contains(byte))
        .count();
    let end = start + memchr::memrchr(b'@', &text[start..start + authority])?;
    (end > start).then_some(Span { start, end, kind: Kind::Credential })
}

/// The last letters and digits of a name, in lower case and nothing between them.
struct Plain {
    bytes: [u8; 24],
    from: usize,
}

impl Plain {
    fn of(name: &[u8]) -> Self {
        let mut plain = Self { bytes: [0; 24], from: 24 };
        for byte in name.iter().rev().filter(|byte| byte.is_ascii_alphanumeric()) {
            if plain.from == 0 {
                break;
            }
            plain.from -= 1;
            plain.bytes[plain.from] = byte.to_ascii_lowercase();
        }
        plain
    }

    fn ends_with(&self, telling: &str) -> bool {
        self.bytes[self.from..].ends_with(telling.as_bytes())
    }

    fn is(&self, telling: &str) -> bool {
        &self.bytes[self.from..] == telling.as_bytes()
    }
}
