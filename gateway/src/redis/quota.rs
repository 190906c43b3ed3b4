//! The storage of tenants in Redis: `menshen:quota:used:ID`, `menshen:quota:reserved:ID` and, for a while,
//! `menshen:quota:told:NUMBER`.
//!
//! A reservation is somebody's from the moment it is asked for: whoever asked and went away, or was not answered in
//! time, leaves nothing behind.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use filters::state::{Grant, Quotas, SPACE_KEPT, Space, StateAway, Usage};
use futures_util::future::BoxFuture;
use redis::ScriptInvocation;
use tokio::sync::oneshot;

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

/// Space that the store has reserved, or may have. Dropped, it is given back.
struct Held {
    redis: Redis,
    space: Space,
    number: Option<u64>,
}

impl Held {
    /// Asks for it; what is used and reserved when there is not so much left.
    async fn ask(mut self, number: u64, limit: Option<u64>) -> Result<Result<Self, Usage>, StateAway> {
        let mut script = about(&self.space.tenant);
        script.arg("reserve").arg(member(number, &self.space)).arg(self.space.bytes);
        script.arg(limit.map(|limit| limit.to_string()).unwrap_or_default()).arg(millis(SPACE_KEPT));
        let (granted, used, reserved): (u8, u64, u64) = self.redis.ask(&script).await?;
        if granted == 1 {
            return Ok(Ok(self));
        }
        self.number = None;
        Ok(Err(Usage { used, reserved }))
    }

    /// It is the caller's to settle from here on, and is renewed until then.
    fn take(mut self, number: u64) -> u64 {
        self.number = None;
        self.redis.inner.reservations.add(number, self.space.clone());
        number
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            drop(self.redis.settle(&self.space, number, false));
        }
    }
}

impl Quotas for Redis {
    fn reserve(&self, space: &Space, limit: Option<u64>) -> BoxFuture<'static, Result<Grant, StateAway>> {
        let (redis, space) = (self.clone(), space.clone());
        Box::pin(async move {
            if redis.is_away() {
                return Err(StateAway);
            }
            let number = fresh_number();
            let (answer, answered) = oneshot::channel();
            let control = redis.inner.control.clone();
            let held = Held { redis, space, number: Some(number) };
            // On the control runtime, so that somebody hears the answer though whoever asked has gone.
            control.spawn(async move { drop(answer.send(held.ask(number, limit).await)) });
            Ok(match answered.await.map_err(|_| StateAway)?? {
                Ok(held) => Grant::Reserved(held.take(number)),
                Err(usage) => Grant::Exceeded(usage),
            })
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
