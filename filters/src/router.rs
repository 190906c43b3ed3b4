//! Which route a request meets: the most specific pattern of the most specific host.
//!
//! A host that is named beats the longer wildcard, which beats the shorter, which beats `*`. Within the site, segment
//! by segment, literal text beats `{param}`, which beats `/*`; where a pattern ends, an exact end beats `/*`. A branch
//! that leads nowhere is left for the next best. `/a/*` matches `/a/`, everything below it, and `/a` itself unless a
//! route `/a` takes it. A route whose `methods` lack the request's is no candidate, so the search goes on to less
//! specific patterns; between routes of one pattern the one that names the method wins. GET stands for HEAD too.
//! Where the order of the file would have to decide, the first wins.
//!
//! Some apps cut `;parameters` off a segment and some do not. A path that would reach another route without them is
//! refused: neither kind of app may be reached past its rules.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use config::{HostPattern, PathPattern, Segment, Site, Tail};
use http::Method;
use memchr::memchr;

use crate::denial::{Denial, Reason};
use crate::path::{decode, segments};

/// Every site's routes, compiled. Immutable.
#[derive(Debug)]
pub struct Router {
    exact: HashMap<String, usize>,
    wildcard: HashMap<String, usize>,
    any: Option<usize>,
    sites: Vec<Node>,
    routes: Vec<Entry>,
}

/// Where a request belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Position in all routes of all sites, in the order written.
    pub route: usize,
    /// Position in `sites`.
    pub site: usize,
    /// The decoded values of the pattern's names, in the order written.
    pub params: Vec<(Arc<str>, String)>,
}

#[derive(Debug)]
struct Entry {
    methods: Vec<Method>,
    /// Names with the index of the segment they stand for.
    params: Vec<(usize, Arc<str>)>,
    /// The name of the tail with the index of its first segment.
    rest: Option<(usize, Arc<str>)>,
}

/// One place in a site's patterns. A place has one way down for each text and one for any text.
#[derive(Debug, Default)]
struct Node {
    /// Sorted by text.
    literals: Vec<(Box<str>, Node)>,
    param: Option<Box<Node>>,
    /// Routes that end here; those that name methods first.
    exact: Vec<usize>,
    /// Routes that end here with `/*`; those that name methods first.
    tail: Vec<usize>,
}

impl Router {
    /// Compiles the sites. Of two sites with the same host pattern the first keeps it.
    pub fn build(sites: &[Site]) -> Self {
        let mut router = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: None,
            sites: Vec::with_capacity(sites.len()),
            routes: Vec::new(),
        };
        for (index, site) in sites.iter().enumerate() {
            for host in &site.hosts {
                match host {
                    HostPattern::Exact(name) => {
                        router.exact.entry(host_key(name)).or_insert(index);
                    }
                    HostPattern::Wildcard(domain) => {
                        router.wildcard.entry(host_key(domain)).or_insert(index);
                    }
                    HostPattern::Any => {
                        router.any.get_or_insert(index);
                    }
                }
            }
            let mut root = Node::default();
            for route in &site.routes {
                let id = router.routes.len();
                router.routes.push(Entry::new(&route.path, &route.methods));
                root.insert(&route.path, id);
            }
            root.settle(&router.routes);
            router.sites.push(root);
        }
        router
    }

    /// Finds the route for a host (as `host::parse` gives it), a canonical path and a method.
    ///
    /// 404 without a site or a pattern; 405 with `Allow` when only other methods reach the path. Visits each place of
    /// the site's patterns at most once; allocates for params, for segments with escapes, and for `;`.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Result<Match, Denial> {
        let site =
            self.site(host).ok_or_else(|| Denial::new(Reason::RouteNotFound, "no site has this host"))?;
        let Some(route) = self.search(site, path, method) else {
            return Err(self.nothing(site, path));
        };
        if let Some(cut) = without_parameters(path)
            && self.search(site, &cut, method) != Some(route)
        {
            return Err(Denial::new(Reason::RequestMalformed, "a path whose ;parameters change its route"));
        }
        Ok(Match { route, site, params: self.routes[route].capture(path) })
    }

    /// The site of a host.
    pub fn site(&self, host: &str) -> Option<usize> {
        if let Some(&site) = self.exact.get(host) {
            return Some(site);
        }
        if !self.wildcard.is_empty() && !host.starts_with('[') {
            let mut domain = host;
            while let Some((_, parent)) = domain.split_once('.') {
                if let Some(&site) = self.wildcard.get(parent) {
                    return Some(site);
                }
                domain = parent;
            }
        }
        self.any
    }

    fn search(&self, site: usize, path: &str, method: &Method) -> Option<usize> {
        let inside = path.strip_prefix('/')?;
        self.sites[site].find(Some(inside), &|routes: &[usize]| {
            routes.iter().copied().find(|&route| self.routes[route].takes(method))
        })
    }

    fn nothing(&self, site: usize, path: &str) -> Denial {
        let mut allow: Vec<Method> = Vec::new();
        if let Some(inside) = path.strip_prefix('/') {
            self.sites[site].visit(Some(inside), &mut |routes: &[usize]| {
                for &route in routes {
                    allow.extend(self.routes[route].methods.iter().cloned());
                }
            });
        }
        if allow.is_empty() {
            return Denial::new(Reason::RouteNotFound, "no route has this path");
        }
        if allow.contains(&Method::GET) {
            allow.push(Method::HEAD);
        }
        allow.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        allow.dedup();
        Denial::new(Reason::MethodNotAllowed, "no route with this path takes the method").allow(allow)
    }
}

