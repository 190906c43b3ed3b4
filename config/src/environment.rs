//! The environment a policy reads, and `${NAME}` in its texts.

use std::fmt;

/// Bytes of one text after its variables have been filled in.
const LONGEST: usize = 1 << 20;

/// Where `${NAME}` and `@env:NAME` look.
pub struct Environment(Box<Lookup>);

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

impl Environment {
    /// Any lookup.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Box::new(lookup))
    }

    /// The environment of this process. A variable that is not UTF-8 counts as unset.
    pub fn process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    /// No variable is set.
    pub fn empty() -> Self {
        Self::new(|_| None)
    }

    /// These variables are set, and no others.
    pub fn of<const N: usize>(variables: [(&'static str, &'static str); N]) -> Self {
        Self::new(move |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }

    /// Fills in `${NAME}` and `${NAME:-default}`; the default also stands for an empty variable, as in a shell.
    /// `$${` is a literal `${`; any other `$` is itself. Values are not looked into again.
    pub(crate) fn expand(&self, written: &str) -> Result<Expanded, Unexpanded> {
        let mut text = String::with_capacity(written.len());
        let mut variable = false;
        let mut rest = written;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                text.push_str(&rest[..at]);
                text.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            text.push_str(&rest[..at]);
            let inside = &rest[at + 2..];
            let Some(end) = inside.find('}') else {
                return Err(Unexpanded {
                    what: "\"${\" has no closing \"}\"".into(),
                    remedy: "write \"${NAME}\" or \"${NAME:-default}\", or \"$${\" for these two characters"
                        .into(),
                });
            };
            text.push_str(&self.value(&inside[..end])?);
            variable = true;
            rest = &inside[end + 1..];
            if text.len() > LONGEST {
                return Err(Unexpanded {
                    what: "with its variables filled in the text is longer than 1MB".into(),
                    remedy: "set shorter values in the environment".into(),
                });
            }
        }
        text.push_str(rest);
        Ok(Expanded { text, variable })
    }

    fn value(&self, inside: &str) -> Result<String, Unexpanded> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_variable_name(name) {
            return Err(Unexpanded {
                what: "the name between \"${\" and \"}\" is not that of a variable".into(),
                remedy: "use letters, digits and underscores, as in \"${NAME}\" or \"${NAME:-default}\""
                    .into(),
            });
        }
        match (self.get(name), default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Unexpanded {
                what: format!("the variable {name} is not set"),
                remedy: format!("set {name}, or write \"${{{name}:-default}}\""),
            }),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment(…)")
    }
}

/// A text with its variables filled in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// Whether there was a variable in it: then the text must not be shown.
    pub(crate) variable: bool,
}

/// Why a text could not be filled in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unexpanded {
    pub(crate) what: String,
    pub(crate) remedy: String,
}

/// Letters, digits and underscores, not beginning with a digit.
pub(crate) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(written: &str) -> Result<String, Unexpanded> {
        let environment =
            Environment::of([("HOST", "127.0.0.1"), ("PORT", "8080"), ("EMPTY", ""), ("SELF", "${HOST}")]);
        environment.expand(written).map(|expanded| expanded.text)
    }

    #[test]
    fn fills_in_variables_anywhere_in_a_text() {
        assert_eq!(expand("${HOST}:${PORT}").unwrap(), "127.0.0.1:8080");
        assert_eq!(expand("redis://${HOST}/0").unwrap(), "redis://127.0.0.1/0");
    }

    #[test]
    fn takes_the_default_when_unset_or_empty() {
        assert_eq!(expand("${NOPE:-127.0.0.1:3310}").unwrap(), "127.0.0.1:3310");
        assert_eq!(expand("${EMPTY:-x}${EMPTY}").unwrap(), "x");
        assert_eq!(expand("${HOST:-x}").unwrap(), "127.0.0.1");
        assert_eq!(expand("a${NOPE:-}b").unwrap(), "ab");
    }

    #[test]
    fn leaves_other_dollars_alone() {
        assert_eq!(expand("^v[0-9]+$").unwrap(), "^v[0-9]+$");
        assert_eq!(expand("$${HOST} costs $5").unwrap(), "${HOST} costs $5");
    }

    #[test]
    fn does_not_look_into_values() {
        assert_eq!(expand("${SELF}").unwrap(), "${HOST}");
    }

    #[test]
    fn refuses_unset_unclosed_and_misnamed() {
        assert_eq!(expand("${NOPE}").unwrap_err().what, "the variable NOPE is not set");
        assert!(expand("${HOST").unwrap_err().what.contains("closing"));
        assert!(expand("${1X}").unwrap_err().what.contains("not that of a variable"));
        assert!(expand("${}").is_err());
    }

    #[test]
    fn bounds_what_variables_can_grow_to() {
        let environment = Environment::new(|_| Some("x".repeat(100_000)));
        assert!(environment.expand(&"${A}".repeat(1000)).unwrap_err().what.contains("longer than 1MB"));
    }
}
