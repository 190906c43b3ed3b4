//! Failures and locks in this process's memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};

use crate::bounded::Bounded;
use crate::state::{
    Admission, Clock, LISTED, LockLabel, LockSubject, LockTerms, Locked, LockoutStore, Outcome, RESERVATION,
    StateAway, lock_id,
};

/// Keys that have failures, attempts under way or a lock. Some 300 bytes each, so about 20 MiB at most.
const KEYS: usize = 1 << 16;

/// The failures and locks of every route, kept across reloads. Holds 65,536 keys at most; beyond that a new key takes
/// the place of one without a lock, of those the one with the fewest failures, among eight.
pub struct LockoutTable {
    clock: Arc<dyn Clock>,
    keys: Mutex<Keys>,
}

struct Keys {
    entries: Bounded<[u8; 16], Entry>,
    attempts: u64,
}

#[derive(Default)]
struct Entry {
    label: Option<Arc<LockLabel>>,
    /// When each counted failure happened, the oldest first; at most `failures`.
    failures: VecDeque<Duration>,
    /// Attempts under way, and when each is forgotten.
    under_way: Vec<(u64, Duration)>,
    lock: Option<Lock>,
    /// Kept until then at least, when nothing is under way and nothing locked.
    idle_after: Duration,
}

#[derive(Clone, Copy)]
struct Lock {
    since: Duration,
    until: Duration,
}

impl LockoutTable {
    /// Without failures and locks.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with_keys(clock, KEYS)
    }

    pub(crate) fn with_keys(clock: Arc<dyn Clock>, keys: usize) -> Arc<Self> {
        Arc::new(Self { clock, keys: Mutex::new(Keys { entries: Bounded::new(keys), attempts: 0 }) })
    }

    /// Drops what no longer matters. Made to be called once in some ten seconds.
    pub fn sweep(&self) {
        let now = self.clock.elapsed();
        self.lock().entries.retain(|entry| {
            entry.forget(now);
            now < entry.idle_after || !entry.under_way.is_empty() || entry.lock.is_some()
        });
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn admit(&self, subject: &LockSubject, terms: LockTerms) -> Admission {
        let now = self.clock.elapsed();
        let mut keys = self.lock();
        keys.attempts += 1;
        let number = keys.attempts;
        let entry = keys.entry(subject, now);
        entry.forget(now);
        entry.expire_failures(now, terms);
        if let Some(lock) = entry.lock {
            return Admission::Wait(lock.until - now);
        }
        if entry.failures.len() + entry.under_way.len() >= terms.failures as usize {
            // Failures alone are as many only when a reload has made the rule stricter.
            let wait = match entry.failures.front() {
                Some(first) if entry.under_way.is_empty() => *first + terms.within - now,
                _ => Duration::from_secs(1),
            };
            return Admission::Wait(wait);
        }
        entry.under_way.push((number, now + RESERVATION));
        Admission::Go(number)
    }

    /// Whether this is what locked.
    pub(super) fn conclude(
        &self,
        subject: &LockSubject,
        terms: LockTerms,
        attempt: Option<u64>,
        outcome: Outcome,
    ) -> bool {
        let now = self.clock.elapsed();
        let mut keys = self.lock();
        let entry = keys.entry(subject, now);
        entry.forget(now);
        entry.under_way.retain(|(number, _)| Some(*number) != attempt);
        let mut locked = false;
        match outcome {
            Outcome::Unclear => {}
            Outcome::Passed => entry.failures.clear(),
            Outcome::Failed if entry.lock.is_some() => {}
            Outcome::Failed => {
                entry.expire_failures(now, terms);
                entry.failures.push_back(now);
                entry.idle_after = now + terms.within;
                if entry.failures.len() >= terms.failures as usize {
                    entry.failures.clear();
                    entry.lock = Some(Lock { since: now, until: now + terms.lock });
                    entry.label = Some(subject.label.clone());
                    locked = true;
                }
            }
        }
        if entry.is_empty() {
            keys.entries.remove(&subject.key);
        }
        locked
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LockoutStore for LockoutTable {
    fn reserve(
        &self,
        subject: &LockSubject,
        terms: LockTerms,
    ) -> BoxFuture<'static, Result<Admission, StateAway>> {
        Box::pin(ready(Ok(self.admit(subject, terms))))
    }

    fn settle(
        &self,
        subject: &LockSubject,
        terms: LockTerms,
        attempt: Option<u64>,
        outcome: Outcome,
    ) -> BoxFuture<'static, Result<bool, StateAway>> {
        Box::pin(ready(Ok(self.conclude(subject, terms, attempt, outcome))))
    }

    fn list(&self) -> BoxFuture<'static, Result<Vec<Locked>, StateAway>> {
        let (now, wall) = (self.clock.elapsed(), self.clock.wall());
        let keys = self.lock();
        let listed = keys
            .entries
            .values()
            .filter_map(|(key, entry)| {
                let lock = entry.lock.filter(|lock| lock.until > now)?;
                Some(Locked {
                    id: lock_id(key),
                    label: entry.label.as_deref()?.clone(),
                    since: wall - (now - lock.since),
                    until: wall + (lock.until - now),
                })
            })
            .take(LISTED)
            .collect();
        Box::pin(ready(Ok(listed)))
    }

    fn remove(&self, id: &str) -> BoxFuture<'static, Result<bool, StateAway>> {
        let now = self.clock.elapsed();
        let mut keys = self.lock();
        let named = keys
            .entries
            .values()
            .find(|(key, entry)| lock_id(key) == id && entry.lock.is_some_and(|lock| lock.until > now));
        let key = named.map(|(key, _)| *key);
        if let Some(entry) = key.and_then(|key| keys.entries.get_mut(&key)) {
            entry.lock = None;
            entry.failures.clear();
        }
        Box::pin(ready(Ok(key.is_some())))
    }
}

