//! Hides what must not be written: the one door in front of every log, audit line and metric.
//!
//! What is looked for, in any text:
//!
//! | kind | what |
//! | --- | --- |
//! | `jwt` | base64url parts joined by dots of which the first begins `eyJ`; also cut short |
//! | `credential` | what follows `Bearer` or `Basic`; user and password of a URL; `Authorization:`, `Cookie:` lines |
//! | `key` | `whk_…`, `dw_…` |
//! | `phone`, `idcard`, `card` | mainland mobile numbers, identity-card numbers, bank cards: see `scrub/numbers.rs` |
//! | `email` | the part before the `@` |
//! | `secret` | values of members, fields and parameters with telling names: see `scrub/names.rs` |
//! | `opaque` | what looks random: see `scrub/tokens.rs` |
//! | a name of the operator's | what `log.scrub` adds |
//!
//! Each also when percent-encoded (once or twice) or written in base64 or base64url, one in the other up to
//! three deep. What is found is replaced by `[scrubbed:KIND]`.
//!
//! Cost: one pass over clean text, no allocation; time and memory linear in the length of the text. What is cut
//! short must be cut after it was scrubbed, or half a secret is not known for one.
//!
//! Not protected: a secret made of words or of few characters in a place with a harmless name, one that is a
//! UUID, and anything encrypted or compressed.

mod names;
mod numbers;
mod tokens;

use std::borrow::Cow;
use std::cmp::Reverse;

use http::HeaderName;
use regex::Regex;

/// How many encodings are taken off, one after the other.
pub const DEPTH: u8 = 3;

/// Everything that is hidden, compiled. Built once for a policy, shared by all threads.
#[derive(Debug, Clone, Default)]
pub struct Scrubber {
    query: Vec<String>,
    headers: Vec<HeaderName>,
    patterns: Vec<(String, Regex)>,
}

/// Where a text comes from: what may be taken for granted about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Anywhere.
    Text,
    /// A query: it begins with a parameter's name.
    Query,
    /// A path: a segment may be a secret because of the one in front of it.
    Path,
    /// A name of somebody or something: random characters are no secret.
    Name,
}

impl Scrubber {
    /// With the operator's own names and patterns beside the built-in ones.
    pub fn build(policy: &config::Scrub) -> Self {
        Self {
            query: policy.query.iter().map(|name| name.to_ascii_lowercase()).collect(),
            headers: policy.headers.clone(),
            patterns: policy
                .patterns
                .iter()
                .map(|(name, regex)| (format!("[scrubbed:{name}]"), regex.clone()))
                .collect(),
        }
    }

