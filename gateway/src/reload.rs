//! Puts a changed policy in force, or says why not. Whatever asks for it (a changed file, HUP, the admin listener)
//! goes through one place, one at a time.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use filters::scrub::Scrubber;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, oneshot};

use crate::error_log::ErrorLog;
use crate::health::Checks;
use crate::shared::Shared;
use crate::snapshot::{self, Snapshot};

/// Editors and Kubernetes change several things in a row: time to let them finish.
const SETTLE: Duration = Duration::from_millis(100);

/// How often files are looked at when no event came: for file systems that send none.
const POLL: Duration = Duration::from_millis(700);

/// Asks for a reload.
pub struct Request {
    /// Who asks: `file`, `signal`, `admin`.
    pub by: &'static str,
    /// Where the outcome goes: the new generation, or the problems.
    pub answer: Option<oneshot::Sender<Result<u64, Vec<String>>>>,
}

/// Asks and waits for the outcome. `None` when the process is ending.
pub async fn ask(requests: &mpsc::Sender<Request>, by: &'static str) -> Option<Result<u64, Vec<String>>> {
    let (answer, outcome) = oneshot::channel();
    requests.send(Request { by, answer: Some(answer) }).await.ok()?;
    outcome.await.ok()
}

/// Serves requests and watches files until the process ends. Runs on the control runtime.
pub async fn run(shared: Arc<Shared>, mut requests: mpsc::Receiver<Request>) {
    let mut checks = Checks::start(&shared.snapshot().upstreams);
    let (changed, mut changes) = mpsc::channel::<()>(1);
    let mut watch = Watch::start(&shared.snapshot().files, changed);
    let mut poll = tokio::time::interval(POLL);
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen = watch.fingerprint();
    loop {
        let request = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => return,
            },
            Some(()) = changes.recv() => {
                tokio::time::sleep(SETTLE).await;
                while changes.try_recv().is_ok() {}
                Request { by: "file", answer: None }
            }
            _ = poll.tick() => Request { by: "file", answer: None },
        };
        let now = watch.fingerprint();
        if request.by == "file" && now == seen {
            continue;
        }
        seen = now;
        let outcome = reload(&shared, request.by).await;
        if outcome.is_ok() {
            let snapshot = shared.snapshot();
            checks = Checks::start(&snapshot.upstreams);
            shared.stores.follow();
            watch.follow(&snapshot.files);
            seen = watch.fingerprint();
        }
        if let Some(answer) = request.answer {
            let _ = answer.send(outcome);
        }
        let _ = &checks;
    }
}

/// Loads, checks, builds and swaps; or changes nothing but a counter, a log line and an audit line.
async fn reload(shared: &Arc<Shared>, by: &'static str) -> Result<u64, Vec<String>> {
    let before = shared.snapshot();
    let building = Arc::clone(shared);
    let built = tokio::task::spawn_blocking(move || {
        snapshot::load(&building.paths, |loaded| {
            Snapshot::build(loaded, &building.servers, &building.metrics, &building.stores, Some(&building))
        })
    })
    .await
    .unwrap_or_else(|_| Err(vec!["the policy could not be built".to_owned()]));
    match built {
        Ok(snapshot) => {
            let generation = snapshot.generation;
            snapshot::adopt_certificates(&snapshot, &shared.listeners);
            for line in snapshot::listener_changes(&snapshot.config, &shared.listeners) {
                log::warn!("{line}");
            }
            log::info!(
                "policy generation {generation} in force, {} routes ({by})",
                snapshot.pipeline.routes().len()
            );
            snapshot.reporter.reloaded(by, generation, &before.digest, &snapshot.digest);
            shared.metrics.reloaded(true, SystemTime::now());
            let scrubber = Arc::new(Scrubber::build(&snapshot.config.log.scrub));
            if let Some(Err(error)) =
                ErrorLog::installed().map(|log| log.configure(&snapshot.config.log, scrubber))
            {
                log::error!("the error log stays where it is: {error}");
            }
            shared.install(snapshot);
            let upstreams = shared.snapshot().upstreams.clone();
            shared.servers.retain(&upstreams);
            Ok(generation)
        }
        Err(problems) => {
            for problem in &problems {
                log::error!("policy rejected: {problem}");
            }
            before.reporter.reload_rejected(by, &problems);
            shared.metrics.reloaded(false, SystemTime::now());
            shared.reject(problems.clone());
            Err(problems)
        }
    }
}

/// Watches the folders of the policy's files: a file that is replaced, or a symlink that is swapped, is an event of
/// its folder, not of itself.
struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
    files: Vec<PathBuf>,
}

impl Watch {
    fn start(files: &[PathBuf], changed: mpsc::Sender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel means that the change is already known.
                let _ = changed.try_send(());
            }
        });
        if let Err(error) = &watcher {
            log::warn!("files are looked at every {POLL:?}, because they cannot be watched: {error}");
        }
        let mut watch = Self { watcher: watcher.ok(), folders: HashSet::new(), files: Vec::new() };
        watch.follow(files);
        watch
    }

    fn follow(&mut self, files: &[PathBuf]) {
        files.clone_into(&mut self.files);
        let folders: HashSet<_> = files.iter().flat_map(|file| folders_of(file)).collect();
        if let Some(watcher) = &mut self.watcher {
            for gone in self.folders.difference(&folders) {
                let _ = watcher.unwatch(gone);
            }
            for new in folders.difference(&self.folders) {
                if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                    log::warn!("{} cannot be watched: {error}", new.display());
                }
            }
        }
        self.folders = folders;
    }

    /// What can be seen of the files from outside: where they really are, how long, how old.
    fn fingerprint(&self) -> Vec<Option<(PathBuf, u64, SystemTime, u64)>> {
        use std::os::unix::fs::MetadataExt;
        let folders = self.files.iter().filter(|file| file.is_dir());
        let inside = folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
        let inside: Vec<_> = inside.map(|entry| entry.path()).collect();
        self.files
            .iter()
            .chain(&inside)
            .map(|file| {
                let meta = std::fs::metadata(file).ok()?;
                Some((file.canonicalize().ok()?, meta.len(), meta.modified().ok()?, meta.ino()))
            })
            .collect()
    }
}

/// The folder a path is in, and those its links lead through.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut path = file.to_owned();
    for _ in 0..8 {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if path.is_dir() {
            folders.push(path.clone());
        }
        folders.push(folder.clone());
        match std::fs::read_link(&path) {
            Ok(target) => path = folder.join(target),
            Err(_) => break,
        }
    }
    if let Ok(real) = file.canonicalize()
        && let Some(folder) = real.parent()
    {
        folders.push(folder.to_owned());
    }
    folders
}
