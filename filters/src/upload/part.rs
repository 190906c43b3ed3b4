//! The head of one part of a form: `Content-Disposition` and what little else may matter (RFC 7578 section 4).
//!
//! Where Werkzeug, Django, busboy, Go, .NET and PHP would read a head differently, it is refused: escapes before a
//! quote, single quotes, doubled parameters, parameter names in capitals, continuations (RFC 2231), encoded words
//! (RFC 2047), folded lines, transfer encodings, names in which a parameter may be found, and a part without a file name
//! that some of them treat as a file all the same.

use super::content_type::is_token;
use super::malformed;
use crate::denial::Denial;

/// Header lines in one part's head.
const MAX_LINES: usize = 64;
/// Bytes of a field's name.
const MAX_NAME: usize = 256;

/// What a part says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHead {
    /// The form field. Never empty.
    pub name: String,
    /// The file's name as the client sent it: percent signs as they came, `filename*` decoded. `None` for a field;
    /// empty when a browser's file input was left empty.
    pub filename: Option<String>,
    /// The declared type, lower case, without parameters.
    pub content_type: Option<String>,
    /// The declared length of the part's body in bytes, which it must then have.
    pub length: Option<u64>,
}

impl PartHead {
    /// Reads the lines of a head, without the empty line that ends it. Fails with `upload.malformed`.
    pub fn parse(head: &[u8]) -> Result<Self, Denial> {
        let text = std::str::from_utf8(head).map_err(|_| malformed("a part's head is not UTF-8"))?;
        let (mut disposition, mut content_type, mut encoding, mut length) = (None, None, None, None);
        for (count, line) in text.split("\r\n").enumerate() {
            if count == MAX_LINES {
                return Err(malformed("too many lines in a part's head"));
            }
            if line.bytes().any(|b| b < 0x20 || b == 0x7f) {
                return Err(malformed("a control character, tab, bare CR or LF in a part's head"));
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(malformed("a line without a colon in a part's head"));
            };
            if !is_token(name) {
                return Err(malformed("a folded line or an odd name in a part's head"));
            }
            let slot = match name.to_ascii_lowercase().as_str() {
                "content-disposition" => &mut disposition,
                "content-type" => &mut content_type,
                "content-transfer-encoding" => &mut encoding,
                "content-length" => &mut length,
                "content-encoding" | "content-range" => {
                    return Err(malformed("an encoded or partial body of a part"));
                }
                _ => continue,
            };
            if slot.replace(value.trim_matches(' ')).is_some() {
                return Err(malformed("a header twice in a part's head"));
            }
        }
        if let Some(encoding) = encoding
            && !["7bit", "8bit", "binary"].iter().any(|known| encoding.eq_ignore_ascii_case(known))
        {
            return Err(malformed("a part with a transfer encoding"));
        }
        let length = length.map(decimal).transpose()?;
        let disposition = disposition.ok_or_else(|| malformed("a part without Content-Disposition"))?;
        let (name, filename) = form_data(disposition)?;
        let content_type = content_type.map(media_type).transpose()?;
        if filename.is_none() {
            text_only(content_type.as_deref())?;
        }
        Ok(Self { name, filename, content_type, length })
    }
}

/// `filename` and `filename*` of a `Content-Disposition: attachment`, `inline` or nothing before the parameters that a
/// raw upload carries in its request head.
pub(super) fn raw_filename(value: &[u8]) -> Result<Option<String>, Denial> {
    let text = std::str::from_utf8(value).map_err(|_| malformed("Content-Disposition is not UTF-8"))?;
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(malformed("a control character in Content-Disposition"));
    }
    let (kind, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    if !["attachment", "inline", "form-data"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return Err(malformed("an odd Content-Disposition"));
    }
    let parameters = Parameters::parse(rest)?;
    parameters.filename()
}

/// The parameters of `form-data`.
fn form_data(value: &str) -> Result<(String, Option<String>), Denial> {
    let Some(rest) = value.strip_prefix("form-data") else {
        return Err(malformed("a part that is not form-data"));
    };
    let parameters = Parameters::parse(rest)?;
    // Some do not read `filename*`, and would take the file for a field.
    if parameters.extended.is_some() && parameters.filename.is_none() {
        return Err(malformed("filename* without filename"));
    }
    let filename = parameters.filename()?;
    match parameters.name {
        Some(name) if name.is_empty() || name.len() > MAX_NAME => {
            Err(malformed("a field name that is empty or too long"))
        }
        Some(name) if name.contains('\\') => Err(malformed("a backslash in a field name")),
        Some(name) if name.contains(';') || holds_parameter(name) => {
            Err(malformed("a parameter inside a field name"))
        }
        // Python ends lines at these, too.
        Some(name) if name.contains(['\u{85}', '\u{2028}', '\u{2029}']) => {
            Err(malformed("a line break in a field name"))
        }
        Some(name) if name.contains("=?") => Err(malformed("an encoded word for a field name")),
        Some(name) => Ok((name.to_owned(), filename)),
        None => Err(malformed("a part without a name")),
    }
}

