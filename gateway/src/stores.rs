//! What rules share and what outlives a policy: counters, lockouts, the books of uploads, keys, the connection to Redis,
//! the scanner.

use std::future::Future;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use config::{Config, Problem, Secret, StateBackend};
use filters::jwks::KeySets;
use filters::lockout::LockoutTable;
use filters::pipeline::Stores;
use filters::rate::RateTables;
use filters::state::{
    self, Books, Clock, Fingerprints, Locked, LockoutStore, Quotas, RateStore, StateAway, SystemClock, Usage,
    WhenAway,
};
use filters::upload::{Ledger, ScanPolicy, SeenFiles};
use tokio::runtime::Handle;

use crate::jwks::{Fetcher, patience};
use crate::metrics::Metrics;
use crate::redis::{Presence, Redis};
use crate::scanners::{self, Built};

/// How often counters that no longer matter are dropped.
const SWEEP: Duration = Duration::from_secs(10);

/// How long the start waits for the first connection to Redis.
const FIRST_CONNECTION: Duration = Duration::from_secs(2);

/// Shared by every policy of a process.
pub struct SharedStores {
    control: Handle,
    rates: Arc<RateTables>,
    lockouts: Arc<LockoutTable>,
    ledger: Arc<Ledger>,
    files: Arc<SeenFiles>,
    key_sets: Arc<KeySets>,
    fetcher: OnceLock<Fetcher>,
    redis: Mutex<Option<Connected>>,
    clock: Arc<dyn Clock>,
    scanners: scanners::Kept,
}

/// What of a policy that was built outlives it, when it is taken.
pub struct Outliving {
    redis: Option<Connected>,
    scanners: Built,
}

/// A Redis, and by which settings it was connected to.
#[derive(Clone)]
struct Connected {
    url: Secret,
    timeout: Duration,
    redis: Redis,
}

