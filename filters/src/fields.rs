//! One field of a JSON or form body, read so that nobody can make the gateway see another value than the app.
//!
//! Apps differ in what they do with a key that comes twice, in another case, or as a list. Whatever could be read in
//! two ways is not read at all: the caller treats it as missing, and missing must never be the easier way through.

use std::borrow::Cow;
use std::fmt;

use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_normalizer::properties::CanonicalCombiningClassMapBorrowed;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Bytes of a body that are looked at. In a longer one no field is found.
pub const LOOKED_AT: usize = 64 * 1024;

/// The text of a string or whole number in a JSON object, at a path with dots. `None` when it is missing, something
/// else, or when a key on the way comes twice, also in another case. Cost: one pass, no allocation but the answer.
pub fn json_field(body: &[u8], path: &str) -> Option<String> {
    if body.len() > LOOKED_AT {
        return None;
    }
    let mut json = serde_json::Deserializer::from_slice(body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body));
    let found = Path(path).deserialize(&mut json).ok()?;
    json.end().ok()?;
    match found {
        Found::Text(text) => Some(text),
        Found::Nothing => None,
    }
}

/// The value of a field of an `application/x-www-form-urlencoded` body. `None` when it is missing, comes twice, also
/// in another case or as `name[]`, is not UTF-8, or when a bare `;` may be a separator to the app.
pub fn form_field(body: &[u8], name: &str) -> Option<String> {
    if body.len() > LOOKED_AT || memchr::memchr(b';', body).is_some() {
        return None;
    }
    let mut found: Option<Cow<'_, str>> = None;
    for (key, value) in url::form_urlencoded::parse(body) {
        let base = key.split('[').next().unwrap_or_default();
        if !same_name(base.trim(), name) {
            continue;
        }
        if found.is_some() || key != name || value.contains('\u{FFFD}') {
            return None;
        }
        found = Some(value);
    }
    found.map(Cow::into_owned)
}

/// What an answer's JSON says at a path with dots.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It is no JSON, or more than [`LOOKED_AT`].
    Unreadable,
    /// It is JSON without that field.
    Absent,
    /// This.
    Value(Value),
}

/// Reads a field of an answer. The app is believed: the last of two equal keys counts.
pub fn answer_field(body: &[u8], path: &str) -> Answer {
    if body.len() > LOOKED_AT {
        return Answer::Unreadable;
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return Answer::Unreadable };
    for key in path.split('.') {
        let Some(inner) = value.get_mut(key) else { return Answer::Absent };
        value = inner.take();
    }
    Answer::Value(value)
}

/// A name as the laxest database compares it: compatibility forms, case, accents, spaces and invisible characters
/// make no difference. Only for keys: two users that fold to one share their lock.
pub fn folded(name: &str) -> String {
    let decomposer = DecomposingNormalizerBorrowed::new_nfkd();
    let classes = CanonicalCombiningClassMapBorrowed::new();
    let mut folded = String::with_capacity(name.len());
    // Lower case first and last: decomposition yields capitals, and some capitals lower to a letter with a mark.
    for letter in decomposer.normalize(&name.to_lowercase()).chars().flat_map(char::to_lowercase) {
        if classes.get_u8(letter) != 0 || letter.is_whitespace() || is_invisible(letter) {
            continue;
        }
        match letter {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'þ' => folded.push_str("th"),
            'ı' => folded.push('i'),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ħ' => folded.push('h'),
            'ς' => folded.push('σ'),
            _ => folded.push(letter),
        }
    }
    folded
}

fn same_name(a: &str, b: &str) -> bool {
    a == b || a.to_lowercase() == b.to_lowercase()
}

/// Controls and the characters that Unicode lets a renderer ignore.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFF8}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

enum Found {
    Text(String),
    Nothing,
}

