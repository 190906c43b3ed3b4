//! Reading functions for single values.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use serde_json::json;

use crate::problem::quote;
use crate::read::{Reader, Written, did_you_mean, members};
use crate::unit::{self, Misread};

/// How a text with a variable in it looks to the schema.
const VARIABLE: &str = r"\$\{";

/// Any text, also one of several lines. Plain numbers are taken as they are written.
pub(crate) fn text(r: &Reader<'_>) -> Option<String> {
    r.describe_with(|schema| schema.extend(members(json!({"type": ["string", "number"]}))));
    Some(written_text(r)?.text)
}

/// Text of one line, not empty.
pub(crate) fn line(r: &Reader<'_>) -> Option<String> {
    r.describe_with(|schema| schema.extend(members(json!({"type": ["string", "number"], "minLength": 1}))));
    Some(written_line(r)?.text)
}

/// Text of one line with what is needed to quote it.
pub(crate) fn written_line(r: &Reader<'_>) -> Option<Written> {
    let written = written_text(r)?;
    if written.text.is_empty() {
        r.problem("the text is empty", "write a value, or take the key away");
        return None;
    }
    if written.text.chars().any(char::is_control) {
        r.problem(format!("{} holds a control character", written.quoted()), "write one line of plain text");
        return None;
    }
    Some(written)
}

fn written_text(r: &Reader<'_>) -> Option<Written> {
    let written = r.scalar()?;
    if written.plain && !written.variable && is_truth_value(&written.text) {
        let remedy = format!("write {} in quotes, if that is the text", quote(&written.text));
        r.problem(format!("{} is a truth value, not text", written.quoted()), remedy);
        return None;
    }
    if ["@env:", "@file:", "@secret:"].iter().any(|prefix| written.text.starts_with(prefix)) {
        r.problem(
            format!("{} refers to a secret where none belongs", written.quoted()),
            "write the value, or \"${NAME}\" for a variable",
        );
        return None;
    }
    Some(written)
}

/// `true` or `false`
pub(crate) fn boolean(r: &Reader<'_>) -> Option<bool> {
    r.describe_with(|schema| {
        schema.insert("anyOf".into(), json!([{"type": "boolean"}, {"type": "string", "pattern": VARIABLE}]))
    });
    let written = r.scalar()?;
    match written.text.as_str() {
        "true" | "True" | "TRUE" if written.plain => Some(true),
        "false" | "False" | "FALSE" if written.plain => Some(false),
        _ => {
            r.problem(
                format!("{} is not a truth value", written.quoted()),
                "write true or false, without quotes",
            );
            None
        }
    }
}

/// A whole number from `least` to `most`.
pub(crate) fn integer(least: u64, most: u64) -> impl Fn(&Reader<'_>) -> Option<u64> {
    move |r| {
        r.describe_with(|schema| {
            let number = json!({"type": "integer", "minimum": least, "maximum": most});
            schema.insert("anyOf".into(), json!([number, {"type": "string", "pattern": VARIABLE}]))
        });
        let written = r.scalar()?;
        let digits = !written.text.is_empty() && written.text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !written.plain {
            let remedy = format!("write {}, without quotes", shown_range(least, most));
            r.problem(format!("{} is not a whole number", written.quoted()), remedy);
            return None;
        }
        match written.text.parse() {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let remedy = format!("write {}", shown_range(least, most));
                r.problem(format!("{} is out of range", written.quoted()), remedy);
                None
            }
        }
    }
}

fn shown_range(least: u64, most: u64) -> String {
    if least == most { least.to_string() } else { format!("a number from {least} to {most}") }
}

/// A number that fits in 32 bits.
pub(crate) fn small(least: u32, most: u32) -> impl Fn(&Reader<'_>) -> Option<u32> {
    move |r| u32::try_from(integer(least.into(), most.into())(r)?).ok()
}

/// A number of things in memory.
pub(crate) fn count(least: u32, most: u32) -> impl Fn(&Reader<'_>) -> Option<usize> {
    move |r| usize::try_from(integer(least.into(), most.into())(r)?).ok()
}

/// One of the words, with what it stands for.
pub(crate) fn word<T: Copy>(words: &[(&'static str, T)]) -> impl Fn(&Reader<'_>) -> Option<T> {
    move |r| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        r.describe_with(|schema| {
            schema.insert("anyOf".into(), json!([{"enum": known}, {"type": "string", "pattern": VARIABLE}]))
        });
        let written = r.scalar()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == written.text) {
            return Some(*value);
        }
        // What was meant by a value of the environment is not guessed aloud.
        let meant = if written.variable { "" } else { &written.text };
        r.problem(format!("{} is not known here", written.quoted()), did_you_mean(meant, &known));
        None
    }
}

/// Bytes.
pub(crate) fn size(r: &Reader<'_>) -> Option<u64> {
    describe_pattern(r, r"^[0-9]+(B|KB|MB|GB|TB)?$");
    quantity(r, unit::size)
}

/// Bytes, of which there are at least `least` and at most `most`.
pub(crate) fn size_between(least: u64, most: u64) -> impl Fn(&Reader<'_>) -> Option<u64> {
    move |r| {
        let size = size(r)?;
        if (least..=most).contains(&size) {
            return Some(size);
        }
        let remedy = format!("write from {} to {}", shown_size(least), shown_size(most));
        r.problem(format!("{} is out of range", quoted(r)), remedy);
        None
    }
}

fn shown_size(size: u64) -> String {
    match size {
        size if size >= 1 << 30 && size % (1 << 30) == 0 => format!("{}GB", size >> 30),
        size if size >= 1 << 20 && size % (1 << 20) == 0 => format!("{}MB", size >> 20),
        size if size >= 1 << 10 && size % (1 << 10) == 0 => format!("{}KB", size >> 10),
        size => format!("{size}B"),
    }
}

