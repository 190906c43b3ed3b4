//! The rules of one route, in the one order there is.

use std::sync::Arc;

use config::RuleName;
use http::Method;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::authorise::Authorise;
use crate::body::BodyLimit;
use crate::denial::Denial;
use crate::exchange::Exchange;
use crate::filter::{BodyInspector, Filter, Findings, Judgement, Note, Verdict, WholeBody};
use crate::ip::Addresses;
use crate::lockout::Lockout;
use crate::pipeline::Stores;
use crate::rate::RateLimit;
use crate::state;
use crate::upload::{Bookkeeping, UploadRules};
use crate::websocket::OriginRule;

/// The filters of a route, each enforced or only observed.
pub struct Chain {
    links: Vec<Link>,
}

/// A rule in its place.
pub(crate) struct Link {
    filter: Box<dyn Filter>,
    enforce: bool,
}

impl Chain {
    /// The one order: address, origin, authorisation, limits, body, lockout, upload. Taking the route apart to the
    /// last field is on purpose: a rule without a place does not compile.
    pub fn build(hosts: &[config::HostPattern], route: &config::Route, stores: &Stores) -> Self {
        let config::Route {
            path: _,
            methods: _,
            action: _,
            auth,
            tenant: _,
            limits,
            lockout,
            upload,
            release: _,
            websocket,
            allow_ips,
            deny_ips,
            request_headers: _,
            response_headers: _,
            timeouts: _,
            observe,
            audit: _,
        } = route;
        let scope = state::scope(hosts, route);
        let mut links = Vec::new();
        let mut add = |filter: Box<dyn Filter>| {
            let enforce = !observe.contains(&filter.name());
            links.push(Link { filter, enforce });
        };
        if let Some(addresses) = Addresses::build(allow_ips, deny_ips) {
            add(Box::new(addresses));
        }
        if let Some(websocket) = websocket {
            add(Box::new(OriginRule::new(websocket.origins.clone())));
        }
        if let Some(authorise) = auth.as_ref().and_then(Authorise::build) {
            add(Box::new(authorise));
        }
        if !limits.rate.is_empty() {
            add(Box::new(RateLimit::new(&scope, &limits.rate, &stores.rates, stores.shared_rates.clone())));
        }
        if let Some(limit) = limits.body {
            add(Box::new(BodyLimit::new(limit)));
        }
        if let Some(lockout) = lockout {
            add(Box::new(Lockout::new(
                &scope,
                &route.path.text,
                lockout,
                &stores.lockouts,
                stores.shared_lockouts.clone(),
            )));
        }
        if let Some(upload) = upload {
            let observed = observe.contains(&RuleName::Upload);
            let books = Bookkeeping::build(&scope, upload, stores, observed);
            let scanner = Arc::clone(&stores.scanner);
            add(Box::new(UploadRules::build(upload, scanner, stores.scan_policy, books)));
        }
        Self { links }
    }

    /// Judges a head, rule by rule. The first that refuses ends it.
    pub async fn judge(
        &self,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
        route: &str,
    ) -> Result<(), Denial> {
        for link in &self.links {
            let verdict = link.judge(request, exchange, route).await;
            link.settle(verdict, exchange)?;
        }
        Ok(())
    }

    /// Who wants to see the body before the upstream does.
    pub fn inspection(
        &self,
        request: &RequestHeader,
        exchange: &mut Exchange,
        route: &str,
    ) -> Result<Inspection, Denial> {
        let mut inspectors = Vec::new();
        for link in &self.links {
            match link.inspector(request, exchange, route) {
                Ok(Some(inspector)) => inspectors.push((link.name(), link.enforce, inspector)),
                Ok(None) => {}
                Err(denial) => refuse(link.name(), link.enforce, denial, exchange)?,
            }
        }
        Ok(Inspection { inspectors })
    }

    /// Lets every rule edit the answer's head.
    pub fn respond(&self, response: &mut ResponseHeader, exchange: &Exchange, method: &Method, route: &str) {
        for link in &self.links {
            link.filter.respond(response, &exchange.facts(method, route));
        }
    }

    /// The rules, in order.
    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }
}

impl Link {
    pub(crate) fn name(&self) -> RuleName {
        self.filter.name()
    }

    /// Whether its refusals refuse.
    pub(crate) fn is_enforced(&self) -> bool {
        self.enforce
    }

    /// What the rule says of a head.
    pub(crate) async fn judge(
        &self,
        request: &mut RequestHeader,
        exchange: &Exchange,
        route: &str,
    ) -> Verdict {
        let method = request.method.clone();
        match self.filter.judge(request, &exchange.facts(&method, route)) {
            Judgement::Now(verdict) => verdict,
            Judgement::Ask(question) => question.await,
        }
    }

    /// Remembers what the rule said; an error when that ends the request.
    fn settle(&self, verdict: Verdict, exchange: &mut Exchange) -> Result<(), Denial> {
        match verdict {
            Ok(Note::Nothing) => Ok(()),
            Ok(Note::ResponseHeaders(lines)) => {
                exchange.response_headers.extend(lines);
                Ok(())
            }
            Err(denial) => refuse(self.name(), self.enforce, denial, exchange),
        }
    }

    /// Who looks at the body for this rule.
    pub(crate) fn inspector(
        &self,
        request: &RequestHeader,
        exchange: &Exchange,
        route: &str,
    ) -> Result<Option<Box<dyn BodyInspector>>, Denial> {
        self.filter.inspector(request, &exchange.facts(&request.method, route))
    }
}

fn refuse(name: RuleName, enforce: bool, denial: Denial, exchange: &mut Exchange) -> Result<(), Denial> {
    if enforce {
        exchange.denied_by = Some(name.as_str());
        return Err(denial);
    }
    exchange.observed.push((name, denial.reason));
    Ok(())
}

/// The inspectors of one body.
pub struct Inspection {
    inspectors: Vec<(RuleName, bool, Box<dyn BodyInspector>)>,
}

impl Inspection {
    /// Whether nobody wants to see it.
    pub fn is_empty(&self) -> bool {
        self.inspectors.is_empty()
    }

    /// Shows the next bytes to everybody. An inspector that only observes is let go after its first refusal.
    pub fn chunk(&mut self, bytes: &[u8], exchange: &mut Exchange) -> Result<(), Denial> {
        let mut at = 0;
        while let Some((name, enforce, inspector)) = self.inspectors.get_mut(at) {
            match inspector.chunk(bytes) {
                Ok(()) => at += 1,
                Err(denial) => {
                    refuse(*name, *enforce, denial, exchange)?;
                    self.inspectors.remove(at);
                }
            }
        }
        Ok(())
    }

    /// Tells everybody that more of the body is in its file.
    pub fn kept(&mut self, body: &dyn WholeBody) {
        for (_, _, inspector) in &mut self.inspectors {
            inspector.kept(body);
        }
    }

    /// The body is whole: hears what everybody found.
    pub async fn finish(self, body: &dyn WholeBody, exchange: &mut Exchange) -> Result<Findings, Denial> {
        let mut all = Findings::default();
        for (name, enforce, inspector) in self.inspectors {
            match inspector.finish(body).await {
                Ok(findings) => all.add(findings),
                Err(denial) => refuse(name, enforce, denial, exchange)?,
            }
        }
        Ok(all)
    }
}