/// What a `Content-Disposition` may carry, undecoded.
#[derive(Default)]
struct Parameters<'a> {
    name: Option<&'a str>,
    filename: Option<&'a str>,
    extended: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    /// `; name="…"; filename="…"; filename*=UTF-8''…`, in any order, each at most once.
    fn parse(mut rest: &'a str) -> Result<Self, Denial> {
        let mut parameters = Self::default();
        while !rest.is_empty() {
            let Some(after) = rest.strip_prefix(';') else {
                return Err(malformed("bytes between the parameters of Content-Disposition"));
            };
            let Some((name, after)) = after.trim_start_matches(' ').split_once('=') else {
                return Err(malformed("a parameter of Content-Disposition without a value"));
            };
            let (value, after) = value(after, name == "filename*")?;
            rest = after;
            let slot = match name {
                "name" => &mut parameters.name,
                "filename" => &mut parameters.filename,
                "filename*" => &mut parameters.extended,
                _ => return Err(malformed("a parameter of Content-Disposition that does not belong there")),
            };
            if slot.replace(value).is_some() {
                return Err(malformed("a parameter of Content-Disposition twice"));
            }
        }
        Ok(parameters)
    }

    /// The one file name that both spellings agree on.
    fn filename(&self) -> Result<Option<String>, Denial> {
        if self.filename.is_some_and(|name| name.contains("=?")) {
            return Err(malformed("an encoded word for a file name"));
        }
        if self.filename.is_some_and(holds_parameter) {
            return Err(malformed("a parameter inside a file name"));
        }
        let Some(extended) = self.extended else {
            return Ok(self.filename.map(str::to_owned));
        };
        let decoded = extended_value(extended)?;
        match self.filename {
            Some(plain) if plain != decoded => Err(malformed("filename and filename* differ")),
            _ => Ok(Some(decoded)),
        }
    }
}

