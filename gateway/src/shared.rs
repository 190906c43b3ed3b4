//! What outlives a policy: the phase, the counters, the servers, the sinks. And the policy in force.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;

use crate::listener::Listener;
use crate::metrics::Metrics;
use crate::phase::Phases;
use crate::snapshot::Snapshot;
use crate::stores::SharedStores;
use crate::upstream::Servers;

/// Shared by every worker and the control thread.
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// Serving, draining, ending.
    pub phases: Arc<Phases>,
    /// Upstream servers and what is known of their health.
    pub servers: Servers,
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    /// Rate counters, lockouts, keys, scanners.
    pub stores: SharedStores,
    /// Where clients connect.
    pub listeners: Vec<Arc<Listener>>,
    /// The files or folders the policy is loaded from.
    pub paths: Vec<PathBuf>,
    last_error: Mutex<Option<LastError>>,
}

/// The last reload that failed, until one succeeds.
#[derive(Debug, Clone)]
pub struct LastError {
    /// When.
    pub at: SystemTime,
    /// One line per problem.
    pub problems: Vec<String>,
}

impl Shared {
    /// Around the first policy.
    pub fn new(
        snapshot: Snapshot,
        servers: Servers,
        metrics: Arc<Metrics>,
        stores: SharedStores,
        listeners: Vec<Arc<Listener>>,
        paths: Vec<PathBuf>,
    ) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            phases: Arc::default(),
            servers,
            metrics,
            stores,
            listeners,
            paths,
            last_error: Mutex::default(),
        }
    }

    /// The policy in force. A request takes it once and keeps it to its end.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Puts another policy in force, in one step.
    pub fn install(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Remembers why a reload changed nothing.
    pub fn reject(&self, problems: Vec<String>) {
        let error = LastError { at: SystemTime::now(), problems };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Why the last reload changed nothing, when it did not.
    pub fn last_error(&self) -> Option<LastError> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The port that `redirect: https` leads to: that of the first listener with TLS.
    pub fn https_port(&self) -> u16 {
        self.listeners
            .iter()
            .find(|listener| listener.tls.is_some())
            .map_or(443, |listener| listener.address.port())
    }
}
