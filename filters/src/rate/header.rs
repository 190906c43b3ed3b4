//! `RateLimit-Policy` and `RateLimit`, as draft-ietf-httpapi-ratelimit-headers-11 has them: lists of strings with
//! parameters (RFC 9651).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::state::Standing;

/// `RateLimit-Policy`
pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// `RateLimit`
pub(crate) const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// A rule's name as a string of RFC 9651 section 3.3.3, quotes and all. What it cannot hold becomes `?`.
pub(crate) fn quoted(name: &str) -> Box<[u8]> {
    let mut out = vec![b'"'];
    for letter in name.chars() {
        match letter {
            '"' | '\\' => out.extend([b'\\', letter as u8]),
            ' '..='~' => out.push(letter as u8),
            _ => out.push(b'?'),
        }
    }
    out.push(b'"');
    out.into()
}

/// One policy: so many requests in such a window. The window is in whole seconds, at least one.
pub(crate) fn write_policy(out: &mut Vec<u8>, quoted: &[u8], limit: u32, per: Duration) {
    member(out, quoted);
    out.extend_from_slice(b";q=");
    number(out, u64::from(limit));
    out.extend_from_slice(b";w=");
    number(out, seconds(per));
}

/// Where one rule stands: `r` requests left, one more in `t` seconds.
pub(crate) fn write_standing(out: &mut Vec<u8>, quoted: &[u8], standing: &Standing) {
    member(out, quoted);
    out.extend_from_slice(b";r=");
    number(out, u64::from(standing.remaining));
    out.extend_from_slice(b";t=");
    number(out, seconds(standing.wait));
}

/// The finished line.
pub(crate) fn value(out: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(out)).expect("only printable ASCII was written")
}

/// Whole seconds, rounded up, at least one.
pub(crate) fn seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

fn member(out: &mut Vec<u8>, quoted: &[u8]) {
    if !out.is_empty() {
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(quoted);
}

/// Digits without the formatting machinery, which costs five times as much.
fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_lists_of_strings_with_whole_numbers() {
        let mut policy = Vec::new();
        write_policy(&mut policy, &quoted("per ip"), 60, Duration::from_secs(60));
        write_policy(&mut policy, &quoted("a\"b\\c\u{4e2d}"), 1000, Duration::from_secs(3600));
        assert_eq!(value(policy), r#""per ip";q=60;w=60, "a\"b\\c?";q=1000;w=3600"#);
        let mut limit = Vec::new();
        let standing = Standing { allowed: true, remaining: 0, wait: Duration::from_millis(1001) };
        write_standing(&mut limit, &quoted("x"), &standing);
        assert_eq!(value(limit), r#""x";r=0;t=2"#);
    }

    #[test]
    fn writes_every_number_as_it_is_read() {
        for n in [0, 9, 10, 99, 100, 12_345_678_901, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, n);
            assert_eq!(String::from_utf8(out).unwrap(), n.to_string());
        }
    }
}
