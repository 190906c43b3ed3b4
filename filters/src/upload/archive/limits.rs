//! What one file may unpack to, counted over all its levels.

use config::rules::Archives;

use super::Fault;

/// Bytes that a small file may unpack to whatever its ratio: text and empty sheets shrink a thousandfold.
const SMALL: u64 = 1 << 20;

/// The account of one file.
pub(super) struct Account {
    limits: Archives,
    /// What `max_ratio` comes to for this file.
    by_ratio: u64,
    members: u64,
    total: u64,
}

impl Account {
    /// For a file of `size` bytes.
    pub(super) fn new(limits: Archives, size: u64) -> Self {
        let by_ratio = size.saturating_mul(limits.max_ratio).max(SMALL);
        Self { limits, by_ratio, members: 0, total: 0 }
    }

    /// One member more.
    pub(super) fn member(&mut self) -> Result<(), Fault> {
        self.members += 1;
        match self.members > self.limits.max_members {
            true => {
                Err(Fault::Over("more members than upload.archives.max_members", self.limits.max_members))
            }
            false => Ok(()),
        }
    }

    /// `more` bytes of a member that had `before`. Gives how many of them are within the limits, and the fault when
    /// not all are.
    pub(super) fn unpacked(&mut self, before: u64, more: usize) -> (usize, Option<Fault>) {
        let limits = [
            (
                left_of(self.limits.max_member, before),
                "a member over upload.archives.max_member",
                self.limits.max_member,
            ),
            (
                left_of(self.limits.max_total, self.total),
                "more than upload.archives.max_total",
                self.limits.max_total,
            ),
            (
                left_of(self.by_ratio, self.total),
                "more than upload.archives.max_ratio allows",
                self.limits.max_ratio,
            ),
        ];
        let (left, what, limit) = limits.into_iter().min_by_key(|(left, ..)| *left).unwrap_or_default();
        if more as u64 <= left {
            self.total += more as u64;
            return (more, None);
        }
        self.total += left;
        (usize::try_from(left).unwrap_or(more), Some(Fault::Over(what, limit)))
    }

    /// Members and bytes so far.
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.members, self.total)
    }

    /// A level below `depth` others.
    pub(super) fn level(&self, depth: usize) -> Result<(), Fault> {
        match depth >= self.limits.max_depth {
            true => {
                let limit = self.limits.max_depth as u64;
                Err(Fault::Over("archives in archives, deeper than upload.archives.max_depth", limit))
            }
            false => Ok(()),
        }
    }
}

fn left_of(limit: u64, so_far: u64) -> u64 {
    limit.saturating_sub(so_far)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Archives =
        Archives { max_members: 2, max_member: 3 << 20, max_total: 5 << 20, max_ratio: 10, max_depth: 2 };

    #[test]
    fn counts_up_to_each_limit_and_not_beyond() {
        let mut account = Account::new(LIMITS, 1 << 20);
        assert_eq!((account.member(), account.member()), (Ok(()), Ok(())));
        assert!(account.member().is_err());
        assert_eq!(account.unpacked(0, 3 << 20), (3 << 20, None));
        assert!(matches!(account.unpacked(3 << 20, 1), (0, Some(Fault::Over(_, limit))) if limit == 3 << 20));
        assert!(matches!(account.unpacked(0, 3 << 20), (fit, Some(Fault::Over(..))) if fit == 2 << 20));
        assert_eq!((account.level(1), account.level(2).is_err()), (Ok(()), true));
    }

    #[test]
    fn asks_for_the_ratio_only_once_much_has_come_out() {
        let mut account = Account::new(LIMITS, 100);
        assert_eq!(account.unpacked(0, 1 << 20), (1 << 20, None));
        assert!(matches!(account.unpacked(1 << 20, 1), (0, Some(Fault::Over(_, 10)))));
        assert_eq!(Account::new(LIMITS, 1 << 20).unpacked(0, 2 << 20), (2 << 20, None));
    }
}
