//! What is reported about one finished request, and the one place that reports it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use filters::scrub::Scrubber;
use filters::{FieldProblem, FileReport, Reason};

use crate::access_log::AccessLog;
use crate::audit::{Actor, Audit, Event};
use crate::error_log::ErrorLog;
use crate::log_file::LogFile;
use crate::metrics::{Metrics, RouteMetrics, UpstreamMetrics};

/// One finished request. Bytes are as the client sent them, not scrubbed: whatever leaves goes through the scrubber.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When it ended.
    pub time: SystemTime,
    /// Under which it was reported to client and upstream.
    pub request_id: &'a str,
    /// The W3C trace id, 32 hex digits.
    pub trace_id: &'a str,
    /// The client's address, as far as proxies in front are trusted.
    pub client: IpAddr,
    /// The tenant's id.
    pub tenant: Option<&'a str>,
    /// Who asked.
    pub subject: Option<&'a str>,
    /// As sent; `-` when the request could not be read.
    pub method: &'a [u8],
    /// As matched, else as sent; empty when there was none.
    pub host: &'a [u8],
    /// As matched, else as sent; empty when the request could not be read.
    pub path: &'a [u8],
    /// Without its `?`.
    pub query: Option<&'a [u8]>,
    /// What the client was answered; 0 when nothing was.
    pub status: u16,
    /// Bytes of request body received.
    pub bytes_in: u64,
    /// Bytes of response body sent.
    pub bytes_out: u64,
    /// From the first byte of the request to the last of the answer.
    pub duration: Duration,
    /// The app that was asked, when one was.
    pub upstream: Option<Asked<'a>>,
    /// The route, by its handles; [`Metrics::unmatched`] when there was none.
    pub route: &'a RouteMetrics,
    /// Why it was refused.
    pub refusal: Option<Refusal<'a>>,
    /// `User-Agent`
    pub user_agent: Option<&'a [u8]>,
    /// `Referer`
    pub referer: Option<&'a [u8]>,
    /// The TLS version, such as `TLSv1.3`.
    pub tls: Option<&'a str>,
    /// `HTTP/1.1`, `HTTP/2.0`
    pub protocol: &'a str,
    /// What rules under observation would have refused.
    pub observed: &'a [Observed],
    /// Whether the route audits every request.
    pub audited: bool,
    /// Files that passed.
    pub files: &'a [FileReport],
    /// What the answer said of a login.
    pub login: Login<'a>,
}

/// The upstream's part in a request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What the access log says: the upstream's name or its server's address.
    pub name: &'a str,
    /// From sending the head to the last byte of the answer.
    pub duration: Duration,
    /// Its handles.
    pub metrics: &'a UpstreamMetrics,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The line of the table.
    pub reason: Reason,
    /// Which rule refused.
    pub filter: &'static str,
    /// For the operator; from the denial.
    pub detail: &'a str,
    /// Single fields, from the denial.
    pub errors: &'a [FieldProblem],
    /// The name of the limit, when it was a rate limit.
    pub rate: Option<&'a str>,
}

/// A refusal that was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// Which rule.
    pub filter: &'static str,
    /// Which line of the table.
    pub reason: Reason,
}

