//! One policy, built for serving, swapped as a whole.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use config::{Action, Config, Loaded, Problem, Tenant};
use filters::exchange::Exchange;
use filters::pipeline::{Pipeline, Route};
use filters::scrub::Scrubber;

use crate::listener::Listener;
use crate::metrics::{Metrics, RouteMetrics, UpstreamMetrics};
use crate::record::Reporter;
use crate::scanners;
use crate::shared::Shared;
use crate::spool::Spool;
use crate::stores::SharedStores;
use crate::tls;
use crate::upstream::{MAX_SERVERS, Servers, Upstream};

/// Everything that a reload replaces.
pub struct Snapshot {
    /// What the operator wrote.
    pub config: Config,
    /// The decisions.
    pub pipeline: Pipeline,
    /// The apps.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Where bodies wait.
    pub spool: Spool,
    /// Where finished requests are reported.
    pub reporter: Reporter,
    /// Counts policies, from 1.
    pub generation: u64,
    /// SHA-256 of everything that was read, in hexadecimal.
    pub digest: String,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// Every file it came from.
    pub files: Vec<PathBuf>,
    routes: Vec<RouteMetrics>,
    upstream_metrics: Vec<UpstreamMetrics>,
    targets: Vec<Option<usize>>,
}

/// Loads a policy from files and builds it. The error has one line per problem.
pub fn load(
    paths: &[PathBuf],
    build: impl FnOnce(Loaded) -> Result<Snapshot, Vec<Problem>>,
) -> Result<Snapshot, Vec<String>> {
    config::load(paths, &config::Environment::process())
        .and_then(build)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

impl Snapshot {
    /// Builds what a policy describes. Reads certificates, opens log files; binds nothing and connects to nobody.
    pub fn build(
        loaded: Loaded,
        servers: &Servers,
        metrics: &Arc<Metrics>,
        stores: &SharedStores,
        running: Option<&Shared>,
    ) -> Result<Self, Vec<Problem>> {
        let before = running.map(Shared::snapshot);
        let mut problems = problems_outside(&loaded);
        let config = &loaded.config;
        let built = match stores.scanners(config, metrics) {
            Ok(scanners) => {
                let built = stores.of(config, scanners, metrics).and_then(|(given, outliving)| {
                    Pipeline::build(config, &given).map(|pipeline| (pipeline, outliving))
                });
                match built {
                    Ok(built) => Some(built),
                    Err((key, what)) => {
                        problems.push(loaded.problem(&key, &what, "a value that can be used"));
                        None
                    }
                }
            }
            Err(faults) => {
                problems.extend(faults);
                None
            }
        };
        let Some((pipeline, outliving)) = built.filter(|_| problems.is_empty()) else { return Err(problems) };
        let scrubber = Arc::new(Scrubber::build(&config.log.scrub));
        let reporter =
            Reporter::build(config, &scrubber, metrics, before.as_ref().map(|before| &before.reporter))
                .map_err(|error| {
                    vec![loaded.problem("log", error.to_string(), "a path that this process can write to")]
                })?;
        let upstreams: Vec<_> = config
            .upstreams
            .iter()
            .map(|(name, settings)| Arc::new(servers.upstream(name, settings)))
            .collect();
        let index = |name: &str| upstreams.iter().position(|upstream| *upstream.name == *name);
        let targets = pipeline.routes().iter().map(|route| match &route.settings.action {
            Action::Upstream { name, .. } => index(name),
            Action::Redirect { .. } | Action::Respond { .. } => None,
        });
        let expiry = config.listeners.iter().filter_map(|listener| tls::load(listener.tls.as_ref()?).ok());
        let expiry: Vec<_> = expiry.flat_map(|table| table.expiry).collect();
        let seconds =
            |end: &SystemTime| end.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_secs() as i64);
        metrics.certificates(expiry.iter().map(|(name, end)| (name.as_str(), seconds(end))));
        stores.keep(outliving);
        Ok(Self {
            targets: targets.collect(),
            routes: pipeline
                .routes()
                .iter()
                .map(|route| metrics.route(&route.site, &route.pattern))
                .collect(),
            upstream_metrics: upstreams.iter().map(|upstream| metrics.upstream(&upstream.name)).collect(),
            spool: match &before {
                Some(before) => {
                    before.spool.apply(config.spool.clone());
                    before.spool.clone()
                }
                None => Spool::new(config.spool.clone()),
            },
            reporter,
            generation: before.map_or(1, |before| before.generation + 1),
            digest: hex::encode(loaded.digest),
            loaded_at: SystemTime::now(),
            files: loaded.files.clone(),
            pipeline,
            upstreams,
            config: loaded.config,
        })
    }

    /// The app that answers a route for this tenant.
    pub fn upstream(&self, route: usize, tenant: Option<&Tenant>) -> Option<usize> {
        let own = self.targets.get(route).copied().flatten()?;
        let other = self.pipeline.routes()[route].upstream_of(tenant);
        let other = other.and_then(|other| self.upstreams.iter().position(|one| *one.name == *other));
        Some(other.unwrap_or(own))
    }

    /// The metrics of the route a request met.
    pub fn route_metrics<'a>(&'a self, exchange: &Exchange, metrics: &'a Metrics) -> &'a RouteMetrics {
        exchange.route.and_then(|route| self.routes.get(route)).unwrap_or_else(|| metrics.unmatched())
    }

    /// The metrics of an upstream.
    pub fn upstream_metrics(&self, upstream: usize) -> &UpstreamMetrics {
        &self.upstream_metrics[upstream]
    }

    /// The route a request met.
    pub fn route(&self, exchange: &Exchange) -> Option<&Route> {
        exchange.route.and_then(|route| self.pipeline.routes().get(route))
    }
}

