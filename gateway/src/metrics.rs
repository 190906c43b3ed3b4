//! What is counted, for Prometheus. No label value comes from a client: routes, names and classes are the
//! policy's, methods and codes are from closed lists.
//!
//! What is counted once a request goes through handles that are made when a policy is built ([`RouteMetrics`],
//! [`UpstreamMetrics`]): an index into a small table and an atomic addition, no label is hashed. Series are made
//! when they are first needed.
//!
//! Beside the names of the contract there are `menshen_log_lost_total`, `menshen_observed_total`,
//! `menshen_scan_cache_hits_total` and `menshen_scanner_up`.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use filters::Reason;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Seconds, for whole requests and for the app's part.
const REQUEST_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Seconds, for the scan of one file.
const SCAN_BUCKETS: [f64; 9] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 5.0, 15.0, 60.0];

const METHODS: [&str; 10] =
    ["GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "OTHER"];
/// Statuses 100 to 599, and one place for all others.
const STATUSES: usize = 501;

/// Every metric there is. One for the process: it outlives reloads.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    denied: IntCounterVec,
    observed: IntCounterVec,
    upstream_duration: HistogramVec,
    upstream_up: IntGaugeVec,
    upload_files: IntCounterVec,
    scan_duration: HistogramVec,
    scan_failures: IntCounterVec,
    scan_cache_hits: IntCounterVec,
    scanner_up: IntGaugeVec,
    spool_bytes: IntGaugeVec,
    rate_limited: IntCounterVec,
    websockets: IntGaugeVec,
    reloads: IntCounterVec,
    loaded: Gauge,
    state_errors: IntCounterVec,
    certificate_expiry: GaugeVec,
    audit_lost: IntCounter,
    log_lost: IntCounterVec,
    unmatched: OnceLock<RouteMetrics>,
}

