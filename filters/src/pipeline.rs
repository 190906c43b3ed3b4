//! A policy compiled for serving: the router, the identities, the tenants, and one chain of rules per route.

use std::net::IpAddr;
use std::sync::Arc;

use config::rules::TenantRule;
use config::{Action, Config, CredentialPlace, Tenant};
use http::{HeaderValue, Method, Version, header};
use ipnet::IpNet;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::chain::{Chain, Inspection};
use crate::denial::{Denial, Reason};
use crate::exchange::{Arrival, Exchange, hex_id, text};
use crate::forwarded::{Forwarding, Incoming, Trace};
use crate::identity::{Accepted, Identities};
use crate::jwks::{KeySets, Wanted};
use crate::lockout::LockoutTable;
use crate::outgoing::OutgoingHead;
use crate::rate::RateTables;
use crate::redirect::{Filling, Template};
use crate::router::Router;
use crate::state::{Books, Clock, Fingerprints, LockoutStore, Quotas, RateStore, Shared, SystemClock};
use crate::tenant::Directory;
use crate::upload::{Builtin, Ledger, Release, ScanPolicy, Scanner, SeenFiles};
use crate::websocket::offer::Offer;
use crate::{client, framing, headers, host, path, websocket};

/// What rules share, and what outlives a policy.
pub struct Stores {
    /// This process's own rate counters.
    pub rates: Arc<RateTables>,
    /// Those shared with other gateways.
    pub shared_rates: Option<Shared<dyn RateStore>>,
    /// This process's own lockouts.
    pub lockouts: Arc<LockoutTable>,
    /// Those shared with other gateways.
    pub shared_lockouts: Option<Shared<dyn LockoutStore>>,
    /// The storage of tenants.
    pub quotas: Books<dyn Quotas>,
    /// Files that were stored.
    pub fingerprints: Books<dyn Fingerprints>,
    /// Published keys.
    pub key_sets: Arc<KeySets>,
    /// Who scans files.
    pub scanner: Arc<dyn Scanner>,
    /// What happens to files that were not scanned.
    pub scan_policy: ScanPolicy,
    /// Waits, a moment at most, for a published key that is being fetched.
    pub key_wait: fn(Wanted) -> futures_util::future::BoxFuture<'static, ()>,
}

impl Stores {
    /// Counters that begin with nothing and are shared with nobody, the built-in scanner, and no fetching of keys.
    pub fn local(scan_policy: ScanPolicy) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Self {
            rates: RateTables::new(Arc::clone(&clock)),
            shared_rates: None,
            lockouts: LockoutTable::new(Arc::clone(&clock)),
            shared_lockouts: None,
            quotas: Books { local: Ledger::new(), shared: None },
            fingerprints: Books { local: SeenFiles::new(clock), shared: None },
            key_sets: Arc::default(),
            scanner: Arc::new(Builtin::default()),
            scan_policy,
            key_wait: |_| Box::pin(std::future::ready(())),
        }
    }
}

/// One policy, immutable.
pub struct Pipeline {
    router: Router,
    routes: Vec<Route>,
    directory: Option<Directory>,
    trusted: Vec<IpNet>,
    key_wait: fn(Wanted) -> futures_util::future::BoxFuture<'static, ()>,
}

/// One route of it.
pub struct Route {
    /// The first host of its site: its name in metrics.
    pub site: Arc<str>,
    /// Its pattern: its name in metrics and logs.
    pub pattern: Arc<str>,
    /// What the policy says.
    pub settings: config::Route,
    /// Its rules.
    pub chain: Chain,
    accepted: Option<Accepted>,
    redirect: Option<Template>,
    marker: Option<String>,
    quotas: Books<dyn Quotas>,
}

impl Route {
    /// Bytes of body it takes; unlimited when the limit is only observed.
    pub fn body_limit(&self) -> u64 {
        let observed = self.settings.observe.contains(&config::RuleName::Body);
        self.settings.limits.body.filter(|_| !observed).unwrap_or(u64::MAX)
    }

