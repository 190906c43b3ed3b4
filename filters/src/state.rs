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

pub use crate::rate::{Quota, Standing};

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

/// What is kept in this process, and what several gateways share.
pub struct Books<S: ?Sized> {
    /// Serves when nothing is shared, and while that is away and the policy says `local`.
    pub local: Arc<S>,
    /// Shared with other gateways.
    pub shared: Option<Shared<S>>,
}

impl<S: ?Sized> Clone for Books<S> {
    fn clone(&self) -> Self {
        Self { local: self.local.clone(), shared: self.shared.clone() }
    }
}

impl<S: ?Sized> Books<S> {
    /// Asks whoever is to be asked by the policy; gives the answer, and whose it is. `None` when the shared store is
    /// away and requests pass uncounted.
    pub(crate) async fn ask<T>(
        &self,
        operation: &'static str,
        question: impl Fn(&S) -> BoxFuture<'static, Result<T, StateAway>>,
    ) -> Result<Option<(T, Arc<S>)>, Denial> {
        if let Some(shared) = &self.shared {
            match question(&shared.store).await {
                Ok(answer) => return Ok(Some((answer, shared.store.clone()))),
                Err(StateAway) => match shared.away.met(operation) {
                    OnStateFailure::Local => {}
                    OnStateFailure::Deny => return Err(unavailable(operation)),
                    OnStateFailure::Allow => return Ok(None),
                },
            }
        }
        let answer = question(&self.local).await.map_err(|StateAway| unavailable(operation))?;
        Ok(Some((answer, self.local.clone())))
    }

    /// What to do about a message that `store` did not take: the local store to tell instead, when the policy says so.
    pub(crate) fn instead(&self, operation: &'static str) -> Option<&Arc<S>> {
        let policy = self.shared.as_ref()?.away.met(operation);
        (policy == OnStateFailure::Local).then_some(&self.local)
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
    /// call: dropping the future does not undo it. True when this is the failure that locked.
    fn settle(
        &self,
        subject: &LockSubject,
        terms: LockTerms,
        attempt: Option<u64>,
        outcome: Outcome,
    ) -> BoxFuture<'static, Result<bool, StateAway>>;

    /// The locks that hold, at most [`LISTED`], in no order.
    fn list(&self) -> BoxFuture<'static, Result<Vec<Locked>, StateAway>>;

    /// Ends a lock and forgets the failures that led to it. False when there is none of this name.
    fn remove(&self, id: &str) -> BoxFuture<'static, Result<bool, StateAway>>;
}

/// The name of a lock: the first half of its key, in hexadecimal.
pub fn lock_id(key: &[u8; 16]) -> String {
    hex::encode(&key[..8])
}

/// What a tenant has stored, and what uploads under way may add to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of files that an app has taken.
    pub used: u64,
    /// Bytes of files that are on their way to one.
    pub reserved: u64,
}

/// So much of one tenant's storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Space {
    /// The tenant's id.
    pub tenant: Arc<str>,
    /// Bytes.
    pub bytes: u64,
}

/// Whether space is reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Yes; it is to be settled under this number.
    Reserved(u64),
    /// There is not so much left.
    Exceeded(Usage),
}

/// A reservation is forgotten after this long, unless the gateway that made it says that it still stands; it says so
/// three times in this. So long is space kept that was reserved by a gateway that died.
pub const SPACE_KEPT: Duration = Duration::from_secs(30);

/// The storage of tenants.
pub trait Quotas: Send + Sync {
    /// Reserves space, unless used and reserved bytes would then be more than `limit`; in one step that no other
    /// upload comes between. Nothing stays reserved when the future is dropped, or gives an error.
    fn reserve(&self, space: &Space, limit: Option<u64>) -> BoxFuture<'static, Result<Grant, StateAway>>;

    /// Ends a reservation: the space is used, when it is `kept`, else free. The work is begun by the call: dropping the
    /// future does not undo it.
    fn settle(&self, space: &Space, number: u64, kept: bool) -> BoxFuture<'static, Result<(), StateAway>>;

    /// Frees space that was used; never more than is. The work is begun by the call.
    fn free(&self, space: &Space) -> BoxFuture<'static, Result<(), StateAway>>;

    /// What a tenant has stored.
    fn usage(&self, tenant: &str) -> BoxFuture<'static, Result<Usage, StateAway>>;

    /// Says what a tenant has stored, by the app's own count. Gives what was known before.
    fn set(&self, tenant: &str, used: u64) -> BoxFuture<'static, Result<Usage, StateAway>>;
}

/// A file that was stored, as one tenant, or one route without tenants, is known to have stored it: a hash of whose it
/// is and of what is in it. The same on every gateway with the same policy.
pub type Fingerprint = [u8; 16];

/// Files that were stored.
pub trait Fingerprints: Send + Sync {
    /// Under which request each file was stored first; in the order of `files`.
    fn find(&self, files: &[Fingerprint]) -> BoxFuture<'static, Result<Vec<Option<String>>, StateAway>>;

    /// Remembers that files were stored by a request. One that is remembered already stays as it is. The work is begun
    /// by the call.
    fn remember(
        &self,
        files: &[Fingerprint],
        request_id: &str,
        lifetime: Duration,
    ) -> BoxFuture<'static, Result<(), StateAway>>;
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
