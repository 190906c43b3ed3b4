//! The access log: one line for every finished request, formatted straight into the log's buffer.

use std::borrow::Cow;
use std::sync::Arc;

use config::AccessFormat;
use filters::scrub::Scrubber;

use crate::json_line::{push_address, push_millis, push_number, push_string};
use crate::log_file::LogFile;
use crate::record::Record;
use crate::timestamp::{push_common, push_rfc3339};

/// Bytes of one text in a line, after scrubbing; what is longer is cut.
const LONGEST: usize = 2048;

/// Formats records and hands them to a sink.
#[derive(Debug, Clone)]
pub struct AccessLog {
    sink: Arc<LogFile>,
    format: AccessFormat,
    scrubber: Arc<Scrubber>,
}

impl AccessLog {
    /// Writes to `sink`.
    pub fn new(sink: Arc<LogFile>, format: AccessFormat, scrubber: Arc<Scrubber>) -> Self {
        Self { sink, format, scrubber }
    }

    /// The sink, to be reopened, flushed, or taken over by the next policy.
    pub fn sink(&self) -> &Arc<LogFile> {
        &self.sink
    }

    /// Appends the line of one record. Never waits; a full log loses the line and counts it.
    pub fn write(&self, record: &Record<'_>) {
        self.sink.append(|line| match self.format {
            AccessFormat::Json => push_json(record, &self.scrubber, line),
            AccessFormat::Combined => push_combined(record, &self.scrubber, line),
        });
    }
}

/// One JSON object and a newline. What is not known is `null`, so that every line has the same members; only
/// `observed` is left out when there is nothing in it.
pub fn push_json(record: &Record<'_>, scrubber: &Scrubber, line: &mut Vec<u8>) {
    let mut members = Members { line };
    members.line.extend_from_slice(b"{\"time\":\"");
    push_rfc3339(record.time, members.line);
    members.line.push(b'"');
    members.string("request_id", &id(record.request_id, scrubber));
    members.string("trace_id", &id(record.trace_id, scrubber));
    members.client(record);
    members.optional("tenant", record.tenant.map(|tenant| scrubber.name(tenant)).as_deref());
    members.optional("subject", record.subject.map(|subject| scrubber.name(subject)).as_deref());
    members.string("method", &method(record.method, scrubber));
    members.string("host", &scrubber.scrub_bytes(record.host));
    members.string("path", &scrubber.path(record.path));
    members.optional("query", record.query.map(|query| scrubber.query(query)).as_deref());
    members.number("status", u64::from(record.status));
    members.number("bytes_in", record.bytes_in);
    members.number("bytes_out", record.bytes_out);
    members.name("duration_ms");
    push_millis(record.duration, members.line);
    members.optional("upstream", record.upstream.as_ref().map(|asked| asked.name));
    members.name("upstream_ms");
    match &record.upstream {
        Some(asked) => push_millis(asked.duration, members.line),
        None => members.line.extend_from_slice(b"null"),
    }
    members.optional("route", record.route.pattern());
    members.optional("code", record.refusal.as_ref().map(|refusal| refusal.reason.code()));
    members.optional("filter", record.refusal.as_ref().map(|refusal| refusal.filter));
    members.optional("user_agent", record.user_agent.map(|agent| scrubber.scrub_bytes(agent)).as_deref());
    members.optional("referer", record.referer.map(|referer| scrubber.scrub_bytes(referer)).as_deref());
    members.optional("tls", record.tls);
    members.string("protocol", record.protocol);
    if !record.observed.is_empty() {
        members.name("observed");
        let mut separator = b'[';
        for observed in record.observed {
            line.push(separator);
            line.extend_from_slice(b"{\"filter\":");
            push_string(observed.filter, line);
            line.extend_from_slice(b",\"code\":");
            push_string(observed.reason.code(), line);
            line.push(b'}');
            separator = b',';
        }
        line.push(b']');
    }
    line.extend_from_slice(b"}\n");
}

