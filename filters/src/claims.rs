//! JSON in which no name is written twice: the header and the claims of a token.
//!
//! Two parsers that disagree about a repeated name read two different tokens, so a repeated name is an error here, at
//! any depth (RFC 8725 section 2.4 asks for it, RFC 7519 section 4 allows it). Text is borrowed from the input where
//! it has no escapes. Depth is at most 127, time is `n log n` in the number of names.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` and `false`
    Bool(bool),
    /// A number without fraction or exponent that fits 64 bits, with or without sign.
    Whole(i128),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// An array.
    List(Vec<Json<'a>>),
    /// An object, in the order written.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads one object and nothing after it.
    pub fn object(bytes: &'a [u8]) -> Option<Self> {
        let value = serde_json::from_slice(bytes).ok()?;
        matches!(value, Json::Object(_)).then_some(value)
    }

    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        let Json::Object(members) = self else { return None };
        members.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The claim of this name, or else, when the name has dots, the one at this path of names.
    pub fn claim(&self, path: &str) -> Option<&Json<'a>> {
        if let Some(literal) = self.get(path) {
            return Some(literal);
        }
        if !path.contains('.') {
            return None;
        }
        path.split('.').try_fold(self, |value, name| value.get(name))
    }

    /// A string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A string, or a whole number in decimal. Other numbers are refused because two of them may have one
    /// approximation.
    pub fn word(&self) -> Option<Cow<'_, str>> {
        match self {
            Json::Text(text) => Some(Cow::Borrowed(text)),
            Json::Whole(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    /// A number, as seconds of a `NumericDate` (RFC 7519 section 2). Exact to a microsecond for 250 years around now.
    pub fn seconds(&self) -> Option<f64> {
        match self {
            Json::Whole(number) => Some(*number as f64),
            Json::Float(number) => Some(*number),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated names")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Whole(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Whole(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::with_capacity(8);
        while let Some(name) = entries.next_key::<Name<'de>>()? {
            members.push((name.0, entries.next_value()?));
        }
        if repeats(&members) {
            return Err(A::Error::custom("a name is written twice"));
        }
        Ok(Json::Object(members))
    }
}

/// A member's name, borrowed where it can be; `Cow`'s own implementation always copies.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(value)))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(value.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

fn repeats(members: &[(Cow<'_, str>, Json<'_>)]) -> bool {
    if members.len() <= 16 {
        return members.iter().enumerate().any(|(i, (name, _))| members[..i].iter().any(|(n, _)| n == name));
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Option<Json<'_>> {
        Json::object(text.as_bytes())
    }

    #[test]
    fn refuses_a_repeated_name_at_any_depth_and_in_any_spelling() {
        assert!(object(r#"{"a":1,"b":2}"#).is_some());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"b":0,"a":2}]}"#,
        ] {
            assert_eq!(object(text), None, "{text}");
        }
    }

    #[test]
    fn refuses_a_repeated_name_among_many() {
        let members: Vec<String> = (0..500).map(|i| format!("\"k{i}\":0")).collect();
        assert!(object(&format!("{{{}}}", members.join(","))).is_some());
        assert_eq!(object(&format!("{{{},\"k250\":1}}", members.join(","))), None);
    }

    #[test]
    fn takes_one_object_and_nothing_else() {
        for text in ["", "[]", "1", "{}x", "{} {}", "{\"a\":}", "{\"a\":1e999}", "\u{feff}{}"] {
            assert_eq!(object(text), None, "{text}");
        }
        assert!(object(" {\n} ").is_some());
    }

    #[test]
    fn ends_a_nesting_that_has_no_end() {
        let deep = format!("{}{}", "{\"a\":".repeat(2000), "1");
        assert_eq!(object(&deep), None);
    }

    #[test]
    fn finds_a_claim_by_its_literal_name_before_the_path() {
        let json = object(r#"{"a.b":1,"a":{"b":2,"c":{"d":3}},"https://x.example/y":4}"#).unwrap();
        assert_eq!(json.claim("a.b"), Some(&Json::Whole(1)));
        assert_eq!(json.claim("a.c.d"), Some(&Json::Whole(3)));
        assert_eq!(json.claim("https://x.example/y"), Some(&Json::Whole(4)));
        assert_eq!(json.claim("a.x"), None);
        assert_eq!(json.claim("a.b.c"), None);
    }

    #[test]
    fn writes_whole_numbers_and_no_other() {
        let json = object(r#"{"a":18446744073709551615,"b":-7,"c":1.5,"d":100000000000000000000}"#).unwrap();
        assert_eq!(json.get("a").unwrap().word().as_deref(), Some("18446744073709551615"));
        assert_eq!(json.get("b").unwrap().word().as_deref(), Some("-7"));
        assert_eq!(json.get("c").unwrap().word(), None);
        assert_eq!(json.get("d").unwrap().word(), None);
    }
}
