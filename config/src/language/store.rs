//! `state` and `spool`.

use crate::Secret;
use crate::model::{OnStateFailure, Spool, State, StateBackend};
use crate::read::Reader;
use crate::scalar::{path, size_between, time_limit, word};
use crate::secret_source::secret_url;

pub(super) fn state(r: &Reader<'_>) -> Option<State> {
    let t = r.table()?;
    let redis = t.or(
        "backend",
        "Where shared counters are kept: in this process, or in Redis.",
        "memory",
        word(&[("memory", false), ("redis", true)]),
    );
    let url = t.or("url", "Where Redis is; used with backend redis.", "redis://127.0.0.1:6379/0", redis_url);
    let timeout = t.or("timeout", "The longest a request waits for shared state.", "50ms", time_limit);
    let on_failure = t.or(
        "on_failure",
        "What a rule does when shared state is away: count locally, refuse with 503, or let pass uncounted.",
        "deny",
        word(&[
            ("local", OnStateFailure::Local),
            ("deny", OnStateFailure::Deny),
            ("allow", OnStateFailure::Allow),
        ]),
    );
    let (redis, url) = (redis?, url?);
    Some(State {
        backend: if redis { StateBackend::Redis(url) } else { StateBackend::Memory },
        timeout: timeout?,
        on_failure: on_failure?,
    })
}

fn redis_url(r: &Reader<'_>) -> Option<Secret> {
    let (secret, url) = secret_url(r)?;
    if !["redis", "rediss", "redis+unix", "unix"].contains(&url.scheme()) {
        r.problem("this is not the URL of a Redis server", "begin it with redis:// or rediss://");
        return None;
    }
    if url.scheme().starts_with("redis")
        && url.scheme() != "redis+unix"
        && url.host_str().is_none_or(str::is_empty)
    {
        r.problem("the URL names no host", "write it as in redis://127.0.0.1:6379/0");
        return None;
    }
    r.remember();
    Some(secret)
}

pub(super) fn spool(r: &Reader<'_>) -> Option<Spool> {
    let t = r.table()?;
    let memory = t.or(
        "memory",
        "Bytes of one body kept in memory; what is beyond goes to an unlinked file.",
        "256KB",
        size_between(0, 1 << 30),
    );
    let directory = t.optional(
        "directory",
        "Where those files are made; the system's folder for such when missing.",
        path,
    );
    let max_total = t.or(
        "max_total",
        "Bytes of all bodies at a time; beyond it 503 spool.exhausted.",
        "1GB",
        size_between(1 << 20, 1 << 50),
    );
    let max_memory = t.or(
        "max_memory",
        "Bytes of all bodies in memory at a time; beyond it they go to files early.",
        "256MB",
        size_between(0, 1 << 50),
    );
    let min_free = t.or(
        "min_free",
        "Bytes that files leave free on the directory's disk; below it 503 spool.exhausted.",
        "256MB",
        size_between(0, 1 << 50),
    );
    let (memory, max_total) = (memory?, max_total?);
    if memory > max_total {
        t.problem(
            "memory",
            "one body may keep more in memory than all bodies together",
            "write less than max_total",
        );
    }
    Some(Spool {
        memory: usize::try_from(memory).ok()?,
        directory: directory?.unwrap_or_else(std::env::temp_dir),
        max_memory: max_memory?,
        max_total,
        min_free: min_free?,
    })
}
