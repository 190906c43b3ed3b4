//! What a request would meet, without sending it: the same steps as [`Pipeline::admit`], told one by one.
//!
//! Nothing is counted and nobody is asked, as long as the pipeline was built with stores of its own: what depends on
//! what was counted before is said to. A token is never told, only whom it stands for.

mod answer;
mod question;
mod terms;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use config::rules::Auth;
use config::{Action, Config, JwtKey, Listener, RuleName, TenantSource};
use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use serde_json::json;

pub use answer::{Explanation, Facts, HeaderLine, Outcome, Step, Verdict};
pub use question::Question;

use crate::denial::{Denial, Reason};
use crate::exchange::{Arrival, Exchange};
use crate::framing;
use crate::outgoing::OutgoingHead;
use crate::pipeline::{Pipeline, Route, name_host, name_target};
use crate::redirect;
use crate::scrub::Scrubber;
use answer::facts;
use question::Body;

/// Whoever connects when nothing else is said.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What stands for a request's own id and its place in a trace, which are new each time.
const RANDOM: u128 = 1;

const THE_BODY: &str = "the body";
const COUNTED: &str = "what was counted before";
const KEYS: &str = "the published keys";
const CALLER: &str = "who asks";

/// Walks a request through a policy. `pipeline` is `config` compiled, with stores that nobody else uses.
///
/// The request comes by HTTP/1.1 from 127.0.0.1, and with `X-Forwarded-For`, when the policy trusts proxies, through
/// the first of them. Published keys that `pipeline` does not have leave open who asks.
pub async fn explain(config: &Config, pipeline: &Pipeline, question: &Question) -> Explanation {
    let mut scrub = config.log.scrub.clone();
    let places = config.identities.values().flat_map(|identity| &identity.accept);
    scrub.query.extend(places.filter_map(|place| match place {
        config::CredentialPlace::Query(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }));
    let mut walk = Walk {
        config,
        pipeline,
        question,
        scrubber: Scrubber::build(&scrub),
        steps: Vec::new(),
        route: None,
        unknown_caller: false,
    };
    let outcome = walk.go().await.ok();
    walk.finish(outcome)
}

/// The journey is over.
struct Stopped;

struct Walk<'a> {
    config: &'a Config,
    pipeline: &'a Pipeline,
    question: &'a Question,
    scrubber: Scrubber,
    steps: Vec<Step>,
    route: Option<&'a Route>,
    /// The credential could not be judged for want of keys.
    unknown_caller: bool,
}

impl<'a> Walk<'a> {
    async fn go(&mut self) -> Result<Outcome, Stopped> {
        let listener = self.listener()?;
        let raw_head = self.question.raw_head();
        let arrival = Arrival {
            now: self.question.now,
            peer: self.peer(),
            https: self.question.https,
            port: self.question.port,
            raw_head: Some(&raw_head),
            random: RANDOM,
        };
        let exchange = &mut Exchange::begin(&arrival);
        let mut request = self.receive(&arrival, exchange)?;
        if listener.redirect_https {
            return self.secured(&mut request, exchange);
        }
        self.client(&arrival, exchange);
        let original = request.clone();
        self.target(&mut request, exchange)?;
        let route = self.find(&request, exchange)?;
        self.identify(route, &mut request, exchange).await?;
        self.tenant(route, &request, exchange)?;
        self.head_rules(route, &mut request, exchange).await?;
        match &route.settings.action {
            Action::Upstream { name, .. } => {
                self.body_rules(route, &request, exchange)?;
                let outgoing = self.pipeline.outgoing(&request, route, &arrival, exchange);
                let outgoing = self.checked("headers", outgoing)?;
                self.add("headers", Verdict::Passes, Facts::new());
                let name = route.upstream_of(exchange.tenant.as_deref()).unwrap_or(name);
                Ok(self.upstream(name, route, &original, &outgoing))
            }
            Action::Redirect { status, .. } => {
                let location = self.pipeline.location(route, exchange);
                let location = self.checked("redirect", location)?;
                Ok(self.redirect(*status, &location))
            }
            Action::Respond { status, .. } => Ok(Outcome::Respond { status: *status }),
        }
    }

