//! What is said of a request: one step after another, and what the upstream would be asked.

use serde::Serialize;
use serde_json::{Value, json};

pub use super::terms::Facts;
use crate::denial::Denial;

/// The journey of one request that was never sent.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// Of the request.
    pub method: String,
    /// Of the request, without credentials.
    pub url: String,
    /// Whether nothing that can be known from the head refuses it.
    pub admitted: bool,
    /// The status of the refusal; that of the answer when the route answers itself.
    pub status: Option<u16>,
    /// The code of the refusal.
    pub code: Option<&'static str>,
    /// What else decides, such as `the body`. Empty after a refusal.
    pub depends_on: Vec<&'static str>,
    /// In the order in which the request meets them.
    pub steps: Vec<Step>,
    /// What becomes of an admitted request.
    pub outcome: Option<Outcome>,
}

/// One step of the journey.
#[derive(Debug, Serialize)]
pub struct Step {
    /// `listener`, `framing`, `client`, `target`, `route`, `websocket`, `identity`, `tenant`, `headers`, or the name
    /// of a rule as `observe:` knows it.
    pub step: &'static str,
    /// What it says.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Whether its refusal refuses nothing: `observe:`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// What it found, and what it demands.
    pub facts: Facts,
}

/// What a step says of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing against it.
    Passes,
    /// Answered here.
    Refuses {
        /// Of the table of refusals.
        code: &'static str,
        /// HTTP's.
        status: u16,
        /// What the client is told.
        reason: &'static str,
        /// What the operator's log is told.
        detail: String,
    },
    /// No listener takes the connection.
    NobodyListens,
    /// The head alone does not tell.
    Depends {
        /// On what else.
        on: Vec<&'static str>,
    },
    /// An earlier step ended the journey, or this one is not for such a request.
    NotReached,
}

/// What becomes of an admitted request.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// An app is asked.
    Upstream {
        /// Its name in the policy.
        name: String,
        /// Its servers.
        servers: Vec<String>,
        /// What it is asked.
        method: String,
        /// Path and query, without credentials.
        path: String,
        /// Header lines that the gateway writes.
        set: Vec<HeaderLine>,
        /// Header lines of the client's that do not go on.
        cut: Vec<String>,
    },
    /// The client is sent elsewhere.
    Redirect {
        /// 301 to 308.
        status: u16,
        /// Where.
        location: String,
    },
    /// The route answers.
    Respond {
        /// With this.
        status: u16,
    },
}

/// A header line that the gateway writes.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct HeaderLine {
    /// In its usual capitals.
    pub name: String,
    /// `[…]` for a credential, `(new)` when each request gets another, in parentheses what is known later only.
    pub value: String,
}

impl Verdict {
    /// A refusal, its detail made safe to show.
    pub(super) fn refuses(denial: &Denial, detail: String) -> Self {
        let row = denial.reason.row();
        Verdict::Refuses { code: row.code, status: row.status, reason: row.en, detail }
    }

    /// As a sentence begins that tells of it.
    pub fn phrase(&self, observed: bool) -> String {
        match self {
            Verdict::Passes => "passes".to_owned(),
            Verdict::Refuses { code, status, reason, detail } => {
                let word = if observed { "would refuse (only observed)" } else { "refuses" };
                format!("{word} {code} {status}: {reason} ({detail})")
            }
            Verdict::NobodyListens => "nobody listens".to_owned(),
            Verdict::Depends { on } => format!("depends on {}", on.join(" and ")),
            Verdict::NotReached => "not reached".to_owned(),
        }
    }
}

/// A fact as people read it; empty when there is nothing to say.
pub(super) fn shown(name: &str, value: &Value) -> String {
    let name = name.replace('_', " ");
    match value {
        Value::Bool(true) => name,
        Value::Bool(false) | Value::Null => String::new(),
        Value::String(text) => format!("{name} {text}"),
        Value::Array(list) => {
            let list: Vec<String> =
                list.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
            format!("{name} {}", list.join(", "))
        }
        other => format!("{name} {other}"),
    }
}

impl Step {
    /// The step as one line of text, without its name.
    pub fn line(&self) -> String {
        let facts: Vec<String> = self
            .facts
            .iter()
            .map(|(name, value)| shown(name, value))
            .filter(|text| !text.is_empty())
            .collect();
        let phrase = self.verdict.phrase(self.observed);
        match self.verdict {
            _ if facts.is_empty() => phrase,
            Verdict::Refuses { .. } => format!("{phrase}; {}", facts.join("; ")),
            _ => format!("{phrase}: {}", facts.join("; ")),
        }
    }
}

/// Facts out of names and values.
pub(super) fn facts<const N: usize>(pairs: [(&str, Value); N]) -> Facts {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .filter(|(_, value)| *value != json!([]))
        .collect()
}
