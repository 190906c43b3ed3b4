//! Places for work that only so many may do at a time, and a line of those who wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use filters::upload::ScanFailure;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What a client is told to wait when all places are taken.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// `scanner.max_concurrent` places, and `scanner.max_queue` that may wait `scanner.timeout` for one.
pub struct Queue {
    places: Arc<Semaphore>,
    all: usize,
    waiting: AtomicUsize,
    max_waiting: usize,
    patience: Duration,
}

impl Queue {
    /// With all places free.
    pub fn new(settings: &config::Scanner) -> Self {
        let all = settings.max_concurrent.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(all)),
            all,
            waiting: AtomicUsize::new(0),
            max_waiting: settings.max_queue,
            patience: settings.timeout,
        }
    }

    /// A place, to be held for as long as the work takes.
    ///
    /// # Errors
    /// [`ScanFailure::Busy`] when too many wait, or this one waited for too long.
    pub async fn place(&self) -> Result<OwnedSemaphorePermit, ScanFailure> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let busy = || ScanFailure::Busy { retry_after: RETRY_AFTER };
        let more = |waiting: usize| (waiting < self.max_waiting).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map_err(|_| busy())?;
        let _waiting = Waiting(&self.waiting);
        match timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(busy()),
        }
    }

    /// A place for work that could also wait: while more than half of them are free.
    pub fn spare(&self) -> Option<OwnedSemaphorePermit> {
        let kept = (self.all / 2).max(1);
        let left = || self.places.available_permits();
        if left() <= kept {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        // Another worker may have seen the same places free.
        (left() >= kept).then_some(place)
    }

    /// Free places, and how many wait for one.
    #[cfg(test)]
    pub fn state(&self) -> (usize, usize) {
        (self.places.available_permits(), self.waiting.load(Ordering::Relaxed))
    }
}

/// One in the line.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
