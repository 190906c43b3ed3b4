//! `log`.

use std::path::PathBuf;

use http::HeaderName;
use regex::Regex;

/// `log:`
#[derive(Debug, Clone)]
pub struct Log {
    /// The least severe error-log line that is written.
    pub level: LogLevel,
    /// Where error-log lines go.
    pub error: LogTarget,
    /// The access log; `None` when it is off.
    pub access: Option<AccessLog>,
    /// What is hidden in all of them, beside what always is.
    pub scrub: Scrub,
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only what needs somebody now.
    Error,
    /// And what is likely wrong.
    Warn,
    /// And what happened.
    Info,
    /// And why.
    Debug,
}

/// `log.access`
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// Where it goes.
    pub path: LogTarget,
    /// One JSON object a line, or Nginx's combined format.
    pub format: AccessFormat,
}

/// `log.access.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// One JSON object a line.
    Json,
    /// Nginx's `combined`.
    Combined,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, reopened on USR1.
    File(PathBuf),
}

/// `log.scrub`: the operator's own secrets, beside the built-in list.
#[derive(Debug, Clone, Default)]
pub struct Scrub {
    /// Query parameters whose values are hidden, lower case.
    pub query: Vec<String>,
    /// Headers whose values are hidden.
    pub headers: Vec<HeaderName>,
    /// Named patterns whose matches are hidden.
    pub patterns: Vec<(String, Regex)>,
}
