//! State that several gateways share, in one Redis; not a cluster, whose nodes would each hold a part of what a
//! script needs whole. With `rediss://` the certificate is verified against the system's list, or `SSL_CERT_FILE`.
//!
//! Every question is one script and one round trip, and takes no longer than `state.timeout`. After three failures
//! in a row, or at once when the connection breaks, the store is away: questions are answered [`StateAway`] without
//! waiting, while a task of its own tries four times a second to bring it back, with no request at stake. An idle
//! connection is tried once a second, so that a restart goes unnoticed.
//!
//! Keys, all below `menshen:`: the scripts say which. Each has an end of its own, but for the bytes that a tenant
//! stores. They hold hashes of what clients sent, never the values.

mod dedupe;
mod held;
mod lockout;
mod quota;
mod rate;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use config::Secret;
use filters::state::{SPACE_KEPT, StateAway};
use futures_util::future::BoxFuture;
use quota::Reservations;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, RedisError, Script, ScriptInvocation,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};

/// Failures in a row after which the store is away.
const FAILURES: u32 = 3;
/// Between two tries to bring it back.
const RETRY: Duration = Duration::from_millis(250);
/// Between two looks at an idle connection.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two renewals of reservations, a third of their lifetime.
const RENEWAL: u64 = SPACE_KEPT.as_secs() / (3 * LOOK.as_secs());
/// For a connection, from the name's resolution to the first answer.
const CONNECT: Duration = Duration::from_secs(2);
/// How long the store is told again what it did not acknowledge.
const INSIST: Duration = SPACE_KEPT;

static RATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("rate.lua")));
static LOCKOUT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lockout.lua")));
static QUOTA: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("quota.lua")));
static DEDUPE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("dedupe.lua")));

/// A Redis that may come and go. Cheap to clone; the last clone that is dropped closes the connection.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    link: ArcSwapOption<Link>,
    timeout: Duration,
    /// Where the connection lives, and what must be done though nobody waits for it.
    control: Handle,
    lost: Arc<Notify>,
    state: watch::Receiver<Presence>,
    reservations: Reservations,
}

/// One connection and its failures in a row. A late failure of an old one says nothing of the next.
struct Link {
    connection: MultiplexedConnection,
    failures: AtomicU32,
}

/// Whether the store is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The first try to connect has not ended.
    Unknown,
    /// It answers.
    Here,
    /// It does not; it is being tried.
    Away,
}

/// The URL is not one of a Redis. It is not repeated here, because it may carry a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUrl;

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a URL of a Redis; write redis://host:port/0, rediss://… for TLS, or unix:///path")
    }
}

impl std::error::Error for InvalidUrl {}

impl Redis {
    /// Whether this is the URL of a Redis. Connects to nothing.
    pub fn check(url: &Secret) -> Result<(), InvalidUrl> {
        let url = std::str::from_utf8(url.expose()).map_err(|_| InvalidUrl)?;
        url.into_connection_info().map(drop).map_err(|_| InvalidUrl)
    }

    /// Begins to connect, on `control`, and goes on for as long as a clone lives. Never waits for the server. Questions
    /// may come from any runtime that has its timer enabled.
    pub fn open(url: &Secret, timeout: Duration, control: &Handle) -> Result<Self, InvalidUrl> {
        let url = std::str::from_utf8(url.expose()).map_err(|_| InvalidUrl)?;
        let info = url.into_connection_info().map_err(|_| InvalidUrl)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info).map_err(|_| InvalidUrl)?;
        let lost = Arc::new(Notify::new());
        let (presence, state) = watch::channel(Presence::Unknown);
        let inner = Inner {
            link: ArcSwapOption::empty(),
            timeout,
            control: control.clone(),
            lost: lost.clone(),
            state,
            reservations: Reservations::default(),
        };
        let inner = Arc::new(inner);
        control.spawn(keep(Arc::downgrade(&inner), client, lost, presence));
        Ok(Self { inner })
    }

    /// Whether the store is there, and every change of it. To be awaited at start, so that the first requests find
    /// the connection made; the first try ends within two seconds.
    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.inner.state.clone()
    }

    /// One question, bounded by the timeout. Must be polled where a timer runs.
    async fn ask<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, StateAway> {
        let Some(link) = self.inner.link.load_full() else { return Err(StateAway) };
        let mut connection = link.connection.clone();
        let answer = tokio::time::timeout(self.inner.timeout, script.invoke_async(&mut connection)).await;
        self.inner.judge(&link, answer.ok())
    }

    /// Tells the store something, on the control runtime, so that it is done though nobody waits; and again when it does
    /// not answer, so that it must not matter how often it is told. The future is the first answer.
    fn insist(&self, script: ScriptInvocation<'static>) -> BoxFuture<'static, Result<(), StateAway>> {
        let redis = self.clone();
        let (heard, told) = oneshot::channel();
        self.inner.control.spawn(async move {
            let begun = Instant::now();
            let mut answer: Result<u8, StateAway> = redis.ask(&script).await;
            let _ = heard.send(answer.map(drop));
            while answer.is_err() && begun.elapsed() < INSIST {
                tokio::time::sleep(RETRY).await;
                answer = redis.ask(&script).await;
            }
        });
        Box::pin(async move { told.await.map_err(|_| StateAway)? })
    }

    /// Whether a question would be answered [`StateAway`] unasked.
    fn is_away(&self) -> bool {
        self.inner.link.load().is_none()
    }
}

