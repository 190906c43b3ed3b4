//! `state` and `spool`.

use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// `state:`
#[derive(Debug, Clone)]
pub struct State {
    /// Memory of this process, or Redis.
    pub backend: StateBackend,
    /// The longest a request waits for shared state.
    pub timeout: Duration,
    /// What a rule does when shared state is away.
    pub on_failure: OnStateFailure,
}

/// `state.backend`
#[derive(Debug, Clone)]
pub enum StateBackend {
    /// Counters live and die with this process.
    Memory,
    /// Counters are shared through one Redis. The URL may carry a password.
    Redis(Secret),
}

/// `state.on_failure`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStateFailure {
    /// Go on with this process's own counters.
    Local,
    /// Refuse with 503 `state.unavailable`.
    Deny,
    /// Let the request pass uncounted.
    Allow,
}

/// `spool:`
#[derive(Debug, Clone)]
pub struct Spool {
    /// Bytes of one body kept in memory; the rest goes to an unlinked file.
    pub memory: usize,
    /// Where those files are made.
    pub directory: PathBuf,
    /// Bytes of all bodies in memory at a time; beyond it they go to files early.
    pub max_memory: u64,
    /// Bytes of all bodies at a time; beyond it 503 `spool.exhausted`.
    pub max_total: u64,
    /// Bytes that files leave free on the directory's disk; below it 503 `spool.exhausted`.
    pub min_free: u64,
}