    /// Any text, such as a user agent, a referer, a message.
    pub fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.hide(text, Place::Text)
    }

    /// Bytes that may be no text; what is not UTF-8 becomes U+FFFD.
    pub fn scrub_bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, str> {
        self.bytes(bytes, Place::Text)
    }

    /// A query without its `?`: the values of known parameters, and whatever stands out in the others.
    pub fn query<'t>(&self, query: &'t [u8]) -> Cow<'t, str> {
        self.bytes(query, Place::Query)
    }

    /// A path: as any text, and the segment after one such as `token` or `reset`.
    pub fn path<'t>(&self, path: &'t [u8]) -> Cow<'t, str> {
        self.bytes(path, Place::Path)
    }

    /// A verified name, such as a subject or a request id: as any text, but random characters stay readable.
    pub fn name<'t>(&self, name: &'t str) -> Cow<'t, str> {
        self.hide(name, Place::Name)
    }

    /// A header's value: hidden whole when the header is known to carry credentials.
    pub fn header<'t>(&self, name: &HeaderName, value: &'t [u8]) -> Cow<'t, str> {
        if self.headers.contains(name) || names::is_secret_header(name.as_str()) {
            return Cow::Borrowed("[scrubbed:header]");
        }
        self.bytes(value, Place::Text)
    }

    fn bytes<'t>(&self, bytes: &'t [u8], place: Place) -> Cow<'t, str> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.hide(text, place),
            Err(_) => Cow::Owned(self.hide(&String::from_utf8_lossy(bytes), place).into_owned()),
        }
    }

    fn hide<'t>(&self, text: &'t str, place: Place) -> Cow<'t, str> {
        let mut spans = Vec::new();
        self.find(text.as_bytes(), place, 0, &mut spans);
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        spans.sort_unstable_by_key(|span| (span.start, Reverse(span.end)));
        let mut clean = String::with_capacity(text.len());
        let mut at = 0;
        let mut last = 0;
        for span in &spans {
            let (start, end) = (text.floor_char_boundary(span.start), text.ceil_char_boundary(span.end));
            if start >= at {
                clean.push_str(&text[last..start]);
                clean.push_str(self.label(span.kind));
            }
            at = at.max(end);
            last = at;
        }
        clean.push_str(&text[last..]);
        Cow::Owned(clean)
    }

    fn label(&self, kind: Kind) -> &str {
        match kind {
            Kind::Jwt => "[scrubbed:jwt]",
            Kind::Credential => "[scrubbed:credential]",
            Kind::Key => "[scrubbed:key]",
            Kind::Phone => "[scrubbed:phone]",
            Kind::IdCard => "[scrubbed:idcard]",
            Kind::Card => "[scrubbed:card]",
            Kind::Email => "[scrubbed:email]",
            Kind::Secret => "[scrubbed:secret]",
            Kind::Opaque => "[scrubbed:opaque]",
            Kind::Own(index) => &self.patterns[index].0,
        }
    }

    fn find(&self, text: &[u8], place: Place, depth: u8, spans: &mut Vec<Span>) {
        let seen = self.words(text, place, depth, spans);
        if seen.digits {
            numbers::find(text, spans);
        }
        if seen.at {
            tokens::find_emails(text, spans);
        }
        if seen.assignment {
            names::find_values(text, place == Place::Query, &self.query, &self.headers, spans);
        }
        if place == Place::Path {
            names::find_segments(text, spans);
        }
        self.find_own(text, spans);
        if seen.percent && depth < DEPTH {
            self.find_percent_encoded(text, place, depth, spans);
        }
    }

    /// The pass over every byte: looks at each word and says what else is worth looking for.
    fn words(&self, text: &[u8], place: Place, depth: u8, spans: &mut Vec<Span>) -> Seen {
        let mut seen = Seen::default();
        let mut wide = 0;
        let mut wide_has_sign = false;
        let mut at = 0;
        while at < text.len() {
            let class = CLASS[usize::from(text[at])];
            if class & WORD == 0 {
                seen.percent |= class & PERCENT != 0;
                seen.at |= class & AT != 0;
                seen.assignment |= class & ASSIGNMENT != 0;
                if class & SIGN != 0 {
                    wide_has_sign = true;
                } else {
                    if wide_has_sign && at - wide >= 16 {
                        self.find_base64(text, wide, at, depth, spans);
                    }
                    (wide, wide_has_sign) = (at + 1, false);
                }
                at += 1;
                continue;
            }
            let start = at;
            let mut digits = 0;
            for &byte in &text[start..] {
                let class = CLASS[usize::from(byte)];
                if class & WORD == 0 {
                    break;
                }
                digits += usize::from(class & DIGIT != 0);
                at += 1;
            }
            let length = at - start;
            let grouped = digits == length && (2..=6).contains(&length) && text.get(at) == Some(&b' ');
            seen.digits |= digits >= 11 || (grouped && text.get(at + 1).is_some_and(u8::is_ascii_digit));
            if length < 5 || spans.last().is_some_and(|span| span.end > start) {
                continue;
            }
            tokens::find_in_word(text, start, at, spans);
            if length >= 12 {
                self.find_base64(text, start, at, depth, spans);
            }
            if length >= 20 && digits > 0 && place != Place::Name && tokens::looks_random(text, start, at) {
                spans.push(Span { start, end: at, kind: Kind::Opaque });
            }
        }
        if wide_has_sign && text.len() - wide >= 16 {
            self.find_base64(text, wide, text.len(), depth, spans);
        }
        seen
    }

    /// Base64 of a text that holds something: the whole of it goes.
    fn find_base64(&self, text: &[u8], start: usize, end: usize, depth: u8, spans: &mut Vec<Span>) {
        if depth >= DEPTH {
            return;
        }
        let Some(decoded) = tokens::decode_text(&text[start..end]) else { return };
        let mut inner = Vec::new();
        self.find(&decoded, Place::Text, depth + 1, &mut inner);
        if let Some(first) = inner.first() {
            let padding = text[end..].iter().take_while(|byte| **byte == b'=').count();
            spans.push(Span { start, end: end + padding, kind: first.kind });
        }
    }

    fn find_percent_encoded(&self, text: &[u8], place: Place, depth: u8, spans: &mut Vec<Span>) {
        let Some((decoded, origin)) = tokens::percent_decode(text) else { return };
        let mut inner = Vec::new();
        self.find(&decoded, place, depth + 1, &mut inner);
        spans.extend(inner.into_iter().map(|span| Span {
            start: origin[span.start],
            end: origin[span.end],
            kind: span.kind,
        }));
    }

    fn find_own(&self, text: &[u8], spans: &mut Vec<Span>) {
        if self.patterns.is_empty() {
            return;
        }
        let mut base = 0;
        for chunk in text.utf8_chunks() {
            for (index, (_, regex)) in self.patterns.iter().enumerate() {
                for found in regex.find_iter(chunk.valid()).filter(|found| !found.is_empty()) {
                    let (start, end) = (base + found.start(), base + found.end());
                    spans.push(Span { start, end, kind: Kind::Own(index) });
                }
            }
            base += chunk.valid().len() + chunk.invalid().len();
        }
    }
}

/// Something to hide, in bytes of the text it was found in.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Jwt,
    Credential,
    Key,
    Phone,
    IdCard,
    Card,
    Email,
    Secret,
    Opaque,
    Own(usize),
}

/// What the first pass came across.
#[derive(Default)]
struct Seen {
    digits: bool,
    percent: bool,
    at: bool,
    assignment: bool,
}

const WORD: u8 = 1;
const DIGIT: u8 = 2;
const PERCENT: u8 = 4;
const AT: u8 = 8;
const ASSIGNMENT: u8 = 16;
const SIGN: u8 = 32;

const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' => WORD | DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' => WORD,
            b'%' => PERCENT,
            b'@' => AT,
            b'=' | b':' => ASSIGNMENT,
            b'+' | b'/' => SIGN,
            _ => 0,
        };
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests;
