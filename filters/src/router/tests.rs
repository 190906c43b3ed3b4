use config::rules::{Headers, Limits, TenantRule};
use config::{Action, Route};
use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> PathPattern {
    let mut parts: Vec<&str> = text[1..].split('/').collect();
    let tail = match *parts.last().unwrap() {
        "*" => Tail::Rest(None),
        last if last.ends_with("*}") => Tail::Rest(Some(last[1..last.len() - 2].to_owned())),
        _ => Tail::Exact,
    };
    if tail != Tail::Exact || parts == [""] {
        parts.pop();
    }
    let segment = |part: &&str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
        Some(name) => Segment::Param(name.to_owned()),
        None => Segment::Literal((*part).to_owned()),
    };
    PathPattern { text: text.to_owned(), segments: parts.iter().map(segment).collect(), tail }
}

fn route(methods: &str, path: &str) -> Route {
    Route {
        path: pattern(path),
        methods: methods.split_whitespace().map(|m| m.parse().unwrap()).collect(),
        action: Action::Respond {
            status: 200,
            body: String::new(),
            content_type: HeaderValue::from_static("text/plain"),
        },
        auth: None,
        tenant: TenantRule::None,
        limits: Limits::default(),
        lockout: None,
        release: None,
        upload: None,
        websocket: None,
        allow_ips: Vec::new(),
        deny_ips: Vec::new(),
        request_headers: Headers::default(),
        response_headers: Headers::default(),
        timeouts: None,
        observe: Vec::new(),
        audit: false,
    }
}

fn site(hosts: &[HostPattern], routes: &[(&str, &str)]) -> Site {
    Site {
        hosts: hosts.to_vec(),
        routes: routes.iter().map(|(methods, path)| route(methods, path)).collect(),
    }
}

fn router(routes: &[(&str, &str)]) -> Router {
    Router::build(&[site(&[HostPattern::Any], routes)])
}

fn found(router: &Router, method: &str, path: &str) -> Result<usize, Reason> {
    router.find("a", path, &method.parse().unwrap()).map(|m| m.route).map_err(|denial| denial.reason)
}

#[test]
fn the_most_specific_pattern_wins_wherever_it_is_written() {
    let router =
        router(&[("", "/*"), ("", "/{a}/{b}"), ("", "/api/*"), ("", "/api/{x}"), ("", "/api/v1"), ("", "/")]);
    for (path, route) in [
        ("/api/v1", 4),
        ("/api/v2", 3),
        ("/api/v1/x", 2),
        ("/api/", 2),
        ("/api", 2),
        ("/x/y", 1),
        ("/x", 0),
        ("/", 5),
        ("/x/", 0),
    ] {
        assert_eq!(found(&router, "GET", path), Ok(route), "{path}");
    }
}

#[test]
fn a_branch_that_leads_nowhere_is_left_for_the_next_best() {
    let router = router(&[("", "/a/b/c"), ("", "/a/{x}/d"), ("", "/{y}/b/e"), ("", "/a/*")]);
    assert_eq!(found(&router, "GET", "/a/b/d"), Ok(1));
    assert_eq!(found(&router, "GET", "/a/b/e"), Ok(3));
    assert_eq!(found(&router, "GET", "/z/b/e"), Ok(2));
    assert_eq!(found(&router, "GET", "/a/b/c/d"), Ok(3));
    assert_eq!(found(&router, "GET", "/z/b"), Err(Reason::RouteNotFound));
}

#[test]
fn a_tail_takes_the_bare_prefix_unless_a_route_does() {
    assert_eq!(found(&router(&[("", "/a/*")]), "GET", "/a"), Ok(0));
    assert_eq!(found(&router(&[("", "/a/*"), ("", "/a")]), "GET", "/a"), Ok(1));
    assert_eq!(found(&router(&[("", "/a/*"), ("", "/a")]), "GET", "/a/"), Ok(0));
    assert_eq!(found(&router(&[("", "/a")]), "GET", "/a/"), Err(Reason::RouteNotFound));
    assert_eq!(found(&router(&[("", "/a/")]), "GET", "/a/"), Ok(0));
    assert_eq!(found(&router(&[("", "/a/*")]), "GET", "/ab"), Err(Reason::RouteNotFound));
}