/// What the answer of a route with `lockout:` said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Login<'a> {
    /// Nothing, or no such route.
    #[default]
    None,
    /// A failure, counted under this key.
    Failed(&'a str),
    /// The failure that locked this key.
    Locked(&'a str),
}

/// Reports finished requests by the policy they were served by. Belongs to the snapshot; the sinks outlive it.
#[derive(Debug)]
pub struct Reporter {
    metrics: Arc<Metrics>,
    access: Option<AccessLog>,
    audit: Option<Arc<Audit>>,
}

impl Reporter {
    /// With the sinks that this policy asks for.
    pub fn new(metrics: Arc<Metrics>, access: Option<AccessLog>, audit: Option<Arc<Audit>>) -> Self {
        Self { metrics, access, audit }
    }

    /// For a policy: sinks that the one before it has open at the same place are taken over, others are opened.
    /// To be called when everything else of the policy is built, because from here on the audit trail hides by the
    /// new policy's patterns.
    ///
    /// # Errors
    /// When a log or the audit trail cannot be opened; then nothing has changed.
    pub fn build(
        policy: &config::Config,
        scrubber: &Arc<Scrubber>,
        metrics: &Arc<Metrics>,
        before: Option<&Reporter>,
    ) -> io::Result<Self> {
        let access = match &policy.log.access {
            None => None,
            Some(wanted) => {
                let open = before.and_then(Reporter::access).map(AccessLog::sink);
                let sink = match open.filter(|sink| *sink.target() == wanted.path) {
                    Some(sink) => Arc::clone(sink),
                    None => Arc::new(LogFile::open(&wanted.path)?),
                };
                Some(AccessLog::new(sink, wanted.format, Arc::clone(scrubber)))
            }
        };
        let audit = match &policy.audit {
            None => None,
            Some(wanted) => {
                match before.and_then(Reporter::audit).filter(|audit| *audit.path() == wanted.path) {
                    Some(audit) => {
                        audit.configure(Arc::clone(scrubber));
                        Some(Arc::clone(audit))
                    }
                    None => {
                        Some(Arc::new(Audit::open(&wanted.path, Arc::clone(scrubber), metrics.audit_lost())?))
                    }
                }
            }
        };
        Ok(Self::new(Arc::clone(metrics), access, audit))
    }

    /// The metrics as text, with what the logs have lost so far.
    pub fn metrics(&self) -> String {
        self.metrics.log_lost("access", self.access.as_ref().map_or(0, |access| access.sink().lost()));
        self.metrics.log_lost("error", ErrorLog::installed().map_or(0, ErrorLog::lost));
        self.metrics.encode()
    }

    /// Has the files opened anew, on USR1.
    pub fn reopen(&self) {
        if let Some(access) = &self.access {
            access.sink().reopen();
        }
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
    }

    /// Waits until everything is written, `limit` at most for each. Returns whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let access = self.access.as_ref().is_none_or(|access| access.sink().flush(limit));
        self.audit.as_ref().is_none_or(|audit| audit.flush(limit)) && access
    }

    /// The access log, to be taken over by the next snapshot, reopened or flushed.
    pub fn access(&self) -> Option<&AccessLog> {
        self.access.as_ref()
    }

    /// The audit trail.
    pub fn audit(&self) -> Option<&Arc<Audit>> {
        self.audit.as_ref()
    }

    /// Counts, audits and logs. To be called once for every request, whatever became of it; never waits.
    pub fn finish(&self, record: &Record<'_>) {
        self.count(record);
        if let Some(audit) = &self.audit {
            append_events(audit, record);
        }
        if let Some(access) = &self.access {
            access.write(record);
        }
    }

    fn count(&self, record: &Record<'_>) {
        record.route.finished(record.method, record.status, record.duration);
        if let Some(asked) = &record.upstream {
            asked.metrics.finished(asked.duration);
        }
        for observed in record.observed {
            record.route.observed(&self.metrics, observed.reason);
        }
        if let Some(refusal) = &record.refusal {
            record.route.denied(refusal.reason);
            if let Some(name) = refusal.rate {
                self.metrics.rate_limited(name);
            }
            if let Some(verdict) = refusal.reason.code().strip_prefix("upload.") {
                self.metrics.upload_file("none", verdict);
            }
        }
        for file in record.files {
            self.metrics.upload_file(&file.class, file.scan);
        }
    }
}

