//! What no well-meant client sends: random and mutated requests never panic, hang or make anything grow, and do not
//! make the gateway say to an app what is not so.
//!
//! `MENSHEN_CASES` says how many of each kind are tried, 2,000 when it is not set.

mod bodies;
mod crashers;
mod policy;
mod requests;

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use filters::chain::Inspection;
use filters::exchange::Exchange;
use filters::pipeline::Route;
use filters::{Denial, Findings, Reason, framing};
use http::{HeaderMap, HeaderName};
use pingora_http::{RequestHeader, ResponseHeader};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use bodies::{Body, SVG, changes, form, office, png};
use policy::pipeline;
use requests::{Asked, arrival, requests};

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_request_is_admitted_or_refused(
        asked in requests(), body in vec(any::<u8>(), 0..200), cuts in vec(any::<usize>(), 0..4),
    ) {
        let Some(mut header) = asked.header() else { return Ok(()) };
        let (raw, before) = (asked.raw(), size(&header));
        let arrival = arrival(asked.trusted, (!asked.http2).then_some(&raw));
        let mut exchange = Exchange::begin(&arrival);
        let admitted = promptly(|| now(pipeline().admit(&mut header, &arrival, &mut exchange)));
        let held = exchange.path.len() + exchange.query.len() + exchange.host.len() + exchange.trace_id.len() + exchange.request_id.len();
        prop_assert!(size(&header) + held <= 8 * before + 4096);
        if let Ok(route) = admitted {
            promptly(|| go_on(route, &header, &mut exchange, &body, &cuts));
            let told = promptly(|| pipeline().outgoing(&header, route, &arrival, &exchange));
            if let Ok(told) = told {
                prop_assert!(told.to_wire().len() <= 8 * before + 4096);
                check_told(&told.headers(), &exchange);
            }
        }
    }

    #[test]
    fn a_mutated_form_gets_one_verdict_however_it_is_cut(changes in changes(6), cuts in vec(any::<usize>(), 0..12)) {
        let mut body = form();
        changes.iter().for_each(|change| change.apply(&mut body));
        let kind = [("Content-Type", "multipart/form-data; boundary=b")];
        let whole = promptly(|| judged(send("/upload", &kind, &body, &[])));
        let cut = promptly(|| judged(send("/upload", &kind, &body, &cuts)));
        prop_assert_eq!(&whole, &cut);
        if changes.is_empty() {
            prop_assert_eq!(whole.as_ref().map(Vec::len), Ok(3));
        }
        if let Ok(files) = whole {
            prop_assert!(files.iter().map(|file| file.size).sum::<u64>() <= body.len() as u64);
        }
    }

    #[test]
    fn a_mutated_file_gets_one_verdict_however_it_is_cut(
        kind in 0..3_usize, changes in changes(4), cuts in vec(any::<usize>(), 0..12),
    ) {
        let (name, mut body) = [("a.docx", office()), ("a.svg", SVG.to_vec()), ("a.png", png())][kind].clone();
        changes.iter().for_each(|change| change.apply(&mut body));
        let fields = [("Content-Disposition", &*format!("attachment; filename=\"{name}\""))];
        let whole = promptly(|| judged(send("/upload", &fields, &body, &[])));
        prop_assert_eq!(&whole, &promptly(|| judged(send("/upload", &fields, &body, &cuts))));
        if changes.is_empty() {
            prop_assert_eq!(whole.as_ref().map(|files| files[0].size), Ok(body.len() as u64));
        }
    }

    #[test]
    fn a_body_alone_locks_nobody(
        json in vec(select(vec![
            "{", "}", "[", "]", ":", ",", "\"user\"", "\"User\"", "\"name\"", "{\"user\":{\"name\":\"", "\"}}", "null", "1e999", "-0", "\"\\ud800\"", "\u{feff}",
            "\u{130}", "\\u0000", " ", "{\"user\":", "[[[[[[[[[[[[[[[[",
        ]), 0..30),
        form in vec(select(vec!["name", "=", "&", ";", "%", "%00", "%ff", "[]", "Name", "+", "a", "\u{130}", "name=u", "&name=v"]), 0..30),
        noise in vec(any::<u8>(), 0..100), long in prop::bool::weighted(0.01), cuts in vec(any::<usize>(), 0..6),
    ) {
        for (path, pieces) in [("/login", json.concat()), ("/form", form.concat())] {
            let mut body = pieces.into_bytes();
            for body in [body.clone(), noise.clone(), { body.extend(&noise); if long { body.resize(70_000, b'['); } body }] {
                let findings = promptly(|| send(path, &[], &body, &cuts)).map_err(|denial| denial.reason);
                prop_assert!(findings.is_ok_and(|findings| findings.pending.attempt.is_some()));
            }
        }
    }

    #[test]
    fn a_head_that_passes_has_one_reading(bytes in vec(any::<u8>(), 0..200), changes in changes(4), mutated in prop::bool::weighted(0.8)) {
        let mut head = b"POST /a?b=c HTTP/1.1\r\nHost: a.example\r\nContent-Length: 12\r\nAccept: */*\r\n\r\n".to_vec();
        if mutated {
            changes.iter().for_each(|change| change.apply(&mut head));
        } else {
            head = bytes;
        }
        let unparsed = RequestHeader::build("GET", b"/", None).expect("the head is good");
        if promptly(|| framing::check(&head, &unparsed, false)).is_err() {
            return Ok(());
        }
        let inside = head.strip_suffix(b"\r\n\r\n").expect("a head ends with a blank line");
        let lines: Vec<&[u8]> = inside.strip_prefix(b"\r\n").unwrap_or(inside).split(|&byte| byte == b'\n').collect();
        let named = |name: &[u8]| lines.iter().filter(|line| line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name)).count();
        prop_assert_eq!(named(b"host:"), 1);
        prop_assert!(named(b"content-length:") + named(b"transfer-encoding:") <= 1);
        for (index, line) in lines.iter().enumerate() {
            prop_assert!(index + 1 == lines.len() || line.ends_with(b"\r"), "a bare LF");
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            prop_assert!(!text.is_empty() && !text.starts_with(b" ") && !text.contains(&b'\r') && !text.contains(&0));
        }
    }
}

