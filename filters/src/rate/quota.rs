//! The generic cell rate algorithm.

use std::time::Duration;

/// How much of something may happen, by the generic cell rate algorithm: one unit comes back every `interval`, and
/// up to `capacity` may be taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    interval: u64,
    capacity: u32,
}

impl Quota {
    /// The quota of a rule: `burst` beyond the first may come at once.
    pub fn of(rate: &config::rules::Rate) -> Self {
        Self::new(rate.limit, rate.per, rate.burst)
    }

    /// `limit` per `per`, `burst` beyond the first at once. Rates above 1,000,000,000 a second count as that.
    pub fn new(limit: u32, per: Duration, burst: u32) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        Self { interval: (per / u64::from(limit.max(1))).max(1), capacity: burst.saturating_add(1) }
    }

    /// Time in which one unit comes back.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// Units that may be taken at once.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// With its interval rounded up to whole microseconds, which is what a shared store counts in.
    pub fn in_micros(&self) -> Self {
        Self { interval: self.interval.div_ceil(1000) * 1000, capacity: self.capacity }
    }

    /// What a shared store means by a counter that owes this much: after the unit was taken when `allowed` is true,
    /// else without it.
    pub fn stands(&self, debt: Duration, allowed: bool) -> Standing {
        let debt = u64::try_from(debt.as_nanos()).unwrap_or(u64::MAX);
        if allowed { self.standing(debt) } else { self.take(debt, 0).1 }
    }

    /// Nanoseconds in which a used-up quota is whole again.
    fn whole(&self) -> u64 {
        self.interval.saturating_mul(u64::from(self.capacity))
    }

    /// Takes one unit at `now`. `full_at` is when the quota would be whole again: the whole state of a counter, any
    /// past time for a fresh one. Gives the new state, when the unit could be taken, and where the counter stands.
    pub(crate) fn take(&self, full_at: u64, now: u64) -> (Option<u64>, Standing) {
        let debt = full_at.saturating_sub(now);
        let after = debt.saturating_add(self.interval);
        if after > self.whole() {
            let wait = Duration::from_nanos(after - self.whole());
            return (None, Standing { allowed: false, remaining: 0, wait });
        }
        (Some(now.saturating_add(after)), self.standing(after))
    }

    /// Gives back what `take` took.
    pub(crate) fn give_back(&self, full_at: u64) -> u64 {
        full_at.saturating_sub(self.interval)
    }

    /// Where a counter stands with this much owed.
    pub(crate) fn standing(&self, debt: u64) -> Standing {
        let free = self.whole().saturating_sub(debt);
        let remaining = free / self.interval;
        let wait = if debt == 0 { 0 } else { self.interval - free % self.interval };
        Standing {
            allowed: true,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            wait: Duration::from_nanos(wait),
        }
    }
}

/// Where one counter stands after a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether this rule lets the request pass.
    pub allowed: bool,
    /// Units left.
    pub remaining: u32,
    /// Until one more unit is there.
    pub wait: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn lets_the_first_and_the_burst_pass_at_once_and_then_one_per_interval() {
        let quota = Quota::new(60, Duration::from_secs(60), 20);
        let mut state = 0;
        let now = 5000 * SECOND;
        for left in (0..21).rev() {
            let (next, standing) = quota.take(state, now);
            state = next.unwrap();
            assert_eq!(standing, Standing { allowed: true, remaining: left, wait: Duration::from_secs(1) });
        }
        let (none, standing) = quota.take(state, now);
        assert_eq!(none, None);
        assert_eq!(standing, Standing { allowed: false, remaining: 0, wait: Duration::from_secs(1) });
        assert!(quota.take(state, now + SECOND - 1).0.is_none());
        let state = quota.take(state, now + SECOND).0.unwrap();
        assert!(quota.take(state, now + SECOND).0.is_none());
    }

    #[test]
    fn without_a_burst_only_one_passes_at_a_time() {
        let quota = Quota::new(10, Duration::from_secs(1), 0);
        let state = quota.take(0, SECOND).0.unwrap();
        assert!(quota.take(state, SECOND + SECOND / 10 - 1).0.is_none());
        assert!(quota.take(state, SECOND + SECOND / 10).0.is_some());
    }

    proptest! {
        #[test]
        fn never_lets_more_pass_than_the_burst_and_the_steady_rate(
            limit in 1u32..1000, burst in 0u32..50, gaps in prop::collection::vec(0u64..SECOND / 20, 1..300),
        ) {
            let quota = Quota::new(limit, Duration::from_secs(1), burst);
            let (mut state, mut now, mut passed) = (0, 1000 * SECOND, 0u64);
            let start = now;
            for gap in gaps {
                now += gap;
                if let (Some(next), _) = quota.take(state, now) {
                    state = next;
                    passed += 1;
                }
                prop_assert!(passed <= u64::from(burst) + 1 + (now - start) / quota.interval);
            }
        }

        #[test]
        fn a_wait_is_exactly_long_enough(limit in 1u32..1000, burst in 0u32..20, taken in 1u32..40) {
            let quota = Quota::new(limit, Duration::from_secs(1), burst);
            let (mut state, now) = (0, 1000 * SECOND);
            for _ in 0..taken {
                let (next, standing) = quota.take(state, now);
                state = next.unwrap_or(state);
                if !standing.allowed {
                    let wait = standing.wait.as_nanos() as u64;
                    prop_assert!(quota.take(state, now + wait).0.is_some());
                    prop_assert!(quota.take(state, now + wait - 1).0.is_none());
                }
            }
        }
    }
}
