//! `state`, `spool` and `scanner`.

use std::path::PathBuf;

use crate::Secret;
use crate::model::{
    ClamdAddress, Fallback, OnStateFailure, Scanner, ScannerBackend, Spool, State, StateBackend,
};
use crate::read::Reader;
use crate::scalar::{count, path, size_between, time_limit, word, written_line};
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

pub(super) fn scanner(r: &Reader<'_>) -> Option<Scanner> {
    let t = r.table()?;
    let fallback = || word(&[("deny", Fallback::Deny), ("allow", Fallback::Allow)]);
    let clamd = t.or(
        "backend",
        "Who scans: signatures inside the gateway, or ClamAV's daemon.",
        "builtin",
        word(&[("builtin", false), ("clamd", true)]),
    );
    let address = t.or(
        "address",
        "Where clamd is, tcp://HOST:PORT or unix:/path; used with backend clamd.",
        "tcp://127.0.0.1:3310",
        clamd_address,
    );
    let timeout = t.or("timeout", "For one file, from connecting to the verdict.", "30s", time_limit);
    let on_failure =
        t.or("on_failure", "What happens to a file when no scanner answers.", "deny", fallback());
    let on_unscanned =
        t.or("on_unscanned", "What happens to a file the scanner did not look at whole.", "deny", fallback());
    let max_concurrent = t.or("max_concurrent", "Scans at a time.", "8", count(1, 10_000));
    let max_queue = t.or(
        "max_queue",
        "Scans that may wait for a place; beyond it 503 scan.unavailable.",
        "100",
        count(0, 1_000_000),
    );
    let (clamd, address) = (clamd?, address?);
    Some(Scanner {
        backend: if clamd { ScannerBackend::Clamd(address) } else { ScannerBackend::Builtin },
        timeout: timeout?,
        on_failure: on_failure?,
        on_unscanned: on_unscanned?,
        max_concurrent: max_concurrent?,
        max_queue: max_queue?,
    })
}

fn clamd_address(r: &Reader<'_>) -> Option<ClamdAddress> {
    let written = written_line(r)?;
    if let Some(path) = written.text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        let path = if path.starts_with("//") { path.trim_start_matches('/') } else { &path[1..] };
        return Some(ClamdAddress::Unix(PathBuf::from(format!("/{path}"))));
    }
    match written.text.strip_prefix("tcp://").filter(|address| super::upstream::is_host_and_port(address)) {
        Some(address) => Some(ClamdAddress::Tcp(address.to_owned())),
        None => {
            let what = format!("{} is not an address of clamd", written.quoted());
            r.problem(what, "write tcp://HOST:PORT or unix:/path");
            None
        }
    }
}
