//! What is asked of files beyond their content: whose they are, whether they were stored before, whether there is
//! room for them. And what is written down when the upstream has taken them.

use std::fmt;
use std::sync::Arc;

use config::{Plan, rules};
use futures_util::future::join;

use super::dedupe::{Dedupe, Fresh};
use super::storage::{Reservation, Storage};
use crate::denial::Denial;
use crate::facts::Facts;
use crate::filter::FileReport;
use crate::pipeline::Stores;

/// Whose files they are, and the name of the request that brings them.
pub(super) struct Owner {
    pub(super) request_id: String,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) plan: Option<Arc<Plan>>,
}

impl Owner {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        Self {
            request_id: facts.request_id.to_owned(),
            tenant: facts.tenant.map(|tenant| tenant.id.as_str().into()),
            plan: facts.tenant.and_then(|tenant| tenant.plan.clone()),
        }
    }

    /// Bytes of one file of a class of which the route takes `most`; `None` when the plan does not have the class.
    pub(super) fn limit(&self, class: &str, most: u64) -> Option<u64> {
        self.plan.as_ref().map_or(Some(most), |plan| plan.limit(class, most))
    }
}

/// The books of one upload route.
pub struct Bookkeeping {
    dedupe: Option<Dedupe>,
    storage: Option<Storage>,
    observed: bool,
}

impl Bookkeeping {
    /// `scope` is the route's, as [`crate::state::scope`] gives it. When the rule is only `observed`, the books are
    /// looked into and never written.
    pub fn build(scope: &str, upload: &rules::Upload, stores: &Stores, observed: bool) -> Self {
        Self {
            dedupe: upload.dedupe.map(|dedupe| Dedupe::new(scope, dedupe, stores.fingerprints.clone())),
            storage: upload.quota.then(|| Storage::new(stores.quotas.clone())),
            observed,
        }
    }

    /// Looks for files that were stored before, then for room. Gives what is to be settled; files that it holds space
    /// for are those that may be stored.
    pub(super) async fn judge(
        &self,
        owner: &Owner,
        files: &mut [FileReport],
    ) -> Result<Option<Stored>, Denial> {
        let fresh = match &self.dedupe {
            Some(dedupe) => dedupe.judge(owner, files).await?,
            None => None,
        };
        let reservation = match &self.storage {
            Some(storage) => {
                let bytes = files.iter().map(|file| file.size).sum();
                storage.judge(owner, bytes, self.observed).await?
            }
            None => None,
        };
        if self.observed || (fresh.is_none() && reservation.is_none()) {
            return Ok(None);
        }
        Ok(Some(Stored { reservation, fresh }))
    }
}

/// Files that are written into the books when the upstream has taken them. Dropped unsettled, their space is free
/// again and nothing is remembered.
pub struct Stored {
    reservation: Option<Reservation>,
    fresh: Option<Fresh>,
}

impl Stored {
    /// Says whether the upstream took the files.
    pub(crate) async fn settle(self, kept: bool) {
        let reservation = async {
            if let Some(reservation) = self.reservation {
                reservation.settle(kept).await;
            }
        };
        let fresh = async {
            if let Some(fresh) = self.fresh.filter(|_| kept) {
                fresh.remember().await;
            }
        };
        join(reservation, fresh).await;
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored(…)")
    }
}

#[cfg(test)]
mod tests;
