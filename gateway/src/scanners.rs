//! The scanners of a process, from what `scanner:` says; what of them outlives a reload.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use config::{Problem, ScanCache, ScannerBackend};
use filters::WholeBody;
use filters::state::Clock;
use filters::upload::{
    Ahead, BlockList, FileToScan, MemberScan, RuleSet, ScanFailure, ScanPolicy, Scanned, Scanner, Scanners,
    Verdicts,
};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use crate::builtin::RuleScanner;
use crate::clamd::Clamd;
use crate::metrics::Metrics;

/// The rules of a policy, compiled: those that ship where it names none, and none where it does not use them.
///
/// # Errors
/// The first fault of every file of rules, at its place there.
pub fn rules(scanner: &config::Scanner) -> Result<Option<RuleSet>, Vec<Problem>> {
    let files = match rule_files(scanner) {
        Some(Some(files)) => files,
        Some(None) => return Ok(Some(RuleSet::shipped())),
        None => return Ok(None),
    };
    RuleSet::compile(files.iter().map(|file| file.text.as_str())).map(Some).map_err(|faults| {
        let problem = |fault: filters::upload::RuleFault| Problem {
            file: files.get(fault.text).map_or_else(String::new, |file| file.name.clone()),
            line: fault.line,
            column: fault.column,
            key: "scanner.rules".to_owned(),
            what: fault.what,
            remedy: "mend the rule, or take the file away".to_owned(),
        };
        faults.into_iter().map(problem).collect()
    })
}

/// The files of backend builtin, when it is used and when they are the operator's own.
fn rule_files(scanner: &config::Scanner) -> Option<Option<&[config::RuleFile]>> {
    scanner.backends.iter().find_map(|backend| match backend {
        ScannerBackend::Builtin(files) => Some(files.as_deref()),
        ScannerBackend::Clamd(_) => None,
    })
}

/// The scanners of one policy, and what the next may go on with.
#[derive(Clone)]
pub struct Built {
    settings: config::Scanner,
    all: Arc<dyn Scanner>,
    clamd: Option<Arc<Clamd>>,
    rules: Option<RuleSet>,
    verdicts: Option<(ScanCache, Arc<Verdicts>)>,
}

impl Built {
    /// All of them as one.
    pub fn scanner(&self) -> Arc<dyn Scanner> {
        Arc::clone(&self.all)
    }
}

/// What lives as long as the process: the scanners of the policy in force, with queues, verdicts and health.
#[derive(Default)]
pub struct Kept(Mutex<Option<Built>>);

impl Kept {
    /// The scanners of a policy. Everything that it does not change is that of the policy in force: all of it, or clamd
    /// with its queue when only rules or lists changed, or the rules when their files are the same. They are to be
    /// [kept](Self::keep) when the policy is taken; until then, nothing has changed.
    pub fn of(
        &self,
        scanner: &config::Scanner,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        control: &Handle,
    ) -> Result<Built, Vec<Problem>> {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(same) = current.as_ref().filter(|current| current.settings == *scanner) {
            return Ok(same.clone());
        }
        let same_rules = current.as_ref().filter(|one| rule_files(&one.settings) == rule_files(scanner));
        let rules = match same_rules {
            Some(same) => same.rules.clone(),
            None => rules(scanner)?,
        };
        let verdicts_before = current.as_ref().and_then(|current| current.verdicts.as_ref());
        let verdicts = scanner.cache.map(|cache| match verdicts_before {
            Some((same, verdicts)) if *same == cache => Arc::clone(verdicts),
            _ => Arc::new(Verdicts::new(cache, Arc::clone(clock))),
        });
        let same_clamd = current.as_ref().filter(|one| clamd_part(&one.settings) == clamd_part(scanner));
        let clamd_before = same_clamd.and_then(|same| same.clamd.as_ref());
        let mut clamd = None;
        let scanners = scanner.backends.iter().map(|backend| match backend {
            ScannerBackend::Builtin(_) => {
                let rules = rules.clone().unwrap_or_else(RuleSet::shipped);
                measured(Arc::new(RuleScanner::new(rules, scanner, verdicts.clone(), metrics)), metrics)
            }
            ScannerBackend::Clamd(addresses) => {
                let made = clamd_before.cloned().unwrap_or_else(|| {
                    Arc::new(Clamd::new(addresses, scanner, verdicts.clone(), metrics, control))
                });
                clamd = Some(Arc::clone(&made));
                measured(made, metrics)
            }
        });
        let list = BlockList::from_iter(scanner.blocklist.iter().copied());
        let all: Arc<dyn Scanner> =
            Arc::new(Scanners::new(list, scanners.collect(), ScanPolicy::from(scanner)));
        let settings = scanner.clone();
        Ok(Built { settings, all, clamd, rules, verdicts: scanner.cache.zip(verdicts) })
    }

