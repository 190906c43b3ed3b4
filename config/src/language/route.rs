//! One of `routes`, and the `defaults` under them.

use http::{HeaderName, Method};

use super::{action, auth, header, limit, upload};
use crate::model::{Action, PathPattern, Route, RuleName, Segment, Tail, TenantSource, UpstreamTimeouts};
use crate::pattern;
use crate::read::Reader;
use crate::rules::{Auth, Headers, Limits, Lockout, LockoutKey, RateKey, TenantRule, Upload, WebSocket};
use crate::scalar::{boolean, method, network, time_limit, word};
use crate::suggest::nearest;
use crate::table::Table;

/// What may stand in a route and in `defaults`.
struct Rules {
    action: Option<Action>,
    auth: Option<Auth>,
    tenant: TenantRule,
    limits: Limits,
    lockout: Option<Lockout>,
    upload: Option<Upload>,
    release: Option<HeaderName>,
    websocket: Option<WebSocket>,
    allow_ips: Vec<ipnet::IpNet>,
    deny_ips: Vec<ipnet::IpNet>,
    request_headers: Headers,
    response_headers: Headers,
    timeouts: Option<PartTimeouts>,
    observe: Vec<RuleName>,
    audit: bool,
}

/// Time limits of which some are the upstream's.
struct PartTimeouts {
    connect: Option<std::time::Duration>,
    read: Option<std::time::Duration>,
    send: Option<std::time::Duration>,
}

/// Keys of which a route has one.
const ACTIONS: [&str; 3] = ["upstream", "redirect", "respond"];

pub(super) fn defaults(r: &Reader<'_>) -> Option<()> {
    let t = r.table()?;
    rules(&t).map(|_| ())
}

pub(super) fn route(r: &Reader<'_>) -> Option<Route> {
    let t = r.table()?;
    let path =
        t.required("path", "Which paths: /exact, /prefix/*, /files/{name}/raw, /{a}/{rest*}.", pattern::path);
    let methods = t.or("methods", "Which methods; all when empty.", "[]", |r| r.list(method));
    t.alternatives(&ACTIONS);
    let rules = rules(&t);

    if r.span().is_some() && !t.has("auth") {
        let what = "the route says neither who may ask nor that everybody may";
        t.warn("auth", what, "add \"auth: {identity: NAME}\" or \"auth: none\"");
    }
    if r.span().is_some() && !ACTIONS.iter().any(|key| t.has(key)) {
        t.problem(
            "upstream",
            "the route does nothing",
            "add \"upstream: NAME\", \"redirect: URL\" or \"respond: {status: …}\"",
        );
    }
    let (path, methods, rules) = (path?, methods?, rules?);
    let mut route = Route {
        path,
        methods,
        action: rules.action?,
        auth: rules.auth,
        tenant: rules.tenant,
        limits: rules.limits,
        lockout: rules.lockout,
        upload: rules.upload,
        release: rules.release,
        websocket: rules.websocket,
        allow_ips: rules.allow_ips,
        deny_ips: rules.deny_ips,
        request_headers: rules.request_headers,
        response_headers: rules.response_headers,
        timeouts: None,
        observe: rules.observe,
        audit: rules.audit,
    };
    route.timeouts = rules.timeouts.map(|part| whole_timeouts(r, &route.action, &part));
    route.limits.body = Some(route.limits.body.unwrap_or_else(|| default_body(route.upload.as_ref())));
    check_caller(&t, r, &route);
    check_tenant(&t, r, &route);
    check_storage(&t, r, &route);
    check_body(&t, &route);
    action::check_redirect(&t, &route.action, &route.path);
    Some(route)
}

