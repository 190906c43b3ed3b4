//! `sites`

use super::route;
use crate::model::{HostPattern, Site};
use crate::overlap;
use crate::pattern::host;
use crate::read::Reader;
use crate::scalar::quoted;

pub(super) fn site(r: &Reader<'_>) -> Option<Site> {
    let t = r.table()?;
    let hosts = t.required("hosts", "Hosts: exact, *.wild.card, or \"*\" for all others.", |r| {
        r.some(|r| {
            let host = host(r)?;
            claim_host(r, &host);
            Some(host)
        })
    });
    let observe = t.optional(
        "observe",
        "Rules that judge without refusing, on every route that does not say so itself.",
        route::observe,
    );
    // Read once for its own problems; its values count where routes take them over.
    t.optional("defaults", "What every route of the site does that does not say otherwise.", route::defaults);
    let under = t.node("defaults");
    let routes = t.required("routes", "What is done with requests; the most specific path wins.", |r| {
        r.some(|r| {
            let r = r.over(under);
            let mut route = route::route(&r)?;
            if let (false, Some(Some(observe))) = (r.has("observe"), &observe) {
                route.observe.clone_from(observe);
            }
            Some((route, r.place()?))
        })
    });
    let (hosts, routes) = (hosts?, routes?);
    overlap::refuse_equal_routes(r.loading, &routes);
    overlap::warn_of_weaker_routes(r.loading, &routes);
    Some(Site { hosts, routes: routes.into_iter().map(|(route, _)| route).collect() })
}

/// A host leads to one site.
fn claim_host(r: &Reader<'_>, host: &HostPattern) {
    let Some(place) = r.place() else { return };
    let mut known = r.loading.known.borrow_mut();
    if let Some(first) = known.hosts.get(host) {
        let what = format!("the host {} is already at {first}, {}", quoted(r), first.key);
        r.loading.report(place.problem(what, "keep one of the two, or make one site of both"));
        return;
    }
    known.hosts.insert(host.clone(), place);
}
