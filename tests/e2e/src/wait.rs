//! Waiting for something to become true, never longer than a deadline.

use std::time::{Duration, Instant};

/// How long anything that should happen at once may take on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(20);

/// Looks again and again until there is something to see.
///
/// # Panics
/// After `limit`, naming what was waited for.
pub fn until<T>(what: &str, limit: Duration, look: impl FnMut() -> Option<T>) -> T {
    within(limit, look).unwrap_or_else(|| panic!("waited {limit:?} for {what}"))
}

/// Looks again and again; `None` after `limit`.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