/// Whether `name=`, `filename=` or `filename*=` stands in a value as a word of its own. Multiparty and formidable look for
/// these words anywhere, inside of quotes, too.
fn holds_parameter(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value.match_indices("name").any(|(at, word)| {
        let before = &value[..at];
        let before = before.strip_suffix("file").unwrap_or(before);
        let after = value[at + word.len()..].trim_start_matches(|c: char| c == '*' || c.is_ascii_digit());
        after.trim_start().starts_with('=')
            && !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// A quoted string without escapes, or a token; and what follows.
fn value(text: &str, extended: bool) -> Result<(&str, &str), Denial> {
    if let Some(quoted) = text.strip_prefix('"') {
        if extended {
            return Err(malformed("filename* in quotes"));
        }
        let (value, rest) =
            quoted.split_once('"').ok_or_else(|| malformed("an open quote in a part's head"))?;
        return match value.ends_with('\\') {
            true => Err(malformed("an escaped quote in a part's head")),
            false => Ok((value, rest)),
        };
    }
    let (value, rest) = text.split_at(text.find(';').unwrap_or(text.len()));
    // PHP takes single quotes for quotes; in `filename*` they come in pairs.
    match is_token(value) && (extended || !value.contains('\'')) {
        true => Ok((value, rest)),
        false => Err(malformed("a parameter of Content-Disposition that should be in quotes")),
    }
}

/// RFC 8187 section 3.2, UTF-8 only.
fn extended_value(text: &str) -> Result<String, Denial> {
    let mut pieces = text.splitn(3, '\'');
    let (charset, _language, encoded) = (pieces.next(), pieces.next(), pieces.next());
    let (Some(charset), Some(encoded)) = (charset, encoded) else {
        return Err(malformed("filename* without a charset"));
    };
    if !charset.eq_ignore_ascii_case("utf-8") {
        return Err(malformed("filename* in a charset other than UTF-8"));
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                let (Some(high), Some(low)) = digits else {
                    return Err(malformed("filename* with a broken percent sign"));
                };
                decoded.push(high << 4 | low);
            }
            b'*' | b'\'' => return Err(malformed("filename* with a character that must be encoded")),
            other => decoded.push(other),
        }
    }
    String::from_utf8(decoded).map_err(|_| malformed("filename* is not UTF-8"))
}

/// One hex digit's value.
pub(super) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Digits only, below 2⁶³.
fn decimal(text: &str) -> Result<u64, Denial> {
    match text.parse() {
        Ok(value) if text.len() < 19 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(value),
        _ => Err(malformed("an odd Content-Length of a part")),
    }
}

/// `type/subtype` in front of parameters; a charset in which ASCII may stand for something else is refused.
fn media_type(text: &str) -> Result<String, Denial> {
    let lower = text.to_ascii_lowercase();
    let (kind, parameters) = lower.split_at(lower.find(';').unwrap_or(lower.len()));
    let kind = kind.trim_end_matches(' ');
    if !kind.split_once('/').is_some_and(|(a, b)| is_token(a) && is_token(b)) {
        return Err(malformed("an odd Content-Type of a part"));
    }
    if kind.starts_with("multipart/") {
        return Err(malformed("a multipart body inside a part"));
    }
    for parameter in parameters.split(';').map(|parameter| parameter.trim_matches(' ')) {
        // Readers that come from mail take this for a file's name.
        if parameter.starts_with("name") || parameter.starts_with("filename") {
            return Err(malformed("a name in a part's Content-Type"));
        }
        let Some(charset) = parameter.strip_prefix("charset") else { continue };
        let charset = charset.strip_prefix('=').map(|value| value.trim_matches('"'));
        if !charset.is_some_and(|charset| ["utf-8", "us-ascii", "iso-8859-1"].contains(&charset)) {
            return Err(malformed("a part in an odd charset"));
        }
    }
    Ok(kind.to_owned())
}

/// A part without a file name may only declare what no app takes for a file.
fn text_only(content_type: Option<&str>) -> Result<(), Denial> {
    match content_type {
        None | Some("text/plain" | "application/json") => Ok(()),
        Some(_) => Err(malformed("a part that is a file to some and a field to others")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Option<PartHead> {
        PartHead::parse(head.as_bytes()).ok()
    }

    fn filename(disposition: &str) -> Option<String> {
        parse(&format!("Content-Disposition: form-data; name=\"f\"; {disposition}"))
            .and_then(|head| head.filename)
    }

    #[test]
    fn reads_the_heads_of_real_clients() {
        let head = parse(
            "Content-Disposition: form-data; name=\"file\"; filename=\"a b.png\"\r\nContent-Type: image/png",
        )
        .unwrap();
        assert_eq!((head.name.as_str(), head.filename.as_deref()), ("file", Some("a b.png")));
        assert_eq!(head.content_type.as_deref(), Some("image/png"));
        let okhttp = "Content-Disposition: form-data; name=\"f\"\r\nContent-Transfer-Encoding: binary\r\nContent-Length: 3";
        assert_eq!(parse(okhttp).unwrap().length, Some(3));
        let java = "Content-Disposition: form-data; name=\"f\"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\n\
            Content-Transfer-Encoding: 8bit";
        assert_eq!(parse(java).unwrap().content_type.as_deref(), Some("text/plain"));
        assert!(parse("content-disposition: form-data; name=x").unwrap().filename.is_none());
        assert_eq!(filename("filename=\"图片;1.png\"").as_deref(), Some("图片;1.png"));
        assert_eq!(filename("filename=\"say %22hi%22.png\"").as_deref(), Some("say %22hi%22.png"));
        let both = "filename=\"图.png\"; filename*=UTF-8''%e5%9b%be.png";
        assert_eq!(filename(both).as_deref(), Some("图.png"));
        assert_eq!(filename("filename=\"surname=a, name.png\"").as_deref(), Some("surname=a, name.png"));
        assert_eq!(filename("filename=a.png; filename*=utf-8'en'a.png").as_deref(), Some("a.png"));
        assert_eq!(filename("filename=\"\"").as_deref(), Some(""));
        assert_eq!(filename("filename=\"C:\\dir\\a.png\"").as_deref(), Some("C:\\dir\\a.png"));
    }

    #[test]
    fn refuses_heads_that_readers_would_take_differently() {
        let many = "X-A: b\r\n".repeat(64) + "Content-Disposition: form-data; name=\"a\"";
        for head in [
            "",
            "Content-Type: text/plain",
            "Content-Disposition: form-data",
            "Content-Disposition: form-data;",
            "Content-Disposition: form-data; name=\"\"",
            "Content-Disposition: form-data; name=\"a\" ; filename=\"b\"",
            "Content-Disposition: form-data; name=\"a\";",
            "Content-Disposition: form-data; name = \"a\"",
            "Content-Disposition: form-data; name=\"a\"; name=\"b\"",
            "Content-Disposition: form-data; name=\"a\"; NAME=\"b\"",
            "Content-Disposition: form-data; name=\"a\"; filename=\"b\"; filename=\"c\"",
            "Content-Disposition: form-data; name=\"a\"; filename=\"b\"; Filename=\"c\"",
            "Content-Disposition: form-data; name=\"a\"; filename*0=\"b\"; filename*1=\".php\"",
            "Content-Disposition: form-data; name*=utf-8''a",
            "Content-Disposition: form-data; name=\"a\"; filename=\"b.png\"; filename*=utf-8''b.php",
            "Content-Disposition: form-data; name=\"a\"; filename*=utf-8''b.png",
            "Content-Disposition: form-data; name=\"x; filename=evil.php; y\"",
            "Content-Disposition: form-data; name=\"x;y\"",
            "Content-Disposition: form-data; name=\"x filename=evil.php\"",
            "Content-Disposition: form-data; name=\"x FileName* = utf-8''evil.php\"",
            "Content-Disposition: form-data; name=\"x; filename=evil.php; y\"; filename=\"a.txt\"",
            "Content-Disposition: form-data; filename=\"x; name=evil.txt\"; name=\"a\"",
            "Content-Disposition: form-data; name=\"a\"; filename=\"filename*0=evil.txt\"",
            "Content-Disposition: form-data; name=\"a\"; filename=\"图name=evil.txt\"",
            "Content-Disposition: form-data; name=\"a\"; filename=\"a.png\"; filename*=gbk''a.png",
            "Content-Disposition: form-data; name=\"a\"; filename=a; filename*=utf-8''%ff.png",
            "Content-Disposition: form-data; name=\"a\"; filename=a; filename*=utf-8''%4",
            "Content-Disposition: form-data; name=\"a\"; filename=b.png; filename*=\"utf-8''b.png\"",
            "Content-Disposition: form-data; name=\"a\"; filename=\"b\\\".png\"",
            "Content-Disposition: form-data; name=\"a\"; filename=\"b.png",
            "Content-Disposition: form-data; name=\"a\"; filename=b c.png",
            "Content-Disposition: form-data; name=\"a\"; filename=\"=?utf-8?B?YS5waHA=?=\"",
            "Content-Disposition: form-data; name=\"a\\b\"",
            "Content-Disposition: form-data; name=\"=?utf-8?Q?a?=\"",
            "Content-Disposition: form-data; name='a'",
            "Content-Disposition: form-data; name=\"a\u{2028}b\"",
            "Content-Disposition: form-data; name=\"a\u{85}b\"",
            "Content-Disposition: form-data; name=a; filename='b.php'",
            "Content-Disposition: form-data; name=a; filename=it's;filename*=utf-8''b",
            "Content-Disposition: form-data; name=\"a\"; filename*0*=utf-8''b.png",
            "Content-Disposition: form-data; name=\"a\"; filename=b*.png; filename*=utf-8''b*.png",
            "Content-Disposition: form-data; name=\"a\"; filename=",
            "Content-Disposition: form-data; name=\"a\" filename=\"b\"",
            "Content-Disposition: form-data, form-data; name=\"a\"",
            "Content-Disposition:\tform-data; name=\"a\"",
            "\tContent-Disposition: form-data; name=\"a\"",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; name=a.php",
            "Content-Disposition: form-data; name=\"a\"; filename=\"b\"\r\nContent-Type: image/png; Name=\"a.php\"",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-8; charset=utf-7",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset*=utf-7''",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type:",
            "Content-Disposition: attachment; name=\"a\"",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; name=\"b\"",
            "Content-Disposition: form-data;\r\n name=\"a\"",
            "Content-Disposition : form-data; name=\"a\"",
            "Content-Disposition: form-data; name=\"a\"\nX: y",
            "Content-Disposition: form-data; name=\"a\"\rX: y",
            "Content-Disposition: form-data; name=\"a\"; filename=\"b\0.png\"",
            "Content-Disposition: form-data;\tname=\"a\"",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: quoted-printable",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Encoding: gzip",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: application/octet-stream",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-7",
            "Content-Disposition: form-data; name=\"a\"; filename=\"b\"\r\nContent-Type: multipart/mixed; boundary=c",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: a/b\r\nContent-Type: a/b",
            "Content-Disposition: form-data; name=\"a\"\r\nContent-Length: +3",
            "Content-Disposition: form-data; name=\"a\"\r\nno colon",
            &many,
        ] {
            assert!(parse(head).is_none(), "{head:?}");
        }
        assert!(PartHead::parse(b"Content-Disposition: form-data; name=\"\xff\"").is_err());
    }
}
