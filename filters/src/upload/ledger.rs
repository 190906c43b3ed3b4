//! The storage of tenants in this process's memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, ready};

use crate::state::{Grant, Quotas, Space, StateAway, Usage};

/// What every tenant has stored since the process began, kept across reloads. Holds one account for each tenant that
/// ever uploaded something, and so at most as many as directories had tenants. Nothing in it needs a lifetime: a
/// reservation ends with the request that made it, and all of them with the process.
#[derive(Default)]
pub struct Ledger {
    accounts: Mutex<Accounts>,
}

#[derive(Default)]
struct Accounts {
    tenants: HashMap<Arc<str>, Account>,
    reservations: u64,
}

#[derive(Default)]
struct Account {
    used: u64,
    reserved: HashMap<u64, u64>,
    /// The sum of them, which is asked for with every upload.
    held: u128,
}

impl Ledger {
    /// Without accounts.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn usage(&self) -> Usage {
        Usage { used: self.used, reserved: u64::try_from(self.held).unwrap_or(u64::MAX) }
    }
}

impl Accounts {
    fn of(&mut self, tenant: &Arc<str>) -> &mut Account {
        self.tenants.entry(Arc::clone(tenant)).or_default()
    }
}

impl Quotas for Ledger {
    fn reserve(&self, space: &Space, limit: Option<u64>) -> BoxFuture<'static, Result<Grant, StateAway>> {
        let mut accounts = self.lock();
        accounts.reservations += 1;
        let number = accounts.reservations;
        let account = accounts.of(&space.tenant);
        let usage = account.usage();
        let wanted = usage.used.saturating_add(usage.reserved).saturating_add(space.bytes);
        let grant = if limit.is_some_and(|limit| wanted > limit) {
            Grant::Exceeded(usage)
        } else {
            account.reserved.insert(number, space.bytes);
            account.held += u128::from(space.bytes);
            Grant::Reserved(number)
        };
        Box::pin(ready(Ok(grant)))
    }

    fn settle(&self, space: &Space, number: u64, kept: bool) -> BoxFuture<'static, Result<(), StateAway>> {
        let mut accounts = self.lock();
        let account = accounts.of(&space.tenant);
        account.held -= account.reserved.remove(&number).map_or(0, u128::from);
        if kept {
            account.used = account.used.saturating_add(space.bytes);
        }
        Box::pin(ready(Ok(())))
    }

    fn free(&self, space: &Space) -> BoxFuture<'static, Result<(), StateAway>> {
        let mut accounts = self.lock();
        let account = accounts.of(&space.tenant);
        account.used = account.used.saturating_sub(space.bytes);
        Box::pin(ready(Ok(())))
    }

    fn usage(&self, tenant: &str) -> BoxFuture<'static, Result<Usage, StateAway>> {
        let usage = self.lock().tenants.get(tenant).map(Account::usage).unwrap_or_default();
        Box::pin(ready(Ok(usage)))
    }

    fn set(&self, tenant: &str, used: u64) -> BoxFuture<'static, Result<Usage, StateAway>> {
        let mut accounts = self.lock();
        let account = accounts.of(&tenant.into());
        let before = account.usage();
        account.used = used;
        Box::pin(ready(Ok(before)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn now<T>(answer: BoxFuture<'static, Result<T, StateAway>>) -> T {
        answer.now_or_never().unwrap().unwrap()
    }

    fn space(tenant: &str, bytes: u64) -> Space {
        Space { tenant: tenant.into(), bytes }
    }

    #[test]
    fn takes_what_fits_to_the_last_byte_and_no_more() {
        let ledger = Ledger::new();
        assert_eq!(now(ledger.reserve(&space("a", 100), Some(100))), Grant::Reserved(1));
        let full = Usage { used: 0, reserved: 100 };
        assert_eq!(now(ledger.reserve(&space("a", 1), Some(100))), Grant::Exceeded(full));
        assert_eq!(
            now(ledger.reserve(&space("b", 100), Some(100))),
            Grant::Reserved(3),
            "another's is its own"
        );
        now(ledger.settle(&space("a", 100), 1, false));
        assert_eq!(now(ledger.usage("a")), Usage::default());
        assert_eq!(now(ledger.reserve(&space("a", u64::MAX), None)), Grant::Reserved(4), "without a limit");
        assert!(matches!(now(ledger.reserve(&space("a", u64::MAX), Some(100))), Grant::Exceeded(_)));
    }

    #[test]
    fn is_set_by_the_apps_own_count() {
        let ledger = Ledger::new();
        assert_eq!(now(ledger.set("a", 70)), Usage::default());
        assert_eq!(now(ledger.reserve(&space("a", 10), Some(100))), Grant::Reserved(1));
        assert_eq!(now(ledger.set("a", 5)), Usage { used: 70, reserved: 10 });
        assert_eq!(now(ledger.usage("a")), Usage { used: 5, reserved: 10 });
        now(ledger.free(&space("a", 9)));
        assert_eq!(now(ledger.usage("a")).used, 0, "never below nothing");
    }

    #[derive(Debug, Clone)]
    enum Act {
        Reserve(u64),
        Settle(usize, bool),
        Free(u64),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            4 => (1..60_u64).prop_map(Act::Reserve),
            3 => (any::<usize>(), any::<bool>()).prop_map(|(which, kept)| Act::Settle(which, kept)),
            1 => (0..80_u64).prop_map(Act::Free),
        ];
        proptest::collection::vec(act, 0..60)
    }

    proptest! {
        #[test]
        fn is_never_above_the_limit_and_loses_nothing(acts in acts(), limit in 0..300_u64) {
            let ledger = Ledger::new();
            let (mut used, mut under_way) = (0_u64, Vec::<(u64, u64)>::new());
            for act in acts {
                let reserved: u64 = under_way.iter().map(|(_, bytes)| bytes).sum();
                match act {
                    Act::Reserve(bytes) => match now(ledger.reserve(&space("a", bytes), Some(limit))) {
                        Grant::Reserved(number) => {
                            prop_assert!(used + reserved + bytes <= limit);
                            under_way.push((number, bytes));
                        }
                        Grant::Exceeded(usage) => {
                            prop_assert!(used + reserved + bytes > limit);
                            prop_assert_eq!(usage, Usage { used, reserved });
                        }
                    },
                    Act::Settle(..) if under_way.is_empty() => {}
                    Act::Settle(which, kept) => {
                        let (number, bytes) = under_way.swap_remove(which % under_way.len());
                        now(ledger.settle(&space("a", bytes), number, kept));
                        used += if kept { bytes } else { 0 };
                    }
                    Act::Free(bytes) => {
                        now(ledger.free(&space("a", bytes)));
                        used = used.saturating_sub(bytes);
                    }
                }
                let reserved = under_way.iter().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(now(ledger.usage("a")), Usage { used, reserved });
                prop_assert!(used + reserved <= limit);
            }
        }
    }
}
