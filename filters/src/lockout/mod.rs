//! Locking what failed too often: `lockout`.
//!
//! Passes a request while its key has failures left. Refuses with 429 `auth.locked` and `Retry-After`, before the
//! upstream is asked, when it is locked, and also when as many attempts are under way as there are failures left.
//! What happened is learnt from the answer: the gateway settles the [`Attempt`] that the inspector found.
//!
//! The body is received whole first, though only 64 KiB of it are looked at. A field that is missing, or that could
//! be read in two ways, is replaced by the client's address, so that leaving it out avoids no lock.
//!
//! It does not protect from one guess for each of many users, when the user's name is part of the key: put a rate
//! rule by address beside it.

mod attempt;
mod key;
mod table;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::rules::{FailedWhen, LockoutKey};
use config::{OnStateFailure, RuleName};
use futures_util::future::BoxFuture;
use pingora_http::RequestHeader;

use crate::denial::{Denial, Reason};
use crate::facts::Facts;
use crate::fields::LOOKED_AT;
use crate::filter::{BodyInspector, Filter, Findings, Judgement, WholeBody};
use crate::pending::Pending;
use crate::state::{Admission, LockSubject, LockTerms, LockoutStore, Shared, unavailable};

pub use attempt::{Attempt, FailedAttempt};
use key::Client;
pub use table::LockoutTable;

/// The lockout rule of one route.
pub struct Lockout {
    rule: Arc<Rule>,
}

struct Rule {
    scope: String,
    route: String,
    key: Vec<LockoutKey>,
    terms: LockTerms,
    failed_when: FailedWhen,
    local: Arc<LockoutTable>,
    shared: Option<Shared<dyn LockoutStore>>,
}

impl Lockout {
    /// `scope` is the route's, as [`crate::state::scope`] gives it, `route` its pattern. With a shared store, `local`
    /// serves only while that is away and the policy says `local`.
    pub fn new(
        scope: &str,
        route: &str,
        rule: &config::rules::Lockout,
        local: &Arc<LockoutTable>,
        shared: Option<Shared<dyn LockoutStore>>,
    ) -> Self {
        let config::rules::Lockout { key, failures, within, lock, failed_when } = rule.clone();
        let terms = LockTerms { failures, within, lock };
        let (scope, route, local) = (scope.to_owned(), route.to_owned(), local.clone());
        Self { rule: Arc::new(Rule { scope, route, key, terms, failed_when, local, shared }) }
    }
}

impl Filter for Lockout {
    fn name(&self) -> RuleName {
        RuleName::Lockout
    }

    /// Passes always: the key may need the body. When failures are read from the answer's body, asks the upstream
    /// for one that is not compressed.
    fn judge(&self, request: &mut RequestHeader, _facts: &Facts<'_>) -> Judgement {
        if matches!(self.rule.failed_when, FailedWhen::Json { .. }) {
            request.remove_header(&http::header::ACCEPT_ENCODING);
        }
        Judgement::PASS
    }

    fn inspector(
        &self,
        _request: &RequestHeader,
        facts: &Facts<'_>,
    ) -> Result<Option<Box<dyn BodyInspector>>, Denial> {
        let client = Client::new(facts);
        Ok(Some(Box::new(Inspector { rule: self.rule.clone(), client })))
    }
}

struct Inspector {
    rule: Arc<Rule>,
    client: Client,
}

impl BodyInspector for Inspector {
    fn chunk(&mut self, _bytes: &[u8]) -> Result<(), Denial> {
        Ok(())
    }

    fn finish(self: Box<Self>, body: &dyn WholeBody) -> BoxFuture<'_, Result<Findings, Denial>> {
        Box::pin(async move {
            let body = if self.rule.reads_body() { start_of(body).await? } else { None };
            let subject = key::subject(&self.rule, &self.client, body.as_deref());
            let attempt = Rule::reserve(&self.rule, subject).await?;
            let pending = Pending { attempt, ..Pending::default() };
            Ok(Findings { pending, ..Findings::default() })
        })
    }
}

/// The body, unless it is longer than what is looked at.
async fn start_of(body: &dyn WholeBody) -> Result<Option<Bytes>, Denial> {
    if body.len() > LOOKED_AT as u64 {
        return Ok(None);
    }
    let mut whole = Vec::with_capacity(body.len() as usize);
    while (whole.len() as u64) < body.len() {
        let rest = whole.len() as u64..body.len();
        let part = body.read(rest).await.map_err(|error| {
            Denial::new(Reason::Internal, format!("the received body could not be read again: {error}"))
        })?;
        if part.is_empty() {
            return Err(Denial::new(Reason::Internal, "the received body is shorter than it was"));
        }
        whole.extend_from_slice(&part);
    }
    Ok(Some(whole.into()))
}

impl Rule {
    fn reads_body(&self) -> bool {
        self.key.iter().any(|key| matches!(key, LockoutKey::Json(_) | LockoutKey::Form(_)))
    }

    /// Asks for leave. `None` when nobody counts: the store is away, and the policy lets requests pass.
    async fn reserve(rule: &Arc<Self>, subject: LockSubject) -> Result<Option<Attempt>, Denial> {
        if let Some(shared) = &rule.shared {
            match shared.store.reserve(&subject, rule.terms).await {
                Ok(admission) => return admitted(rule, subject, admission, shared.store.clone()),
                Err(_) => match shared.away.met("lockout") {
                    OnStateFailure::Local => {}
                    OnStateFailure::Deny => return Err(unavailable("lockout")),
                    OnStateFailure::Allow => return Ok(None),
                },
            }
        }
        let admission = rule.local.admit(&subject, rule.terms);
        admitted(rule, subject, admission, rule.local.clone())
    }
}

fn admitted(
    rule: &Arc<Rule>,
    subject: LockSubject,
    admission: Admission,
    store: Arc<dyn LockoutStore>,
) -> Result<Option<Attempt>, Denial> {
    match admission {
        Admission::Go(number) => Ok(Some(Attempt::new(rule.clone(), subject, number, store))),
        Admission::Wait(wait) => {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let detail = format!("lock {}", crate::state::lock_id(&subject.key));
            Err(Denial::new(Reason::AuthLocked, detail).retry_after(Duration::from_secs(seconds.max(1))))
        }
    }
}

#[cfg(test)]
mod tests;
