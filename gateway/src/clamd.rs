//! ClamAV's daemons: `INSTREAM` (clamd(8)) over TCP or a Unix socket, one connection a scan.
//!
//! **Which one.** Those that are well take turns; one that does not answer, or cannot be connected to, goes to the end of
//! the line until it does again. What happens before a verdict is no verdict: a server that cannot be connected to, or
//! freezes, is followed by the next within the same `scanner.timeout`, of which each has an equal share of what is left. A
//! file whose connection was cut goes to the next as well, but when it is cut again to nobody else: it may be the file
//! that ends them. A server with nobody behind it has all the time there is.
//!
//! A frozen server cannot be told from one with a long scan by waiting; so after half of its share another connection
//! asks it for a sign of life, and only when none comes in the other half is it left.
//!
//! **Verdicts that are kept** are those of a server whose `VERSION` names its database, and was the same before and after
//! the scan. Before one is used, that server is asked again: it must be the same process with the same version ([`watch`]).
//!
//! A large file is sent while it still arrives, where a place is free and its sender is quick ([`ahead`]).
//!
//! Time: a scan waits for a place at most `scanner.timeout`, and then, from connecting to the answer, or from the file's
//! last byte to it, as long again. Memory: one piece of the body (64 KiB) a scan.

mod ahead;
mod exchange;
mod server;
mod watch;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use config::ClamdAddress;
use filters::WholeBody;
use filters::upload::{Ahead, FileToScan, ScanFailure, Scanned, Scanner, Unscanned, Verdicts};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;
use crate::queue::Queue;
use ahead::{Begun, Sent};
use server::{Server, Standing};

/// See the module. Shared by all workers.
pub struct Clamd {
    servers: Vec<Arc<Server>>,
    timeout: Duration,
    queue: Queue,
    verdicts: Option<Arc<Verdicts>>,
    metrics: Arc<Metrics>,
    turn: AtomicUsize,
}

/// What became of a file at one server.
#[derive(Debug)]
enum Attempt {
    /// An answer, whatever it says; or a body that cannot be read.
    Answered(Result<Scanned, ScanFailure>),
    /// The connection was not taken.
    Unreachable(String),
    /// The connection ended without an answer.
    Cut,
    /// Nothing came, and no sign of life either.
    Frozen,
    /// All time is gone.
    TimedOut,
}

impl Clamd {
    /// Connects to nothing yet. What watches the servers runs on the `control` runtime, until this is dropped.
    pub fn new(
        addresses: &[ClamdAddress],
        settings: &config::Scanner,
        verdicts: Option<Arc<Verdicts>>,
        metrics: &Arc<Metrics>,
        control: &Handle,
    ) -> Self {
        let alone = addresses.len() == 1;
        let servers = addresses
            .iter()
            .map(|address| Arc::new(Server::watched(address.clone(), verdicts.is_some(), alone, control)));
        Self {
            servers: servers.collect(),
            timeout: settings.timeout,
            queue: Queue::new(settings),
            verdicts,
            metrics: Arc::clone(metrics),
            turn: AtomicUsize::new(0),
        }
    }

    /// Every server as it is written in the policy, and whether it answers as far as is known.
    pub fn servers(&self) -> impl Iterator<Item = (&str, bool)> {
        self.servers.iter().map(|server| (server.name(), server.standing() == Standing::Well))
    }

    async fn ask(&self, file: FileToScan<'_>) -> Result<Scanned, ScanFailure> {
        let begun =
            file.ahead.clone().and_then(|ahead| (ahead as Arc<dyn Any + Send + Sync>).downcast().ok());
        let mut begun: Option<Arc<Begun>> = begun;
        // Whoever was begun with has had a turn.
        let mut line = self.line(usize::from(begun.is_none()));
        if let Some(known) = self.known(&line, &file.sha256).await {
            self.metrics.scan_cache_hit(self.engine());
            return Ok(known);
        }
        let _place = match begun.as_ref().and_then(|begun| begun.place()) {
            Some(place) => place,
            None => {
                begun = None;
                self.queue.place().await?
            }
        };
        if let Some(begun) = &begun {
            // The order of the others stays.
            line.sort_by_key(|server| !Arc::ptr_eq(server, &begun.server));
        }
        let until = Instant::now() + self.timeout;
        let (mut unreachable, mut unscanned) = (None, None);
        for (position, server) in line.iter().enumerate() {
            let behind = line.len() - position - 1;
            match self.attempt(server, &file, begun.take(), behind, until).await {
                Attempt::Answered(said) => return said,
                Attempt::Unreachable(how) => unreachable = Some(how),
                Attempt::Frozen => unscanned = Some(Unscanned::TimedOut),
                Attempt::Cut if unscanned == Some(Unscanned::Cut) => break,
                Attempt::Cut => unscanned = Some(Unscanned::Cut),
                Attempt::TimedOut => {
                    unscanned = Some(Unscanned::TimedOut);
                    break;
                }
            }
        }
        match (unscanned, unreachable) {
            (Some(why), _) => Ok(Scanned::NotScanned(why)),
            (None, how) => Err(ScanFailure::Unreachable(how.unwrap_or_else(|| "there is no clamd".into()))),
        }
    }

