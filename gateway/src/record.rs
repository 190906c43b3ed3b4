//! What is reported about one finished request, and the one place that reports it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use filters::{FieldProblem, FileReport, Reason};

use crate::access_log::AccessLog;
use crate::audit::{Actor, Audit, Event};
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