    /// The name of the upstream that answers in place of the route's own, when the tenant has one.
    pub fn upstream_of<'t>(&self, tenant: Option<&'t Tenant>) -> Option<&'t str> {
        match &self.settings.action {
            Action::Upstream { name, by_tenant: true } => tenant?.upstreams.get(name).map(String::as_str),
            _ => None,
        }
    }

    /// What its answer to a request of this tenant may say of storage that is no longer used. Where uploads are only
    /// observed nothing is counted.
    pub fn release(&self, tenant: Option<&Tenant>, request_id: &str) -> Option<Release> {
        let header = self.settings.release.clone()?;
        let tenant = tenant.filter(|_| !self.settings.observe.contains(&config::RuleName::Upload));
        Some(Release::new(header, tenant.map(|tenant| tenant.id.as_str()), request_id, self.quotas.clone()))
    }

    /// What a WebSocket handshake offers, when the route takes one and this is one. The credential is cut out of it.
    pub(crate) fn handshake(&self, request: &mut RequestHeader) -> Result<Option<Offer>, Denial> {
        if self.settings.websocket.is_none() || !websocket::is_upgrade(request) {
            return Ok(None);
        }
        websocket::check_handshake(request)?;
        websocket::offer::take(request, self.marker.as_deref()).map(Some)
    }
}

impl Pipeline {
    /// Compiles a policy. An error names the key it is about and what is wrong with it.
    pub fn build(config: &Config, stores: &Stores) -> Result<Self, (String, String)> {
        let identities =
            Identities::build(&config.identities, &stores.key_sets).map_err(|what| split_problem(&what))?;
        let directory = config
            .tenants
            .as_ref()
            .map(Directory::build)
            .transpose()
            .map_err(|what| ("tenants.directory".to_owned(), what))?;
        let mut routes = Vec::new();
        for (at, site) in config.sites.iter().enumerate() {
            let name: Arc<str> = site.hosts.first().map(ToString::to_string).unwrap_or_default().into();
            for (index, settings) in site.routes.iter().enumerate() {
                let redirect = match &settings.action {
                    Action::Redirect { to, .. } => {
                        let names = settings.path.names();
                        let template = Template::parse(to, names)
                            .map_err(|bad| (format!("sites[{at}].routes[{index}].redirect"), bad.0))?;
                        Some(template)
                    }
                    _ => None,
                };
                let accepted = settings.auth.as_ref().map(|auth| identities.accepted(&auth.identities));
                let accepted = accepted
                    .transpose()
                    .map_err(|what| (format!("sites[{at}].routes[{index}].auth"), what))?;
                routes.push(Route {
                    site: Arc::clone(&name),
                    pattern: settings.path.text.as_str().into(),
                    chain: Chain::build(&site.hosts, settings, stores),
                    accepted,
                    marker: marker(settings, config),
                    quotas: stores.quotas.clone(),
                    settings: settings.clone(),
                    redirect,
                });
            }
        }
        Ok(Self {
            router: Router::build(&config.sites),
            routes,
            directory,
            trusted: config.server.trusted_proxies.clone(),
            key_wait: stores.key_wait,
        })
    }