#[test]
fn a_credential_in_the_query_is_gone_also_when_it_is_refused() {
    let target = b"/files/t-acme/a?x=1&token=not-a-good-one".to_vec();
    let host = ("Host".to_owned(), b"a.example".to_vec());
    let asked = Asked { method: "GET".into(), target, fields: vec![host], http2: false, trusted: false };
    let (raw, mut header) = (asked.raw(), asked.header().expect("the head is good"));
    let arrival = arrival(false, Some(&raw));
    let mut exchange = Exchange::begin(&arrival);
    let refused =
        now(pipeline().admit(&mut header, &arrival, &mut exchange)).err().map(|denial| denial.reason);
    assert_eq!(refused, Some(Reason::AuthInvalid));
    assert_eq!((exchange.query.as_str(), header.raw_path()), ("x=1", &b"/files/t-acme/a?x=1"[..]));
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("MENSHEN_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// A very loose guard: what takes this long does not end, or takes time that grows faster than its input.
fn promptly<T>(work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = work();
    assert!(begun.elapsed() < Duration::from_secs(20), "took {:?}", begun.elapsed());
    result
}

/// Nothing here is asked over a network: a future that is not ready only gives way to others, and is asked again.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let ready = (0..100_000).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    });
    ready.expect("a decision without shared state never waits")
}

fn size(header: &RequestHeader) -> usize {
    header.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
        + header.raw_path().len()
}

/// Shows a body to whoever wants to see it, cut at these places.
fn show(
    mut inspection: Inspection,
    body: &[u8],
    cuts: &[usize],
    exchange: &mut Exchange,
) -> Result<Findings, Denial> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    places.extend([0, body.len()]);
    places.sort_unstable();
    for pair in places.windows(2) {
        inspection.chunk(&body[pair[0]..pair[1]], exchange)?;
    }
    now(inspection.finish(&Body(body.to_vec()), exchange))
}

/// A good head with this body, admitted and inspected.
fn send(
    path: &str,
    fields: &[(&'static str, &str)],
    body: &[u8],
    cuts: &[usize],
) -> Result<Findings, Denial> {
    let mut asked =
        Asked { method: "POST".into(), target: path.into(), fields: vec![], http2: false, trusted: false };
    asked.fields.extend([
        ("Host".to_owned(), b"a.example".to_vec()),
        ("Transfer-Encoding".to_owned(), b"chunked".to_vec()),
    ]);
    asked.fields.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())));
    let (raw, mut header) = (asked.raw(), asked.header().expect("the head is good"));
    let arrival = arrival(false, Some(&raw));
    let mut exchange = Exchange::begin(&arrival);
    let route = now(pipeline().admit(&mut header, &arrival, &mut exchange))?;
    let inspection = pipeline().inspection(&header, route, &mut exchange)?;
    show(inspection, body, cuts, &mut exchange)
}

fn judged(result: Result<Findings, Denial>) -> Result<Vec<filters::FileReport>, Reason> {
    result.map(|findings| findings.files).map_err(|denial| denial.reason)
}

/// What an app is told about its caller is what was established here, whatever the client wrote.
fn check_told(headers: &HeaderMap, exchange: &Exchange) {
    let told = |name: &str| headers.contains_key(name);
    for (name, known) in [
        ("x-auth-subject", exchange.caller.is_some()),
        ("x-auth-identity", exchange.caller.is_some()),
        ("x-auth-roles", exchange.caller.is_some()),
        ("x-auth-permissions", exchange.caller.is_some()),
        ("x-tenant-id", exchange.tenant.is_some()),
        ("x-real-ip", true),
        ("x-request-id", true),
    ] {
        assert_eq!(told(name), known, "{name}");
        let fold = |own: &HeaderName| own.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-") == name;
        assert!(headers.iter().filter(|(own, _)| fold(own)).count() <= 1, "{name}");
    }
    assert_eq!(headers["x-real-ip"], exchange.client.to_string());
    if let Some(tenant) = &exchange.tenant {
        assert_eq!(headers["x-tenant-id"], tenant.id);
    }
}

/// The rest of the way, for a request that was admitted.
fn go_on(route: &Route, header: &RequestHeader, exchange: &mut Exchange, body: &[u8], cuts: &[usize]) {
    let mut response = ResponseHeader::build(200, None).expect("200 is a status");
    pipeline().respond(&mut response, route, exchange, &header.method);
    if matches!(route.settings.action, config::Action::Redirect { .. }) {
        pipeline().location(route, exchange).expect("a redirect leads somewhere");
    }
    if let Ok(inspection) = pipeline().inspection(header, route, exchange)
        && let Ok(findings) = show(inspection, body, cuts, exchange)
    {
        exchange.request_headers.extend(findings.request_headers);
    }
}