impl Metrics {
    /// All of them, at zero.
    ///
    /// # Errors
    /// Never in practice: only if two metrics here had one name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let seconds = |name: &str, help: &str, buckets: &[f64], labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(r, HistogramVec::new(options, labels)?)
        };
        let count = |name: &str, help: &str, labels: &[&str]| {
            registered(r, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let level = |name: &str, help: &str, labels: &[&str]| {
            registered(r, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let metrics = Self {
            requests: count(
                "menshen_requests_total",
                "Finished requests.",
                &["site", "route", "method", "status"],
            )?,
            request_duration: seconds(
                "menshen_request_duration_seconds",
                "From the first byte of a request to the last of its answer.",
                &REQUEST_BUCKETS,
                &["site", "route"],
            )?,
            denied: count("menshen_denied_total", "Requests refused.", &["route", "code"])?,
            observed: count(
                "menshen_observed_total",
                "Requests that a rule under observation would have refused.",
                &["route", "code"],
            )?,
            upstream_duration: seconds(
                "menshen_upstream_duration_seconds",
                "The app's part in a request.",
                &REQUEST_BUCKETS,
                &["upstream"],
            )?,
            upstream_up: level("menshen_upstream_up", "1 while a server is well.", &["upstream", "server"])?,
            upload_files: count(
                "menshen_upload_files_total",
                "Uploaded files by class (none when refused) and verdict.",
                &["class", "verdict"],
            )?,
            scan_duration: seconds(
                "menshen_scan_duration_seconds",
                "Scans for malware, one file each.",
                &SCAN_BUCKETS,
                &["engine"],
            )?,
            scan_failures: count("menshen_scan_failures_total", "Scans without a verdict.", &["engine"])?,
            scan_cache_hits: count(
                "menshen_scan_cache_hits_total",
                "Verdicts given again without a scan.",
                &["engine"],
            )?,
            scanner_up: level("menshen_scanner_up", "1 while a clamd answers.", &["server"])?,
            spool_bytes: level("menshen_spool_bytes", "Bytes of bodies that wait.", &["kind"])?,
            rate_limited: count("menshen_rate_limited_total", "Requests beyond a limit.", &["name"])?,
            websockets: level("menshen_websocket_connections", "Open WebSockets.", &["route"])?,
            reloads: count("menshen_config_reloads_total", "Reloads: accepted or rejected.", &["result"])?,
            loaded: registered(
                r,
                Gauge::new("menshen_config_loaded_timestamp_seconds", "When the policy in use was loaded.")?,
            )?,
            state_errors: count(
                "menshen_state_errors_total",
                "Questions that shared state did not answer.",
                &["op"],
            )?,
            certificate_expiry: registered(
                r,
                GaugeVec::new(
                    Opts::new(
                        "menshen_tls_certificate_expiry_seconds",
                        "When a certificate ends, in Unix seconds.",
                    ),
                    &["host"],
                )?,
            )?,
            audit_lost: registered(
                r,
                IntCounter::new("menshen_audit_lost_total", "Audit lines that could not be written.")?,
            )?,
            log_lost: count(
                "menshen_log_lost_total",
                "Log lines that could not be written in time.",
                &["log"],
            )?,
            unmatched: OnceLock::new(),
            registry: registry.clone(),
        };
        registry.register(Box::new(ProcessCollector::for_self()))?;
        for result in ["accepted", "rejected"] {
            metrics.reloads.with_label_values(&[result]);
        }
        for kind in ["memory", "disk"] {
            metrics.spool_bytes.with_label_values(&[kind]);
        }
        let unmatched = metrics.handles("none", "none", None);
        metrics.unmatched.set(unmatched).expect("nobody else has the metrics yet");
        Ok(metrics)
    }

    /// The handles of a route. `site` is the first host of its site, `pattern` its path as written.
    pub fn route(&self, site: &str, pattern: &str) -> RouteMetrics {
        self.handles(site, pattern, Some(pattern))
    }

    /// The handles for requests that met no route.
    pub fn unmatched(&self) -> &RouteMetrics {
        self.unmatched.get().expect("set when the metrics were made")
    }

    /// The handles of an upstream, by its name in the policy.
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics { duration: self.upstream_duration.with_label_values(&[name]) }
    }

    /// Which servers of the upstreams in force are well; all others are forgotten.
    pub fn upstreams_up<'a>(&self, servers: impl Iterator<Item = (&'a str, &'a str, bool)>) {
        self.upstream_up.reset();
        for (upstream, server, up) in servers {
            self.upstream_up.with_label_values(&[upstream, server]).set(up.into());
        }
    }

    /// Counts one file. Both from closed lists: a class of the policy, a verdict.
    pub fn upload_file(&self, class: &str, verdict: &str) {
        self.upload_files.with_label_values(&[class, verdict]).inc();
    }

    /// Counts one scan; `failed` when it gave no verdict.
    pub fn scanned(&self, engine: &str, duration: Duration, failed: bool) {
        self.scan_duration.with_label_values(&[engine]).observe(duration.as_secs_f64());
        if failed {
            self.scan_failures.with_label_values(&[engine]).inc();
        }
    }

    /// Counts one verdict that was given again.
    pub fn scan_cache_hit(&self, engine: &str) {
        self.scan_cache_hits.with_label_values(&[engine]).inc();
    }

    /// Which clamds of the policy in force answer; all others are forgotten.
    pub fn scanners_up(&self, servers: impl IntoIterator<Item = (String, bool)>) {
        self.scanner_up.reset();
        for (server, up) in servers {
            self.scanner_up.with_label_values(&[&server]).set(up.into());
        }
    }

    /// Bytes that wait in `memory` or on `disk`: a handle to keep.
    pub fn spool_bytes(&self, kind: &'static str) -> IntGauge {
        self.spool_bytes.with_label_values(&[kind])
    }

    /// Counts one request beyond the limit of this name.
    pub fn rate_limited(&self, name: &str) {
        self.rate_limited.with_label_values(&[name]).inc();
    }

    /// Counts a reload; an accepted one sets the time.
    pub fn reloaded(&self, accepted: bool, now: SystemTime) {
        self.reloads.with_label_values(&[if accepted { "accepted" } else { "rejected" }]).inc();
        if accepted {
            self.policy_loaded(now);
        }
    }

    /// Sets when the policy in use was loaded, without counting a reload: at the start.
    pub fn policy_loaded(&self, now: SystemTime) {
        self.loaded.set(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }

    /// Counts a question that shared state did not answer.
    pub fn state_error(&self, op: &'static str) {
        self.state_errors.with_label_values(&[op]).inc();
    }

    /// Sets when the certificate of a host ends, in Unix seconds; forgets all others when `hosts` are all there are.
    pub fn certificates<'a>(&self, hosts: impl IntoIterator<Item = (&'a str, i64)>) {
        self.certificate_expiry.reset();
        for (host, ends) in hosts {
            self.certificate_expiry.with_label_values(&[host]).set(ends as f64);
        }
    }

    /// For the audit trail, which counts on its own.
    pub fn audit_lost(&self) -> IntCounter {
        self.audit_lost.clone()
    }

    /// Sets how many lines the named log has lost so far; to be called before [`encode`](Self::encode).
    pub fn log_lost(&self, log: &'static str, lost: u64) {
        let counter = self.log_lost.with_label_values(&[log]);
        counter.inc_by(lost.saturating_sub(counter.get()));
    }

    /// The text exposition format, version 0.0.4.
    pub fn encode(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    fn handles(&self, site: &str, label: &str, pattern: Option<&str>) -> RouteMetrics {
        RouteMetrics {
            site: site.into(),
            label: label.into(),
            pattern: pattern.map(Into::into),
            duration: self.request_duration.with_label_values(&[site, label]),
            requests: self.requests.clone(),
            denied: self.denied.clone(),
            websockets: self.websockets.clone(),
            by_method: Default::default(),
            by_reason: (0..Reason::ALL.len()).map(|_| OnceLock::new()).collect(),
        }
    }
}

