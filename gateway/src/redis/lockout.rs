//! Failures and locks in Redis: `menshen:lockout:HASH` and what belongs to it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use filters::state::{
    Admission, LISTED, LockLabel, LockSubject, LockTerms, Locked, LockoutStore, Outcome, RESERVATION,
    StateAway, lock_id,
};
use futures_util::future::{BoxFuture, ready};
use redis::ScriptInvocation;

use super::{LOCKOUT, Redis, fresh_number, millis};

const LOCKS: &str = "menshen:lockouts";

impl LockoutStore for Redis {
    fn reserve(
        &self,
        subject: &LockSubject,
        terms: LockTerms,
    ) -> BoxFuture<'static, Result<Admission, StateAway>> {
        let (redis, subject) = (self.clone(), subject.clone());
        Box::pin(async move {
            let number = fresh_number();
            let mut script = about(&subject.key);
            script.arg("reserve").arg(terms.failures).arg(millis(terms.within)).arg(millis(RESERVATION));
            script.arg(number);
            let other = redis.clone();
            let give_back = move || drop(other.settle(&subject, terms, Some(number), Outcome::Unclear));
            let (go, wait): (u8, u64) = redis.hold(script, give_back).await?;
            Ok(if go == 1 { Admission::Go(number) } else { Admission::Wait(Duration::from_millis(wait)) })
        })
    }

    fn settle(
        &self,
        subject: &LockSubject,
        terms: LockTerms,
        attempt: Option<u64>,
        outcome: Outcome,
    ) -> BoxFuture<'static, Result<bool, StateAway>> {
        let script = settlement(subject, terms, attempt.unwrap_or_else(fresh_number), outcome);
        let Ok(script) = script else { return Box::pin(ready(Err(StateAway))) };
        if outcome == Outcome::Unclear {
            // It only ends the attempt, so that it may be told again.
            let told = self.insist(script);
            return Box::pin(async move { told.await.map(|()| false) });
        }
        let redis = self.clone();
        // On the control runtime, so that it is done though nobody waits.
        let settled = self.inner.control.spawn(async move { redis.ask(&script).await });
        Box::pin(async move { settled.await.map_err(|_| StateAway)? })
    }

    fn list(&self) -> BoxFuture<'static, Result<Vec<Locked>, StateAway>> {
        let redis = self.clone();
        Box::pin(async move {
            let mut script = LOCKOUT.prepare_invoke();
            script.key(LOCKS).arg("list").arg(LISTED);
            let rows: Vec<String> = redis.ask(&script).await?;
            Ok(rows.chunks_exact(4).filter_map(locked).collect())
        })
    }

    fn remove(&self, id: &str) -> BoxFuture<'static, Result<bool, StateAway>> {
        let (redis, id) = (self.clone(), id.to_owned());
        Box::pin(async move {
            if id.len() != 16 {
                return Ok(false);
            }
            let mut script = LOCKOUT.prepare_invoke();
            redis.ask(script.key(LOCKS).arg("remove").arg(id)).await
        })
    }
}

/// A question about one subject.
fn about(key: &[u8; 16]) -> ScriptInvocation<'static> {
    let lock = format!("menshen:lockout:{}", hex::encode(key));
    let mut script = LOCKOUT.prepare_invoke();
    script.key(&lock).key(format!("{lock}:failures")).key(format!("{lock}:attempts"));
    script
}

fn settlement(
    subject: &LockSubject,
    terms: LockTerms,
    attempt: u64,
    outcome: Outcome,
) -> serde_json::Result<ScriptInvocation<'static>> {
    let outcome = match outcome {
        Outcome::Failed => "failed",
        Outcome::Passed => "passed",
        Outcome::Unclear => "unclear",
    };
    let mut script = about(&subject.key);
    script.key(LOCKS).arg("settle").arg(terms.failures).arg(millis(terms.within));
    script.arg(millis(terms.lock)).arg(attempt).arg(outcome);
    script.arg(serde_json::to_string(&*subject.label)?).arg(hex::encode(subject.key));
    Ok(script)
}

/// One row of the list: hash, since, until, label.
fn locked(row: &[String]) -> Option<Locked> {
    let key: [u8; 16] = hex::decode(&row[0]).ok()?.try_into().ok()?;
    let label: LockLabel = serde_json::from_str(&row[3]).ok()?;
    Some(Locked { id: lock_id(&key), label, since: at(&row[1])?, until: at(&row[2])? })
}

fn at(millis: &str) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis.parse().ok()?))
}