impl SharedStores {
    /// Empty. Connections live on the `control` runtime.
    pub fn new(control: Handle) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Self {
            control,
            rates: RateTables::new(Arc::clone(&clock)),
            lockouts: LockoutTable::new(Arc::clone(&clock)),
            ledger: Ledger::new(),
            files: SeenFiles::new(Arc::clone(&clock)),
            key_sets: Arc::default(),
            fetcher: OnceLock::new(),
            redis: Mutex::default(),
            scanners: scanners::Kept::default(),
            clock,
        }
    }

    /// Who scans for one policy, out of what the policy before had where that is the same.
    pub fn scanners(&self, config: &Config, metrics: &Arc<Metrics>) -> Result<Built, Vec<Problem>> {
        self.scanners.of(&config.scanner, &self.clock, metrics, &self.control)
    }

    /// Every clamd as it is written in the policy, and whether it is well as far as is known.
    pub fn scanner_servers(&self) -> Vec<(String, bool)> {
        self.scanners.servers()
    }

    /// What the rules of one policy are given, and what of it outlives the policy: the Redis in use when that is the same.
    /// It is to be [kept](Self::keep) when the policy is taken. An error names the key it is about.
    pub fn of(
        &self,
        config: &Config,
        scanners: Built,
        metrics: &Arc<Metrics>,
    ) -> Result<(Stores, Outliving), (String, String)> {
        let connected = self.redis(config)?;
        let redis = connected.as_ref().map(|connected| connected.redis.clone());
        let told = Arc::clone(metrics);
        let told: Arc<dyn Fn(&'static str) + Send + Sync> =
            Arc::new(move |operation| told.state_error(operation));
        let away = || WhenAway::new(config.state.on_failure, Arc::clone(&told));
        let rates = redis.clone().map(|redis| {
            let store: Arc<dyn RateStore> = Arc::new(redis);
            state::Shared { store, away: away() }
        });
        let lockouts = redis.clone().map(|redis| {
            let store: Arc<dyn LockoutStore> = Arc::new(redis);
            state::Shared { store, away: away() }
        });
        let quotas = redis.clone().map(|redis| {
            let store: Arc<dyn Quotas> = Arc::new(redis);
            state::Shared { store, away: away() }
        });
        let fingerprints = redis.map(|redis| {
            let store: Arc<dyn Fingerprints> = Arc::new(redis);
            state::Shared { store, away: away() }
        });
        let stores = Stores {
            rates: Arc::clone(&self.rates),
            shared_rates: rates,
            lockouts: Arc::clone(&self.lockouts),
            shared_lockouts: lockouts,
            quotas: Books { local: Arc::clone(&self.ledger) as _, shared: quotas },
            fingerprints: Books { local: Arc::clone(&self.files) as _, shared: fingerprints },
            key_sets: Arc::clone(&self.key_sets),
            scanner: scanners.scanner(),
            scan_policy: ScanPolicy::from(&config.scanner),
            key_wait: |wanted| Box::pin(patience(wanted)),
        };
        Ok((stores, Outliving { redis: connected, scanners }))
    }

    /// Takes the Redis and the scanners of a policy into use: the operator's listener asks them from here on, and the next
    /// policy goes on with them.
    pub fn keep(&self, outliving: Outliving) {
        *self.redis.lock().unwrap_or_else(PoisonError::into_inner) = outliving.redis;
        self.scanners.keep(outliving.scanners);
    }

    /// What the rules of a policy are given when nothing may be connected to: this process's own counters, and a scanner
    /// that is never asked.
    pub fn offline(config: &Config) -> Result<Stores, (String, String)> {
        if let StateBackend::Redis(url) = &config.state.backend {
            Redis::check(url).map_err(|bad| ("state.url".to_owned(), bad.to_string()))?;
        }
        Ok(Stores::local(ScanPolicy::from(&config.scanner)))
    }

    /// The connection of the policy before, when it is to the same place.
    fn redis(&self, config: &Config) -> Result<Option<Connected>, (String, String)> {
        let StateBackend::Redis(url) = &config.state.backend else { return Ok(None) };
        let current = self.redis.lock().unwrap_or_else(PoisonError::into_inner);
        let timeout = config.state.timeout;
        let same = |one: &&Connected| one.url.expose() == url.expose() && one.timeout == timeout;
        if let Some(connected) = current.as_ref().filter(same) {
            return Ok(Some(connected.clone()));
        }
        let redis = Redis::open(url, timeout, &self.control)
            .map_err(|bad| ("state.url".to_owned(), bad.to_string()))?;
        Ok(Some(Connected { url: url.clone(), timeout, redis }))
    }

    /// Begins what goes on in the background. To be called on the control runtime; again after each reload.
    pub fn follow(&self) {
        match self.fetcher.get() {
            Some(fetcher) => fetcher.follow(&self.key_sets),
            None => match Fetcher::new(Arc::new(|_, _| ())) {
                Ok(fetcher) => self.fetcher.get_or_init(|| fetcher).follow(&self.key_sets),
                Err(problem) => log::error!("{problem}"),
            },
        }
    }

    /// Drops counters that no longer matter, for as long as it is polled.
    pub async fn sweep(&self) {
        let mut turn = tokio::time::interval(SWEEP);
        loop {
            turn.tick().await;
            self.rates.sweep();
            self.lockouts.sweep();
            self.files.sweep();
        }
    }

    /// Waits a moment for Redis, so that the first requests find the connection made.
    pub async fn connected(&self) {
        let presence = {
            let current = self.redis.lock().unwrap_or_else(PoisonError::into_inner);
            current.as_ref().map(|connected| connected.redis.presence())
        };
        let Some(mut presence) = presence else { return };
        let known = presence.wait_for(|presence| *presence != Presence::Unknown);
        let _ = tokio::time::timeout(FIRST_CONNECTION, known).await;
    }

    /// The lockouts that hold.
    pub fn locked(&self) -> impl Future<Output = Result<Vec<Locked>, StateAway>> + use<> {
        self.lockout_store().list()
    }

    /// Ends a lockout; false when there is none of this name.
    pub fn unlock(&self, id: &str) -> impl Future<Output = Result<bool, StateAway>> + use<> {
        self.lockout_store().remove(id)
    }

    /// What a tenant has stored.
    pub fn usage(&self, tenant: &str) -> impl Future<Output = Result<Usage, StateAway>> + use<> {
        self.quota_store().usage(tenant)
    }

    /// Sets what a tenant has stored; gives what was known before. Where books are shared, those that this process goes
    /// by while they are away are set too.
    pub fn set_usage(
        &self,
        tenant: &str,
        used: u64,
    ) -> impl Future<Output = Result<Usage, StateAway>> + use<> {
        let (store, own) = (self.quota_store(), Arc::clone(&self.ledger));
        let tenant = tenant.to_owned();
        async move {
            let before = store.set(&tenant, used).await?;
            own.set(&tenant, used).await?;
            Ok(before)
        }
    }

    fn quota_store(&self) -> Arc<dyn Quotas> {
        let current = self.redis.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref() {
            Some(connected) => Arc::new(connected.redis.clone()),
            None => Arc::clone(&self.ledger) as Arc<dyn Quotas>,
        }
    }

    fn lockout_store(&self) -> Arc<dyn LockoutStore> {
        let current = self.redis.lock().unwrap_or_else(PoisonError::into_inner);
        match current.as_ref() {
            Some(connected) => Arc::new(connected.redis.clone()),
            None => Arc::clone(&self.lockouts) as Arc<dyn LockoutStore>,
        }
    }
}
