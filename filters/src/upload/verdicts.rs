//! Verdicts that scanners gave, kept by the file's SHA-256 and by the signatures that gave them.
//!
//! Only `clean` and `infected` are kept, for `scanner.cache.lifetime` and `entries` of them at most; beyond that a new
//! one takes the place of the oldest among eight. A verdict of other signatures is not found.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::bounded::Bounded;
use crate::state::Clock;

use super::scan::Scanned;

/// See the module. Shared by all scanners; about 200 bytes an entry.
pub struct Verdicts {
    clock: Arc<dyn Clock>,
    hash: RandomState,
    lifetime: Duration,
    entries: Mutex<Bounded<u64, Verdict>>,
}

struct Verdict {
    sha256: [u8; 32],
    signatures: Arc<str>,
    /// The name of what was found.
    infected: Option<Box<str>>,
    at: Duration,
}

impl Verdicts {
    /// None yet.
    pub fn new(settings: config::ScanCache, clock: Arc<dyn Clock>) -> Self {
        let entries = Mutex::new(Bounded::new(settings.entries));
        Self { clock, hash: RandomState::new(), lifetime: settings.lifetime, entries }
    }

    /// The verdict that these signatures gave on a file, when it may still be used.
    pub fn get(&self, sha256: &[u8; 32], signatures: &str) -> Option<Scanned> {
        let now = self.clock.elapsed();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.key(sha256, signatures);
        let found = entries.get_mut(&key)?;
        if now.saturating_sub(found.at) >= self.lifetime {
            entries.remove(&key);
            return None;
        }
        // The key is a hash of 64 bits; what it stands for is compared whole.
        if found.sha256 != *sha256 || *found.signatures != *signatures {
            return None;
        }
        Some(match &found.infected {
            Some(name) => Scanned::Infected(name.to_string()),
            None => Scanned::Clean,
        })
    }

    /// Keeps a verdict, when it is one.
    pub fn keep(&self, sha256: &[u8; 32], signatures: &Arc<str>, scanned: &Scanned) {
        let infected = match scanned {
            Scanned::Clean => None,
            Scanned::Infected(name) => Some(name.as_str().into()),
            Scanned::NotScanned(_) => return,
        };
        let verdict = Verdict {
            sha256: *sha256,
            signatures: Arc::clone(signatures),
            infected,
            at: self.clock.elapsed(),
        };
        let key = self.key(sha256, signatures);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.get_mut(&key) {
            Some(entry) => *entry = verdict,
            None => _ = entries.insert(key, verdict, |verdict| verdict.at),
        }
    }

    fn key(&self, sha256: &[u8; 32], signatures: &str) -> u64 {
        self.hash.hash_one((sha256, signatures))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    use super::*;
    use crate::upload::scan::Unscanned;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    fn verdicts(entries: usize) -> (Verdicts, Arc<Hand>) {
        let clock = Arc::new(Hand::default());
        let settings = config::ScanCache { entries, lifetime: Duration::from_secs(60) };
        (Verdicts::new(settings, clock.clone()), clock)
    }

    #[test]
    fn gives_a_verdict_again_to_the_signatures_that_gave_it() {
        let (verdicts, _) = verdicts(10);
        let (one, other): (Arc<str>, Arc<str>) = ("1".into(), "2".into());
        verdicts.keep(&[1; 32], &one, &Scanned::Clean);
        verdicts.keep(&[2; 32], &one, &Scanned::Infected("X".into()));
        assert_eq!(verdicts.get(&[1; 32], &one), Some(Scanned::Clean));
        assert_eq!(verdicts.get(&[2; 32], &one), Some(Scanned::Infected("X".into())));
        assert_eq!(verdicts.get(&[1; 32], &other), None, "other signatures");
        assert_eq!(verdicts.get(&[3; 32], &one), None, "another file");
        verdicts.keep(&[1; 32], &one, &Scanned::Infected("Y".into()));
        assert_eq!(verdicts.get(&[1; 32], &one), Some(Scanned::Infected("Y".into())), "the last one counts");
    }

    #[test]
    fn keeps_nothing_that_is_no_verdict() {
        let (verdicts, _) = verdicts(10);
        let signatures: Arc<str> = "1".into();
        for why in [Unscanned::TimedOut, Unscanned::OverLimit, Unscanned::Unclear("?".into())] {
            verdicts.keep(&[1; 32], &signatures, &Scanned::NotScanned(why));
            assert_eq!(verdicts.get(&[1; 32], &signatures), None);
        }
    }

    #[test]
    fn forgets_what_is_old_and_what_is_too_much() {
        let (verdicts, clock) = verdicts(8);
        let signatures: Arc<str> = "1".into();
        verdicts.keep(&[0; 32], &signatures, &Scanned::Clean);
        clock.0.store(59, Ordering::Relaxed);
        assert!(verdicts.get(&[0; 32], &signatures).is_some());
        clock.0.store(60, Ordering::Relaxed);
        assert!(verdicts.get(&[0; 32], &signatures).is_none());
        for n in 1..=100 {
            verdicts.keep(&[n; 32], &signatures, &Scanned::Clean);
        }
        assert!((1..=100).filter(|n| verdicts.get(&[*n; 32], &signatures).is_some()).count() <= 8);
    }
}
