//! What is settled by the upstream's answer.

use pingora_http::ResponseHeader;

use crate::lockout::Attempt;
use crate::upload::{Release, Stored};

/// What rules wait to learn of a request that they let pass. Dropped before there is an answer, it settles itself as
/// if nothing had happened.
#[derive(Debug, Default)]
pub struct Pending {
    /// The attempt that a lockout counts. It may have to see the answer's body, too.
    pub attempt: Option<Attempt>,
    /// What is to be written into the books if the files of an upload are stored.
    pub stored: Option<Stored>,
    /// What the answer says of space that is no longer used.
    pub release: Option<Release>,
}

impl Pending {
    /// Adds what another rule waits for.
    pub fn add(&mut self, other: Pending) {
        self.attempt = other.attempt.or(self.attempt.take());
        self.stored = other.stored.or(self.stored.take());
        self.release = other.release.or(self.release.take());
    }

    /// Whether the answer must be waited for though nobody may be left to be told: whoever hangs up in time would else
    /// store files that nobody counts, or free space that stays counted.
    pub fn must_hear(&self) -> bool {
        self.stored.is_some() || self.release.as_ref().is_some_and(Release::counts)
    }

    /// Settles what the head of the answer settles, before the client sees it; whoever is told may take
    /// `state.timeout`. What was said to the gateway alone is taken out of the head. An error is for the operator: the
    /// app said something that cannot be read.
    pub async fn settle(&mut self, head: &mut ResponseHeader) -> Result<(), String> {
        let succeeded = head.status.is_success();
        if let Some(stored) = self.stored.take() {
            stored.settle(succeeded).await;
        }
        match self.release.take() {
            Some(release) => release.settle(head, succeeded).await,
            None => Ok(()),
        }
    }
}
