//! Stored files in this process's memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};

use crate::bounded::Bounded;
use crate::state::{Clock, Fingerprint, Fingerprints, StateAway};

/// Files that are remembered. Some 200 bytes each, so about 13 MiB at most.
const FILES: usize = 1 << 16;

/// Files that were stored, kept across reloads. Holds 65,536 at most; beyond that a new one takes the place of the one
/// that would be forgotten first, among eight.
pub struct SeenFiles {
    clock: Arc<dyn Clock>,
    files: Mutex<Bounded<Fingerprint, Seen>>,
}

struct Seen {
    request_id: Box<str>,
    until: Duration,
}

impl SeenFiles {
    /// Without files.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::with_files(clock, FILES)
    }

    fn with_files(clock: Arc<dyn Clock>, files: usize) -> Arc<Self> {
        Arc::new(Self { clock, files: Mutex::new(Bounded::new(files)) })
    }

    /// Drops those whose time is over. Made to be called once in some ten seconds.
    pub fn sweep(&self) {
        let now = self.clock.elapsed();
        self.lock().retain(|seen| seen.until > now);
    }

    fn lock(&self) -> MutexGuard<'_, Bounded<Fingerprint, Seen>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fingerprints for SeenFiles {
    fn find(&self, files: &[Fingerprint]) -> BoxFuture<'static, Result<Vec<Option<String>>, StateAway>> {
        let now = self.clock.elapsed();
        let mut held = self.lock();
        let found = files.iter().map(|file| {
            let seen = held.get_mut(file).filter(|seen| seen.until > now);
            seen.map(|seen| String::from(seen.request_id.clone()))
        });
        let found = found.collect();
        Box::pin(ready(Ok(found)))
    }

    fn remember(
        &self,
        files: &[Fingerprint],
        request_id: &str,
        lifetime: Duration,
    ) -> BoxFuture<'static, Result<(), StateAway>> {
        let now = self.clock.elapsed();
        let mut held = self.lock();
        for file in files {
            if held.get_mut(file).is_some_and(|seen| seen.until > now) {
                continue;
            }
            held.remove(file);
            let seen = Seen { request_id: request_id.into(), until: now + lifetime };
            held.insert(*file, seen, |seen| seen.until);
        }
        Box::pin(ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::state::ManualClock;

    const DAY: Duration = Duration::from_secs(86_400);

    fn file(n: u32) -> Fingerprint {
        let mut key = [7; 16];
        key[..4].copy_from_slice(&n.wrapping_mul(0x9E37_79B1).to_le_bytes());
        key[8..12].copy_from_slice(&n.to_le_bytes());
        key
    }

    fn first(seen: &SeenFiles, n: u32) -> Option<String> {
        seen.find(&[file(n)]).now_or_never().unwrap().unwrap().remove(0)
    }

    fn remember(seen: &SeenFiles, n: u32, request: &str) {
        seen.remember(&[file(n)], request, DAY).now_or_never().unwrap().unwrap();
    }

    #[test]
    fn the_first_request_is_told_until_its_time_is_over() {
        let clock = Arc::new(ManualClock::default());
        let seen = SeenFiles::new(clock.clone());
        assert_eq!(first(&seen, 1), None);
        remember(&seen, 1, "one");
        clock.advance(DAY / 2);
        remember(&seen, 1, "two");
        assert_eq!(first(&seen, 1).as_deref(), Some("one"));
        clock.advance(DAY / 2);
        assert_eq!(first(&seen, 1), None, "the second did not make it longer");
        remember(&seen, 1, "three");
        assert_eq!(first(&seen, 1).as_deref(), Some("three"));
        seen.sweep();
        assert_eq!(first(&seen, 1).as_deref(), Some("three"));
        clock.advance(DAY);
        seen.sweep();
        assert_eq!(seen.lock().len(), 0);
    }

    #[test]
    fn a_flood_of_files_does_not_fill_memory() {
        let seen = SeenFiles::with_files(Arc::new(ManualClock::default()), 500);
        (0..5000).for_each(|n| remember(&seen, n, "flood"));
        assert_eq!(seen.lock().len(), 500);
    }
}