    /// The routes, as `Exchange::route` counts them.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Whether this peer is one of `server.trusted_proxies`.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        client::is_trusted(peer, &self.trusted)
    }

    /// Admits a request by its head, or refuses it. On the way the head becomes what the upstream may see, but for
    /// what is between two connections only, which whoever forwards it takes away.
    pub async fn admit(
        &self,
        request: &mut RequestHeader,
        arrival: &Arrival<'_>,
        exchange: &mut Exchange,
    ) -> Result<&Route, Denial> {
        // Who is there?
        self.receive(request, arrival, exchange)?;

        // What is asked for, in the one form that is matched and passed on?
        name_host(request, exchange)?;
        name_target(request, exchange)?;
        let route = self.find(request, exchange)?;
        let offer = route.handshake(request)?;

        // Who asks, and for whom?
        self.identify(route, request, offer, exchange).await?;
        self.name_tenant(route, request, exchange)?;

        // May they?
        route.chain.judge(request, exchange, &route.pattern).await?;

        Ok(route)
    }

    /// The head the upstream gets, but for the framing of its body: what the client said, without what concerns only
    /// its own connection and what only the gateway may say; what the gateway says; the operator's changes.
    pub fn outgoing<'r>(
        &self,
        request: &'r RequestHeader,
        route: &Route,
        arrival: &Arrival<'_>,
        exchange: &Exchange,
    ) -> Result<OutgoingHead<'r>, Denial> {
        let Some(trace) = &exchange.trace else {
            return Err(Denial::new(Reason::Internal, "a request that was not admitted"));
        };
        let forwarding = Forwarding {
            request_id: &exchange.request_id,
            client: exchange.client,
            peer: arrival.peer.to_canonical(),
            incoming: &exchange.incoming,
            scheme: exchange.incoming.scheme.unwrap_or(if arrival.https { "https" } else { "http" }),
            host: &exchange.authority,
            port: arrival.port,
            tenant: exchange.tenant.as_ref().map(|tenant| tenant.id.as_str()),
            caller: exchange.caller.as_deref(),
            trace,
        };
        let mut head = forwarding.head(request, exchange.socket.is_some())?;
        for (name, value) in &exchange.request_headers {
            head.add(name.clone(), value.clone());
        }
        headers::edit_request(&route.settings.request_headers, &mut head);
        Ok(head)
    }

    /// Who wants to see this request's body before the upstream does.
    pub fn inspection(
        &self,
        request: &RequestHeader,
        route: &Route,
        exchange: &mut Exchange,
    ) -> Result<Inspection, Denial> {
        route.chain.inspection(request, exchange, &route.pattern)
    }

    /// Edits the head of an answer: the rules, then the operator's headers, then what rules had to say.
    pub fn respond(
        &self,
        response: &mut ResponseHeader,
        route: &Route,
        exchange: &Exchange,
        method: &Method,
    ) {
        route.chain.respond(response, exchange, method, &route.pattern);
        headers::edit_response(&route.settings.response_headers, response);
        for (name, value) in &exchange.response_headers {
            let _ = response.insert_header(name.clone(), value.clone());
        }
    }

    /// Where a `redirect:` route sends this request.
    pub fn location(&self, route: &Route, exchange: &Exchange) -> Result<HeaderValue, Denial> {
        let Some(template) = &route.redirect else {
            return Err(Denial::new(Reason::Internal, "the route has no redirect"));
        };
        Ok(template.location(&Filling {
            host: &exchange.host,
            path: &exchange.path,
            query: Some(exchange.query.as_bytes()).filter(|query| !query.is_empty()),
            params: &exchange.params,
        }))
    }

    /// Refuses what is framed ambiguously; then the client's address, the request's own id, and its trace are known.
    pub(crate) fn receive(
        &self,
        request: &RequestHeader,
        arrival: &Arrival<'_>,
        exchange: &mut Exchange,
    ) -> Result<(), Denial> {
        framing::check(arrival.raw_head.unwrap_or_default(), request, arrival.raw_head.is_none())?;
        let trusted = self.trusts(arrival.peer);
        exchange.client = client::address(arrival.peer, &self.trusted, &request.headers);
        exchange.incoming = Incoming::read(&request.headers, trusted);
        if let Some(id) = &exchange.incoming.request_id {
            exchange.request_id.clone_from(id);
        }
        let trace = Trace::of(&request.headers, arrival.random, arrival.random as u64);
        exchange.trace_id = hex_id(trace.trace_id);
        exchange.trace = Some(trace);
        Ok(())
    }

    /// The route of a request whose host and target have been named.
    pub(crate) fn find(&self, request: &RequestHeader, exchange: &mut Exchange) -> Result<&Route, Denial> {
        let found = self.router.find(&exchange.host, &exchange.path, &request.method)?;
        exchange.route = Some(found.route);
        exchange.params = found.params;
        Ok(&self.routes[found.route])
    }

    /// The place of the site that has this host, in the order written.
    pub(crate) fn site(&self, host: &str) -> Option<usize> {
        self.router.site(host)
    }

    /// Establishes the caller when the route asks for one, and cuts its credential from what is written anywhere.
    pub(crate) async fn identify(
        &self,
        route: &Route,
        request: &mut RequestHeader,
        offer: Option<Offer>,
        exchange: &mut Exchange,
    ) -> Result<(), Denial> {
        if let Some(accepted) = &route.accepted {
            let token = offer.as_ref().and_then(|offer| offer.token.as_ref()).map(|token| token.0.as_str());
            let caller = accepted.establish_patiently(request, token, exchange.now, self.key_wait).await;
            // Also of a request that is refused: its query is written, too.
            if accepted.looks_into_query() {
                exchange.query = query_of(request);
            }
            let caller = caller.inspect_err(|_| exchange.denied_by = Some("identity"))?;
            exchange.caller = Some(caller);
        }
        exchange.socket = offer.map(|offer| offer.answer);
        Ok(())
    }

    /// Establishes the tenant when the route asks for one.
    pub(crate) fn name_tenant(
        &self,
        route: &Route,
        request: &RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<(), Denial> {
        let Some(directory) = self.directory_of(route) else { return Ok(()) };
        let query = Some(exchange.query.as_str()).filter(|query| !query.is_empty());
        let (caller, params) = (exchange.caller.as_deref(), &exchange.params);
        let rule = &route.settings.tenant;
        let tenant = directory
            .resolve(rule, request, &exchange.host, query, caller, params)
            .inspect_err(|_| exchange.denied_by = Some("tenant"))?
            .cloned();
        exchange.tenant = tenant;
        Ok(())
    }

    /// The tenants, when the route asks for one.
    pub(crate) fn directory_of(&self, route: &Route) -> Option<&Directory> {
        self.directory.as_ref().filter(|_| route.settings.tenant != TenantRule::None)
    }
}

