//! What is wrong with a policy, said so that it can be mended.

use std::fmt;

use serde_json::{Value, json};

/// Something wrong with a policy, or worth a warning. It never holds a secret, nor a value of the environment.
///
/// The order is that of reading: by file, line and column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// The file, as it was named on the command line.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Where in the policy, as in `sites[0].routes[2].limits.rate[0].by`; `policy` for the whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl Problem {
    /// The form of `check --format json`.
    pub fn to_json(&self) -> Value {
        json!({
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "key": self.key,
            "problem": self.what,
            "remedy": self.remedy,
        })
    }
}

/// `FILE:LINE:COL: key.path: what is wrong; what to write instead`, on one line.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { file, line, column, key, what, remedy } = self;
        write!(f, "{file}:{line}:{column}: {key}: {what}; {remedy}")
    }
}

/// Where something stands in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named on the command line.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// As in [`Problem::key`].
    pub key: String,
}

impl Place {
    /// A problem here.
    pub fn problem(&self, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem {
            file: self.file.clone(),
            line: self.line,
            column: self.column,
            key: self.key.clone(),
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// `FILE:LINE:COL`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Characters of a policy that a problem quotes at most.
const QUOTED: usize = 60;

/// Text of a policy in double quotes, on one line, cut when it is long.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for (index, letter) in text.chars().enumerate() {
        if index == QUOTED {
            quoted.push('…');
            break;
        }
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push('\\'),
            letter if letter.is_control() || is_direction_mark(letter) => {
                quoted.extend(letter.escape_unicode())
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Characters that change how a terminal shows the rest of the line.
fn is_direction_mark(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        let place = Place {
            file: "gate.yaml".into(),
            line: 3,
            column: 7,
            key: "sites[0].routes[2].limits.rate[0].by".into(),
        };
        place.problem("\"ipp\" is not known here", "write \"ip\"")
    }

    #[test]
    fn reads_as_one_line_that_an_editor_can_jump_to() {
        assert_eq!(
            problem().to_string(),
            "gate.yaml:3:7: sites[0].routes[2].limits.rate[0].by: \"ipp\" is not known here; write \"ip\""
        );
    }

    #[test]
    fn has_a_form_for_machines() {
        assert_eq!(
            problem().to_json(),
            json!({"file": "gate.yaml", "line": 3, "column": 7, "key": "sites[0].routes[2].limits.rate[0].by",
                   "problem": "\"ipp\" is not known here", "remedy": "write \"ip\""})
        );
    }

    #[test]
    fn quotes_no_control_characters_and_no_novels() {
        assert_eq!(quote("a\n\u{1b}[2J\u{202e}"), "\"a\\u{a}\\u{1b}[2J\\u{202e}\"");
        assert_eq!(quote(&"x".repeat(100)).chars().count(), QUOTED + 3);
    }
}
