//! How often a client may ask: `limits.rate`.
//!
//! Passes when every rule of the route has a unit left, and says in `RateLimit` how many. Refuses with 429 and
//! `Retry-After` otherwise. Rules are asked in the order written; a request that one of them refuses takes nothing
//! from the others. Where a tenant, a subject or an identity is counted and there is none, the address is; a header
//! that is not sent is one key for all who do not send it. A key that is made of what the client chooses (a header) limits only clients that do not change
//! it: put a rule by address beside it.

mod header;
mod quota;
mod table;

use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use config::rules::{Rate, RateKey};
use config::{OnStateFailure, RuleName};
use http::HeaderValue;
use pingora_http::RequestHeader;
use sha2::{Digest, Sha256};

use crate::denial::{Denial, Reason};
use crate::facts::Facts;
use crate::filter::{Filter, Judgement, Note, Verdict};
use crate::state::{RateStore, Shared, Take, unavailable};

pub use quota::{Quota, Standing};
use table::RateTable;
pub use table::RateTables;

/// The rate rules of one route.
pub struct RateLimit {
    route: Arc<Route>,
    shared: Option<Shared<dyn RateStore>>,
}

impl RateLimit {
    /// `scope` is the route's, as [`crate::state::scope`] gives it; `rules` is not empty. With a shared store, `tables` serves only while
    /// that is away and the policy says `local`.
    pub fn new(
        scope: &str,
        rules: &[Rate],
        tables: &Arc<RateTables>,
        shared: Option<Shared<dyn RateStore>>,
    ) -> Self {
        let mut policy = Vec::new();
        let rules = rules
            .iter()
            .map(|rate| {
                let quoted = header::quoted(&rate.name);
                header::write_policy(&mut policy, &quoted, rate.limit, rate.per);
                Rule::new(scope, rate, quoted, tables)
            })
            .collect();
        let route = Route { rules, tables: tables.clone(), policy: header::value(policy) };
        Self { route: Arc::new(route), shared }
    }
}

impl Filter for RateLimit {
    fn name(&self) -> RuleName {
        RuleName::Rate
    }

    fn judge(&self, request: &mut RequestHeader, facts: &Facts<'_>) -> Judgement {
        let Some(shared) = &self.shared else {
            return Judgement::Now(self.route.take(|place| self.route.key(place, request, facts)));
        };
        let takes = self.route.takes(request, facts);
        let keys: Vec<u64> =
            (0..self.route.rules.len()).map(|place| self.route.key(place, request, facts)).collect();
        let (route, shared) = (self.route.clone(), shared.clone());
        Judgement::Ask(Box::pin(async move {
            match shared.store.take(takes).await {
                Ok(standings) => route.verdict(&standings),
                Err(_) => match shared.away.met("rate") {
                    OnStateFailure::Local => route.take(|place| keys[place]),
                    OnStateFailure::Deny => Err(unavailable("rate")),
                    OnStateFailure::Allow => Ok(Note::Nothing),
                },
            }
        }))
    }
}

struct Route {
    rules: Box<[Rule]>,
    tables: Arc<RateTables>,
    policy: HeaderValue,
}

impl Route {
    /// What the rule at this place counts the request under in this process. About 20 ns for an address.
    fn key(&self, place: usize, request: &RequestHeader, facts: &Facts<'_>) -> u64 {
        let mut hasher = self.tables.hasher();
        self.rules[place].feed(request, facts, &mut |bytes| hasher.write(bytes));
        hasher.finish()
    }

    /// What each rule asks of the shared store.
    fn takes(&self, request: &RequestHeader, facts: &Facts<'_>) -> Vec<Take> {
        self.rules
            .iter()
            .map(|rule| {
                let mut hasher = rule.identity.clone();
                rule.feed(request, facts, &mut |bytes| hasher.update(bytes));
                let mut key = [0; 16];
                key.copy_from_slice(&hasher.finalize()[..16]);
                Take { key, quota: rule.quota }
            })
            .collect()
    }

