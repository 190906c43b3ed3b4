//! The storage of tenants in Redis: `menshen:quota:used:ID`, `menshen:quota:reserved:ID` and, for a while,
//! `menshen:quota:told:NUMBER`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use filters::state::{Grant, Quotas, SPACE_KEPT, Space, StateAway, Usage};
use futures_util::future::BoxFuture;
use redis::ScriptInvocation;

use super::{INSIST, QUOTA, Redis, fresh_number, millis};

/// Reservations that one question renews.
const BATCH: usize = 500;

/// The reservations of this gateway that stand, by their numbers.
#[derive(Default)]
pub(super) struct Reservations(Mutex<HashMap<u64, Space>>);

impl Reservations {
    pub(super) fn add(&self, number: u64, space: Space) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, space);
    }

    pub(super) fn remove(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    fn holds(&self, number: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&number)
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
                script.key(reserved_key(&space.tenant)).arg(member(*number, space)).arg(space.bytes);
            }
            let _: Result<u8, StateAway> = self.ask(&script).await;
            // One that was settled meanwhile may just have been put back.
            for (number, space) in batch.iter().filter(|(number, _)| !self.inner.reservations.holds(*number))
            {
                drop(self.settle(space, *number, false));
            }
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
            let (other, asked) = (redis.clone(), space.clone());
            let give_back = move || drop(other.settle(&asked, number, false));
            let (granted, used, reserved): (u8, u64, u64) = redis.hold(script, give_back).await?;
            if granted != 1 {
                return Ok(Grant::Exceeded(Usage { used, reserved }));
            }
            // It is renewed until it is settled.
            redis.inner.reservations.add(number, space);
            Ok(Grant::Reserved(number))
        })
    }

    fn settle(&self, space: &Space, number: u64, kept: bool) -> BoxFuture<'static, Result<(), StateAway>> {
        self.inner.reservations.remove(number);
        let mut script = about(&space.tenant);
        script.key(format!("menshen:quota:told:{number}"));
        script.arg("settle").arg(member(number, space)).arg(space.bytes).arg(u8::from(kept));
        // What was told last may be on its way for a while.
        script.arg(millis(INSIST * 2));
        self.insist(script)
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