/// Nginx's `combined`: `client - user [time] "request" status bytes "referer" "agent"`, with Nginx's `\xHH` for
/// what would break the line.
pub fn push_combined(record: &Record<'_>, scrubber: &Scrubber, line: &mut Vec<u8>) {
    push_address(record.client, line);
    line.extend_from_slice(b" - ");
    match record.subject.map(|subject| scrubber.name(subject)) {
        // The field ends at a space, so a space in it is written as Nginx writes a quote.
        Some(subject) => subject.split(' ').enumerate().for_each(|(index, part)| {
            line.extend_from_slice(if index > 0 { b"\\x20" } else { b"" });
            push_hex_escaped(part, line);
        }),
        None => line.push(b'-'),
    }
    line.extend_from_slice(b" [");
    push_common(record.time, line);
    line.extend_from_slice(b"] \"");
    push_hex_escaped(&method(record.method, scrubber), line);
    line.push(b' ');
    push_hex_escaped(&scrubber.path(record.path), line);
    if let Some(query) = record.query {
        line.push(b'?');
        push_hex_escaped(&scrubber.query(query), line);
    }
    line.push(b' ');
    line.extend_from_slice(record.protocol.as_bytes());
    line.extend_from_slice(b"\" ");
    push_number(u64::from(record.status), line);
    line.push(b' ');
    push_number(record.bytes_out, line);
    for value in [record.referer, record.user_agent] {
        line.extend_from_slice(b" \"");
        match value {
            Some(value) => push_hex_escaped(&scrubber.scrub_bytes(value), line),
            None => line.push(b'-'),
        }
        line.push(b'"');
    }
    line.push(b'\n');
}

/// Pushes members of an object that has one already.
struct Members<'l> {
    line: &'l mut Vec<u8>,
}

impl Members<'_> {
    fn name(&mut self, name: &str) {
        self.line.extend_from_slice(b",\"");
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
    }

    fn string(&mut self, name: &str, value: &str) {
        self.name(name);
        push_string(cut(value), self.line);
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.string(name, value),
            None => {
                self.name(name);
                self.line.extend_from_slice(b"null");
            }
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        push_number(value, self.line);
    }

    fn client(&mut self, record: &Record<'_>) {
        self.name("client");
        self.line.push(b'"');
        push_address(record.client, self.line);
        self.line.push(b'"');
    }
}

/// Ids of the usual form, 32 hex digits, hold nothing to hide and are not searched; any other is.
fn id<'t>(id: &'t str, scrubber: &Scrubber) -> Cow<'t, str> {
    if id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Cow::Borrowed(id)
    } else {
        scrubber.name(id)
    }
}

/// Nor are methods that are capital letters, few enough.
fn method<'t>(method: &'t [u8], scrubber: &Scrubber) -> Cow<'t, str> {
    match std::str::from_utf8(method) {
        Ok(name) if name.len() <= 8 && name.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            Cow::Borrowed(name)
        }
        _ => scrubber.scrub_bytes(method),
    }
}

fn push_hex_escaped(text: &str, line: &mut Vec<u8>) {
    for &byte in cut(text).as_bytes() {
        if !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\' {
            let digits = b"0123456789ABCDEF";
            line.extend_from_slice(&[
                b'\\',
                b'x',
                digits[usize::from(byte >> 4)],
                digits[usize::from(byte & 15)],
            ]);
        } else {
            line.push(byte);
        }
    }
}

