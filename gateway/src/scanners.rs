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

/// What lives as long as the process: the scanners of the policy in force, with queues, verdicts and health.
#[derive(Default)]
pub struct Kept(Mutex<Current>);

#[derive(Default)]
struct Current {
    settings: Option<config::Scanner>,
    all: Option<Arc<dyn Scanner>>,
    clamd: Option<Arc<Clamd>>,
    rules: Option<RuleSet>,
    verdicts: Option<(ScanCache, Arc<Verdicts>)>,
}

impl Kept {
    /// The scanners of a policy. Everything that it does not change is that of the policy before: all of it, or clamd
    /// with its queue when only rules or lists changed, or the rules when their files are the same.
    pub fn of(
        &self,
        scanner: &config::Scanner,
        clock: &Arc<dyn Clock>,
        metrics: &Arc<Metrics>,
        control: &Handle,
    ) -> Result<Arc<dyn Scanner>, Vec<Problem>> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = current.all.as_ref().filter(|_| current.settings.as_ref() == Some(scanner)) {
            return Ok(Arc::clone(all));
        }
        // What can fail comes first, so that a policy that is refused takes nothing away from the one in force.
        let same_rules =
            current.settings.as_ref().is_some_and(|before| rule_files(before) == rule_files(scanner));
        let rules = if same_rules { current.rules.clone() } else { rules(scanner)? };
        let verdicts = scanner.cache.map(|cache| match current.verdicts.take() {
            Some((same, verdicts)) if same == cache => verdicts,
            _ => Arc::new(Verdicts::new(cache, Arc::clone(clock))),
        });
        let same_clamd =
            current.settings.as_ref().is_some_and(|before| clamd_part(before) == clamd_part(scanner));
        let clamd_before = current.clamd.take().filter(|_| same_clamd);
        let mut clamd = None;
        let scanners = scanner.backends.iter().map(|backend| match backend {
            ScannerBackend::Builtin(_) => {
                let rules = rules.clone().unwrap_or_else(RuleSet::shipped);
                measured(Arc::new(RuleScanner::new(rules, scanner, verdicts.clone(), metrics)), metrics)
            }
            ScannerBackend::Clamd(addresses) => {
                let made = clamd_before.clone().unwrap_or_else(|| {
                    Arc::new(Clamd::new(addresses, scanner, verdicts.clone(), metrics, control))
                });
                clamd = Some(Arc::clone(&made));
                measured(made, metrics)
            }
        });
        let list = BlockList::from_iter(scanner.blocklist.iter().copied());
        let all: Arc<dyn Scanner> =
            Arc::new(Scanners::new(list, scanners.collect(), ScanPolicy::from(scanner)));
        *current = Current {
            settings: Some(scanner.clone()),
            all: Some(Arc::clone(&all)),
            clamd,
            rules,
            verdicts: scanner.cache.zip(verdicts),
        };
        Ok(all)
    }

    /// Every clamd as it is written in the policy, and whether it is well as far as is known.
    pub fn servers(&self) -> Vec<(String, bool)> {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let servers = current.clamd.iter().flat_map(|clamd| clamd.servers());
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
