//! `scanner:` as types.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `scanner:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanner {
    /// Who scans, in this order; each at most once. Never empty.
    pub backends: Vec<ScannerBackend>,
    /// For one file and one backend, from connecting to the verdict.
    pub timeout: Duration,
    /// What happens to a file when no scanner answers.
    pub on_failure: Fallback,
    /// What happens to a file the scanner did not look at whole.
    pub on_unscanned: Fallback,
    /// Scans at a time, for each backend.
    pub max_concurrent: usize,
    /// Scans that may wait for a place; beyond it 503 `scan.unavailable`.
    pub max_queue: usize,
    /// How verdicts are kept, when they are.
    pub cache: Option<ScanCache>,
    /// SHA-256 sums of files that must not pass, whoever scans; sorted, none twice.
    pub blocklist: Arc<[[u8; 32]]>,
}

/// One word of `scanner.backend`, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScannerBackend {
    /// The gateway itself, by rules in YARA's language: those of `scanner.rules`, or those that ship with it.
    Builtin(Option<Vec<RuleFile>>),
    /// ClamAV's daemons. Never empty.
    Clamd(Vec<ClamdAddress>),
}

/// One file of the folder `scanner.rules`.
#[derive(Clone, PartialEq, Eq)]
pub struct RuleFile {
    /// Where it is, as problems name it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Without its text, which may be long.
impl std::fmt::Debug for RuleFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RuleFile({})", self.name)
    }
}

/// `scanner.cache`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanCache {
    /// Verdicts at a time.
    pub entries: usize,
    /// How long one may be used.
    pub lifetime: Duration,
}

/// One `scanner.address`: `tcp://host:port` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClamdAddress {
    /// `host:port`
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// As it is written in a policy.
impl std::fmt::Display for ClamdAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClamdAddress::Tcp(address) => write!(f, "tcp://{address}"),
            ClamdAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `deny | allow`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Refuse.
    Deny,
    /// Let pass, and say so in the audit.
    Allow,
}
