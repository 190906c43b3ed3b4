//! The body of a request, read within its limits of size and time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use filters::{Denial, Reason};

use crate::session::{Fault, Session};

/// How slow a body may be.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes a second.
    pub min_rate: u64,
    /// For how long it may stay below that.
    pub patience: Duration,
}

/// Reads a body and watches its pace and size.
pub struct Intake {
    pace: Pace,
    limit: u64,
    window: Instant,
    in_window: u64,
    total: u64,
}

/// How a body may end before it is whole.
#[derive(Debug)]
pub enum Cut {
    /// The client broke a rule.
    Denied(Denial),
    /// The client went away.
    Gone,
}

impl Intake {
    /// For a body of at most `limit` bytes.
    pub fn new(pace: Pace, limit: u64) -> Self {
        Self { pace, limit, window: Instant::now(), in_window: 0, total: 0 }
    }

    /// Bytes so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next bytes; `None` at the end.
    pub async fn next(&mut self, session: &mut Session) -> Result<Option<Bytes>, Cut> {
        loop {
            let left = self.pace.patience.saturating_sub(self.window.elapsed());
            match pingora_timeout::timeout(left, session.body()).await {
                Ok(Ok(Some(bytes))) if bytes.is_empty() => {}
                Ok(Ok(Some(bytes))) => return self.count(bytes).map(Some),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(Fault::Gone)) => return Err(Cut::Gone),
                Ok(Err(Fault::Misframed)) => {
                    let detail = "the body is not chunked as the head says";
                    return Err(Cut::Denied(Denial::new(Reason::RequestMalformed, detail)));
                }
                Err(_) => self.next_window()?,
            }
        }
    }

    fn count(&mut self, bytes: Bytes) -> Result<Bytes, Cut> {
        let n = bytes.len() as u64;
        self.total += n;
        self.in_window += n;
        if self.total > self.limit {
            let detail = format!("more than {} bytes", self.limit);
            return Err(Cut::Denied(Denial::new(Reason::BodyTooLarge, detail)));
        }
        if self.window.elapsed() >= self.pace.patience {
            self.next_window()?;
        }
        Ok(bytes)
    }

    fn next_window(&mut self) -> Result<(), Cut> {
        let needed = self.pace.min_rate as f64 * self.pace.patience.as_secs_f64();
        if (self.in_window as f64) < needed.max(1.0) {
            return Err(Cut::Denied(Denial::new(Reason::RequestTimeout, "the body came too slowly")));
        }
        self.window = Instant::now();
        self.in_window = 0;
        Ok(())
    }
}
