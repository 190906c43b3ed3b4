//! What rules that count need from outside: the time, a store that several gateways share, and what to do when
//! that store is away.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use config::{HostPattern, OnStateFailure, Route};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::denial::{Denial, Reason};

/// The time, as counters need it.
pub trait Clock: Send + Sync {
    /// Since an origin of the clock's own. Never goes back.
    fn elapsed(&self) -> Duration;

    /// The time of day, for people. May jump.
    fn wall(&self) -> SystemTime;
}

/// The system's clocks. About 25 ns a reading.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// Begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// The shared store did not answer in time, answered with an error, or is known to be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shared state is away")]
pub struct StateAway;

/// What a rule does when the shared store is away, and who is told.
#[derive(Clone)]
pub struct WhenAway {
    policy: OnStateFailure,
    told: Arc<dyn Fn(&'static str) + Send + Sync>,
}

impl WhenAway {
    /// `told` is called with the name of the operation once for each question that went unanswered. It must be quick.
    pub fn new(policy: OnStateFailure, told: Arc<dyn Fn(&'static str) + Send + Sync>) -> Self {
        Self { policy, told }
    }

    /// Tells of an unanswered question, and says what to do.
    pub(crate) fn met(&self, operation: &'static str) -> OnStateFailure {
        (self.told)(operation);
        self.policy
    }
}

impl fmt::Debug for WhenAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WhenAway").field(&self.policy).finish()
    }
}

/// A store that several gateways share, with what to do without it.
#[derive(Debug)]
pub struct Shared<S: ?Sized> {
    /// Whom to ask.
    pub store: Arc<S>,
    /// What to do when it does not answer.
    pub away: WhenAway,
}

impl<S: ?Sized> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), away: self.away.clone() }
    }
}

/// The refusal for a shared store that is away under `on_failure: deny`.
pub(crate) fn unavailable(operation: &'static str) -> Denial {
    Denial::new(Reason::StateUnavailable, operation).retry_after(Duration::from_secs(1))
}

/// The text by which a route is known across reloads and across gateways: hosts, methods and path, not its place
/// in the file. Counters of a route whose scope does not change are kept.
pub fn scope(hosts: &[HostPattern], route: &Route) -> String {
    let mut hosts: Vec<String> = hosts
        .iter()
        .map(|host| match host {
            HostPattern::Exact(name) => name.clone(),
            HostPattern::Wildcard(name) => format!("*.{name}"),
            HostPattern::Any => "*".to_owned(),
        })
        .collect();
    hosts.sort_unstable();
    let mut methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
    methods.sort_unstable();
    format!("{} {} {}", hosts.join(","), methods.join(","), route.path.text)
}

/// The address as limits count it: IPv6 by /64, which is what one subscriber has, and IPv4 inside IPv6 as IPv4.
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// How much of something may happen, by the generic cell rate algorithm: one unit comes back every `interval`, and
/// up to `capacity` may be taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    interval: u64,
    capacity: u32,
}

impl Quota {
    /// The quota of a rule: `burst` beyond the first may come at once.
    pub fn of(rate: &config::rules::Rate) -> Self {
        Self::new(rate.limit, rate.per, rate.burst)
    }