impl Entry {
    fn new(pattern: &PathPattern, methods: &[Method]) -> Self {
        let params = pattern.segments.iter().enumerate().filter_map(|(index, segment)| match segment {
            Segment::Param(name) => Some((index, Arc::from(name.as_str()))),
            Segment::Literal(_) => None,
        });
        let rest = match &pattern.tail {
            Tail::Rest(Some(name)) => Some((pattern.segments.len(), Arc::from(name.as_str()))),
            Tail::Rest(None) | Tail::Exact => None,
        };
        Self { methods: methods.to_vec(), params: params.collect(), rest }
    }

    fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (method == Method::HEAD && self.methods.contains(&Method::GET))
    }

    fn capture(&self, path: &str) -> Vec<(Arc<str>, String)> {
        if self.params.is_empty() && self.rest.is_none() {
            return Vec::new();
        }
        let mut found = Vec::with_capacity(self.params.len() + 1);
        let mut wanted = self.params.iter().peekable();
        for (index, segment) in segments(path).enumerate() {
            if let Some((_, name)) = wanted.next_if(|(at, _)| *at == index) {
                found.push((name.clone(), segment.into_owned()));
            }
        }
        if let Some((first, name)) = &self.rest {
            let rest: Vec<_> = segments(path).skip(*first).collect();
            found.push((name.clone(), rest.join("/")));
        }
        found
    }
}

impl Node {
    fn insert(&mut self, pattern: &PathPattern, route: usize) {
        let mut node = self;
        for segment in &pattern.segments {
            node = match segment {
                Segment::Literal(text) => node.literal(text),
                Segment::Param(_) => node.param.get_or_insert_default(),
            };
        }
        // The path `/` has one segment, which is empty.
        if pattern.segments.is_empty() && pattern.tail == Tail::Exact {
            node = node.literal("");
        }
        let routes = if pattern.tail == Tail::Exact { &mut node.exact } else { &mut node.tail };
        routes.push(route);
    }

    fn literal(&mut self, text: &str) -> &mut Node {
        let at = match self.literals.binary_search_by(|(known, _)| known.as_ref().cmp(text)) {
            Ok(at) => at,
            Err(at) => {
                self.literals.insert(at, (text.into(), Node::default()));
                at
            }
        };
        &mut self.literals[at].1
    }

    /// Puts the routes that name their methods before those that take all.
    fn settle(&mut self, routes: &[Entry]) {
        self.exact.sort_by_key(|&route| routes[route].methods.is_empty());
        self.tail.sort_by_key(|&route| routes[route].methods.is_empty());
        self.literals.iter_mut().for_each(|(_, node)| node.settle(routes));
        if let Some(node) = &mut self.param {
            node.settle(routes);
        }
    }

    /// The first route that `pick` takes, the most specific place first. `rest` is what follows the slash after this
    /// place, or `None` when the path ends here. As deep as the longest pattern.
    fn find(&self, rest: Option<&str>, pick: &impl Fn(&[usize]) -> Option<usize>) -> Option<usize> {
        let Some(rest) = rest else {
            return pick(&self.exact).or_else(|| pick(&self.tail));
        };
        if !self.literals.is_empty() || self.param.is_some() {
            let (segment, below) = first_segment(rest);
            if let Some(found) = self.literal_child(segment).and_then(|node| node.find(below, pick)) {
                return Some(found);
            }
            if !segment.is_empty()
                && let Some(found) = self.param.as_deref().and_then(|node| node.find(below, pick))
            {
                return Some(found);
            }
        }
        pick(&self.tail)
    }

    /// Shows the routes of every place that the path reaches.
    fn visit(&self, rest: Option<&str>, see: &mut impl FnMut(&[usize])) {
        see(&self.tail);
        let Some(rest) = rest else {
            see(&self.exact);
            return;
        };
        let (segment, below) = first_segment(rest);
        if let Some(node) = self.literal_child(segment) {
            node.visit(below, see);
        }
        if !segment.is_empty()
            && let Some(node) = self.param.as_deref()
        {
            node.visit(below, see);
        }
    }

    fn literal_child(&self, segment: &str) -> Option<&Node> {
        if self.literals.is_empty() {
            return None;
        }
        let text = decode(segment);
        let at = self.literals.binary_search_by(|(known, _)| known.as_ref().cmp(text.as_ref())).ok()?;
        Some(&self.literals[at].1)
    }
}

fn first_segment(rest: &str) -> (&str, Option<&str>) {
    match memchr(b'/', rest.as_bytes()) {
        Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
        None => (rest, None),
    }
}

/// The path as an app sees it that cuts `;parameters`, when there are any.
fn without_parameters(path: &str) -> Option<String> {
    if memchr(b';', path.as_bytes()).is_none() && !path.contains("%3B") {
        return None;
    }
    let mut cut = String::with_capacity(path.len());
    let mut parts = path.strip_prefix('/')?.split('/').peekable();
    while let Some(part) = parts.next() {
        let end = [part.find(';'), part.find("%3B")].into_iter().flatten().min().unwrap_or(part.len());
        // A segment that was nothing but parameters leaves `//`, which such apps merge.
        if end > 0 || parts.peek().is_none() {
            cut.push('/');
            cut.push_str(&part[..end]);
        }
    }
    Some(cut)
}

fn host_key(pattern: &str) -> String {
    let bracketed = if pattern.contains(':') && !pattern.starts_with('[') {
        Cow::Owned(format!("[{pattern}]"))
    } else {
        Cow::Borrowed(pattern)
    };
    match crate::host::parse(bracketed.as_bytes()) {
        Some(authority) => authority.host.into_owned(),
        None => pattern.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests;