#[test]
fn a_method_that_no_special_route_takes_falls_to_the_general_one() {
    let router =
        router(&[("POST", "/api/v1/assets"), ("", "/api/*"), ("DELETE GET", "/api/{x}"), ("", "/api/{x}")]);
    assert_eq!(found(&router, "POST", "/api/v1/assets"), Ok(0));
    assert_eq!(found(&router, "GET", "/api/v1/assets"), Ok(1));
    assert_eq!(found(&router, "HEAD", "/api/one"), Ok(2));
    assert_eq!(found(&router, "PUT", "/api/one"), Ok(3));
}

#[test]
fn only_other_methods_is_405_with_all_of_them() {
    let router = router(&[("POST", "/a/{x}"), ("GET PATCH", "/a/b"), ("DELETE POST", "/*")]);
    let denial = router.find("a", "/a/b", &Method::PUT).unwrap_err();
    assert_eq!(denial.reason, Reason::MethodNotAllowed);
    let allow: Vec<_> = denial.extra.unwrap().allow.iter().map(ToString::to_string).collect();
    assert_eq!(allow, ["DELETE", "GET", "HEAD", "PATCH", "POST"]);
    assert_eq!(found(&router, "OPTIONS", "/a/b"), Err(Reason::MethodNotAllowed));
}