    /// All servers, the well ones first, in turns; takes so many turns.
    fn line(&self, turns: usize) -> Vec<&Arc<Server>> {
        let first = self.turn.fetch_add(turns, Ordering::Relaxed) % self.servers.len().max(1);
        let mut line: Vec<_> = self.servers[first..].iter().chain(&self.servers[..first]).collect();
        // Once for each: it may change meanwhile.
        line.sort_by_cached_key(|server| server.standing());
        line
    }

    /// The verdict of a server that would give the same again.
    async fn known(&self, line: &[&Arc<Server>], sha256: &[u8; 32]) -> Option<Scanned> {
        let verdicts = self.verdicts.as_ref()?;
        for server in line {
            let Some(signatures) = server.known_signatures() else { continue };
            let Some(verdict) = verdicts.get(sha256, &signatures) else { continue };
            if server.signatures().await.as_ref() == Some(&signatures) {
                return Some(verdict);
            }
        }
        None
    }

    async fn attempt(
        &self,
        server: &Server,
        file: &FileToScan<'_>,
        begun: Option<Arc<Begun>>,
        behind: usize,
        until: Instant,
    ) -> Attempt {
        let share = until.saturating_duration_since(Instant::now())
            / u32::try_from(behind).map_or(u32::MAX, |behind| behind.saturating_add(1));
        let mut connected = false;
        let attempt = {
            let scan = self.scan_at(server, file, begun, &mut connected);
            let doubt = async {
                tokio::time::sleep(share / 2).await;
                if behind == 0 || server.is_alive(share / 2).await {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                attempt = scan => attempt,
                () = doubt => Attempt::Frozen,
                () = sleep_until(until) => Attempt::TimedOut,
            }
        };
        let attempt = match attempt {
            Attempt::Frozen | Attempt::TimedOut if !connected => {
                Attempt::Unreachable("clamd does not take the connection".to_owned())
            }
            attempt => attempt,
        };
        server.went(&attempt);
        attempt
    }

    /// One scan, with the versions before and after it where its verdict may be kept.
    async fn scan_at(
        &self,
        server: &Server,
        file: &FileToScan<'_>,
        begun: Option<Arc<Begun>>,
        connected: &mut bool,
    ) -> Attempt {
        // Only a server that took the connection can keep what was begun with waiting.
        *connected = begun.is_some();
        let sent = match begun {
            Some(begun) => begun.sent().await,
            None => None,
        };
        let Sent { underway, signatures: before } = match sent {
            Some(sent) => sent,
            None => {
                *connected = false;
                match Sent::begin(server, file.range.start).await {
                    Ok(sent) => sent,
                    Err(error) => return Attempt::Unreachable(format!("clamd cannot be reached: {error}")),
                }
            }
        };
        *connected = true;
        let said = match underway.finish(file).await {
            Ok(Scanned::NotScanned(Unscanned::Cut)) => return Attempt::Cut,
            said => said,
        };
        if let (Some(verdicts), Some(before), Ok(scanned)) = (&self.verdicts, before, &said)
            && server.signatures().await.as_ref() == Some(&before)
        {
            verdicts.keep(&file.sha256, &before, scanned);
        }
        Attempt::Answered(said)
    }
}

impl Scanner for Clamd {
    fn engine(&self) -> &'static str {
        "clamav"
    }

    fn scan<'a>(&'a self, file: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>> {
        Box::pin(self.ask(file))
    }

    fn ahead(&self, body: &dyn WholeBody, start: u64) -> Option<Arc<dyn Ahead>> {
        let (file, _) = body.file()?;
        let place = self.queue.spare()?;
        let server = self.line(1).into_iter().find(|server| server.standing() == Standing::Well)?;
        Some(Arc::new(Begun::new(Arc::clone(server), place, Arc::clone(file), start, self.timeout)))
    }
}

#[cfg(test)]
mod tests;