fn cut(text: &str) -> &str {
    if text.len() <= LONGEST { text } else { &text[..text.floor_char_boundary(LONGEST)] }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, UNIX_EPOCH};

    use filters::Reason;

    use super::*;
    use crate::metrics::{Metrics, RouteMetrics, UpstreamMetrics};
    use crate::record::{Asked, Login, Observed, Refusal};

    const CANARY: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl-canary";

    struct Handles {
        route: RouteMetrics,
        upstream: UpstreamMetrics,
    }

    fn handles() -> Handles {
        let metrics = Metrics::new().unwrap();
        Handles { route: metrics.route("a.example", "/api/*"), upstream: metrics.upstream("wecard") }
    }

    fn record(handles: &Handles) -> Record<'_> {
        Record {
            time: UNIX_EPOCH + Duration::from_millis(951_827_696_789),
            request_id: "0123456789abcdef0123456789abcdef",
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
            client: [10, 0, 0, 7].into(),
            tenant: Some("t1"),
            subject: Some("user 1"),
            method: b"GET",
            host: b"a.example",
            path: b"/api/v1/assets",
            query: Some(b"page=2&size=20"),
            status: 200,
            bytes_in: 0,
            bytes_out: 512,
            duration: Duration::from_micros(2_500),
            upstream: Some(Asked { name: "wecard", duration: Duration::from_micros(2_010), metrics: &handles.upstream }),
            route: &handles.route,
            refusal: None,
            user_agent: Some(b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"),
            referer: None,
            tls: Some("TLSv1.3"),
            protocol: "HTTP/1.1",
            observed: &[],
            audited: false,
            files: &[],
            login: Login::None,
        }
    }

    fn json(record: &Record<'_>) -> String {
        let mut line = Vec::new();
        push_json(record, &Scrubber::default(), &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_has_the_members_of_the_contract_in_order() {
        let handles = handles();
        let value: serde_json::Value = serde_json::from_str(&json(&record(&handles))).unwrap();
        let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let contract = "time, request_id, trace_id, client, tenant, subject, method, host, path, query, status, bytes_in, \
            bytes_out, duration_ms, upstream, upstream_ms, route, code, filter, user_agent, referer, tls, protocol";
        assert_eq!(names, contract.split(", ").map(str::trim).collect::<Vec<_>>());
        assert_eq!(value["time"], "2000-02-29T12:34:56.789Z");
        assert_eq!(value["request_id"], "0123456789abcdef0123456789abcdef");
        assert_eq!(value["query"], "page=2&size=20");
        assert_eq!(value["duration_ms"], 2.5);
        assert_eq!(value["upstream_ms"], 2.01);
        assert_eq!(value["route"], "/api/*");
        assert!(value["code"].is_null() && value["referer"].is_null());
    }

    #[test]
    fn a_refusal_and_what_was_observed_are_named() {
        let handles = handles();
        let observed = [Observed { filter: "rate", reason: Reason::RateLimited }];
        let refusal =
            Refusal { reason: Reason::AuthForbidden, filter: "auth", detail: "no", errors: &[], rate: None };
        let record =
            Record { refusal: Some(refusal), observed: &observed, upstream: None, ..record(&handles) };
        let value: serde_json::Value = serde_json::from_str(&json(&record)).unwrap();
        assert_eq!((&value["code"], &value["filter"]), (&"auth.forbidden".into(), &"auth".into()));
        assert_eq!(value["observed"], serde_json::json!([{"filter": "rate", "code": "rate.limited"}]));
        assert!(value["upstream"].is_null() && value["upstream_ms"].is_null());
    }

    #[test]
    fn no_token_and_no_broken_line_comes_out() {
        let handles = handles();
        let hostile = format!("a\r\n{{\"x\":1}} {CANARY} \u{202e}");
        let mut agent = hostile.clone().into_bytes();
        agent.push(0xff);
        let path = format!("/a/{CANARY}");
        let record = Record {
            method: hostile.as_bytes(),
            host: hostile.as_bytes(),
            path: path.as_bytes(),
            query: Some(path.as_bytes()),
            user_agent: Some(&agent),
            referer: Some(hostile.as_bytes()),
            subject: Some(&hostile),
            ..record(&handles)
        };
        let mut combined = Vec::new();
        push_combined(&record, &Scrubber::default(), &mut combined);
        for line in [json(&record), String::from_utf8(combined).unwrap()] {
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.contains("c2lnbmF0dXJl") && !line.contains("eyJ"), "{line}");
        }
        serde_json::from_str::<serde_json::Value>(&json(&record)).unwrap();
    }

    #[test]
    fn combined_is_what_nginx_writes() {
        let handles = handles();
        let mut line = Vec::new();
        push_combined(
            &Record { user_agent: Some(b"a\"b"), ..record(&handles) },
            &Scrubber::default(),
            &mut line,
        );
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "10.0.0.7 - user\\x201 [29/Feb/2000:12:34:56 +0000] \"GET /api/v1/assets?page=2&size=20 HTTP/1.1\" 200 512 \"-\" \"a\\x22b\"\n"
        );
    }

    #[test]
    #[ignore = "a measurement"]
    fn measures_what_a_line_costs() {
        let handles = handles();
        let record = record(&handles);
        let scrubber = Scrubber::default();
        let mut line = Vec::new();
        let rounds = 300_000_u32;
        for (what, push) in
            [("json", push_json as fn(&Record<'_>, &Scrubber, &mut Vec<u8>)), ("combined", push_combined)]
        {
            let started = Instant::now();
            for _ in 0..rounds {
                line.clear();
                push(std::hint::black_box(&record), &scrubber, &mut line);
            }
            println!(
                "{what}: {} bytes, {} ns",
                line.len(),
                started.elapsed().as_nanos() / u128::from(rounds)
            );
        }
    }
}