impl Keys {
    fn entry(&mut self, subject: &LockSubject, now: Duration) -> &mut Entry {
        // Looked up twice, because the borrow checker does not let the first answer go.
        if self.entries.get_mut(&subject.key).is_none() {
            let rank = |entry: &Entry| {
                let lock = entry.lock.filter(|lock| lock.until > now);
                (lock.is_some(), entry.failures.len() + entry.under_way.len(), entry.idle_after)
            };
            return self.entries.insert(subject.key, Entry::default(), rank);
        }
        self.entries.get_mut(&subject.key).expect("it was just found")
    }
}

impl Entry {
    fn forget(&mut self, now: Duration) {
        self.under_way.retain(|(_, until)| *until > now);
        if self.lock.is_some_and(|lock| lock.until <= now) {
            self.lock = None;
            self.label = None;
        }
    }

    /// A failure counts for `within`, and no longer.
    fn expire_failures(&mut self, now: Duration, terms: LockTerms) {
        while self.failures.front().is_some_and(|failed| *failed + terms.within <= now) {
            self.failures.pop_front();
        }
    }

    fn is_empty(&self) -> bool {
        self.failures.is_empty() && self.under_way.is_empty() && self.lock.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::ManualClock;

    const TERMS: LockTerms =
        LockTerms { failures: 3, within: Duration::from_secs(900), lock: Duration::from_secs(1800) };

    fn subject(n: u32) -> LockSubject {
        let mut key = [7; 16];
        key[..4].copy_from_slice(&n.wrapping_mul(0x9E37_79B1).to_le_bytes());
        key[8..12].copy_from_slice(&n.to_le_bytes());
        let keys = vec![("ip".into(), n.to_string())];
        LockSubject { key, label: Arc::new(LockLabel { route: "/login".into(), keys }) }
    }

    fn table() -> (Arc<ManualClock>, Arc<LockoutTable>) {
        let clock = Arc::new(ManualClock::default());
        (clock.clone(), LockoutTable::new(clock))
    }

    /// Tries once; whether it was let.
    fn attempt(table: &LockoutTable, n: u32, outcome: Outcome) -> bool {
        let Admission::Go(number) = table.admit(&subject(n), TERMS) else { return false };
        table.conclude(&subject(n), TERMS, Some(number), outcome);
        true
    }

    #[test]
    fn locks_at_the_last_failure_for_the_whole_time_and_no_longer() {
        let (clock, table) = table();
        assert!((0..3).all(|_| attempt(&table, 1, Outcome::Failed)));
        assert_eq!(table.admit(&subject(1), TERMS), Admission::Wait(TERMS.lock));
        assert!(attempt(&table, 2, Outcome::Failed), "another key is not locked");
        clock.advance(TERMS.lock - Duration::from_secs(1));
        assert_eq!(table.admit(&subject(1), TERMS), Admission::Wait(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert!((0..3).all(|_| attempt(&table, 1, Outcome::Failed)), "and counts from nothing");
        assert!(!attempt(&table, 1, Outcome::Failed));
    }

    #[test]
    fn success_clears_and_an_unclear_end_does_not() {
        let (_, table) = table();
        for _ in 0..5 {
            assert!((0..2).all(|_| attempt(&table, 1, Outcome::Failed)));
            assert!(attempt(&table, 1, Outcome::Passed));
        }
        assert!(table.is_empty(), "nothing is kept of who succeeded");
        assert!((0..2).all(|_| attempt(&table, 1, Outcome::Failed)));
        assert!((0..9).all(|_| attempt(&table, 1, Outcome::Unclear)));
        assert!(attempt(&table, 1, Outcome::Failed));
        assert!(!attempt(&table, 1, Outcome::Failed));
    }

    #[test]
    fn failures_count_in_any_stretch_of_the_window() {
        let (clock, table) = table();
        assert!(attempt(&table, 1, Outcome::Failed));
        clock.advance(TERMS.within - Duration::from_secs(1));
        assert!(attempt(&table, 1, Outcome::Failed));
        clock.advance(Duration::from_secs(2));
        assert!(attempt(&table, 1, Outcome::Failed), "the first no longer counts");
        assert!(attempt(&table, 1, Outcome::Failed));
        assert!(!attempt(&table, 1, Outcome::Failed), "but the three since do");
    }

    #[test]
    fn parallel_guesses_get_no_more_answers_than_guesses_in_turn() {
        let (clock, table) = table();
        let numbers: Vec<u64> = (0..20)
            .filter_map(|_| match table.admit(&subject(1), TERMS) {
                Admission::Go(number) => Some(number),
                Admission::Wait(wait) => {
                    assert_eq!(wait, Duration::from_secs(1));
                    None
                }
            })
            .collect();
        assert_eq!(numbers.len(), 3);
        table.conclude(&subject(1), TERMS, Some(numbers[0]), Outcome::Failed);
        assert!(!attempt(&table, 1, Outcome::Failed), "one failed and two under way are three");
        table.conclude(&subject(1), TERMS, Some(numbers[1]), Outcome::Unclear);
        assert!(attempt(&table, 1, Outcome::Unclear), "one that came to nothing leaves room");
        clock.advance(RESERVATION);
        assert!(attempt(&table, 1, Outcome::Failed), "an attempt nobody settled is forgotten");
        table.conclude(&subject(1), TERMS, Some(numbers[2]), Outcome::Failed);
        assert!(!attempt(&table, 1, Outcome::Failed), "yet counts when it fails late");
    }

    #[test]
    fn lists_locks_and_ends_one_by_its_name() {
        let (clock, table) = table();
        for n in [1, 2] {
            assert!((0..3).all(|_| attempt(&table, n, Outcome::Failed)));
        }
        assert!(attempt(&table, 3, Outcome::Failed));
        clock.advance(Duration::from_secs(60));
        let list = || futures_util::FutureExt::now_or_never(table.list()).unwrap().unwrap();
        let remove = |id: &str| futures_util::FutureExt::now_or_never(table.remove(id)).unwrap().unwrap();
        let listed = list();
        assert_eq!(listed.len(), 2);
        let one = listed.iter().find(|lock| lock.label == *subject(1).label).unwrap();
        assert_eq!(one.since, clock.wall() - Duration::from_secs(60));
        assert_eq!(one.until, clock.wall() + TERMS.lock - Duration::from_secs(60));
        assert!(remove(&one.id));
        assert!(!remove(&one.id));
        assert!(!remove("0000000000000000"));
        assert_eq!(list().len(), 1);
        assert!((0..3).all(|_| attempt(&table, 1, Outcome::Failed)), "it begins from nothing");
    }

    #[test]
    fn a_flood_of_names_neither_fills_memory_nor_frees_a_lock() {
        let clock = Arc::new(ManualClock::default());
        let table = LockoutTable::with_keys(clock, 500);
        assert!((0..3).all(|_| attempt(&table, 1, Outcome::Failed)));
        for n in 2..20_000 {
            assert!(attempt(&table, n, Outcome::Failed));
        }
        assert!(table.len() <= 500);
        assert!(!attempt(&table, 1, Outcome::Failed));
    }

    #[test]
    fn a_sweep_drops_what_no_longer_matters_and_only_that() {
        let (clock, table) = table();
        assert!((0..3).all(|_| attempt(&table, 1, Outcome::Failed)));
        assert!(attempt(&table, 2, Outcome::Failed));
        table.sweep();
        assert_eq!(table.len(), 2);
        clock.advance(TERMS.within);
        table.sweep();
        assert_eq!(table.len(), 1, "the lock holds longer than the window");
        clock.advance(TERMS.lock);
        table.sweep();
        assert!(table.is_empty());
    }
}