    /// `limit` per `per`, `burst` beyond the first at once. Rates above 1,000,000,000 a second count as that.
    pub fn new(limit: u32, per: Duration, burst: u32) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        Self { interval: (per / u64::from(limit.max(1))).max(1), capacity: burst.saturating_add(1) }
    }

    /// Time in which one unit comes back.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// Units that may be taken at once.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// With its interval rounded up to whole microseconds, which is what a shared store counts in.
    pub fn in_micros(&self) -> Self {
        Self { interval: self.interval.div_ceil(1000) * 1000, capacity: self.capacity }
    }

    /// What a shared store means by a counter that owes this much: after the unit was taken when `allowed` is true,
    /// else without it.
    pub fn stands(&self, debt: Duration, allowed: bool) -> Standing {
        let debt = u64::try_from(debt.as_nanos()).unwrap_or(u64::MAX);
        if allowed { self.standing(debt) } else { self.take(debt, 0).1 }
    }

    /// Nanoseconds in which a used-up quota is whole again.
    fn whole(&self) -> u64 {
        self.interval.saturating_mul(u64::from(self.capacity))
    }

    /// Takes one unit at `now`. `full_at` is when the quota would be whole again: the whole state of a counter, any
    /// past time for a fresh one. Gives the new state, when the unit could be taken, and where the counter stands.
    pub(crate) fn take(&self, full_at: u64, now: u64) -> (Option<u64>, Standing) {
        let debt = full_at.saturating_sub(now);
        let after = debt.saturating_add(self.interval);
        if after > self.whole() {
            let wait = Duration::from_nanos(after - self.whole());
            return (None, Standing { allowed: false, remaining: 0, wait });
        }
        (Some(now.saturating_add(after)), self.standing(after))
    }

    /// Gives back what `take` took.
    pub(crate) fn give_back(&self, full_at: u64) -> u64 {
        full_at.saturating_sub(self.interval)
    }

    /// Where a counter stands with this much owed.
    pub(crate) fn standing(&self, debt: u64) -> Standing {
        let free = self.whole().saturating_sub(debt);
        let remaining = free / self.interval;
        let wait = if debt == 0 { 0 } else { self.interval - free % self.interval };
        Standing {
            allowed: true,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            wait: Duration::from_nanos(wait),
        }
    }
}

/// Where one counter stands after a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether this rule lets the request pass.
    pub allowed: bool,
    /// Units left.
    pub remaining: u32,
    /// Until one more unit is there.
    pub wait: Duration,
}

/// One unit asked of one counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// A hash of the route, the rule and what it counts by. The same on every gateway with the same policy.
    pub key: [u8; 16],
    /// How much there is.
    pub quota: Quota,
}

/// Rate counters that several gateways share.
pub trait RateStore: Send + Sync {
    /// Takes a unit from each counter, or, when one of them refuses, from none; in one step that no other request
    /// comes between. The standings come in the order of `takes`. Bounded by `state.timeout`.
    fn take(&self, takes: Vec<Take>) -> BoxFuture<'static, Result<Vec<Standing>, StateAway>>;
}

/// What is locked after failures.
#[derive(Debug, Clone)]
pub struct LockSubject {
    /// A hash of the route and the values that make the key. The same on every gateway with the same policy.
    pub key: [u8; 16],
    /// What people are shown of it.
    pub label: Arc<LockLabel>,
}

/// What people are shown of a lockout: nothing that identifies a user beyond the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockLabel {
    /// The pattern of the route.
    pub route: String,
    /// What the key is made of and, for an address or a tenant, its value; a field of the request shows as a hash.
    pub keys: Vec<(String, String)>,
}

/// When a subject is locked, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockTerms {
    /// How many failures lock. At least 1.
    pub failures: u32,
    /// In which time.
    pub within: Duration,
    /// For how long.
    pub lock: Duration,
}

/// An attempt that nobody settled is forgotten after this long.
pub const RESERVATION: Duration = Duration::from_secs(120);

/// Whether an attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes; it is to be settled under this number.
    Go(u64),
    /// Not before this much time has passed: locked, or as many attempts are under way as there are failures left.
    Wait(Duration),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It counts.
    Failed,
    /// It clears what was counted.
    Passed,
    /// It does neither.
    Unclear,
}

/// One lock that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The name it is deleted by: 16 hexadecimal digits.
    pub id: String,
    /// What is locked.
    pub label: LockLabel,
    /// From when.
    pub since: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

/// At most this many locks are listed.
pub const LISTED: usize = 1000;

