//! Rate counters in this process's memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bounded::Bounded;
use crate::state::{Clock, Quota, Standing};

/// Parts of a table that are locked apart.
const SHARDS: usize = 16;

/// Keys of one rule. About 48 bytes each, so some 12 MiB at most.
const KEYS: usize = 1 << 18;

/// The counters of every rule, kept across reloads: a rule whose route, name and quota stay the same finds its
/// table again. Nothing of a client is held but a hash with a key that is random for each process.
///
/// A table holds 262,144 keys at most. Beyond that a new key takes the place of the one among eight that is nearest
/// to being idle, so that a flood of keys cannot fill memory, lock newcomers out, or reset a chosen counter cheaply.
pub struct RateTables {
    clock: Arc<dyn Clock>,
    hash: RandomState,
    keys: usize,
    tables: Mutex<HashMap<String, Arc<RateTable>>>,
}

impl RateTables {
    /// Without any counters.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with_keys(clock, KEYS)
    }

    pub(crate) fn with_keys(clock: Arc<dyn Clock>, keys: usize) -> Arc<Self> {
        Arc::new(Self { clock, hash: RandomState::new(), keys, tables: Mutex::default() })
    }

    /// Drops idle keys, and the tables of rules that are no more. Made to be called once in some ten seconds; holds
    /// one shard at a time.
    pub fn sweep(&self) {
        let now = self.now();
        let tables: Vec<Arc<RateTable>> = lock(&self.tables).values().cloned().collect();
        for table in &tables {
            table.sweep(now);
        }
        drop(tables);
        lock(&self.tables).retain(|_, table| Arc::strong_count(table) > 1 || table.keys() > 0);
    }

    /// Keys held, all tables together.
    pub fn keys(&self) -> usize {
        lock(&self.tables).values().map(|table| table.keys()).sum()
    }

    /// The table of the rule with this identity.
    pub(crate) fn table(&self, identity: String) -> Arc<RateTable> {
        lock(&self.tables).entry(identity).or_insert_with(|| Arc::new(RateTable::new(self.keys))).clone()
    }

    /// Nanoseconds on the clock.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A hasher for a key, begun with the random key of this process.
    pub(crate) fn hasher(&self) -> DefaultHasher {
        self.hash.build_hasher()
    }
}

/// The counters of one rule.
pub(crate) struct RateTable {
    shards: Box<[Mutex<Bounded<u64, u64>>]>,
}

impl RateTable {
    fn new(keys: usize) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(Bounded::new(keys.div_ceil(SHARDS)))).collect() }
    }

    /// Takes a unit, when there is one. About 50 ns.
    pub(crate) fn take(&self, key: u64, now: u64, quota: Quota) -> Standing {
        let mut shard = self.shard(key);
        if let Some(full_at) = shard.get_mut(&key) {
            let (next, standing) = quota.take(*full_at, now);
            if let Some(next) = next {
                *full_at = next;
            }
            return standing;
        }
        let (next, standing) = quota.take(0, now);
        if let Some(next) = next {
            shard.insert(key, next, |full_at| *full_at);
        }
        standing
    }

    /// Gives a unit back that another rule's refusal made needless.
    pub(crate) fn give_back(&self, key: u64, quota: Quota) {
        if let Some(full_at) = self.shard(key).get_mut(&key) {
            *full_at = quota.give_back(*full_at);
        }
    }

    fn sweep(&self, now: u64) {
        for shard in &self.shards {
            lock(shard).retain(|full_at| *full_at > now);
        }
    }

    fn keys(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// The shard is chosen by bits that the shard's own map does not use.
    fn shard(&self, key: u64) -> MutexGuard<'_, Bounded<u64, u64>> {
        lock(&self.shards[(key >> 40) as usize % SHARDS])
    }
}

/// Counters stay usable when a thread died while it held them: each is one number, written in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ManualClock;
    use std::time::Duration;

    const QUOTA: (u32, Duration, u32) = (60, Duration::from_secs(60), 4);

    fn quota() -> Quota {
        Quota::new(QUOTA.0, QUOTA.1, QUOTA.2)
    }

    #[test]
    fn forgets_idle_keys_and_gives_their_memory_back() {
        let clock = Arc::new(ManualClock::default());
        let tables = RateTables::new(clock.clone());
        let table = tables.table("a".into());
        for n in 0..10_000u32 {
            table.take(tables.hash.hash_one(n), tables.now(), quota());
        }
        assert_eq!(tables.keys(), 10_000);
        tables.sweep();
        assert_eq!(tables.keys(), 10_000, "none is idle yet");
        clock.advance(Duration::from_secs(2));
        tables.sweep();
        assert_eq!(tables.keys(), 0);
    }

    #[test]
    fn drops_the_table_of_a_rule_that_is_no_more_once_it_is_idle() {
        let clock = Arc::new(ManualClock::default());
        let tables = RateTables::new(clock.clone());
        tables.table("a".into()).take(1, tables.now(), quota());
        tables.sweep();
        assert_eq!(lock(&tables.tables).len(), 1);
        clock.advance(Duration::from_secs(10));
        tables.sweep();
        assert_eq!(lock(&tables.tables).len(), 0);
    }

    #[test]
    fn a_flood_of_keys_neither_fills_memory_nor_frees_a_key_that_is_used_up() {
        let clock = Arc::new(ManualClock::default());
        let tables = RateTables::with_keys(clock, 1024);
        let table = tables.table("a".into());
        let victim = tables.hash.hash_one("victim");
        while table.take(victim, tables.now(), quota()).allowed {}
        for n in 0..100_000u32 {
            assert!(
                table.take(tables.hash.hash_one(n), tables.now(), quota()).allowed,
                "newcomers are not locked out"
            );
        }
        assert!(tables.keys() <= 1024);
        assert!(!table.take(victim, tables.now(), quota()).allowed);
    }

    #[test]
    fn threads_together_get_exactly_what_there_is() {
        let tables = RateTables::new(Arc::new(ManualClock::default()));
        let table = tables.table("a".into());
        let quota = Quota::new(1, Duration::from_secs(3600), 99);
        let passed: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| (0..1000).filter(|_| table.take(7, tables.now(), quota).allowed).count())
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(passed, 100);
    }
}