/// What is counted for one route.
#[derive(Debug)]
pub struct RouteMetrics {
    site: Arc<str>,
    label: Arc<str>,
    pattern: Option<Arc<str>>,
    duration: Histogram,
    requests: IntCounterVec,
    denied: IntCounterVec,
    websockets: IntGaugeVec,
    by_method: [OnceLock<Box<[OnceLock<IntCounter>]>>; METHODS.len()],
    by_reason: Box<[OnceLock<IntCounter>]>,
}

impl RouteMetrics {
    /// The route's path as written; `None` for requests that met no route.
    pub fn pattern(&self) -> Option<&str> {
        self.pattern.as_deref()
    }

    /// Counts a finished request. A method that is not one of the known ones is `OTHER`.
    pub fn finished(&self, method: &[u8], status: u16, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
        let method = METHODS.iter().position(|known| known.as_bytes() == method).unwrap_or(METHODS.len() - 1);
        let statuses =
            self.by_method[method].get_or_init(|| (0..STATUSES).map(|_| OnceLock::new()).collect());
        let index = usize::from(status).checked_sub(100).filter(|index| *index < STATUSES - 1);
        let counter = &statuses[index.unwrap_or(STATUSES - 1)];
        counter.get_or_init(|| self.counter(METHODS[method], index.map(|_| status))).inc();
    }

    /// Counts a refusal.
    pub fn denied(&self, reason: Reason) {
        let place =
            Reason::ALL.iter().position(|known| *known == reason).and_then(|at| self.by_reason.get(at));
        let make = || self.denied.with_label_values(&[&*self.label, reason.code()]);
        match place {
            Some(counter) => counter.get_or_init(make).inc(),
            None => make().inc(),
        }
    }

    /// Counts a refusal that was not carried out.
    pub fn observed(&self, metrics: &Metrics, reason: Reason) {
        metrics.observed.with_label_values(&[&*self.label, reason.code()]).inc();
    }

    /// The route's open WebSockets: a handle to keep.
    pub fn websockets(&self) -> IntGauge {
        self.websockets.with_label_values(&[&self.label])
    }

    fn counter(&self, method: &str, status: Option<u16>) -> IntCounter {
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.requests.with_label_values(&[&*self.site, &self.label, method, &status])
    }
}

/// What is counted for one upstream.
#[derive(Debug, Clone)]
pub struct UpstreamMetrics {
    duration: Histogram,
}