    /// The listener of the URL's port that speaks as its scheme does; one on the URL's own address before others.
    fn listener(&mut self) -> Result<&'a Listener, Stopped> {
        let question = self.question;
        let host = question.host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let suits = |listener: &&Listener, port| {
            listener.address.port() == port && listener.tls.is_some() == question.https
        };
        let all = || self.config.listeners.iter();
        let named = || all().filter(|one| suits(one, question.port));
        let found = named()
            .find(|one| Some(one.address.ip()) == host)
            .or_else(|| named().next())
            // Port 0 may become any port.
            .or_else(|| all().find(|one| suits(one, 0)));
        let Some(listener) = found else {
            let wanted =
                format!("{} {}", question.port, if question.https { "with TLS" } else { "without TLS" });
            let found =
                facts([("port", json!(wanted)), ("listeners", json!(all().map(place).collect::<Vec<_>>()))]);
            self.add("listener", Verdict::NobodyListens, found);
            return Err(Stopped);
        };
        let found = facts([
            ("address", json!(place(listener))),
            ("proxy_protocol", json!(listener.proxy_protocol)),
            ("redirect_https", json!(listener.redirect_https)),
        ]);
        self.add("listener", Verdict::Passes, found);
        Ok(listener)
    }

    /// Who connects: a trusted proxy when the request is one that came through it.
    fn peer(&self) -> IpAddr {
        let proxy = self.config.server.trusted_proxies.first().map(|net| net.network());
        let forwarded = self.question.header("x-forwarded-for").is_some() && !self.pipeline.trusts(LOOPBACK);
        proxy.filter(|_| forwarded).unwrap_or(LOOPBACK)
    }

    fn receive(&mut self, arrival: &Arrival<'_>, exchange: &mut Exchange) -> Result<RequestHeader, Stopped> {
        let head = self.question.head();
        let received = match &head {
            Some(head) => self.pipeline.receive(head, arrival, exchange),
            // The bytes are judged first, and tell more.
            None => framing::check_http1(arrival.raw_head.unwrap_or_default())
                .and(Err(Denial::new(Reason::RequestMalformed, "the head cannot be parsed"))),
        };
        self.said("framing", received, Facts::new())?;
        head.ok_or(Stopped)
    }

    fn client(&mut self, arrival: &Arrival<'_>, exchange: &Exchange) {
        let trusted = self.pipeline.trusts(arrival.peer);
        let forwarded = self.question.header("x-forwarded-for").is_some();
        let found = facts([
            ("address", json!(exchange.client.to_string())),
            ("peer", json!((arrival.peer != exchange.client).then(|| arrival.peer.to_string()))),
            ("by_x_forwarded_for", json!(forwarded && trusted)),
            ("x_forwarded_for_not_believed", json!(forwarded && !trusted)),
        ]);
        self.add("client", Verdict::Passes, found);
    }

    fn target(&mut self, request: &mut RequestHeader, exchange: &mut Exchange) -> Result<(), Stopped> {
        self.checked("target", name_host(request, exchange))?;
        self.checked("target", name_target(request, exchange))?;
        let written = self.question.target.split('?').next().unwrap_or_default();
        let path = self.path(&exchange.path);
        let found = facts([
            ("host", json!(exchange.host)),
            ("path", json!(path)),
            ("written", json!((written != exchange.path).then(|| self.path(written)))),
        ]);
        self.add("target", Verdict::Passes, found);
        Ok(())
    }

    fn find(&mut self, request: &RequestHeader, exchange: &mut Exchange) -> Result<&'a Route, Stopped> {
        let site = self.pipeline.site(&exchange.host);
        let hosts = site.map(|site| self.config.sites[site].hosts.iter().map(ToString::to_string).collect());
        let hosts: Vec<String> = hosts.unwrap_or_default();
        let found = self.pipeline.find(request, exchange).map_err(|denial| {
            let allow = denial.extra.iter().flat_map(|extra| &extra.allow).map(http::Method::as_str);
            let found = facts([("site", json!(hosts)), ("allow", json!(allow.collect::<Vec<_>>()))]);
            self.add("route", self.refusal(&denial), found);
            Stopped
        })?;
        let params: Vec<String> = exchange
            .params
            .iter()
            .map(|(name, value)| format!("{name}={}", self.scrubber.name(value)))
            .collect();
        let methods: Vec<&str> = found.settings.methods.iter().map(http::Method::as_str).collect();
        let facts = facts([
            ("site", json!(hosts)),
            ("pattern", json!(&*found.pattern)),
            ("methods", json!(methods)),
            ("params", json!(params)),
        ]);
        self.add("route", Verdict::Passes, facts);
        self.route = Some(found);
        Ok(found)
    }

    async fn identify(
        &mut self,
        route: &Route,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<(), Stopped> {
        let offer = route.handshake(request);
        let offer = self.checked("websocket", offer)?;
        if offer.is_some() {
            self.add("websocket", Verdict::Passes, Facts::new());
        }
        let answer = offer.as_ref().map(|offer| offer.answer.clone());
        let done = self.pipeline.identify(route, request, offer, exchange).await;
        let Some(auth) = &route.settings.auth else {
            return self.said("identity", done, facts([("auth", json!("none"))]));
        };
        match (done, exchange.caller.as_deref()) {
            (Ok(()), Some(caller)) => {
                let names = |names: &[String]| -> Vec<String> {
                    names.iter().map(|name| self.scrubber.name(name).into_owned()).collect()
                };
                let left = caller.expires.duration_since(exchange.now).unwrap_or_default().as_secs();
                let found = facts([
                    ("identity", json!(&*caller.identity)),
                    ("subject", json!(self.scrubber.name(&caller.subject))),
                    ("roles", json!(names(&caller.roles))),
                    ("permissions", json!(names(&caller.permissions))),
                    ("superuser", json!(caller.superuser)),
                    ("expires_in", json!(terms::duration(Duration::from_secs(left)))),
                ]);
                self.add("identity", Verdict::Passes, found);
                Ok(())
            }
            (Err(denial), _) if denial.reason == Reason::StateUnavailable => {
                let mut found = self.asked(auth);
                found.insert("keys".to_owned(), json!(self.published(auth)));
                self.add("identity", Verdict::Depends { on: vec![KEYS] }, found);
                self.unknown_caller = true;
                exchange.denied_by = None;
                exchange.socket = answer;
                Ok(())
            }
            (done, _) => {
                let asked = self.asked(auth);
                self.said("identity", done, asked)
            }
        }
    }

    /// Which identities a route takes, and where their credential may stand.
    fn asked(&self, auth: &Auth) -> Facts {
        let identities = auth.identities.iter().filter_map(|name| self.config.identities.get(name));
        let mut places: Vec<String> = identities.flat_map(|one| &one.accept).map(terms::place).collect();
        places.dedup();
        facts([("identities", json!(auth.identities)), ("accepted_in", json!(places))])
    }

    /// Where the keys of a route's identities are published.
    fn published(&self, auth: &Auth) -> Vec<String> {
        let identities = auth.identities.iter().filter_map(|name| self.config.identities.get(name));
        let keys = identities.flat_map(|identity| &identity.jwt.keys);
        keys.filter_map(|key| match key {
            JwtKey::Jwks { url } => Some(self.scrubber.scrub(url).into_owned()),
            JwtKey::Shared { .. } | JwtKey::Public { .. } => None,
        })
        .collect()
    }

    fn tenant(
        &mut self,
        route: &Route,
        request: &RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<(), Stopped> {
        let Some(directory) = self.pipeline.directory_of(route) else {
            self.add("tenant", Verdict::Passes, facts([("tenant", json!("none"))]));
            return Ok(());
        };
        let query = Some(exchange.query.as_str()).filter(|query| !query.is_empty());
        let words = directory.testimony(request, &exchange.host, query, exchange.caller.as_deref());
        let says = |(source, word): &(&TenantSource, String)| {
            format!("{} says {}", terms::source(source), self.scrubber.name(word))
        };
        let words = json!(words.iter().map(says).collect::<Vec<_>>());
        if self.unknown_caller {
            self.add("tenant", Verdict::Depends { on: vec![CALLER] }, facts([("sources", words)]));
            return Ok(());
        }
        let named = self.pipeline.name_tenant(route, request, exchange);
        let tenant = exchange.tenant.as_ref();
        let plan = tenant.and_then(|tenant| tenant.plan.as_ref()).map(|plan| plan.name.as_str());
        let id = tenant.map(|tenant| tenant.id.as_str());
        let found = facts([("id", json!(id)), ("plan", json!(plan)), ("sources", words)]);
        self.said("tenant", named, found)
    }

    /// The rules that judge the head alone.
    async fn head_rules(
        &mut self,
        route: &Route,
        request: &mut RequestHeader,
        exchange: &Exchange,
    ) -> Result<(), Stopped> {
        for link in route.chain.links() {
            let name = link.name();
            let terms = terms::of(name, &route.settings);
            if name == RuleName::Auth && self.unknown_caller {
                self.judged(link.is_enforced(), name, Ok(Some(CALLER)), terms)?;
                continue;
            }
            let verdict = link.judge(request, exchange, &route.pattern).await;
            let open = match name {
                RuleName::Rate => Some(COUNTED),
                RuleName::Body if self.question.body() == Body::Unknown => Some(THE_BODY),
                _ => None,
            };
            if verdict.is_err() || !looks_at_bodies(name) {
                self.judged(link.is_enforced(), name, verdict.map(|_| open), terms)?;
            }
        }
        Ok(())
    }

    /// The rules that must see the body, as far as the head tells.
    fn body_rules(
        &mut self,
        route: &Route,
        request: &RequestHeader,
        exchange: &Exchange,
    ) -> Result<(), Stopped> {
        for link in route.chain.links().iter().filter(|link| looks_at_bodies(link.name())) {
            let name = link.name();
            let inspector = link.inspector(request, exchange, &route.pattern);
            let has_body = self.question.body() != Body::None;
            let open = |on| inspector.as_ref().map(|_| on).map_err(Denial::clone);
            let verdict = match name {
                RuleName::Lockout => open(Some(COUNTED)),
                _ => open(has_body.then_some(THE_BODY)),
            };
            self.judged(link.is_enforced(), name, verdict, terms::of(name, &route.settings))?;
        }
        Ok(())
    }

    /// Adds what a rule says; `Ok(Some(…))` when it depends on something else.
    fn judged(
        &mut self,
        enforced: bool,
        name: RuleName,
        verdict: Result<Option<&'static str>, Denial>,
        terms: Facts,
    ) -> Result<(), Stopped> {
        let verdict = match verdict {
            Ok(None) => Verdict::Passes,
            Ok(Some(on)) => Verdict::Depends { on: vec![on] },
            Err(denial) => self.refusal(&denial),
        };
        let stop = enforced && matches!(verdict, Verdict::Refuses { .. });
        self.steps.push(Step { step: name.as_str(), verdict, observed: !enforced, facts: terms });
        if stop { Err(Stopped) } else { Ok(()) }
    }

    /// A listener that sends everybody to https, after the same look at the request as any other takes.
    fn secured(&mut self, request: &mut RequestHeader, exchange: &mut Exchange) -> Result<Outcome, Stopped> {
        self.target(request, exchange)?;
        let secure = self.config.listeners.iter().find(|listener| listener.tls.is_some());
        let port = secure.map(|listener| listener.address.port()).filter(|port| *port != 0).unwrap_or(443);
        let query = self.question.target.split_once('?').map(|(_, query)| query.as_bytes());
        let location = redirect::to_https(&exchange.host, port, &exchange.path, query);
        Ok(self.redirect(308, &location))
    }

    fn redirect(&self, status: u16, location: &HeaderValue) -> Outcome {
        Outcome::Redirect { status, location: self.url(&String::from_utf8_lossy(location.as_bytes())) }
    }

    fn upstream(
        &self,
        name: &str,
        route: &Route,
        original: &RequestHeader,
        outgoing: &OutgoingHead<'_>,
    ) -> Outcome {
        let (before, after) = (&original.headers, &outgoing.headers());
        let is_same = |name: &HeaderName| before.get_all(name).iter().eq(after.get_all(name));
        let mut set: Vec<HeaderLine> = after
            .iter()
            .filter(|(name, _)| !is_same(name))
            .map(|(name, value)| HeaderLine { name: spelt(name), value: self.value(name, value) })
            .collect();
        let mut later =
            |name: &str, value: &str| set.push(HeaderLine { name: name.to_owned(), value: value.to_owned() });
        if self.unknown_caller {
            for name in ["X-Auth-Subject", "X-Auth-Identity", "X-Auth-Roles", "X-Auth-Permissions"] {
                later(name, "(the caller's)");
            }
            if self.pipeline.directory_of(route).is_some() {
                later("X-Tenant-Id", "(the tenant's)");
            }
        }
        if route.settings.upload.is_some() {
            later("X-Upload-Files", "(what was found in the files)");
        }
        let cut = before.keys().filter(|name| !after.contains_key(*name)).map(spelt).collect();
        let servers = self.config.upstreams.get(name).map(|upstream| &upstream.servers);
        Outcome::Upstream {
            name: name.to_owned(),
            servers: servers.into_iter().flatten().map(|server| server.address.clone()).collect(),
            method: outgoing.method().to_owned(),
            path: self.url(&String::from_utf8_lossy(outgoing.target())),
            set,
            cut,
        }
    }

    /// A header's value, as far as it may be shown.
    fn value(&self, name: &HeaderName, value: &HeaderValue) -> String {
        let is_new = match name.as_str() {
            "x-request-id" => value.as_bytes() == hex::encode(RANDOM.to_be_bytes()).as_bytes(),
            "traceparent" => true,
            _ => false,
        };
        if is_new {
            return "(new)".to_owned();
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        let shown = match name.as_str() {
            "x-auth-subject" | "x-auth-roles" | "x-auth-permissions" | "x-tenant-id" | "x-request-id" => {
                self.scrubber.name(&text)
            }
            _ if value.is_sensitive() => return "[…]".to_owned(),
            _ => self.scrubber.header(name, text.as_bytes()),
        };
        if shown == text { shown.into_owned() } else { "[…]".to_owned() }
    }

    /// A URL or a target without credentials.
    fn url(&self, url: &str) -> String {
        match url.split_once('?') {
            Some((path, query)) => format!("{}?{}", self.path(path), self.scrubber.query(query.as_bytes())),
            None => self.path(url),
        }
    }

    fn path(&self, path: &str) -> String {
        self.scrubber.path(path.as_bytes()).into_owned()
    }

    fn add(&mut self, step: &'static str, verdict: Verdict, facts: Facts) {
        self.steps.push(Step { step, verdict, observed: false, facts });
    }

    /// Adds a step when it refuses.
    fn checked<T>(&mut self, step: &'static str, done: Result<T, Denial>) -> Result<T, Stopped> {
        done.map_err(|denial| {
            let verdict = self.refusal(&denial);
            self.add(step, verdict, Facts::new());
            Stopped
        })
    }

    /// Adds a step, whether it passes or refuses.
    fn said(&mut self, step: &'static str, done: Result<(), Denial>, facts: Facts) -> Result<(), Stopped> {
        let verdict = done.as_ref().map_or_else(|denial| self.refusal(denial), |()| Verdict::Passes);
        self.add(step, verdict, facts);
        done.map_err(|_| Stopped)
    }

    fn refusal(&self, denial: &Denial) -> Verdict {
        Verdict::refuses(denial, self.scrubber.scrub(&denial.detail).into_owned())
    }

    fn finish(mut self, outcome: Option<Outcome>) -> Explanation {
        if !matches!(outcome, Some(Outcome::Redirect { .. })) || self.route.is_some() {
            self.not_reached();
        }
        let (mut status, mut code) = (None, None);
        let mut depends_on = Vec::new();
        for step in self.steps.iter().filter(|step| !step.observed) {
            match &step.verdict {
                Verdict::Refuses { code: own, status: number, .. } => {
                    (status, code) = (Some(*number), Some(*own))
                }
                Verdict::Depends { on } => depends_on.extend(on.iter().copied()),
                Verdict::Passes | Verdict::NobodyListens | Verdict::NotReached => {}
            }
        }
        depends_on.sort_unstable();
        depends_on.dedup();
        match &outcome {
            Some(Outcome::Redirect { status: own, .. } | Outcome::Respond { status: own }) => {
                status = Some(*own)
            }
            Some(Outcome::Upstream { .. }) => {}
            None => depends_on.clear(),
        }
        let Question { method, https, target, .. } = self.question;
        let host = self.question.header("host").unwrap_or_default();
        let scheme = if *https { "https" } else { "http" };
        Explanation {
            method: method.to_string(),
            url: format!("{scheme}://{}{}", self.scrubber.name(host), self.url(target)),
            admitted: outcome.is_some(),
            status,
            code,
            depends_on,
            steps: self.steps,
            outcome,
        }
    }

    /// Names the steps that were not come to.
    fn not_reached(&mut self) {
        let mut names = vec!["listener", "framing", "client", "target", "route", "identity", "tenant"];
        if let Some(route) = self.route {
            names.extend(route.chain.links().iter().map(|link| link.name().as_str()));
            names.push("headers");
        }
        for name in names {
            if !self.steps.iter().any(|step| step.step == name) {
                self.add(name, Verdict::NotReached, Facts::new());
            }
        }
    }
}

/// Whether a rule says more when it has seen the body than by the head.
fn looks_at_bodies(rule: RuleName) -> bool {
    match rule {
        RuleName::Lockout | RuleName::Upload => true,
        RuleName::Ip
        | RuleName::Origin
        | RuleName::Auth
        | RuleName::Tenant
        | RuleName::Rate
        | RuleName::Body => false,
    }
}

/// `0.0.0.0:443 with TLS`
fn place(listener: &Listener) -> String {
    format!("{}{}", listener.address, if listener.tls.is_some() { " with TLS" } else { "" })
}

/// A header's name in its usual capitals: `X-Request-Id`.
fn spelt(name: &HeaderName) -> String {
    let mut capital = true;
    let spell = |letter: char| {
        let written = if capital { letter.to_ascii_uppercase() } else { letter };
        capital = letter == '-';
        written
    };
    name.as_str().chars().map(spell).collect()
}

#[cfg(test)]
mod tests;