/// Counters of failures and the locks they lead to.
pub trait LockoutStore: Send + Sync {
    /// Asks for leave to try. Attempts under way count as failures until they are settled, so that parallel
    /// guesses get no more answers than guesses made one by one.
    fn reserve(
        &self,
        subject: &LockSubject,
        terms: LockTerms,
    ) -> BoxFuture<'static, Result<Admission, StateAway>>;

    /// Says how an attempt ended; without a number, of one that was not reserved here. The work is begun by the
    /// call: dropping the future does not undo it.
    fn settle(
        &self,
        subject: &LockSubject,
        terms: LockTerms,
        attempt: Option<u64>,
        outcome: Outcome,
    ) -> BoxFuture<'static, Result<(), StateAway>>;

    /// The locks that hold, at most [`LISTED`], in no order.
    fn list(&self) -> BoxFuture<'static, Result<Vec<Locked>, StateAway>>;

    /// Ends a lock and forgets the failures that led to it. False when there is none of this name.
    fn remove(&self, id: &str) -> BoxFuture<'static, Result<bool, StateAway>>;
}

/// The name of a lock: the first half of its key, in hexadecimal.
pub fn lock_id(key: &[u8; 16]) -> String {
    hex::encode(&key[..8])
}

/// A clock that goes only when told to, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct ManualClock(std::sync::Mutex<Duration>);

#[cfg(test)]
impl ManualClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

#[cfg(test)]
impl Clock for ManualClock {
    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap() + Duration::from_secs(1000)
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + *self.0.lock().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn lets_the_first_and_the_burst_pass_at_once_and_then_one_per_interval() {
        let quota = Quota::new(60, Duration::from_secs(60), 20);
        let mut state = 0;
        let now = 5000 * SECOND;
        for left in (0..21).rev() {
            let (next, standing) = quota.take(state, now);
            state = next.unwrap();
            assert_eq!(standing, Standing { allowed: true, remaining: left, wait: Duration::from_secs(1) });
        }
        let (none, standing) = quota.take(state, now);
        assert_eq!(none, None);
        assert_eq!(standing, Standing { allowed: false, remaining: 0, wait: Duration::from_secs(1) });
        assert!(quota.take(state, now + SECOND - 1).0.is_none());
        let state = quota.take(state, now + SECOND).0.unwrap();
        assert!(quota.take(state, now + SECOND).0.is_none());
    }

    #[test]
    fn without_a_burst_only_one_passes_at_a_time() {
        let quota = Quota::new(10, Duration::from_secs(1), 0);
        let state = quota.take(0, SECOND).0.unwrap();
        assert!(quota.take(state, SECOND + SECOND / 10 - 1).0.is_none());
        assert!(quota.take(state, SECOND + SECOND / 10).0.is_some());
    }

    proptest! {
        #[test]
        fn never_lets_more_pass_than_the_burst_and_the_steady_rate(
            limit in 1u32..1000, burst in 0u32..50, gaps in prop::collection::vec(0u64..SECOND / 20, 1..300),
        ) {
            let quota = Quota::new(limit, Duration::from_secs(1), burst);
            let (mut state, mut now, mut passed) = (0, 1000 * SECOND, 0u64);
            let start = now;
            for gap in gaps {
                now += gap;
                if let (Some(next), _) = quota.take(state, now) {
                    state = next;
                    passed += 1;
                }
                prop_assert!(passed <= u64::from(burst) + 1 + (now - start) / quota.interval);
            }
        }

        #[test]
        fn a_wait_is_exactly_long_enough(limit in 1u32..1000, burst in 0u32..20, taken in 1u32..40) {
            let quota = Quota::new(limit, Duration::from_secs(1), burst);
            let (mut state, now) = (0, 1000 * SECOND);
            for _ in 0..taken {
                let (next, standing) = quota.take(state, now);
                state = next.unwrap_or(state);
                if !standing.allowed {
                    let wait = standing.wait.as_nanos() as u64;
                    prop_assert!(quota.take(state, now + wait).0.is_some());
                    prop_assert!(quota.take(state, now + wait - 1).0.is_none());
                }
            }
        }
    }
}
