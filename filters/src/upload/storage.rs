//! The storage of tenants: `upload.quota`.
//!
//! Passes an upload when the bytes of its files, those that the tenant has stored and those of its other uploads
//! under way are together no more than the plan's `storage`; what it will take is reserved before the upstream is
//! asked. A tenant without a plan, or whose plan has no `storage`, may store anything, and it is counted all the same.
//!
//! What is counted is what apps were sent and answered with 2xx. Where an answer was never read, the space counts as
//! free, whatever the app did: its own count is set by the operator's listener.

use std::sync::Arc;

use config::Plan;

use super::stored::Owner;
use crate::denial::{Denial, FieldProblem, Reason};
use crate::state::{Books, Grant, Quotas, Space, Usage};

/// The name of the operation in metrics.
pub(super) const OPERATION: &str = "quota";

/// The number of a reservation that was never made.
const UNRESERVED: u64 = 0;

/// `upload.quota` of one route.
pub(super) struct Storage {
    books: Books<dyn Quotas>,
}

impl Storage {
    pub(super) fn new(books: Books<dyn Quotas>) -> Self {
        Self { books }
    }

    /// Reserves space for files of so many bytes; when it is only `observed`, says whether that could be done. `None`
    /// when there is nothing to reserve, or nobody counts.
    pub(super) async fn judge(
        &self,
        owner: &Owner,
        bytes: u64,
        observed: bool,
    ) -> Result<Option<Reservation>, Denial> {
        let Some(tenant) = owner.tenant.clone().filter(|_| bytes > 0) else { return Ok(None) };
        let limit = owner.plan.as_ref().and_then(|plan| plan.storage);
        let exceeded = |usage: Usage| Err(exceeded(usage, limit, owner.plan.as_deref()));
        if observed {
            let Some((usage, _)) = self.books.ask(OPERATION, |store| store.usage(&tenant)).await? else {
                return Ok(None);
            };
            return match limit {
                Some(limit) if usage.used.saturating_add(usage.reserved).saturating_add(bytes) > limit => {
                    exceeded(usage)
                }
                _ => Ok(None),
            };
        }
        let space = Space { tenant, bytes };
        match self.books.ask(OPERATION, |store| store.reserve(&space, limit)).await? {
            Some((Grant::Reserved(number), store)) => {
                let books = self.books.clone();
                Ok(Some(Reservation { space, number: Some(number), store, books }))
            }
            Some((Grant::Exceeded(usage), _)) => exceeded(usage),
            None => Ok(None),
        }
    }
}

fn exceeded(usage: Usage, limit: Option<u64>, plan: Option<&Plan>) -> Denial {
    let detail = format!("{} bytes are used and {} reserved", usage.used, usage.reserved);
    Denial::new(Reason::UploadQuotaExceeded, detail).with_field(FieldProblem {
        code: Reason::UploadQuotaExceeded.code(),
        limit,
        used: Some(usage.used),
        plan: plan.map(|plan| plan.name.clone()),
        ..FieldProblem::default()
    })
}

/// Space that an upload under way may take. Dropped unsettled, it is free again.
pub(super) struct Reservation {
    space: Space,
    number: Option<u64>,
    store: Arc<dyn Quotas>,
    books: Books<dyn Quotas>,
}

impl Reservation {
    /// Says whether the space was taken.
    pub(super) async fn settle(mut self, kept: bool) {
        let Some(number) = self.number.take() else { return };
        if self.store.settle(&self.space, number, kept).await.is_ok() {
            return;
        }
        // Only a shared store can be away. What it did not learn is counted here, where it will be asked for.
        let local = self.books.instead(OPERATION);
        if let Some(local) = local.filter(|_| kept) {
            let _ = local.settle(&self.space, UNRESERVED, kept).await;
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            drop(self.store.settle(&self.space, number, false));
        }
    }
}