fn rules(t: &Table<'_>) -> Option<Rules> {
    let upstream = t.optional("upstream", "The app that is asked.", action::upstream_action);
    let redirect = t.optional("redirect", "Send the client elsewhere.", action::redirect);
    let respond = t.optional("respond", "Answer at once.", action::respond);
    let auth = t.optional("auth", "Who may ask, or none for everybody.", auth::auth);
    let tenant = t.or("tenant", "Whether a tenant must be known.", "none", auth::tenant);
    let limits = t.or("limits", "How much and how often.", "{}", limit::limits);
    let lockout = t.optional("lockout", "What is locked after failures.", limit::lockout);
    let upload =
        t.optional("upload", "What is asked of files; without it a body is not looked into.", upload::upload);
    let release = t.optional("quota", "What the app's answers say of a tenant's storage.", upload::quota);
    let websocket =
        t.optional("websocket", "Lets the route become a WebSocket, and says for whom.", upload::websocket);
    let allow_ips = t.or("allow_ips", "Clients that may ask; all when empty.", "[]", |r| r.list(network));
    let deny_ips = t.or("deny_ips", "Clients that may not ask.", "[]", |r| r.list(network));
    let request_headers =
        t.or("request_headers", "Changes to what the upstream gets.", "{}", |r| header::headers(r, true));
    let response_headers =
        t.or("response_headers", "Changes to what the client gets.", "{}", |r| header::headers(r, false));
    let timeouts = t.optional("timeouts", "Time limits instead of the upstream's.", part_timeouts);
    let observe = t.or("observe", "Rules that judge without refusing.", "[]", observe);
    let audit = t.or("audit", "Whether every request is audited, not only refusals.", "false", boolean);

    let actions = [upstream?, redirect?, respond?];
    let several = actions.iter().flatten().count() > 1;
    let action = actions.into_iter().flatten().next();
    if several {
        let key = ACTIONS.iter().filter(|key| t.has(key)).nth(1)?;
        t.problem(key, "a route does one thing only", "keep one of upstream, redirect and respond");
        return None;
    }
    Some(Rules {
        action,
        auth: auth?.flatten(),
        tenant: tenant?,
        limits: limits?,
        lockout: lockout?,
        upload: upload?,
        release: release?,
        websocket: websocket?,
        allow_ips: allow_ips?,
        deny_ips: deny_ips?,
        request_headers: request_headers?,
        response_headers: response_headers?,
        timeouts: timeouts?,
        observe: observe?,
        audit: audit?,
    })
}

fn part_timeouts(r: &Reader<'_>) -> Option<PartTimeouts> {
    let t = r.table()?;
    let connect = t.optional("connect", "For a connection.", time_limit);
    let read =
        t.optional("read", "Between two reads of an answer; beyond it 504 upstream.timeout.", time_limit);
    let send = t.optional("send", "Between two writes of a request.", time_limit);
    Some(PartTimeouts { connect: connect?, read: read?, send: send? })
}

fn whole_timeouts(r: &Reader<'_>, action: &Action, part: &PartTimeouts) -> UpstreamTimeouts {
    let known = r.loading.known.borrow();
    let upstreams = match action {
        Action::Upstream { name, .. } => known.upstreams.get(name).copied().flatten(),
        Action::Redirect { .. } | Action::Respond { .. } => None,
    };
    let minute = std::time::Duration::from_secs(60);
    let base = upstreams.unwrap_or(UpstreamTimeouts { connect: minute, read: minute, send: minute });
    UpstreamTimeouts {
        connect: part.connect.unwrap_or(base.connect),
        read: part.read.unwrap_or(base.read),
        send: part.send.unwrap_or(base.send),
    }
}

pub(super) fn observe(r: &Reader<'_>) -> Option<Vec<RuleName>> {
    r.list(word(&[
        ("ip", RuleName::Ip),
        ("origin", RuleName::Origin),
        ("auth", RuleName::Auth),
        ("tenant", RuleName::Tenant),
        ("rate", RuleName::Rate),
        ("lockout", RuleName::Lockout),
        ("body", RuleName::Body),
        ("upload", RuleName::Upload),
    ]))
}

/// What a route without `limits.body` takes.
fn default_body(upload: Option<&Upload>) -> u64 {
    const MIB: u64 = 1 << 20;
    upload.map_or(MIB, |upload| {
        let largest = upload.classes.iter().map(|class| class.max_size).max().unwrap_or(0);
        let files = u64::try_from(upload.max_files).unwrap_or(u64::MAX);
        largest.saturating_mul(files).saturating_add(MIB)
    })
}

/// What counts by caller needs one.
fn check_caller(t: &Table<'_>, r: &Reader<'_>, route: &Route) {
    let by_caller = |rate: &crate::rules::Rate| {
        rate.by.iter().any(|key| matches!(key, RateKey::Subject | RateKey::Identity))
    };
    if route.auth.is_none() && route.limits.rate.iter().any(by_caller) {
        report(
            t,
            r,
            &["limits", "rate"],
            "this route knows nobody to count by",
            "count by ip, or add \"auth: {identity: NAME}\"",
        );
    }
}

