//! The process: from a policy to serving threads, and to a graceful end.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use filters::scrub::Scrubber;

use crate::admin;
use crate::crew::Crew;
use crate::error_log::ErrorLog;
use crate::listener::{self, Listener};
use crate::metrics::Metrics;
use crate::phase::Phase;
use crate::reload;
use crate::shared::Shared;
use crate::signals::{PidFile, Signals, Wish};
use crate::snapshot::Snapshot;
use crate::stores::SharedStores;
use crate::tls::{self, Resolver};
use crate::upstream::Servers;
use crate::worker;

/// How long connections that were cut off have to be dropped.
const CUT_OFF: Duration = Duration::from_millis(500);

/// Serves a policy until told to end. Diagnostics go to standard error; the exit code is 1 when the policy is wrong or
/// an address cannot be bound.
pub fn run(paths: Vec<PathBuf>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&[format!("no event loop: {error}")]),
    };
    let loaded = match config::load(&paths, &config::Environment::process()) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(&problems),
    };
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    let scrubber = Arc::new(Scrubber::build(&loaded.config.log.scrub));
    if let Err(error) = ErrorLog::install(&loaded.config.log, scrubber) {
        return fail(&[format!("the error log cannot be opened: {error}")]);
    }
    let metrics = match Metrics::new() {
        Ok(metrics) => Arc::new(metrics),
        Err(error) => return fail(&[format!("no metrics: {error}")]),
    };
    let servers = Servers::default();
    let stores = SharedStores::new(runtime.handle().clone());
    let snapshot = match Snapshot::build(loaded, &servers, &metrics, &stores, None) {
        Ok(snapshot) => snapshot,
        Err(problems) => return fail(&problems),
    };
    runtime.block_on(stores.connected());
    match start(snapshot, servers, metrics, stores, paths) {
        Ok(started) => runtime.block_on(control(started)),
        Err(problem) => fail(&[problem]),
    }
}

struct Started {
    shared: Arc<Shared>,
    workers: Vec<std::thread::JoinHandle<()>>,
    admin: Option<TcpListener>,
    _pid_file: Option<PidFile>,
}

/// Binds, and starts the workers.
fn start(
    snapshot: Snapshot,
    servers: Servers,
    metrics: Arc<Metrics>,
    stores: SharedStores,
    paths: Vec<PathBuf>,
) -> Result<Started, String> {
    let server = &snapshot.config.server;
    let workers = server.workers;
    let mut listeners = Vec::new();
    let mut sockets: Vec<Vec<(Arc<Listener>, TcpListener)>> = (0..workers).map(|_| Vec::new()).collect();
    for settings in &snapshot.config.listeners {
        let address = settings.address;
        let bound = listener::bind(address, workers)
            .map_err(|error| format!("{address} cannot be bound: {error}"))?;
        let resolver = match &settings.tls {
            Some(tls) => {
                let table =
                    tls::load(tls).map_err(|_| format!("{address}: the certificates cannot be loaded"))?;
                Some(Arc::new(Resolver::new(table)))
            }
            None => None,
        };
        let tls = resolver.as_ref().map(|resolver| tls::server_config(settings, Arc::clone(resolver)));
        let listener = Arc::new(Listener { settings: settings.clone(), address: bound.0, tls, resolver });
        let scheme = if listener.tls.is_some() { "https" } else { "http" };
        log::info!("listening on {scheme}://{}", listener.address);
        for (worker, socket) in bound.1.into_iter().enumerate() {
            sockets[worker].push((Arc::clone(&listener), socket));
        }
        listeners.push(listener);
    }
    let admin = match &snapshot.config.admin {
        Some(admin) => {
            let (address, mut bound) = listener::bind(admin.address, 1)
                .map_err(|error| format!("{} cannot be bound: {error}", admin.address))?;
            log::info!("admin on http://{address}");
            bound.pop()
        }
        None => None,
    };
    let pid_file = server.pid_file.as_deref().map(written_pid).transpose()?;
    metrics.policy_loaded(SystemTime::now());
    let shared = Arc::new(Shared::new(snapshot, servers, metrics, stores, listeners, paths));
    let (crew, passed) = Crew::of(workers);
    let workers = sockets
        .into_iter()
        .zip(passed)
        .enumerate()
        .map(|(number, (sockets, passed))| {
            worker::start(number, sockets, Arc::clone(&crew), passed, Arc::clone(&shared))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("a worker cannot be started: {error}"))?;
    Ok(Started { shared, workers, admin, _pid_file: pid_file })
}

fn written_pid(path: &Path) -> Result<PidFile, String> {
    PidFile::write(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The control thread's life: signals, reloads, checks, the admin listener.
async fn control(started: Started) -> ExitCode {
    let Started { shared, workers, admin, _pid_file } = started;
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(&[format!("signals cannot be received: {error}")]),
    };
    let (acts, requests) = mpsc::channel(16);
    shared.stores.follow();
    let sweeping = Arc::clone(&shared);
    tokio::spawn(async move { sweeping.stores.sweep().await });
    tokio::spawn(reload::run(Arc::clone(&shared), requests));
    if let Some(admin) = admin {
        match tokio::net::TcpListener::from_std(admin) {
            Ok(admin) => drop(tokio::spawn(admin::serve(admin, Arc::clone(&shared), acts.clone()))),
            Err(error) => log::error!("no admin listener: {error}"),
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    log::info!("ready, {} workers, {} routes", workers.len(), shared.snapshot().pipeline.routes().len());
    let code = loop {
        match signals.next().await {
            Wish::Reload => {
                let _ = acts.send(reload::Request { by: "signal", answer: None }).await;
            }
            Wish::Reopen => {
                shared.snapshot().reporter.reopen();
                if let Some(log) = ErrorLog::installed() {
                    log.reopen();
                }
            }
            Wish::Upgrade => {
                log::error!(
                    "USR2 is ignored: the sockets cannot be handed to a new binary yet; restart instead"
                );
            }
            Wish::Stop => break ExitCode::SUCCESS,
            Wish::Quit => {
                drain(&shared, &mut signals).await;
                break ExitCode::SUCCESS;
            }
        }
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    shared.phases.enter(Phase::Draining);
    shared.phases.enter(Phase::Ending);
    let joined =
        tokio::task::spawn_blocking(move || workers.into_iter().for_each(|worker| drop(worker.join())));
    let _ = tokio::time::timeout(CUT_OFF + Duration::from_secs(1), joined).await;
    shared.snapshot().reporter.flush(Duration::from_secs(2));
    log::info!("ended");
    log::logger().flush();
    code
}

/// Takes no more connections, and waits until those there are have ended: for `timeouts.shutdown` at most, and no
/// longer than until the next TERM.
async fn drain(shared: &Shared, signals: &mut Signals) {
    let limit = shared.snapshot().config.server.timeouts.shutdown;
    log::info!("draining {} connections, {limit:?} at most", shared.phases.connections());
    shared.phases.enter(Phase::Draining);
    let until = Instant::now() + limit;
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while shared.phases.connections() > 0 && Instant::now() < until {
        tokio::select! {
            _ = look.tick() => {}
            wish = signals.next() => if wish == Wish::Stop { return },
        }
    }
    if shared.phases.connections() > 0 {
        log::warn!("{} connections are cut off", shared.phases.connections());
    }
}

fn fail(problems: &[impl std::fmt::Display]) -> ExitCode {
    for problem in problems {
        complain(&problem.to_string());
    }
    ExitCode::FAILURE
}

fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "menshen: {line}");
}
