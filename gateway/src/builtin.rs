//! The scanner inside the gateway: the EICAR test file, and rules in YARA's language on threads that may wait.
//!
//! The rules ask for the bytes they want, and the event loop gives them out of the spool: at most 2 MiB a scan are in
//! memory. A scan holds its place until its thread has ended, also when nobody waits for it any more.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use filters::upload::{
    Builtin, FileToScan, Judged, RuleSet, ScanFailure, Scanned, Scanner, Unscanned, Verdicts,
};
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::metrics::Metrics;
use crate::queue::Queue;

/// Scans at a time, where there are fewer cores.
const AT_LEAST: usize = 2;
/// How much longer than its limit a scan may take to notice that time is up.
const GRACE: Duration = Duration::from_secs(1);

/// See the module. Shared by all workers.
pub struct RuleScanner {
    rules: RuleSet,
    eicar: Builtin,
    /// What verdicts are kept under.
    signatures: Arc<str>,
    timeout: Duration,
    queue: Queue,
    verdicts: Option<Arc<Verdicts>>,
    metrics: Arc<Metrics>,
}

impl RuleScanner {
    /// With these rules.
    pub fn new(
        rules: RuleSet,
        settings: &config::Scanner,
        verdicts: Option<Arc<Verdicts>>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        Self {
            signatures: format!("builtin {}", hex::encode(rules.digest())).into(),
            rules,
            eicar: Builtin::default(),
            timeout: settings.timeout,
            queue: Queue::new(&config::Scanner {
                max_concurrent: settings.max_concurrent.min(most_at_a_time()),
                ..settings.clone()
            }),
            verdicts,
            metrics: Arc::clone(metrics),
        }
    }

    async fn look(&self, file: FileToScan<'_>) -> Result<Scanned, ScanFailure> {
        let known = self.verdicts.as_ref().and_then(|known| known.get(&file.sha256, &self.signatures));
        if let Some(known) = known {
            self.metrics.scan_cache_hit(self.engine());
            return Ok(known);
        }
        let place = self.queue.place().await?;
        let scanned = match self.eicar.scan(file.clone()).await? {
            Scanned::Clean => self.judge(&file, place).await?,
            found => found,
        };
        if let Some(verdicts) = &self.verdicts {
            verdicts.keep(&file.sha256, &self.signatures, &scanned);
        }
        Ok(scanned)
    }

    async fn judge(
        &self,
        file: &FileToScan<'_>,
        place: OwnedSemaphorePermit,
    ) -> Result<Scanned, ScanFailure> {
        let (wanted, mut wants) = mpsc::channel::<(Range<u64>, Vec<u8>, oneshot::Sender<Vec<u8>>)>(1);
        let (rules, limit) = (self.rules.clone(), self.timeout);
        let length = file.range.end - file.range.start;
        let judging = spawn_blocking(move || {
            let _place = place;
            rules.judge(length, limit, &mut |range, buffer| {
                let (give, given) = oneshot::channel();
                wanted.blocking_send((range, buffer, give)).ok()?;
                given.blocking_recv().ok()
            })
        });
        let judged = async {
            while let Some((range, buffer, give)) = wants.recv().await {
                let bytes = read(file, range, buffer).await.map_err(ScanFailure::Unreadable)?;
                // The thread may have ended meanwhile.
                let _ = give.send(bytes);
            }
            Ok(judging.await)
        };
        match timeout(limit + GRACE, judged).await {
            Ok(Ok(Ok(Judged::Nothing))) => Ok(Scanned::Clean),
            Ok(Ok(Ok(Judged::Match(name)))) => Ok(Scanned::Infected(name)),
            Ok(Ok(Ok(Judged::TimedOut))) | Err(_) => Ok(Scanned::NotScanned(Unscanned::TimedOut)),
            Ok(Ok(Ok(Judged::Unreadable))) => {
                Err(ScanFailure::Unreadable(io::Error::other("the rules were not given the bytes they need")))
            }
            Ok(Ok(Err(_))) => {
                Ok(Scanned::NotScanned(Unscanned::Unclear("the rules' thread ended".to_owned())))
            }
            Ok(Err(failure)) => Err(failure),
        }
    }
}