/// Follows a path into a JSON value. An empty path is the end of it. Ends with an error when a key comes twice.
struct Path<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Path<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Path<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        if self.0.is_empty() {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Found::Nothing);
        }
        let (name, rest) = self.0.split_once('.').unwrap_or((self.0, ""));
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if !same_name(&key, name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if found.is_some() || key != name {
                return Err(A::Error::custom("ambiguous key"));
            }
            found = Some(map.next_value_seed(Path(rest))?);
        }
        Ok(found.unwrap_or(Found::Nothing))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Nothing)
    }

    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(if self.0.is_empty() { Found::Text(text.to_owned()) } else { Found::Nothing })
    }

    fn visit_u64<E>(self, number: u64) -> Result<Found, E> {
        Ok(if self.0.is_empty() { Found::Text(number.to_string()) } else { Found::Nothing })
    }

    fn visit_i64<E>(self, number: i64) -> Result<Found, E> {
        Ok(if self.0.is_empty() { Found::Text(number.to_string()) } else { Found::Nothing })
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn json_text(body: &str, path: &str) -> Option<String> {
        json_field(body.as_bytes(), path)
    }

    #[test]
    fn reads_strings_and_whole_numbers_at_a_path() {
        assert_eq!(json_text(r#"{"a":1,"username":"bob"}"#, "username").as_deref(), Some("bob"));
        assert_eq!(
            json_text(r#"{"user":{"phone":13800000000}}"#, "user.phone").as_deref(),
            Some("13800000000")
        );
        assert_eq!(json_text(r#"{"us\u0065rname":"b\u006fb"}"#, "username").as_deref(), Some("bob"));
        assert_eq!(json_text("\u{FEFF}{\"username\":\"bob\"}", "username").as_deref(), Some("bob"));
    }

    #[test]
    fn reads_nothing_that_two_readers_could_read_differently() {
        for body in [
            r#"{"username":"a","username":"b"}"#,
            r#"{"username":"a","USERNAME":"b"}"#,
            r#"{"Username":"a"}"#,
            r#"{"username":["a"]}"#,
            r#"{"username":{"a":1}}"#,
            r#"{"username":null}"#,
            r#"{"username":true}"#,
            r#"{"username":1.38e10}"#,
            r#"[{"username":"a"}]"#,
            r#"{"username":"a"} x"#,
            r#"{"username":"a"}{"username":"b"}"#,
            r#"{"username":"a",}"#,
            r#"{"username":"\ud800"}"#,
            r#"// c
               {"username":"a"}"#,
            "",
        ] {
            assert_eq!(json_text(body, "username"), None, "{body}");
        }
        assert_eq!(json_text(r#"{"user":{"name":"a"},"user":{"name":"b"}}"#, "user.name"), None);
        assert_eq!(json_text(r#"{"user":"a"}"#, "user.name"), None);
        let padded = format!(r#"{{"pad":"{}","username":"a"}}"#, "x".repeat(LOOKED_AT));
        assert_eq!(json_text(&padded, "username"), None);
    }

    #[test]
    fn reads_a_form_field_that_comes_once() {
        assert_eq!(form_field(b"a=1&user%6Eame=b%6fb+x", "username").as_deref(), Some("bob x"));
        for body in [
            &b"username=a&username=b"[..],
            b"username=a&USERNAME=b",
            b"username[]=a",
            b"username=a&username[x]=b",
            b"x=1;username=b",
            b"username=%ff",
            b"Username=a",
            b"--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nbob\r\n--x--\r\n",
            b"",
        ] {
            assert_eq!(form_field(body, "username"), None, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn folds_spellings_that_a_database_takes_for_one_name() {
        for name in [
            "admin",
            " Admin ",
            "ADMIN\t",
            "ádmin",
            "a\u{301}dmin",
            "ａｄｍｉｎ",
            "ad\u{200B}min",
            "ADMİN",
            "admın",
            "𝐚dmin",
        ] {
            assert_eq!(folded(name), "admin", "{name:?}");
        }
        assert_eq!(folded("STRASSE"), folded("straße"));
        assert_ne!(folded("张三"), folded("李四"));
        assert_eq!(folded(" \u{200B}"), "");
    }

    #[test]
    fn tells_an_absent_field_of_an_answer_from_an_unreadable_answer() {
        assert_eq!(answer_field(br#"{"data":{"code":40101}}"#, "data.code"), Answer::Value(json!(40101)));
        assert_eq!(answer_field(br#"{"data":{}}"#, "data.code"), Answer::Absent);
        assert_eq!(answer_field(b"<html>", "code"), Answer::Unreadable);
        assert_eq!(answer_field(&vec![b' '; LOOKED_AT + 1], "code"), Answer::Unreadable);
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..300)) {
            json_field(&body, "a.b");
            form_field(&body, "a");
            answer_field(&body, "a.b");
            folded(&String::from_utf8_lossy(&body));
        }

        #[test]
        fn folding_twice_changes_nothing_more(name in "\\PC{0,20}") {
            prop_assert_eq!(folded(&folded(&name)), folded(&name));
        }

        #[test]
        fn deep_nesting_is_no_danger(depth in 0usize..30_000) {
            json_field("[".repeat(depth).as_bytes(), "a");
            json_field("{\"a\":".repeat(depth / 5).as_bytes(), "a.a.a");
        }
    }
}