    /// Asks this process's own counters, rule by rule; gives back what was taken when one refuses.
    fn take(&self, key: impl Fn(usize) -> u64) -> Verdict {
        let now = self.tables.now();
        let mut standings = Vec::with_capacity(self.rules.len());
        for (place, rule) in self.rules.iter().enumerate() {
            let standing = rule.table.take(key(place), now, rule.quota);
            standings.push(standing);
            if standing.allowed {
                continue;
            }
            for (place, (rule, standing)) in self.rules.iter().zip(&mut standings[..place]).enumerate() {
                rule.table.give_back(key(place), rule.quota);
                standing.remaining += 1;
            }
            break;
        }
        self.verdict(&standings)
    }

    /// `standings` may end with the rule that refused.
    fn verdict(&self, standings: &[Standing]) -> Verdict {
        let mut limit = Vec::with_capacity(32 * standings.len());
        for (rule, standing) in self.rules.iter().zip(standings) {
            header::write_standing(&mut limit, &rule.quoted, standing);
        }
        let lines = [(header::POLICY, self.policy.clone()), (header::LIMIT, header::value(limit))];
        let mut refusals = self.rules.iter().zip(standings).filter(|(_, standing)| !standing.allowed);
        let Some((rule, first)) = refusals.next() else {
            return Ok(Note::ResponseHeaders(lines.into()));
        };
        let wait = refusals.map(|(_, standing)| standing.wait).fold(first.wait, Duration::max);
        let mut denial = Denial::new(Reason::RateLimited, format!("rate rule {}", rule.name))
            .rule(rule.name.clone())
            .retry_after(Duration::from_secs(header::seconds(wait)));
        for (name, value) in lines {
            denial = denial.header(name, value);
        }
        Err(denial)
    }
}

struct Rule {
    name: Arc<str>,
    quoted: Box<[u8]>,
    by: Vec<RateKey>,
    quota: Quota,
    table: Arc<RateTable>,
    /// Fed with what tells this rule from all others, for keys that gateways must agree on.
    identity: Sha256,
}

impl Rule {
    fn new(scope: &str, rate: &Rate, quoted: Box<[u8]>, tables: &RateTables) -> Self {
        let Rate { name, by, limit, per, burst } = rate;
        let identity = format!("{scope}\n{name}\n{by:?}\n{limit}/{}+{burst}\n", per.as_nanos());
        Self {
            name: name.as_str().into(),
            quoted,
            by: by.clone(),
            quota: Quota::of(rate),
            identity: Sha256::new_with_prefix(&identity),
            table: tables.table(identity),
        }
    }

    /// What the rule counts by. Every part begins with its kind and, when its length varies, with that, so that no
    /// two clients' parts run together into the same bytes.
    fn feed(&self, request: &RequestHeader, facts: &Facts<'_>, sink: &mut dyn FnMut(&[u8])) {
        for key in &self.by {
            match (key, facts.tenant, facts.caller) {
                (RateKey::Tenant, Some(tenant), _) => feed_text(b"t", tenant.id.as_bytes(), sink),
                (RateKey::Subject, _, Some(caller)) => {
                    feed_text(b"i", caller.identity.as_bytes(), sink);
                    feed_text(b"s", caller.subject.as_bytes(), sink);
                }
                (RateKey::Identity, _, Some(caller)) => feed_text(b"i", caller.identity.as_bytes(), sink),
                (RateKey::Ip | RateKey::Tenant | RateKey::Subject | RateKey::Identity, ..) => {
                    feed_client(facts.client, sink);
                }
                (RateKey::Route, ..) => sink(b"r"),
                (RateKey::Header(name), ..) => {
                    for value in request.headers.get_all(name) {
                        feed_text(b"h", value.as_bytes(), sink);
                    }
                    sink(b"H");
                }
            }
        }
    }
}

fn feed_text(kind: &[u8; 1], text: &[u8], sink: &mut dyn FnMut(&[u8])) {
    sink(kind);
    sink(&(text.len() as u64).to_le_bytes());
    sink(text);
}

/// The address as limits count it.
fn feed_client(client: IpAddr, sink: &mut dyn FnMut(&[u8])) {
    match crate::state::network(client) {
        IpAddr::V4(address) => {
            sink(b"4");
            sink(&address.octets());
        }
        IpAddr::V6(network) => {
            sink(b"6");
            sink(&network.octets()[..8]);
        }
    }
}

#[cfg(test)]
mod tests;