/// A time, also none.
pub(crate) fn duration(r: &Reader<'_>) -> Option<Duration> {
    describe_pattern(r, r"^[0-9]+(ms|s|m|h|d)$");
    quantity(r, unit::duration)
}

/// A time that is not none.
pub(crate) fn time_limit(r: &Reader<'_>) -> Option<Duration> {
    let duration = duration(r)?;
    if duration.is_zero() {
        r.problem(format!("{} leaves no time", quoted(r)), "write a longer time, as in 10s");
        return None;
    }
    Some(duration)
}

/// So many in a time.
pub(crate) fn rate(r: &Reader<'_>) -> Option<(u32, Duration)> {
    describe_pattern(r, r"^[0-9]+/(s|min|h)$");
    quantity(r, unit::rate)
}

/// Bytes a second.
pub(crate) fn byte_rate(r: &Reader<'_>) -> Option<u64> {
    describe_pattern(r, r"^[0-9]+(B|KB|MB|GB)?/s$");
    quantity(r, unit::byte_rate)
}

fn quantity<T>(r: &Reader<'_>, parse: impl Fn(&str) -> Result<T, Misread>) -> Option<T> {
    let written = r.scalar()?;
    parse(&written.text)
        .map_err(|Misread { what, remedy }| {
            // The remedy repeats the number, which must stay unseen when it comes from the environment.
            let remedy = if written.variable {
                "set the variable to a value in the right form".into()
            } else {
                remedy
            };
            r.problem(format!("{} {what}", written.quoted()), remedy);
        })
        .ok()
}

/// A path of the file system, seen from the folder of the policy's file.
pub(crate) fn path(r: &Reader<'_>) -> Option<PathBuf> {
    let path = line(r)?;
    Some(r.loading.resolve(r.span()?.file, &path))
}

/// `127.0.0.1:8080`, `[::]:443`
pub(crate) fn socket_address(r: &Reader<'_>) -> Option<SocketAddr> {
    r.describe_with(|schema| {
        schema.extend(members(json!({"type": "string", "examples": ["127.0.0.1:8080", "[::]:443"]})))
    });
    let written = written_line(r)?;
    written
        .text
        .parse()
        .map_err(|_| {
            let remedy = "write IP:PORT, as in 127.0.0.1:8080, or 0.0.0.0:80 for every interface";
            r.problem(format!("{} is not an address to listen on", written.quoted()), remedy);
        })
        .ok()
}

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
pub(crate) fn network(r: &Reader<'_>) -> Option<IpNet> {
    r.describe_with(|schema| {
        schema.extend(members(json!({"type": "string", "examples": ["10.0.0.0/8", "::1"]})))
    });
    let written = written_line(r)?;
    let network = written.text.parse().or_else(|_| written.text.parse::<IpAddr>().map(IpNet::from));
    network
        .map(|network: IpNet| network.trunc())
        .map_err(|_| {
            let remedy = "write an address with the bits that count, as in 10.0.0.0/8, or a single address";
            r.problem(format!("{} is not a network", written.quoted()), remedy);
        })
        .ok()
}

/// A header's name (RFC 9110 section 5.1).
pub(crate) fn header_name(r: &Reader<'_>) -> Option<HeaderName> {
    r.describe_with(|schema| schema.insert("type".into(), json!("string")));
    let written = written_line(r)?;
    written
        .text
        .parse()
        .map_err(|_| {
            let remedy = "write letters, digits and hyphens, as in X-Tenant-Id";
            r.problem(format!("{} cannot be a header's name", written.quoted()), remedy);
        })
        .ok()
}

/// A header's value: no control characters (RFC 9110 section 5.5).
pub(crate) fn header_value(r: &Reader<'_>) -> Option<HeaderValue> {
    let written = written_text(r)?;
    let printable = !written.text.chars().any(char::is_control);
    HeaderValue::from_str(&written.text).ok().filter(|_| printable).or_else(|| {
        let remedy = "write one line without control characters";
        r.problem(format!("{} cannot be a header's value", written.quoted()), remedy);
        None
    })
}

/// Methods that a route can name. `CONNECT` and `TRACE` are never served.
const METHODS: [&str; 18] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "QUERY",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
    "PURGE",
];

/// A method.
pub(crate) fn method(r: &Reader<'_>) -> Option<Method> {
    let words = METHODS.map(|name| (name, name));
    Method::from_bytes(word(&words)(r)?.as_bytes()).ok()
}

/// The name of a query parameter, cookie, form field or the like: printable ASCII without what ends one there.
pub(crate) fn token(r: &Reader<'_>) -> Option<String> {
    r.describe_with(|schema| schema.insert("type".into(), json!("string")));
    let written = written_line(r)?;
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}&".contains(&byte);
    if written.text.bytes().all(fits) {
        return Some(written.text);
    }
    let remedy = "write letters, digits and any of !#$%'*+-.^_`|~";
    r.problem(format!("{} cannot be a name here", written.quoted()), remedy);
    None
}

/// The value as it stands in the file, in quotes.
pub(crate) fn quoted(r: &Reader<'_>) -> String {
    r.scalar().map_or_else(String::new, |written| written.quoted().to_owned())
}

fn describe_pattern(r: &Reader<'_>, pattern: &str) {
    r.describe_with(|schema| {
        let pattern = format!("{pattern}|{VARIABLE}");
        schema.extend(members(json!({"type": ["string", "integer"], "pattern": pattern})));
    });
}

fn is_truth_value(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}
