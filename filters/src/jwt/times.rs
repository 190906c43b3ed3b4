//! The times that a token names, and whether a moment is one of those it is good for.

use std::time::{Duration, SystemTime};

use super::{EXPIRED, invalid};
use crate::claims::Json;
use crate::denial::{Denial, Reason};

/// The last second of the year 9999: where times that are no times end.
const END_OF_TIME: f64 = 253_402_300_799.0;

/// When a token is good, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    begins: Option<f64>,
    issued: Option<f64>,
    /// `exp`, or the end of `max_age` when that is sooner.
    end: f64,
}

impl Times {
    /// Reads the times of a token that is good at this moment. Each is judged before the next one is read, so that
    /// of two errors the earlier claim's is told.
    pub(super) fn good_at(moment: &Moment, claims: &Json<'_>, max_age: Option<f64>) -> Result<Self, Denial> {
        let exp = time(claims, "exp")?.ok_or_else(|| invalid("the token has no exp"))?;
        let begins = time(claims, "nbf")?;
        moment.check_begun(begins)?;
        let issued = time(claims, "iat")?;
        moment.check_issued(issued)?;
        let end = match (max_age, issued) {
            (None, _) => exp,
            (Some(max_age), Some(issued)) => exp.min(issued + max_age),
            (Some(_), None) => return Err(invalid("the token has no iat, and max_age is set")),
        };
        moment.check_end(end)?;
        Ok(Self { begins, issued, end })
    }

    /// Judges times that have been read, in the same order.
    pub(super) fn check_at(&self, moment: &Moment) -> Result<(), Denial> {
        moment.check_begun(self.begins)?;
        moment.check_issued(self.issued)?;
        moment.check_end(self.end)
    }

    /// When the token ends; without the leeway.
    pub(super) fn expires(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(self.end.clamp(0.0, END_OF_TIME))
    }
}

/// When a token is judged, and how far clocks may be apart.
pub(super) struct Moment {
    now: f64,
    leeway: f64,
}

impl Moment {
    /// `leeway` is in seconds.
    pub(super) fn new(now: SystemTime, leeway: f64) -> Self {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        Self { now, leeway }
    }

    fn check_begun(&self, begins: Option<f64>) -> Result<(), Denial> {
        if begins.is_some_and(|begins| begins > self.now + self.leeway) {
            return Err(invalid("the token is not valid yet"));
        }
        Ok(())
    }

    fn check_issued(&self, issued: Option<f64>) -> Result<(), Denial> {
        if issued.is_some_and(|issued| issued > self.now + self.leeway) {
            return Err(invalid("the token was issued in the future"));
        }
        Ok(())
    }

    fn check_end(&self, end: f64) -> Result<(), Denial> {
        if self.now >= end + self.leeway {
            return Err(Denial::new(Reason::AuthExpired, "the token has expired").challenge(EXPIRED));
        }
        Ok(())
    }
}

fn time(claims: &Json<'_>, name: &str) -> Result<Option<f64>, Denial> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => {
            value.seconds().map(Some).ok_or_else(|| invalid("a time in the token is not a number"))
        }
    }
}
