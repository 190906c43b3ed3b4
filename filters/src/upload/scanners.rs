//! What `scanner:` comes to: the block list, and then everyone who scans, one after the other.
//!
//! Infected by one is infected, whatever the others say; clean is what is clean for all. Where one did not look, or was
//! not there, the policy's keys decide, and of two such answers the one counts that is refused.

use std::sync::Arc;

use config::Fallback;
use futures_util::future::BoxFuture;

use super::builtin::{BlockList, MemberScan};
use super::scan::{Ahead, FileToScan, ScanFailure, ScanPolicy, Scanned, Scanner};
use crate::filter::WholeBody;

/// See the module.
pub struct Scanners {
    list: BlockList,
    scanners: Vec<Arc<dyn Scanner>>,
    policy: ScanPolicy,
}

impl Scanners {
    /// `scanners` is not empty.
    pub fn new(list: BlockList, scanners: Vec<Arc<dyn Scanner>>, policy: ScanPolicy) -> Self {
        debug_assert!(!scanners.is_empty(), "a policy names someone who scans");
        Self { list, scanners, policy }
    }

    async fn ask(&self, file: FileToScan<'_>) -> Result<Scanned, ScanFailure> {
        if let Some(listed) = self.list.judge(&file.sha256) {
            return Ok(listed);
        }
        let mut worst = Ok(Scanned::Clean);
        for scanner in &self.scanners {
            let said = scanner.scan(file.clone()).await;
            if matches!(said, Ok(Scanned::Infected(_))) {
                return said;
            }
            if self.weight(&said) > self.weight(&worst) {
                worst = said;
            }
        }
        worst
    }

    /// How much an answer counts beside another.
    fn weight(&self, said: &Result<Scanned, ScanFailure>) -> u8 {
        match said {
            Ok(Scanned::Clean) => 0,
            Err(ScanFailure::Unreachable(_)) if self.policy.on_failure == Fallback::Allow => 1,
            Ok(Scanned::NotScanned(_)) if self.policy.on_unscanned == Fallback::Allow => 2,
            Err(ScanFailure::Unreachable(_)) => 3,
            Ok(Scanned::NotScanned(_)) => 4,
            Err(ScanFailure::Busy { .. }) => 5,
            Err(ScanFailure::Unreadable(_)) => 6,
            Ok(Scanned::Infected(_)) => 7,
        }
    }
}

impl Scanner for Scanners {
    fn engine(&self) -> &'static str {
        match self.scanners.as_slice() {
            [] => "none",
            [one] => one.engine(),
            _ => "clamav+builtin",
        }
    }

    fn scan<'a>(&'a self, file: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>> {
        Box::pin(self.ask(file))
    }

    fn ahead(&self, body: &dyn WholeBody, start: u64) -> Option<Arc<dyn Ahead>> {
        self.scanners.iter().find_map(|scanner| scanner.ahead(body, start))
    }

    fn member(&self) -> MemberScan {
        MemberScan::new(self.list.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upload::scan::Unscanned;
    use crate::upload::scan::tests::Memory;

    /// Says one thing.
    #[derive(Clone)]
    enum Says {
        Clean,
        Infected,
        NotScanned,
        Unreachable,
        Busy,
    }

    impl Scanner for Says {
        fn engine(&self) -> &'static str {
            "clamav"
        }

        fn scan<'a>(&'a self, _: FileToScan<'a>) -> BoxFuture<'a, Result<Scanned, ScanFailure>> {
            let said = match self {
                Says::Clean => Ok(Scanned::Clean),
                Says::Infected => Ok(Scanned::Infected("X".into())),
                Says::NotScanned => Ok(Scanned::NotScanned(Unscanned::OverLimit)),
                Says::Unreachable => Err(ScanFailure::Unreachable("away".into())),
                Says::Busy => Err(ScanFailure::Busy { retry_after: Duration::from_secs(1) }),
            };
            Box::pin(async move { said })
        }
    }

    async fn ask(one: Says, other: Says, on_failure: Fallback, on_unscanned: Fallback) -> &'static str {
        let policy = ScanPolicy { on_failure, on_unscanned };
        let both: Vec<Arc<dyn Scanner>> = vec![Arc::new(one), Arc::new(other)];
        let list = BlockList::from_iter([[7; 32]]);
        let body = Memory(vec![1]);
        let file = FileToScan::new(&body, 0..1, [0; 32]);
        match Scanners::new(list, both, policy).scan(file).await {
            Ok(Scanned::Clean) => "clean",
            Ok(Scanned::Infected(_)) => "infected",
            Ok(Scanned::NotScanned(_)) => "not scanned",
            Err(ScanFailure::Unreachable(_)) => "unreachable",
            Err(ScanFailure::Busy { .. }) => "busy",
            Err(ScanFailure::Unreadable(_)) => "unreadable",
        }
    }

    #[tokio::test]
    async fn counts_the_answer_that_is_refused() {
        use Fallback::{Allow, Deny};
        use Says::{Busy, Clean, Infected, NotScanned, Unreachable};
        for (one, other, on_failure, on_unscanned, expected) in [
            (Clean, Clean, Deny, Deny, "clean"),
            (Clean, Infected, Allow, Allow, "infected"),
            (Unreachable, Infected, Allow, Allow, "infected"),
            (Busy, Infected, Allow, Allow, "infected"),
            (Clean, NotScanned, Allow, Allow, "not scanned"),
            (Clean, Unreachable, Allow, Allow, "unreachable"),
            (NotScanned, Unreachable, Deny, Allow, "unreachable"),
            (NotScanned, Unreachable, Allow, Deny, "not scanned"),
            (NotScanned, Busy, Allow, Allow, "busy"),
        ] {
            let said = ask(one.clone(), other.clone(), on_failure, on_unscanned).await;
            assert_eq!(said, expected);
            assert_eq!(ask(other, one, on_failure, on_unscanned).await, expected, "in the other order");
        }
    }

    #[tokio::test]
    async fn asks_nobody_about_a_file_on_the_list() {
        let policy = ScanPolicy { on_failure: Fallback::Allow, on_unscanned: Fallback::Allow };
        let scanners = Scanners::new(BlockList::from_iter([[7; 32]]), vec![Arc::new(Says::Clean)], policy);
        let body = Memory(vec![1]);
        let file = FileToScan::new(&body, 0..1, [7; 32]);
        assert_eq!(scanners.scan(file).await.unwrap(), Scanned::Infected("Blocklist.SHA256".into()));
        let body = Memory(vec![1]);
        let file = FileToScan::new(&body, 0..1, [8; 32]);
        assert_eq!(scanners.scan(file).await.unwrap(), Scanned::Clean);
    }
}
