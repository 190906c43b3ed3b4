//! The `Content-Type` of a form with files (RFC 7578 section 4.1, RFC 2046 section 5.1.1).

use super::malformed;
use crate::denial::Denial;

/// What a request's `Content-Type` says of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormType {
    /// `multipart/form-data` with this boundary: 1 to 70 characters of RFC 2046's `bchars`, without spaces.
    Form(String),
    /// Anything else, lower case and without parameters.
    Other(String),
}

/// Reads a `Content-Type`. A form's has one `boundary`, at most one `charset=utf-8`, and nothing else; what could be
/// read in two ways (continuations and charsets of RFC 2231, tabs, escapes, unquoted specials, any other multipart
/// type) is `upload.malformed`.
pub fn form_type(value: &[u8]) -> Result<FormType, Denial> {
    let text = std::str::from_utf8(value).map_err(|_| malformed("Content-Type is not ASCII"))?;
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(malformed("Content-Type has a tab, a control character or is not ASCII"));
    }
    let (kind, mut rest) = match text.find(';') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let kind = kind.trim_end_matches(' ').to_ascii_lowercase();
    if kind != "multipart/form-data" {
        // A spelling that a lenient reader would take for a form must not get round the rules for forms.
        return match kind.contains("multipart") {
            true => Err(malformed("a multipart type other than multipart/form-data")),
            false if !is_media_type(&kind) => Err(malformed("Content-Type is not one media type")),
            false => Ok(FormType::Other(kind)),
        };
    }
    let (mut boundary, mut charset) = (None, false);
    while !rest.is_empty() {
        rest = rest[1..].trim_start_matches(' ');
        let Some((name, after)) = rest.split_once('=') else {
            return Err(malformed("a Content-Type parameter without a value"));
        };
        let (value, after) = parameter_value(after)?;
        rest = after;
        if !rest.is_empty() && !rest.starts_with(';') {
            return Err(malformed("bytes after a Content-Type parameter"));
        }
        match name.to_ascii_lowercase().as_str() {
            "boundary" if boundary.is_none() => boundary = Some(value),
            "charset" if !charset && value.eq_ignore_ascii_case("utf-8") => charset = true,
            _ => return Err(malformed("a Content-Type parameter that is doubled or does not belong there")),
        }
    }
    match boundary {
        Some(text) if (1..=70).contains(&text.len()) => Ok(FormType::Form(text.to_owned())),
        Some(_) => Err(malformed("the boundary has no character or more than 70")),
        None => Err(malformed("multipart/form-data without a boundary")),
    }
}

/// `type/subtype`, both tokens.
fn is_media_type(text: &str) -> bool {
    text.split_once('/').is_some_and(|(a, b)| is_token(a) && is_token(b))
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A value and what follows it. Quoted: any `bchars` but the space; bare: those that are token characters as well, but
/// the single quote.
fn parameter_value(text: &str) -> Result<(&str, &str), Denial> {
    let (value, rest, specials): (_, _, &[u8]) = match text.strip_prefix('"') {
        Some(quoted) => {
            let (value, rest) =
                quoted.split_once('"').ok_or_else(|| malformed("an open quote in Content-Type"))?;
            (value, rest, b"'()+_,-./:=?")
        }
        None => {
            let (value, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
            // Mail's readers take single quotes for a charset (RFC 2231).
            (value, rest, b"+_-.")
        }
    };
    match value.bytes().all(|b| b.is_ascii_alphanumeric() || specials.contains(&b)) {
        true => Ok((value, rest)),
        false => Err(malformed("a Content-Type parameter with a character that readers treat differently")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(text: &str) -> Option<String> {
        match form_type(text.as_bytes()) {
            Ok(FormType::Form(boundary)) => Some(boundary),
            _ => None,
        }
    }

    #[test]
    fn reads_what_browsers_curl_python_and_dotnet_send() {
        for (text, expected) in [
            ("multipart/form-data; boundary=----WebKitFormBoundaryABC123", "----WebKitFormBoundaryABC123"),
            (
                "multipart/form-data; boundary=---------------------------735323031399963166993862150",
                "---------------------------735323031399963166993862150",
            ),
            (
                "multipart/form-data; boundary=------------------------d74496d66958873e",
                "------------------------d74496d66958873e",
            ),
            (
                "multipart/form-data; boundary=\"3a9d1b86-9c5e-4d3a-8a70-2b1ad7c1\"",
                "3a9d1b86-9c5e-4d3a-8a70-2b1ad7c1",
            ),
            ("multipart/form-data; boundary=\"===============777==\"", "===============777=="),
            ("Multipart/Form-Data;boundary=x; charset=UTF-8", "x"),
        ] {
            assert_eq!(boundary(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_a_boundary_that_can_be_read_in_two_ways() {
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        for text in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=a; BOUNDARY=a",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=\"a\\b\"",
            "multipart/form-data; boundary=\"a\"b",
            "multipart/form-data; boundary*0=a; boundary*1=b",
            "multipart/form-data; boundary*=utf-8''a",
            "multipart/form-data; boundary=a, multipart/form-data; boundary=b",
            "multipart/form-data;\tboundary=a",
            "multipart/form-data; boundary =a",
            "multipart/form-data; boundary= a",
            "multipart/form-data; boundary='abc'",
            "multipart/form-data; boundary=utf-8'en'abc",
            "multipart/form-data; boundary=a b",
            "multipart/form-data; boundary=\"a b\"",
            "multipart/form-data; boundary=a;",
            "multipart/form-data; charset=utf-7; boundary=a",
            "multipart/form-data; x=y; boundary=a",
            "multipart/form-data boundary=a",
            "multipart/mixed; boundary=a",
            "multipart/form-data\u{e9}; boundary=a",
            "text/plain, multipart/form-data; boundary=a",
            " multipart/form-data; boundary=a",
            &long,
        ] {
            assert!(form_type(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn tells_other_types_from_forms() {
        assert_eq!(form_type(b"image/PNG; a=b").unwrap(), FormType::Other("image/png".into()));
        assert!(form_type(b"image").is_err());
    }
}