#[test]
fn names_get_their_decoded_values() {
    let router = router(&[("", "/t/{tenant}/f/{file}/raw"), ("", "/d/{a}/{rest*}")]);
    let params = |path: &str| -> Vec<(String, String)> {
        let found = router.find("a", path, &Method::GET).unwrap();
        found.params.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    assert_eq!(params("/t/acme/f/a%20b%3F/raw"), pairs(&[("tenant", "acme"), ("file", "a b?")]));
    assert_eq!(params("/d/x/y/%E4%B8%AD/"), pairs(&[("a", "x"), ("rest", "y/中/")]));
    assert_eq!(params("/d/x"), pairs(&[("a", "x"), ("rest", "")]));
}

#[test]
fn literals_are_compared_decoded() {
    let router = router(&[("", "/中文/a b"), ("", "/c:d")]);
    assert_eq!(found(&router, "GET", "/%E4%B8%AD%E6%96%87/a%20b"), Ok(0));
    assert_eq!(found(&router, "GET", "/c:d"), Ok(1));
    assert_eq!(found(&router, "GET", "/c%3Ad"), Ok(1));
}

#[test]
fn parameters_of_a_segment_do_not_lead_past_a_rule() {
    let router = router(&[("", "/api/*"), ("", "/api/admin/*"), ("", "/files/{name}"), ("", "/public/*")]);
    for path in
        ["/api/admin;x/users", "/api/;x/admin/users", "/;/api/admin", "/api/admin%3Bx/users", "/files/;x"]
    {
        assert_eq!(found(&router, "GET", path).unwrap_or(9), 9, "{path}");
    }
    assert_eq!(found(&router, "GET", "/files/a;v=1"), Ok(2));
    assert_eq!(found(&router, "GET", "/api/x;y/z"), Ok(0));
}

#[test]
fn the_host_decides_first() {
    let exact = |name: &str| HostPattern::Exact(name.into());
    let below = |name: &str| HostPattern::Wildcard(name.into());
    let router = Router::build(&[
        site(&[HostPattern::Any], &[("", "/*")]),
        site(&[below("example.com")], &[("", "/*")]),
        site(&[below("deep.example.com")], &[("", "/*")]),
        site(&[exact("a.deep.example.com"), exact("2001:DB8::1")], &[("", "/*"), ("", "/x")]),
    ]);
    for (host, site) in [
        ("a.deep.example.com", 3),
        ("b.deep.example.com", 2),
        ("x.y.deep.example.com", 2),
        ("deep.example.com", 1),
        ("example.com", 0),
        ("notexample.com", 0),
        ("localhost", 0),
        ("[2001:db8::1]", 3),
        ("[::1]", 0),
    ] {
        assert_eq!(router.find(host, "/", &Method::GET).unwrap().site, site, "{host}");
    }
    assert_eq!(router.find("a.deep.example.com", "/x", &Method::GET).unwrap().route, 4);
    let router = Router::build(&[site(&[exact("a")], &[("", "/*")])]);
    assert_eq!(router.find("b", "/", &Method::GET).unwrap_err().reason, Reason::RouteNotFound);
}

#[test]
fn a_thousand_routes_are_told_apart() {
    let paths: Vec<String> = (0..1000).map(|n| format!("/api/v{}/thing{n}/{{id}}", n % 10)).collect();
    let routes: Vec<(&str, &str)> = paths.iter().map(|path| ("", path.as_str())).collect();
    let router = router(&routes);
    for n in 0..1000 {
        assert_eq!(found(&router, "GET", &format!("/api/v{}/thing{n}/7", n % 10)), Ok(n));
    }
    assert_eq!(found(&router, "GET", "/api/v1/thing2/7"), Err(Reason::RouteNotFound));
}

/// How a pattern compares at each place, the smallest being the most specific; `None` when it does not match.
fn rank(pattern: &PathPattern, path: &str) -> Option<Vec<u8>> {
    let parts: Vec<_> = segments(path).collect();
    let mut wanted = pattern.segments.clone();
    if wanted.is_empty() && pattern.tail == Tail::Exact {
        wanted.push(Segment::Literal(String::new()));
    }
    let exact = pattern.tail == Tail::Exact;
    if wanted.len() > parts.len() || (exact && wanted.len() < parts.len()) {
        return None;
    }
    let mut rank = Vec::new();
    for (segment, part) in wanted.iter().zip(&parts) {
        match segment {
            Segment::Literal(text) if text == part => rank.push(0),
            Segment::Param(_) if !part.is_empty() => rank.push(1),
            _ => return None,
        }
    }
    rank.push(if exact { 0 } else { 2 });
    Some(rank)
}

fn naive(routes: &[(String, String)], path: &str, method: &Method) -> Result<usize, Reason> {
    let matching: Vec<_> = routes
        .iter()
        .enumerate()
        .filter_map(|(index, (methods, text))| rank(&pattern(text), path).map(|rank| (rank, methods, index)))
        .collect();
    let takes = |methods: &str| {
        let mut named = methods.split_whitespace();
        methods.is_empty()
            || named.any(|name| name == method.as_str() || (method == Method::HEAD && name == "GET"))
    };
    let best = matching
        .iter()
        .filter(|(_, methods, _)| takes(methods))
        .min_by_key(|(rank, methods, index)| (rank.clone(), methods.is_empty(), *index));
    match best {
        Some((_, _, index)) => Ok(*index),
        None if matching.is_empty() => Err(Reason::RouteNotFound),
        None => Err(Reason::MethodNotAllowed),
    }
}

fn patterns() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("c"), Just("{x}"), Just("{y}")];
    let end = prop_oneof![3 => Just(""), 1 => Just("/"), 2 => Just("/*"), 1 => Just("/{rest*}")];
    (prop::collection::vec(part, 0..4), end).prop_map(|(parts, end)| match (parts.is_empty(), end) {
        (true, "") => "/".to_owned(),
        (true, end) => end.to_owned(),
        (false, end) => format!("/{}{end}", parts.join("/")),
    })
}

proptest! {
    #[test]
    fn finds_what_a_search_through_all_routes_finds(
        routes in prop::collection::vec((prop_oneof![Just(""), Just("GET"), Just("POST"), Just("GET PUT")].prop_map(str::to_owned), patterns()), 1..12),
        parts in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")], 0..5),
        slash in any::<bool>(),
        method in prop_oneof![Just(Method::GET), Just(Method::HEAD), Just(Method::POST), Just(Method::PUT)],
    ) {
        let path = if parts.is_empty() { "/".to_owned() } else { format!("/{}{}", parts.join("/"), if slash { "/" } else { "" }) };
        let borrowed: Vec<(&str, &str)> = routes.iter().map(|(m, p)| (m.as_str(), p.as_str())).collect();
        let found = router(&borrowed).find("a", &path, &method).map(|m| m.route).map_err(|denial| denial.reason);
        prop_assert_eq!(found, naive(&routes, &path, &method), "{} {}", method, path);
    }
}