/// Scans at a time: as many as there are cores. More would take memory and no less time.
pub fn most_at_a_time() -> usize {
    std::thread::available_parallelism().map_or(AT_LEAST, |cores| cores.get().max(AT_LEAST))
}

/// A part of a file, in this buffer; `range` counts from the file's beginning.
async fn read(file: &FileToScan<'_>, range: Range<u64>, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let end = file.range.start + range.end;
    let mut at = file.range.start + range.start;
    bytes.clear();
    bytes.reserve_exact(usize::try_from(end - at).unwrap_or_default());
    while at < end {
        let piece = file.body.read(at..end).await?;
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += piece.len() as u64;
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

impl Scanner for RuleScanner {
    fn engine(&self) -> &'static str {
        "builtin"
    }

    fn scan<'a>(&'a self, file: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>> {
        Box::pin(self.look(file))
    }
}

#[cfg(test)]
mod tests {
    use filters::WholeBody;

    use super::*;
    use crate::spool::tests::body;

    const RULE: &str = "rule Needle { strings: $a = \"needle\" condition: $a }";

    fn settings(cache: bool) -> config::Scanner {
        config::Scanner {
            backends: vec![config::ScannerBackend::Builtin(None)],
            timeout: Duration::from_secs(60),
            on_failure: config::Fallback::Deny,
            on_unscanned: config::Fallback::Deny,
            max_concurrent: 1,
            max_queue: 1,
            cache: cache.then_some(config::ScanCache { entries: 10, lifetime: Duration::from_secs(60) }),
            blocklist: Arc::default(),
        }
    }

    fn scanner(rule: &str, verdicts: Option<Arc<Verdicts>>) -> RuleScanner {
        let rules = RuleSet::compile([rule]).unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        RuleScanner::new(rules, &settings(verdicts.is_some()), verdicts, &metrics)
    }

    async fn scan(scanner: &RuleScanner, bytes: &[u8]) -> Scanned {
        let body = body(bytes).await;
        let sha256 =
            sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), bytes)).into();
        scanner.scan(FileToScan::new(&body, 0..body.len(), sha256)).await.unwrap()
    }

    #[tokio::test]
    async fn finds_what_a_rule_describes_wherever_it_is_and_nothing_beyond_the_file() {
        let scanner = scanner(RULE, None);
        assert_eq!(scan(&scanner, b"").await, Scanned::Clean);
        assert_eq!(scan(&scanner, &vec![b'.'; 5 << 20]).await, Scanned::Clean);
        for at in [0, 500, 3_000_000, 8_999_994] {
            let mut file = vec![b'.'; 9_000_000];
            file[at..at + 6].copy_from_slice(b"needle");
            assert_eq!(scan(&scanner, &file).await, Scanned::Infected("Needle".into()), "{at}");
        }
        let body = body(b"....needle").await;
        let file = FileToScan::new(&body, 0..8, [0; 32]);
        assert_eq!(scanner.scan(file).await.unwrap(), Scanned::Clean);
        assert_eq!(scanner.queue.state(), (1, 0));
    }

    #[tokio::test]
    async fn a_verdict_is_used_again_by_the_same_rules_alone() {
        let clock = Arc::new(filters::state::SystemClock::new());
        let verdicts = Arc::new(Verdicts::new(settings(true).cache.unwrap(), clock));
        let one = scanner(RULE, Some(verdicts.clone()));
        for _ in 0..2 {
            assert_eq!(scan(&one, b"hay").await, Scanned::Clean);
        }
        assert!(one.metrics.encode().contains("menshen_scan_cache_hits_total{engine=\"builtin\"} 1"));
        let other = scanner("rule Hay { strings: $a = \"hay\" condition: $a }", Some(verdicts));
        assert_eq!(scan(&other, b"hay").await, Scanned::Infected("Hay".into()));
    }
}