    /// Takes the scanners of a policy into use: the next goes on with them.
    pub fn keep(&self, built: Built) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(built);
    }

    /// Every clamd as it is written in the policy, and whether it is well as far as is known.
    pub fn servers(&self) -> Vec<(String, bool)> {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clamd = current.as_ref().and_then(|current| current.clamd.as_ref());
        let servers = clamd.into_iter().flat_map(|clamd| clamd.servers());
        servers.map(|(name, well)| (name.to_owned(), well)).collect()
    }
}

/// What clamd is made of.
fn clamd_part(scanner: &config::Scanner) -> impl PartialEq + use<> {
    let addresses = scanner.backends.iter().find_map(|backend| match backend {
        ScannerBackend::Clamd(addresses) => Some(addresses.clone()),
        ScannerBackend::Builtin(_) => None,
    });
    (addresses, scanner.timeout, scanner.max_concurrent, scanner.max_queue, scanner.cache)
}

/// A scanner whose time and failures are counted.
struct Measured<S> {
    scanner: Arc<S>,
    metrics: Arc<Metrics>,
}

fn measured<S: Scanner + 'static>(scanner: Arc<S>, metrics: &Arc<Metrics>) -> Arc<dyn Scanner> {
    Arc::new(Measured { scanner, metrics: Arc::clone(metrics) })
}

impl<S: Scanner> Scanner for Measured<S> {
    fn engine(&self) -> &'static str {
        self.scanner.engine()
    }

    fn scan<'a>(&'a self, file: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>> {
        Box::pin(async move {
            let started = Instant::now();
            let scanned = self.scanner.scan(file).await;
            let failed = !matches!(scanned, Ok(Scanned::Clean | Scanned::Infected(_)));
            self.metrics.scanned(self.engine(), started.elapsed(), failed);
            scanned
        })
    }

    fn ahead(&self, body: &dyn WholeBody, start: u64) -> Option<Arc<dyn Ahead>> {
        self.scanner.ahead(body, start)
    }

    fn member(&self) -> MemberScan {
        self.scanner.member()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use filters::state::SystemClock;

    use super::*;

    fn settings(clamd: &str, cache: usize, sum: u8) -> config::Scanner {
        let address = config::ClamdAddress::Tcp(clamd.to_owned());
        config::Scanner {
            backends: vec![ScannerBackend::Builtin(None), ScannerBackend::Clamd(vec![address])],
            timeout: Duration::from_secs(60),
            on_failure: config::Fallback::Deny,
            on_unscanned: config::Fallback::Deny,
            max_concurrent: 1,
            max_queue: 1,
            cache: Some(ScanCache { entries: cache, lifetime: Duration::from_secs(60) }),
            blocklist: Arc::new([[sum; 32]]),
        }
    }

    #[tokio::test]
    async fn a_policy_goes_on_with_what_is_kept_and_never_with_what_was_only_built() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let metrics = Arc::new(Metrics::new().unwrap());
        let kept = Kept::default();
        let built =
            |settings: &config::Scanner| kept.of(settings, &clock, &metrics, &Handle::current()).unwrap();
        let clamd = |built: &Built| Arc::clone(built.clamd.as_ref().unwrap());
        let verdicts = |built: &Built| Arc::clone(&built.verdicts.as_ref().unwrap().1);
        let first = built(&settings("127.0.0.1:1", 10, 1));
        assert!(kept.servers().is_empty());
        kept.keep(first.clone());
        let refused = built(&settings("127.0.0.1:2", 20, 1));
        assert!(!Arc::ptr_eq(&clamd(&refused), &clamd(&first)));
        drop(refused);
        assert_eq!(kept.servers(), [("tcp://127.0.0.1:1".to_owned(), true)]);
        assert!(Arc::ptr_eq(&built(&settings("127.0.0.1:1", 10, 1)).all, &first.all));
        let listed = built(&settings("127.0.0.1:1", 10, 2));
        assert!(!Arc::ptr_eq(&listed.all, &first.all));
        assert!(Arc::ptr_eq(&clamd(&listed), &clamd(&first)), "with its queue");
        let moved = built(&settings("127.0.0.1:2", 10, 1));
        assert!(Arc::ptr_eq(&verdicts(&moved), &verdicts(&first)));
        kept.keep(moved);
        assert_eq!(kept.servers(), [("tcp://127.0.0.1:2".to_owned(), true)]);
    }
}
