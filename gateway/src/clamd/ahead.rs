//! Sending a file to clamd while it still arrives, so that clamd has it when its last byte comes.
//!
//! This only saves time: whatever goes wrong on the way, the file is sent again when it is whole, and what is said then
//! counts. A place at clamd is taken only while more than half of them are free, and is given back when the sender is
//! slow ([`PATIENCE`], [`MIN_RATE`]) or `scanner.timeout` is over: nobody holds places by sending slowly.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use filters::upload::Ahead;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::exchange::Underway;
use super::server::Server;

/// For how long nothing may come.
const PATIENCE: Duration = Duration::from_millis(250);
/// Bytes a second that must come, on the average since the start and not counting the first [`PATIENCE`].
const MIN_RATE: f64 = (4 * 1024 * 1024) as f64;

/// A place at clamd, until the scan is over or given up.
type Place = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// A file that is being sent ahead.
pub(super) struct Begun {
    pub(super) server: Arc<Server>,
    place: Place,
    progress: watch::Sender<Progress>,
    task: Mutex<Option<JoinHandle<Option<Sent>>>>,
}

#[derive(Clone, Copy)]
struct Progress {
    /// How far the file is there, as a place in the body.
    end: u64,
    /// Nothing more is to be sent ahead.
    whole: bool,
}

/// A file on its way, and the server's signatures before it was, where its verdicts can be kept.
pub(super) struct Sent {
    pub(super) underway: Underway,
    pub(super) signatures: Option<Arc<str>>,
}

impl Sent {
    /// Connects and begins with the file that starts at this place in the body.
    pub(super) async fn begin(server: &Server, start: u64) -> io::Result<Self> {
        let signatures = match server.known_signatures() {
            Some(_) => server.signatures().await,
            None => None,
        };
        let underway = Underway::begin(server.address(), start).await?;
        Ok(Self { underway, signatures })
    }
}

impl Begun {
    /// Begins with the file that starts at this place in the body.
    pub(super) fn new(
        server: Arc<Server>,
        place: OwnedSemaphorePermit,
        file: Arc<File>,
        start: u64,
        limit: Duration,
    ) -> Self {
        let (progress, told) = watch::channel(Progress { end: start, whole: false });
        let place: Place = Arc::new(Mutex::new(Some(place)));
        let task = {
            let (server, place) = (Arc::clone(&server), Arc::clone(&place));
            tokio::spawn(async move {
                let sent = timeout(limit, send(&server, &file, start, told)).await.ok().flatten();
                if sent.is_none() {
                    taken(&place);
                }
                sent
            })
        };
        Self { server, place, progress, task: Mutex::new(Some(task)) }
    }

    /// The place, if it was not given up meanwhile.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        taken(&self.place)
    }

    /// Ends the sending ahead. `None` when it was given up. Waits for clamd to take what was announced to it.
    pub(super) async fn sent(&self) -> Option<Sent> {
        self.progress.send_modify(|progress| progress.whole = true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let _stop = Stop(task.abort_handle());
        task.await.ok().flatten()
    }
}

impl Ahead for Begun {
    fn grown(&self, end: u64) {
        self.progress.send_modify(|progress| progress.end = end);
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

/// Ends a task that nobody waits for any more.
struct Stop(tokio::task::AbortHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn taken(place: &Place) -> Option<OwnedSemaphorePermit> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Sends what is there until the file is whole. `None` when the sender is slow or clamd is not well.
async fn send(
    server: &Server,
    file: &File,
    start: u64,
    mut progress: watch::Receiver<Progress>,
) -> Option<Sent> {
    let mut sent = timeout(PATIENCE, Sent::begin(server, start)).await.ok()?.ok()?;
    let underway = &mut sent.underway;
    let began = Instant::now();
    loop {
        let Progress { end, whole } = *progress.borrow_and_update();
        if whole {
            return Some(sent);
        }
        if underway.at < end {
            underway.send_piece(file, end).await.ok()?;
            continue;
        }
        let expected = began.elapsed().saturating_sub(PATIENCE).as_secs_f64() * MIN_RATE;
        if ((end - start) as f64) < expected {
            return None;
        }
        timeout(PATIENCE, progress.changed()).await.ok()?.ok()?;
    }
}
