//! One attempt between leave to try and its outcome.

use std::fmt;
use std::sync::Arc;

use config::OnStateFailure;
use config::rules::FailedWhen;
use futures_util::future::BoxFuture;
use http::StatusCode;
use serde_json::Value;

use super::Rule;
use crate::fields::{Answer, LOOKED_AT, answer_field};
use crate::state::{LockSubject, LockoutStore, Outcome};

/// An attempt that was let pass and must be settled: show it the answer, then [`settle`](Self::settle) it before the
/// answer's head is sent on when [`wants_body`](Self::wants_body) is false, else before its last bytes are.
///
/// Dropped unsettled, it settles itself by what it has seen: nothing when the upstream has not answered, else a
/// failure unless the head alone says otherwise. A client that hangs up on a wrong guess gains nothing.
pub struct Attempt {
    rule: Arc<Rule>,
    subject: LockSubject,
    store: Arc<dyn LockoutStore>,
    number: Option<u64>,
    status: Option<StatusCode>,
    body: Vec<u8>,
}

impl Attempt {
    pub(super) fn new(
        rule: Arc<Rule>,
        subject: LockSubject,
        number: u64,
        store: Arc<dyn LockoutStore>,
    ) -> Self {
        Self { rule, subject, store, number: Some(number), status: None, body: Vec::new() }
    }

    /// The upstream's final status; not 1xx.
    pub fn head(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Whether the answer's body tells failure from success.
    pub fn wants_body(&self) -> bool {
        matches!(self.rule.failed_when, FailedWhen::Json { .. })
    }

    /// More of the answer's body. At most 64 KiB and a byte are kept.
    pub fn chunk(&mut self, bytes: &[u8]) {
        if self.wants_body() {
            let room = (LOOKED_AT + 1).saturating_sub(self.body.len());
            self.body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Reports the outcome, and says what failed. Takes one question to the store, bounded by `state.timeout`. The future
    /// may be dropped.
    pub fn settle(mut self) -> BoxFuture<'static, Option<FailedAttempt>> {
        let outcome = self.outcome();
        let number = self.number.take();
        let told = self.store.settle(&self.subject, self.rule.terms, number, outcome);
        let (rule, subject) = (self.rule.clone(), self.subject.clone());
        Box::pin(async move {
            let locked = match told.await {
                Ok(locked) => locked,
                Err(_) if outcome == Outcome::Unclear => false,
                // Only a shared store can be away. What it did not learn is counted here, where it will be asked for.
                Err(_) => {
                    let away = rule.shared.as_ref().map(|shared| shared.away.met("lockout"));
                    away == Some(OnStateFailure::Local)
                        && rule.local.conclude(&subject, rule.terms, None, outcome)
                }
            };
            (outcome == Outcome::Failed).then(|| FailedAttempt { key: label(&subject), locked })
        })
    }

    fn outcome(&self) -> Outcome {
        let Some(status) = self.status else { return Outcome::Unclear };
        match &self.rule.failed_when {
            FailedWhen::Status(failed) => by_status(failed, status),
            FailedWhen::Json { field, values } => by_answer(status, answer_field(&self.body, field), values),
        }
    }
}

/// An attempt that failed, for the audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// What it is counted under.
    pub key: String,
    /// Whether it is the failure that locked.
    pub locked: bool,
}

fn label(subject: &LockSubject) -> String {
    let keys = subject.label.keys.iter().map(|(name, value)| format!("{name}={value}"));
    keys.collect::<Vec<_>>().join(" ")
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Some(number) = self.number.take() else { return };
        let outcome = match self.status {
            Some(_) if self.wants_body() => Outcome::Failed,
            _ => self.outcome(),
        };
        drop(self.store.settle(&self.subject, self.rule.terms, Some(number), outcome));
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").field("route", &self.rule.route).field("status", &self.status).finish()
    }
}

/// Only 2xx and 3xx clear what was counted: an answer that says the request was malformed must not.
fn by_status(failed: &[StatusCode], status: StatusCode) -> Outcome {
    if failed.contains(&status) {
        Outcome::Failed
    } else if status.is_success() || status.is_redirection() {
        Outcome::Passed
    } else {
        Outcome::Unclear
    }
}

/// A listed value is a failure, whatever the status. Another value clears only when it is one that means success:
/// an app that answers 200 with some other error code has not let anybody in.
fn by_answer(status: StatusCode, answer: Answer, values: &[Value]) -> Outcome {
    let succeeded = status.is_success() || status.is_redirection();
    match answer {
        Answer::Value(value) if values.iter().any(|failed| same(failed, &value)) => Outcome::Failed,
        Answer::Value(value) if succeeded && means_success(&value) => Outcome::Passed,
        Answer::Absent if succeeded => Outcome::Passed,
        Answer::Value(_) | Answer::Absent | Answer::Unreadable => Outcome::Unclear,
    }
}

/// Equal, or numbers and texts that read the same.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((plain(a), plain(b)), (Some(a), Some(b)) if a == b)
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 9e15 => Some(format!("{float:.0}")),
            _ => Some(number.to_string()),
        },
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `null`, `true`, 0, 2xx, five digits that begin with 2xx, or a word for success.
fn means_success(value: &Value) -> bool {
    if value.is_null() {
        return true;
    }
    let Some(text) = plain(value) else { return false };
    let text = text.to_ascii_lowercase();
    match text.parse::<u32>() {
        Ok(number) => matches!(number, 0 | 200..=299 | 20_000..=29_999),
        Err(_) => matches!(text.as_str(), "" | "true" | "ok" | "success" | "succeeded"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_to_a_malformed_request_clears_nothing() {
        let failed = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        for (status, outcome) in [
            (200, Outcome::Passed),
            (204, Outcome::Passed),
            (302, Outcome::Passed),
            (401, Outcome::Failed),
            (403, Outcome::Failed),
            (400, Outcome::Unclear),
            (429, Outcome::Unclear),
            (500, Outcome::Unclear),
        ] {
            assert_eq!(by_status(&failed, StatusCode::from_u16(status).unwrap()), outcome, "{status}");
        }
    }

    #[test]
    fn another_error_code_in_a_200_clears_nothing() {
        let failed = [json!(40101)];
        for (value, outcome) in [
            (json!(40101), Outcome::Failed),
            (json!("40101"), Outcome::Failed),
            (json!(40101.0), Outcome::Failed),
            (json!(0), Outcome::Passed),
            (json!("0"), Outcome::Passed),
            (json!(200), Outcome::Passed),
            (json!(20000), Outcome::Passed),
            (json!(null), Outcome::Passed),
            (json!("OK"), Outcome::Passed),
            (json!(40001), Outcome::Unclear),
            (json!(false), Outcome::Unclear),
            (json!([0]), Outcome::Unclear),
        ] {
            assert_eq!(by_answer(StatusCode::OK, Answer::Value(value.clone()), &failed), outcome, "{value}");
        }
        assert_eq!(by_answer(StatusCode::OK, Answer::Absent, &failed), Outcome::Passed);
        assert_eq!(by_answer(StatusCode::OK, Answer::Unreadable, &failed), Outcome::Unclear);
        assert_eq!(by_answer(StatusCode::BAD_REQUEST, Answer::Value(json!(0)), &failed), Outcome::Unclear);
        let refused = Answer::Value(json!(40101));
        assert_eq!(by_answer(StatusCode::UNAUTHORIZED, refused, &failed), Outcome::Failed);
    }
}