/// One line for every thing that happened to the request.
fn append_events(audit: &Audit, record: &Record<'_>) {
    let event = |name: &'static str, outcome: &'static str| Event::of(name, outcome, Actor::of(record));
    if let Some(refusal) = &record.refusal {
        let mut line = event("refusal", "denied")
            .text("code", refusal.reason.code())
            .text("filter", refusal.filter)
            .text("detail", refusal.detail);
        if !refusal.errors.is_empty() {
            line = line.list("errors", refusal.errors);
        }
        audit.append(line);
    }
    for observed in record.observed {
        let code = observed.reason.code();
        audit.append(event("refusal", "observed").text("code", code).text("filter", observed.filter));
    }
    if !record.files.is_empty() {
        audit.append(
            event("upload", if record.refusal.is_none() { "passed" } else { "denied" })
                .list("files", record.files),
        );
    }
    match record.login {
        Login::None => {}
        Login::Failed(key) => audit.append(event("login_failure", "counted").text("key", key)),
        Login::Locked(key) => {
            audit.append(event("login_failure", "counted").text("key", key));
            audit.append(event("lockout", "locked").text("key", key));
        }
    }
    if record.audited && record.refusal.is_none() {
        audit.append(event("request", "passed"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Instant, UNIX_EPOCH};

    use config::{AccessFormat, LogTarget};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    struct Place {
        folder: tempfile::TempDir,
        metrics: Arc<Metrics>,
        reporter: Reporter,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let metrics = Arc::new(Metrics::new().unwrap());
            let sink = LogFile::open(&LogTarget::File(folder.path().join("access.log"))).unwrap();
            let access = AccessLog::new(Arc::new(sink), AccessFormat::Json, Arc::default());
            let audit =
                Audit::open(&folder.path().join("audit.log"), Arc::default(), metrics.audit_lost()).unwrap();
            let reporter = Reporter::new(Arc::clone(&metrics), Some(access), Some(Arc::new(audit)));
            Self { folder, metrics, reporter }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn lines(&self, name: &str) -> Vec<serde_json::Value> {
            assert!(self.reporter.flush(SOON));
            let text = std::fs::read_to_string(self.path(name)).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }

        fn audited(&self) -> Vec<(String, String)> {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            self.lines("audit.log")
                .iter()
                .map(|line| (text(&line["event"]), text(&line["outcome"])))
                .collect()
        }
    }

    fn record(route: &RouteMetrics) -> Record<'_> {
        Record {
            time: UNIX_EPOCH,
            request_id: "0123456789abcdef0123456789abcdef",
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            client: [10, 0, 0, 7].into(),
            tenant: None,
            subject: None,
            method: b"POST",
            host: b"a.example",
            path: b"/api/login",
            query: None,
            status: 200,
            bytes_in: 3,
            bytes_out: 5,
            duration: Duration::from_millis(1),
            upstream: None,
            route,
            refusal: None,
            user_agent: Some(b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"),
            referer: None,
            tls: None,
            protocol: "HTTP/1.1",
            observed: &[],
            audited: false,
            files: &[],
            login: Login::None,
        }
    }

    #[test]
    fn an_ordinary_request_is_logged_and_counted_and_not_audited() {
        let place = Place::new();
        let route = place.metrics.route("a.example", "/api/*");
        place.reporter.finish(&record(&route));
        assert_eq!(place.lines("access.log").len(), 1);
        assert_eq!(place.audited(), []);
        let line = r#"menshen_requests_total{method="POST",route="/api/*",site="a.example",status="200"} 1"#;
        let text = place.reporter.metrics();
        assert!(text.contains(line) && text.contains(r#"menshen_log_lost_total{log="access"} 0"#), "{text}");
    }

    #[test]
    fn everything_that_happened_is_audited_once() {
        let place = Place::new();
        let route = place.metrics.route("a.example", "/api/*");
        let refusal = Refusal {
            reason: Reason::RateLimited,
            filter: "rate",
            detail: "more than 60/min",
            errors: &[],
            rate: Some("login"),
        };
        let observed = [Observed { filter: "auth", reason: Reason::AuthMissing }];
        let file = FileReport {
            field: "file".into(),
            filename: "a.png".into(),
            size: 68,
            media_type: "image/png".into(),
            class: "image".into(),
            sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            scan: "clean",
            engine: "clamav",
            duplicate_of: None,
        };
        place.reporter.finish(&Record {
            refusal: Some(refusal),
            observed: &observed,
            status: 429,
            ..record(&route)
        });
        place.reporter.finish(&Record { files: std::slice::from_ref(&file), ..record(&route) });
        place.reporter.finish(&Record { login: Login::Locked("10.0.0.7"), audited: true, ..record(&route) });
        let expected = [
            ("refusal", "denied"),
            ("refusal", "observed"),
            ("upload", "passed"),
            ("login_failure", "counted"),
            ("lockout", "locked"),
            ("request", "passed"),
        ];
        assert_eq!(place.audited(), expected.map(|(event, outcome)| (event.to_owned(), outcome.to_owned())));
        assert_eq!(place.lines("audit.log")[2]["files"][0]["sha256"], *file.sha256);
        let text = place.metrics.encode();
        for line in [
            r#"menshen_denied_total{code="rate.limited",route="/api/*"} 1"#,
            r#"menshen_rate_limited_total{name="login"} 1"#,
            r#"menshen_observed_total{code="auth.missing",route="/api/*"} 1"#,
            r#"menshen_upload_files_total{class="image",verdict="clean"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let file = std::fs::File::open(place.path("audit.log")).unwrap();
        assert_eq!(crate::audit::verify(io::BufReader::new(file)).unwrap(), Ok(6));
    }

    #[test]
    #[ignore = "a measurement"]
    fn measures_what_reporting_costs() {
        let place = Place::new();
        let route = place.metrics.route("a.example", "/api/*");
        let record = Record { query: Some(b"page=2&size=20"), ..record(&route) };
        let rounds = 300_000_u32;
        let started = Instant::now();
        for _ in 0..rounds {
            place.reporter.finish(std::hint::black_box(&record));
        }
        println!("report: {} ns", started.elapsed().as_nanos() / u128::from(rounds));
    }
}
