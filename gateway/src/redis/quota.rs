//! The storage of tenants in Redis: `menshen:quota:used:ID` and `menshen:quota:reserved:ID`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use filters::state::{Grant, Quotas, SPACE_KEPT, Space, StateAway, Usage};
use futures_util::future::BoxFuture;
use redis::ScriptInvocation;
use tokio::sync::oneshot;

use super::{QUOTA, RETRY, Redis, fresh_number, millis};

/// Reservations that one question renews.
const BATCH: usize = 500;

/// The reservations of this gateway that stand, by their numbers.
#[derive(Default)]
pub(super) struct Reservations(Mutex<HashMap<u64, Space>>);

impl Reservations {
    fn add(&self, number: u64, space: Space) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, space);
    }

    fn remove(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    #[cfg(test)]
    pub(super) fn is_any(&self) -> bool {
        !self.all().is_empty()
    }

    fn all(&self) -> Vec<(u64, Space)> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|(number, space)| (*number, space.clone())).collect()
    }
}

impl Redis {
    /// Says that the reservations of this gateway still stand.
    pub(super) async fn renew(&self) {
        for batch in self.inner.reservations.all().chunks(BATCH) {
            let mut script = QUOTA.prepare_invoke();
            script.arg("renew").arg(millis(SPACE_KEPT));
            for (number, space) in batch {
                script.key(reserved_key(&space.tenant)).arg(member(*number, space));
            }
            let _: Result<u8, StateAway> = self.ask(&script).await;
        }
    }
}

impl Quotas for Redis {
    fn reserve(&self, space: &Space, limit: Option<u64>) -> BoxFuture<'static, Result<Grant, StateAway>> {
        let (redis, space) = (self.clone(), space.clone());
        Box::pin(async move {
            let number = fresh_number();
            let mut script = about(&space.tenant);
            script.arg("reserve").arg(member(number, &space)).arg(space.bytes);
            script.arg(limit.map(|limit| limit.to_string()).unwrap_or_default()).arg(millis(SPACE_KEPT));
            let (granted, used, reserved): (u8, u64, u64) = redis.ask(&script).await?;
            if granted != 1 {
                return Ok(Grant::Exceeded(Usage { used, reserved }));
            }
            redis.inner.reservations.add(number, space);
            Ok(Grant::Reserved(number))
        })
    }

    /// A store that does not answer is told again in the background, that the space was taken, for as long as the
    /// reservation stands there.
    fn settle(&self, space: &Space, number: u64, kept: bool) -> BoxFuture<'static, Result<(), StateAway>> {
        let (redis, space) = (self.clone(), space.clone());
        let (heard, told) = oneshot::channel();
        // On the control runtime, so that it is done though nobody waits.
        self.inner.control.spawn(async move {
            let begun = Instant::now();
            let mut answer = redis.tell(&space, number, kept, false).await;
            let mut again = answer.is_err() && kept;
            let _ = heard.send(answer);
            while again && begun.elapsed() < SPACE_KEPT {
                tokio::time::sleep(RETRY).await;
                answer = redis.tell(&space, number, kept, true).await;
                again = answer.is_err();
            }
            redis.inner.reservations.remove(number);
        });
        Box::pin(async move { told.await.map_err(|_| StateAway)? })
    }

    fn free(&self, space: &Space) -> BoxFuture<'static, Result<(), StateAway>> {
        let (redis, space) = (self.clone(), space.clone());
        let told = self.inner.control.spawn(async move {
            let mut script = about(&space.tenant);
            redis.ask(script.arg("free").arg(space.bytes)).await
        });
        Box::pin(async move { told.await.map_err(|_| StateAway)? })
    }

    fn usage(&self, tenant: &str) -> BoxFuture<'static, Result<Usage, StateAway>> {
        let (redis, mut script) = (self.clone(), about(tenant));
        Box::pin(async move {
            let (used, reserved) = redis.ask(script.arg("usage")).await?;
            Ok(Usage { used, reserved })
        })
    }

    fn set(&self, tenant: &str, used: u64) -> BoxFuture<'static, Result<Usage, StateAway>> {
        let (redis, mut script) = (self.clone(), about(tenant));
        Box::pin(async move {
            let (before, reserved) = redis.ask(script.arg("set").arg(used)).await?;
            Ok(Usage { used: before, reserved })
        })
    }
}

impl Redis {
    async fn tell(&self, space: &Space, number: u64, kept: bool, again: bool) -> Result<(), StateAway> {
        let mut script = about(&space.tenant);
        script.arg("settle").arg(member(number, space)).arg(space.bytes);
        self.ask(script.arg(u8::from(kept)).arg(u8::from(again))).await
    }
}

/// A question about one tenant.
fn about(tenant: &str) -> ScriptInvocation<'static> {
    let mut script = QUOTA.prepare_invoke();
    script.key(format!("menshen:quota:used:{tenant}")).key(reserved_key(tenant));
    script
}

fn reserved_key(tenant: &str) -> String {
    format!("menshen:quota:reserved:{tenant}")
}

fn member(number: u64, space: &Space) -> String {
    format!("{number}:{}", space.bytes)
}
