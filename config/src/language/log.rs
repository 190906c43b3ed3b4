//! `log`

use regex::{Regex, RegexBuilder};

use crate::model::{AccessFormat, AccessLog, Log, LogLevel, LogTarget, Scrub};
use crate::read::Reader;
use crate::scalar::{header_name, line, quoted, text, token, word};

pub(super) fn log(r: &Reader<'_>) -> Option<Log> {
    let t = r.table()?;
    let level = t.or(
        "level",
        "The least severe line that the error log gets.",
        "info",
        word(&[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
        ]),
    );
    let error = t.or("error", "The error log.", "{}", |r| {
        let t = r.table()?;
        t.or("path", "stdout, stderr or a file.", "stderr", target)
    });
    let access = t.or("access", "The access log, or off.", "{}", |r| super::gate::off_or(r, access));
    let scrub = t.or("scrub", "What is hidden in all that is written, beside what always is.", "{}", scrub);
    Some(Log { level: level?, error: error?, access: access?, scrub: scrub? })
}

fn access(r: &Reader<'_>) -> Option<AccessLog> {
    let t = r.table()?;
    let path = t.or("path", "stdout, stderr or a file.", "stdout", target);
    let format = t.or(
        "format",
        "One JSON object a line, or Nginx's combined.",
        "json",
        word(&[("json", AccessFormat::Json), ("combined", AccessFormat::Combined)]),
    );
    Some(AccessLog { path: path?, format: format? })
}

fn target(r: &Reader<'_>) -> Option<LogTarget> {
    Some(match line(r)?.as_str() {
        "stdout" => LogTarget::Stdout,
        "stderr" => LogTarget::Stderr,
        path => LogTarget::File(r.loading.resolve(r.span()?.file, path)),
    })
}

fn scrub(r: &Reader<'_>) -> Option<Scrub> {
    let t = r.table()?;
    let query = t.or("query", "Query parameters whose values are hidden.", "[]", |r| r.list(token));
    let headers = t.or("headers", "Headers whose values are hidden.", "[]", |r| r.list(header_name));
    let patterns = t.or("patterns", "Patterns whose matches are hidden.", "[]", |r| r.list(pattern));
    let query = query?.into_iter().map(|name| name.to_ascii_lowercase()).collect();
    let patterns = patterns?;
    if patterns.len() > 100 {
        t.problem("patterns", "there are more than 100 patterns", "join some of them with |");
        return None;
    }
    for (index, (name, _)) in patterns.iter().enumerate() {
        if patterns[..index].iter().any(|(other, _)| other == name) {
            t.problem("patterns", "two patterns have the same name", "give each a name of its own");
            return None;
        }
    }
    Some(Scrub { query, headers: headers?, patterns })
}

fn pattern(r: &Reader<'_>) -> Option<(String, Regex)> {
    let t = r.table()?;
    let name = t.required("name", "What stands in place of a match.", token);
    let regex = t.required("regex", "A regular expression, without look-around.", regex);
    Some((name?, regex?))
}

/// Bytes of a compiled pattern; it bounds the time to compile it too.
const PATTERN_SIZE: usize = 256 << 10;

fn regex(r: &Reader<'_>) -> Option<Regex> {
    let pattern = text(r)?;
    if pattern.len() > 4096 {
        r.problem("the regular expression is longer than 4096 bytes", "write a shorter one");
        return None;
    }
    match RegexBuilder::new(&pattern).size_limit(PATTERN_SIZE).build() {
        Ok(regex) if regex.is_match("") => {
            r.problem(
                format!("{} matches the empty text", quoted(r)),
                "use + instead of *, so that something must match",
            );
            None
        }
        Ok(regex) => Some(regex),
        Err(regex::Error::CompiledTooBig(_)) => {
            r.problem(format!("{} is too large a pattern", quoted(r)), "use fewer or smaller repetitions");
            None
        }
        Err(error) => {
            // The parser's message shows the pattern over several lines and ends with the reason.
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let reason = if r.scalar()?.variable { "see the variable" } else { reason };
            r.problem(
                format!("{} is not a regular expression: {reason}", quoted(r)),
                "mend it, or escape with \\",
            );
            None
        }
    }
}
