//! What is audited beside requests: acts of the operator and of the process itself.

use crate::audit::{Actor, Event};
use crate::record::Reporter;

impl Reporter {
    /// A policy was put in force.
    pub fn reloaded(&self, by: &str, generation: u64, before: &str, after: &str) {
        self.note(|| {
            Event::of("reload", "accepted", Actor::default())
                .text("by", by)
                .number("generation", generation)
                .text("before", before)
                .text("after", after)
        });
    }

    /// A policy was not.
    pub fn reload_rejected(&self, by: &str, problems: &[String]) {
        self.note(|| {
            Event::of("reload", "rejected", Actor::default()).text("by", by).list("problems", problems)
        });
    }

    /// The operator ended a lockout.
    pub fn unlocked(&self, id: &str) {
        self.note(|| Event::of("admin", "unlocked", Actor::default()).text("lockout", id));
    }

    /// The operator set what a tenant has stored.
    pub fn usage_set(&self, tenant: &str, before: u64, after: u64) {
        self.note(|| {
            let actor = Actor { tenant: Some(tenant), ..Actor::default() };
            Event::of("admin", "usage_set", actor).number("before", before).number("after", after)
        });
    }

    fn note<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if let Some(audit) = self.audit() {
            audit.append(event());
        }
    }
}