impl UpstreamMetrics {
    /// Counts its part in a request.
    pub fn finished(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn counts_a_request_by_site_route_method_and_status() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route("a.example", "/api/*");
        route.finished(b"GET", 200, Duration::from_millis(3));
        route.finished(b"GET", 200, Duration::from_millis(3));
        route.finished(b"BREW", 0, Duration::from_millis(3));
        metrics.unmatched().finished(b"POST", 404, Duration::ZERO);
        let text = metrics.encode();
        for line in [
            r#"menshen_requests_total{method="GET",route="/api/*",site="a.example",status="200"} 2"#,
            r#"menshen_requests_total{method="OTHER",route="/api/*",site="a.example",status="none"} 1"#,
            r#"menshen_requests_total{method="POST",route="none",site="none",status="404"} 1"#,
            r#"menshen_request_duration_seconds_count{route="/api/*",site="a.example"} 3"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_handles_of_the_next_policy_go_on_counting() {
        let metrics = Metrics::new().unwrap();
        for _ in 0..2 {
            metrics.route("a.example", "/").finished(b"PUT", 204, Duration::ZERO);
        }
        assert!(metrics.encode().contains(r#"method="PUT",route="/",site="a.example",status="204"} 2"#));
    }

    #[test]
    fn exposes_every_name_of_the_contract() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route("a.example", "/");
        route.finished(b"GET", 200, Duration::ZERO);
        route.denied(Reason::AuthMissing);
        route.observed(&metrics, Reason::RateLimited);
        route.websockets().inc();
        metrics.upstream("u").finished(Duration::ZERO);
        metrics.upstreams_up([("u", "127.0.0.1:1", true)].into_iter());
        metrics.upload_file("image", "clean");
        metrics.scanned("clamav", Duration::from_millis(7), true);
        metrics.rate_limited("login");
        metrics.reloaded(false, UNIX_EPOCH);
        metrics.state_error("rate");
        metrics.certificates([("a.example", 1)]);
        let text = metrics.encode();
        for name in [
            "menshen_requests_total",
            "menshen_request_duration_seconds_bucket",
            "menshen_upstream_duration_seconds_sum",
            "menshen_upstream_up",
            "menshen_upload_files_total",
            "menshen_scan_duration_seconds_count",
            "menshen_scan_failures_total",
            "menshen_spool_bytes",
            "menshen_rate_limited_total",
            "menshen_websocket_connections",
            "menshen_config_loaded_timestamp_seconds",
            "menshen_state_errors_total",
            "menshen_tls_certificate_expiry_seconds",
            "menshen_audit_lost_total",
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_open_fds",
        ] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not in\n{text}");
        }
        for line in [
            r#"menshen_denied_total{code="auth.missing",route="/"} 1"#,
            r#"menshen_observed_total{code="rate.limited",route="/"} 1"#,
            r#"menshen_config_reloads_total{result="rejected"} 1"#,
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    #[test]
    #[ignore = "a measurement"]
    fn measures_what_counting_costs() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route("a.example", "/");
        let rounds = 2_000_000_u32;
        let started = Instant::now();
        for _ in 0..rounds {
            route.finished(std::hint::black_box(b"GET"), 200, Duration::from_millis(2));
        }
        println!("count: {} ns", started.elapsed().as_nanos() / u128::from(rounds));
    }

    #[test]
    fn servers_that_are_no_longer_there_are_forgotten() {
        let metrics = Metrics::new().unwrap();
        metrics.upstreams_up([("a", "127.0.0.1:1", true), ("a", "127.0.0.1:2", false)].into_iter());
        metrics.scanners_up([("tcp://127.0.0.1:3".to_owned(), true)]);
        metrics.upstreams_up([("a", "127.0.0.1:2", true)].into_iter());
        metrics.scanners_up([("tcp://127.0.0.1:4".to_owned(), false)]);
        let text = metrics.encode();
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("_up{")).collect();
        let expected = [
            r#"menshen_scanner_up{server="tcp://127.0.0.1:4"} 0"#,
            r#"menshen_upstream_up{server="127.0.0.1:2",upstream="a"} 1"#,
        ];
        assert_eq!(lines, expected);
    }
}