/// The word that stands before a credential among the subprotocols, when an identity of the route takes it there.
fn marker(route: &config::Route, config: &Config) -> Option<String> {
    let identities = &route.auth.as_ref()?.identities;
    let places = identities.iter().filter_map(|name| config.identities.get(name)).flat_map(|one| &one.accept);
    places.into_iter().find_map(|place| match place {
        CredentialPlace::WebSocket(marker) => Some(marker.clone()),
        _ => None,
    })
}

/// Reads the host the request is for, and sets the one `Host` line an HTTP/1 upstream needs.
pub(crate) fn name_host(request: &mut RequestHeader, exchange: &mut Exchange) -> Result<(), Denial> {
    let authority = request.uri.authority().filter(|_| request.version == Version::HTTP_2);
    let authority = match authority {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => request.headers.get(header::HOST).cloned(),
    };
    let Some(authority) = authority else {
        return Err(Denial::new(Reason::RequestMalformed, "no host"));
    };
    let Some(parsed) = host::parse(authority.as_bytes()) else {
        return Err(Denial::new(Reason::RequestMalformed, "no valid host"));
    };
    exchange.host = parsed.host.into_owned();
    if request.version == Version::HTTP_2 {
        headers::set_request(request, header::HOST, authority.clone());
    }
    exchange.authority = authority;
    Ok(())
}

/// Normalises path and query, in the request too.
pub(crate) fn name_target(request: &mut RequestHeader, exchange: &mut Exchange) -> Result<(), Denial> {
    let rewritten = {
        let target = path::normalise(&request.method, request.raw_path())?;
        exchange.query = target.query.map(|query| text(query).into_owned()).unwrap_or_default();
        let rewritten = target.rewritten();
        exchange.path = target.path.into_owned();
        rewritten
    };
    if let Some(target) = rewritten {
        request
            .set_raw_path(&target)
            .map_err(|_| Denial::new(Reason::RequestMalformed, "a target that cannot be written"))?;
    } else if request.version == Version::HTTP_2 {
        let target = request.raw_path().to_vec();
        request
            .set_raw_path(&target)
            .map_err(|_| Denial::new(Reason::RequestMalformed, "a target that cannot be written"))?;
    }
    Ok(())
}

fn query_of(request: &RequestHeader) -> String {
    let raw = request.raw_path();
    let query = memchr::memchr(b'?', raw).map(|mark| &raw[mark + 1..]).unwrap_or_default();
    text(query).into_owned()
}

/// `identities.user.keys[0]: …` into the key and what is wrong with it.
fn split_problem(what: &str) -> (String, String) {
    match what.split_once(": ") {
        Some((key, what)) => (key.to_owned(), what.to_owned()),
        None => ("identities".to_owned(), what.to_owned()),
    }
}