impl Inner {
    /// Counts failures in a row; `None` is an answer that did not come in time.
    fn judge<T>(&self, link: &Arc<Link>, answer: Option<Result<T, RedisError>>) -> Result<T, StateAway> {
        let broken = match answer {
            Some(Ok(answer)) => {
                link.failures.store(0, Ordering::Relaxed);
                return Ok(answer);
            }
            Some(Err(error)) => error.is_unrecoverable_error(),
            None => false,
        };
        let failures = link.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if broken || failures >= FAILURES {
            // Whoever comes first takes this link away; a newer one stays.
            let current = self.link.compare_and_swap(link, None);
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
                self.lost.notify_one();
            }
        }
        Err(StateAway)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.lost.notify_one();
    }
}

/// Connects, and connects again whenever the link is lost, until nobody is left to ask.
async fn keep(inner: Weak<Inner>, client: Client, lost: Arc<Notify>, presence: watch::Sender<Presence>) {
    loop {
        let link = connect(&client).await;
        let Some(held) = inner.upgrade() else { return };
        match link {
            Ok(link) => {
                held.link.store(Some(Arc::new(link)));
                drop(held);
                if presence.send_replace(Presence::Here) == Presence::Away {
                    log::warn!("the shared state is back");
                }
                watch_over(&inner, &lost).await;
            }
            Err(reason) => {
                drop(held);
                if presence.send_replace(Presence::Away) != Presence::Away {
                    log::warn!("the shared state is away: {reason}");
                }
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        if inner.strong_count() == 0 {
            return;
        }
        presence.send_replace(Presence::Away);
        log::warn!("the shared state is away: it answers too late, with errors, or not at all");
    }
}

/// Looks at the link now and then, says which reservations still stand, and returns when the link is lost.
async fn watch_over(inner: &Weak<Inner>, lost: &Notify) {
    for look in 0_u64.. {
        if look.is_multiple_of(RENEWAL) {
            let Some(inner) = inner.upgrade() else { return };
            Redis { inner }.renew().await;
        }
        if tokio::time::timeout(LOOK, lost.notified()).await.is_ok() {
            return;
        }
        let Some(held) = inner.upgrade() else { return };
        // Just taken away by a question; the notice follows.
        let Some(link) = held.link.load_full() else { continue };
        let mut connection = link.connection.clone();
        let limit = held.timeout;
        drop(held);
        let answer = tokio::time::timeout(limit, probe(&mut connection)).await.ok();
        let Some(held) = inner.upgrade() else { return };
        let _ = held.judge(&link, answer);
    }
}

/// A connection that can do what will be asked of it. The text of an error is for the operator; it holds no part of
/// the URL.
async fn connect(client: &Client) -> Result<Link, &'static str> {
    let settings =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
    let connected = tokio::time::timeout(CONNECT, async {
        let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
        probe(&mut connection).await?;
        for script in [&*RATE, &*LOCKOUT, &*QUOTA, &*DEDUPE] {
            script.load_async(&mut connection).await?;
        }
        Ok::<_, RedisError>(connection)
    });
    match connected.await {
        Ok(Ok(connection)) => Ok(Link { connection, failures: AtomicU32::new(0) }),
        Ok(Err(error)) if error.is_connection_refusal() => Err("the connection is refused"),
        Ok(Err(error)) if error.is_io_error() => Err("the connection fails"),
        Ok(Err(_)) => Err("it refuses the credentials, the database or the commands"),
        Err(_) => Err("it does not answer"),
    }
}

/// Writes, because a read-only replica and a server without memory answer to PING.
async fn probe(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    redis::cmd("SET").arg("menshen:probe").arg(1).arg("PX").arg(1000).query_async(connection).await
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A number that no other gateway gives: a keyed hash of a counter, the key random for each process.
fn fresh_number() -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one(NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests;
