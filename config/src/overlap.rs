//! Routes of one site that meet on the same requests.

use std::collections::HashMap;

use http::Method;

use crate::loading::Loading;
use crate::model::{Action, PathPattern, Route, Segment, Tail};
use crate::problem::{Place, quote};
use crate::rules::{Auth, TenantRule};

/// Pairs of routes that are compared at most; a site of 2,000 guarded routes among 2,000 stays below.
const MOST_PAIRS: usize = 4_000_000;

/// Two routes with the same pattern, whatever its names, may not share a method: neither would be more specific.
pub(crate) fn refuse_equal_routes(loading: &Loading<'_>, routes: &[(Route, Place)]) {
    let mut by_shape: HashMap<_, Vec<&(Route, Place)>> = HashMap::new();
    for entry in routes {
        let same = by_shape.entry(shape(&entry.0.path)).or_default();
        // A clash is told once; with all methods taken, every later route clashes with the first.
        if let Some((_, first)) = same.iter().find(|(other, _)| share_a_method(other, &entry.0)) {
            let what = format!(
                "{} with the same methods is already at {first}, {}",
                quote(&entry.0.path.text),
                first.key
            );
            loading.report(entry.1.problem(what, "give them different methods, or keep one of the two"));
        } else {
            same.push(entry);
        }
    }
}

/// A method that a guarded route does not name falls to a wider pattern. Where that asks less, it may be an oversight.
pub(crate) fn warn_of_weaker_routes(loading: &Loading<'_>, routes: &[(Route, Place)]) {
    let guarded = routes.iter().filter(|(route, _)| route.auth.is_some() && !route.methods.is_empty());
    let mut beside: HashMap<_, Vec<&Route>> = HashMap::new();
    for (route, _) in routes {
        beside.entry(shape(&route.path)).or_default().push(route);
    }
    let mut pairs = 0;
    for (route, place) in guarded {
        let Some(auth) = &route.auth else { continue };
        pairs += routes.len();
        if pairs > MOST_PAIRS {
            let what =
                "there are too many routes to tell whether methods fall from guarded ones to weaker ones";
            loading.warn(place.problem(what, "make several sites of this one"));
            return;
        }
        let mut wider: Vec<&(Route, Place)> =
            routes.iter().filter(|(other, _)| covers(&other.path, &route.path)).collect();
        wider.sort_by_key(|(other, _)| rank(&other.path));
        let mut falls: Vec<(&(Route, Place), Vec<&str>)> = Vec::new();
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            // A route with the very same pattern that takes the method is no fall.
            if beside
                .get(&shape(&route.path))
                .is_some_and(|same| same.iter().any(|same| takes(same, &method)))
            {
                continue;
            }
            let Some(heir) = wider.iter().find(|(other, _)| takes(other, &method)) else { continue };
            let answers_itself = !matches!(heir.0.action, Action::Upstream { .. });
            if answers_itself
                || !(asks_less(heir.0.auth.as_ref(), auth)
                    || asks_less_of_the_tenant(&heir.0.tenant, &route.tenant))
            {
                continue;
            }
            let name =
                ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().find(|name| *name == method.as_str());
            match falls.iter_mut().find(|(known, _)| std::ptr::eq(*known, *heir)) {
                Some((_, methods)) => methods.extend(name),
                None => falls.push((heir, name.into_iter().collect())),
            }
        }
        for ((heir, at), methods) in falls {
            let what = format!(
                "{} of {} fall to {} at line {}, which asks less",
                methods.join(", "),
                quote(&route.path.text),
                quote(&heir.path.text),
                at.line
            );
            loading.warn(
                place.problem(what, "if that is not meant, add a route for them or take \"methods\" away"),
            );
        }
    }
}

fn takes(route: &Route, method: &Method) -> bool {
    route.methods.is_empty() || route.methods.contains(method)
}

fn share_a_method(a: &Route, b: &Route) -> bool {
    a.methods.is_empty() || b.methods.is_empty() || a.methods.iter().any(|method| b.methods.contains(method))
}

/// A pattern without its names.
fn shape(path: &PathPattern) -> (Vec<Option<&str>>, bool) {
    let segments = path.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => Some(text.as_str()),
        Segment::Param(_) => None,
    });
    (segments.collect(), path.tail != Tail::Exact)
}

/// Whether every path that `narrow` matches is matched by `wide`, and they are not the same.
fn covers(wide: &PathPattern, narrow: &PathPattern) -> bool {
    let open = wide.tail != Tail::Exact;
    let (long, short) = (narrow.segments.len(), wide.segments.len());
    if short > long || (!open && (short != long || narrow.tail != Tail::Exact)) {
        return false;
    }
    let each = wide.segments.iter().zip(&narrow.segments).all(|(wide, narrow)| match wide {
        Segment::Param(_) => !matches!(narrow, Segment::Literal(text) if text.is_empty()),
        Segment::Literal(_) => wide == narrow,
    });
    each && shape(wide) != shape(narrow)
}

/// Less for the more specific: segment by segment a text comes before a name, a name before any rest.
fn rank(path: &PathPattern) -> Vec<u8> {
    let segments = path.segments.iter().map(|segment| match segment {
        Segment::Literal(_) => 0,
        Segment::Param(_) => 1,
    });
    segments.chain([if path.tail == Tail::Exact { 0 } else { 2 }]).collect()
}

/// Whether somebody may pass `heir` who may not pass `auth`.
fn asks_less(heir: Option<&Auth>, auth: &Auth) -> bool {
    let Some(heir) = heir else { return true };
    let within = |some: &[String], of: &[String]| some.iter().all(|one| of.contains(one));
    let roles = auth.roles.is_empty() || (!heir.roles.is_empty() && within(&heir.roles, &auth.roles));
    let any = auth.any.is_empty()
        || (!heir.any.is_empty() && within(&heir.any, &auth.any))
        || heir.all.iter().any(|one| auth.any.contains(one));
    !(within(&heir.identities, &auth.identities) && roles && any && within(&auth.all, &heir.all))
}

fn asks_less_of_the_tenant(heir: &TenantRule, rule: &TenantRule) -> bool {
    let strictness = |rule: &TenantRule| match rule {
        TenantRule::None | TenantRule::Optional => 0,
        TenantRule::Required { must_equal_path: None } => 1,
        TenantRule::Required { must_equal_path: Some(_) } => 2,
    };
    strictness(heir) < strictness(rule)
}