/// What asks for a tenant needs tenants, and a way to know which.
fn check_tenant(t: &Table<'_>, r: &Reader<'_>, route: &Route) {
    let known = r.loading.known.borrow();
    let by_tenant = matches!(route.action, Action::Upstream { by_tenant: true, .. });
    if route.tenant == TenantRule::None {
        let remedy = "add \"tenant: required\" or \"tenant: optional\"";
        if route.limits.rate.iter().any(|rate| rate.by.contains(&RateKey::Tenant)) {
            report(t, r, &["limits", "rate"], "this route knows no tenant to count by", remedy);
        }
        if route.lockout.as_ref().is_some_and(|lockout| lockout.key.contains(&LockoutKey::Tenant)) {
            report(t, r, &["lockout", "key"], "this route knows no tenant to lock", remedy);
        }
        if by_tenant {
            report(t, r, &["upstream", "tenant"], "this route knows no tenant to choose by", remedy);
        }
        return;
    }
    if known.tenant_sources.is_none() {
        report(t, r, &["tenant"], "the policy has no tenants", "add \"tenants\", or write \"tenant: none\"");
    }
    let only_claims = known.tenant_sources.as_ref().is_some_and(|sources| *sources == [TenantSource::Claim]);
    if matches!(route.tenant, TenantRule::Required { .. }) && route.auth.is_none() && only_claims {
        let what = "a tenant is required, but only a claim says it, and nobody is asked for a token here";
        t.warn("tenant", what, "write \"tenant: none\", or add another source to \"resolve\"");
    }
    if let TenantRule::Required { must_equal_path: Some(name) } = &route.tenant {
        let names = param_names(&route.path);
        if !names.contains(&name.as_str()) {
            let remedy = match nearest(name, names.iter().copied()) {
                Some(meant) => format!("did you mean path:{meant}?"),
                None if names.is_empty() => "write the path with {name}, as in /uploads/{tenant}/*".into(),
                None => format!("write path: and one of {}", names.join(", ")),
            };
            let what = "the path has no part of this name";
            report(t, r, &["tenant", "must_equal"], what, &remedy);
        }
    }
}

/// Storage is a tenant's, and only an app gives it back.
fn check_storage(t: &Table<'_>, r: &Reader<'_>, route: &Route) {
    let counted = route.upload.as_ref().is_some_and(|upload| upload.quota);
    if counted && !matches!(route.tenant, TenantRule::Required { .. }) {
        let what = "a request without a tenant would not be counted";
        report(t, r, &["upload", "quota"], what, "write \"tenant: required\", or take this away");
    }
    if route.release.is_some() && route.tenant == TenantRule::None {
        let remedy = "write \"tenant: required\", or take this away";
        report(t, r, &["quota"], "this route knows no tenant to give space back to", remedy);
    }
    if route.release.is_some() && !matches!(route.action, Action::Upstream { .. }) {
        let what = "there is no app behind this route to say what it no longer stores";
        report(t, r, &["quota"], what, "add \"upstream: NAME\"");
    }
}

/// Files and sockets need methods and an app that can carry them.
fn check_body(t: &Table<'_>, route: &Route) {
    let carries = |method: &Method| !["GET", "HEAD", "OPTIONS", "DELETE"].contains(&method.as_str());
    if route.upload.is_some() && !route.methods.is_empty() && !route.methods.iter().any(carries) {
        t.problem(
            "methods",
            "none of these methods carries files",
            "add POST or PUT, or take \"upload\" away",
        );
    }
    if route.websocket.is_none() {
        return;
    }
    if !route.methods.is_empty() && !route.methods.contains(&Method::GET) {
        t.problem("methods", "a WebSocket begins with GET", "add GET, or take \"websocket\" away");
    }
    if route.upload.is_some() {
        t.problem("upload", "a WebSocket carries no upload", "use two routes");
    }
    if !matches!(route.action, Action::Upstream { .. }) {
        t.problem(
            "websocket",
            "there is no app behind this route to open a WebSocket to",
            "add \"upstream: NAME\"",
        );
    }
}

pub(super) fn param_names(path: &PathPattern) -> Vec<&str> {
    let params = path.segments.iter().filter_map(|segment| match segment {
        Segment::Param(name) => Some(name.as_str()),
        Segment::Literal(_) => None,
    });
    let rest = match &path.tail {
        Tail::Rest(name) => name.as_deref(),
        Tail::Exact => None,
    };
    params.chain(rest).collect()
}

fn report(t: &Table<'_>, r: &Reader<'_>, keys: &[&str], what: &str, remedy: &str) {
    if let Some(place) = t.place_in(keys) {
        r.loading.report(place.problem(what, remedy));
    }
}