fn problems_outside(loaded: &Loaded) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, upstream) in &loaded.config.upstreams {
        if upstream.servers.len() > MAX_SERVERS {
            let key = format!("upstreams.{name}.servers");
            let what = format!("{} servers are more than are asked in turn", upstream.servers.len());
            problems.push(loaded.problem(&key, what, format!("at most {MAX_SERVERS}")));
        }
    }
    for (at, listener) in loaded.config.listeners.iter().enumerate() {
        let Some(tls) = &listener.tls else { continue };
        let Err(unusable) = tls::load(tls) else { continue };
        for one in unusable {
            let key = format!("listeners[{at}].tls.certificates[{}].{}", one.index, one.key);
            let remedy = "a PEM file of the certificate chain, leaf first, and one of its private key";
            problems.push(loaded.problem(&key, &one.what, remedy));
        }
    }
    problems
}

/// What `check` says of certificates that end soon.
pub fn certificate_warnings(loaded: &Loaded) -> Vec<Problem> {
    let soon = SystemTime::now() + std::time::Duration::from_secs(30 * 24 * 3600);
    let mut warnings = Vec::new();
    for (at, listener) in loaded.config.listeners.iter().enumerate() {
        let Some(Ok(table)) = listener.tls.as_ref().map(tls::load) else { continue };
        for (index, (name, end)) in table.expiry.iter().enumerate() {
            if *end < soon {
                let key = format!("listeners[{at}].tls.certificates[{index}].cert");
                let end = crate::timestamp::rfc3339(*end);
                let what = format!("the certificate of {name} ends at {end}");
                warnings.push(loaded.problem(&key, &what, "renew it"));
            }
        }
    }
    warnings
}

/// Gives the listeners the certificates of a new policy.
pub fn adopt_certificates(snapshot: &Snapshot, listeners: &[Arc<Listener>]) {
    for listener in listeners {
        let same = |one: &&config::Listener| one.tls.is_some() && one.address == listener.settings.address;
        let settings = snapshot.config.listeners.iter().find(same);
        if let (Some(resolver), Some(tls)) = (&listener.resolver, settings.and_then(|one| one.tls.as_ref()))
            && let Ok(table) = tls::load(tls)
        {
            resolver.replace(table);
        }
    }
}

/// What of a new policy's listeners cannot be put in force without a new process.
pub fn listener_changes(config: &Config, running: &[Arc<Listener>]) -> Vec<String> {
    let is_same = |one: &config::Listener, other: &config::Listener| {
        one.address == other.address
            && one.http1 == other.http1
            && one.http2 == other.http2
            && one.tls.is_some() == other.tls.is_some()
            && one.redirect_https == other.redirect_https
            && one.proxy_protocol == other.proxy_protocol
    };
    let new =
        config.listeners.iter().filter(|one| !running.iter().any(|other| is_same(one, &other.settings)));
    let gone =
        running.iter().filter(|one| !config.listeners.iter().any(|other| is_same(other, &one.settings)));
    new.map(|one| format!("listener {} is new or changed: it needs an upgrade, or a restart", one.address))
        .chain(gone.map(|one| {
            format!("listener {} is gone or changed: it needs an upgrade, or a restart", one.address)
        }))
        .collect()
}

/// Builds a policy as `run` would, without its sinks: certificates, keys and names are loaded, nothing is bound,
/// connected to, or written.
pub fn check(loaded: &Loaded) -> Result<(), Vec<Problem>> {
    let mut problems = problems_outside(loaded);
    problems.extend(scanners::rules(&loaded.config.scanner).err().into_iter().flatten());
    let built =
        SharedStores::offline(&loaded.config).and_then(|stores| Pipeline::build(&loaded.config, &stores));
    if let Err((key, what)) = built {
        problems.push(loaded.problem(&key, &what, "a value that can be used"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use config::Environment;

    use super::*;

    /// Builds a policy that scans with the clamd at this port, and writes its access log to this file.
    fn built(
        port: u16,
        log: &Path,
        metrics: &Arc<Metrics>,
        stores: &SharedStores,
    ) -> Result<Snapshot, Vec<Problem>> {
        let text = format!(
            r#"
version: 1
listeners: [{{ address: "127.0.0.1:8080" }}]
scanner: {{ backend: clamd, address: "tcp://127.0.0.1:{port}" }}
log: {{ access: {{ path: {} }} }}
sites:
  - hosts: ["*"]
    routes: [{{ path: /*, auth: none, respond: {{ status: 204 }} }}]
"#,
            log.display()
        );
        let loaded = config::load_text("menshen.yaml", &text, &Environment::empty())?;
        Snapshot::build(loaded, &Servers::default(), metrics, stores, None)
    }

    #[tokio::test]
    async fn a_policy_that_is_refused_at_the_end_changes_nothing_that_outlives_it() {
        let folder = tempfile::tempdir().unwrap();
        let (log, nowhere) = (folder.path().join("access.log"), folder.path().join("missing/access.log"));
        let metrics = Arc::new(Metrics::new().unwrap());
        let stores = SharedStores::new(tokio::runtime::Handle::current());
        let servers = |port: u16| vec![(format!("tcp://127.0.0.1:{port}"), true)];
        built(1, &log, &metrics, &stores).map(drop).unwrap();
        assert_eq!(stores.scanner_servers(), servers(1));
        let refused = built(2, &nowhere, &metrics, &stores).map(drop).unwrap_err();
        assert_eq!(refused[0].key, "log", "{refused:?}");
        assert_eq!(stores.scanner_servers(), servers(1));
        built(2, &log, &metrics, &stores).map(drop).unwrap();
        assert_eq!(stores.scanner_servers(), servers(2));
    }
}
