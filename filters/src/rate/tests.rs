//! The rule as a request meets it.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderName, Method};

use super::*;
use crate::facts::{Caller, Token};
use crate::state::{ManualClock, StateAway, WhenAway};

fn rate(name: &str, by: &[RateKey], limit: u32, per: u64, burst: u32) -> Rate {
    Rate { name: name.into(), by: by.into(), limit, per: Duration::from_secs(per), burst }
}

struct Client {
    ip: &'static str,
    caller: Option<Caller>,
    tenant: Option<config::Tenant>,
    headers: Vec<(&'static str, &'static str)>,
}

fn from(ip: &'static str) -> Client {
    Client { ip, caller: None, tenant: None, headers: vec![] }
}

impl Client {
    fn subject(mut self, subject: &str) -> Self {
        self.caller = Some(Caller {
            identity: "user".into(),
            subject: subject.into(),
            tenant: None,
            roles: vec![],
            permissions: vec![],
            superuser: false,
            expires: SystemTime::UNIX_EPOCH,
            token: Token(String::new()),
        });
        self
    }

    fn tenant(mut self, id: &str) -> Self {
        let upstreams = Default::default();
        self.tenant =
            Some(config::Tenant { id: id.into(), name: id.into(), suspended: false, plan: None, upstreams });
        self
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn judged(&self, limit: &RateLimit) -> Judgement {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in &self.headers {
            request.append_header(*name, *value).unwrap();
        }
        let facts = Facts {
            request_id: "r-1",
            now: SystemTime::UNIX_EPOCH,
            client: self.ip.parse::<IpAddr>().unwrap(),
            method: &Method::GET,
            host: "a.example",
            path: "/",
            route: "/*",
            params: &[],
            caller: self.caller.as_ref(),
            tenant: self.tenant.as_ref(),
        };
        limit.judge(&mut request, &facts)
    }

    fn asks(&self, limit: &RateLimit) -> Verdict {
        match self.judged(limit) {
            Judgement::Now(verdict) => verdict,
            Judgement::Ask(question) => question.now_or_never().expect("the test's stores answer at once"),
        }
    }

    fn passes(&self, limit: &RateLimit) -> bool {
        self.asks(limit).is_ok()
    }
}

fn line(lines: &[(HeaderName, HeaderValue)], name: HeaderName) -> &str {
    lines.iter().find(|line| line.0 == name).unwrap().1.to_str().unwrap()
}

fn passed(verdict: Verdict) -> Vec<(HeaderName, HeaderValue)> {
    match verdict {
        Ok(Note::ResponseHeaders(lines)) => lines,
        other => panic!("{other:?}"),
    }
}

fn local(rules: &[Rate]) -> (Arc<ManualClock>, RateLimit) {
    let clock = Arc::new(ManualClock::default());
    let limit = RateLimit::new("a.example  /*", rules, &RateTables::new(clock.clone()), None);
    (clock, limit)
}

#[test]
fn refuses_the_first_request_beyond_the_burst_and_says_when_to_come_again() {
    let (clock, limit) = local(&[rate("login", &[RateKey::Ip], 20, 60, 2)]);
    let client = from("192.0.2.1");
    for left in ["2", "1", "0"] {
        let lines = passed(client.asks(&limit));
        assert_eq!(line(&lines, header::POLICY), r#""login";q=20;w=60"#);
        assert_eq!(line(&lines, header::LIMIT), format!(r#""login";r={left};t=3"#));
    }
    clock.advance(Duration::from_millis(500));
    let denial = client.asks(&limit).unwrap_err();
    assert_eq!(denial.reason, Reason::RateLimited);
    let extra = denial.extra.unwrap();
    assert_eq!(extra.retry_after, Some(Duration::from_secs(3)), "2.5 s, rounded up");
    assert_eq!(extra.rule.as_deref(), Some("login"));
    assert_eq!(line(&extra.headers, header::LIMIT), r#""login";r=0;t=3"#);
    assert_eq!(line(&extra.headers, header::POLICY), r#""login";q=20;w=60"#);
    clock.advance(Duration::from_millis(2500));
    assert!(client.passes(&limit));
    assert!(!client.passes(&limit));
}

#[test]
fn a_refusal_by_one_rule_takes_nothing_from_another() {
    let rules = [rate("wide", &[RateKey::Route], 10, 60, 9), rate("tight", &[RateKey::Ip], 1, 60, 0)];
    let (_, limit) = local(&rules);
    assert!(from("192.0.2.1").passes(&limit));
    for _ in 0..50 {
        let denial = from("192.0.2.1").asks(&limit).unwrap_err();
        let extra = denial.extra.unwrap();
        assert_eq!(line(&extra.headers, header::LIMIT), r#""wide";r=9;t=6, "tight";r=0;t=60"#);
        assert_eq!(extra.retry_after, Some(Duration::from_secs(60)));
    }
    let lines = passed(from("192.0.2.2").asks(&limit));
    assert_eq!(line(&lines, header::LIMIT), r#""wide";r=8;t=6, "tight";r=0;t=60"#);
}

#[test]
fn ipv6_clients_count_by_64_and_mapped_ones_as_ipv4() {
    let (_, limit) = local(&[rate("r", &[RateKey::Ip], 1, 60, 0)]);
    assert!(from("2001:db8:1:2::1").passes(&limit));
    assert!(!from("2001:db8:1:2:ffff::9").passes(&limit));
    assert!(from("2001:db8:1:3::1").passes(&limit));
    assert!(from("192.0.2.1").passes(&limit));
    assert!(!from("::ffff:192.0.2.1").passes(&limit));
    assert!(from("192.0.2.2").passes(&limit));
}

#[test]
fn counts_tenants_and_subjects_wherever_they_come_from_and_addresses_without_them() {
    for by in [RateKey::Tenant, RateKey::Subject] {
        let (_, limit) = local(&[rate("r", &[by], 1, 60, 0)]);
        assert!(from("192.0.2.1").subject("u1").tenant("t1").passes(&limit));
        assert!(!from("192.0.2.2").subject("u1").tenant("t1").passes(&limit));
        assert!(from("192.0.2.1").subject("u2").tenant("t2").passes(&limit));
        assert!(from("192.0.2.1").passes(&limit));
        assert!(!from("192.0.2.1").passes(&limit));
        assert!(from("192.0.2.2").passes(&limit));
    }
}

#[test]
fn a_missing_header_is_one_key_and_an_empty_one_is_another() {
    let (_, limit) = local(&[rate("r", &[RateKey::Header(HeaderName::from_static("x-key"))], 1, 60, 0)]);
    assert!(from("192.0.2.1").passes(&limit));
    assert!(!from("192.0.2.2").passes(&limit));
    assert!(from("192.0.2.1").header("x-key", "").passes(&limit));
    assert!(from("192.0.2.1").header("x-key", "ab").passes(&limit));
    assert!(from("192.0.2.1").header("x-key", "a").header("x-key", "b").passes(&limit));
    assert!(!from("192.0.2.1").header("X-KEY", "ab").passes(&limit));
}

#[test]
fn several_keys_together_count_as_one() {
    let (_, limit) = local(&[rate("r", &[RateKey::Ip, RateKey::Subject, RateKey::Route], 1, 60, 0)]);
    assert!(from("192.0.2.1").subject("a").passes(&limit));
    assert!(from("192.0.2.1").subject("b").passes(&limit));
    assert!(from("192.0.2.2").subject("a").passes(&limit));
    assert!(!from("192.0.2.1").subject("a").passes(&limit));
}

#[test]
fn counters_of_an_unchanged_rule_outlive_a_reload_and_those_of_a_changed_one_do_not() {
    let tables = RateTables::new(Arc::new(ManualClock::default()));
    let build =
        |scope: &str, limit| RateLimit::new(scope, &[rate("r", &[RateKey::Ip], limit, 60, 0)], &tables, None);
    assert!(from("192.0.2.1").passes(&build("site /a", 5)));
    tables.sweep();
    assert!(!from("192.0.2.1").passes(&build("site /a", 5)));
    assert!(from("192.0.2.1").passes(&build("site /a", 6)));
    assert!(from("192.0.2.1").passes(&build("site /b", 5)));
}

/// A shared store that is away, or answers from a list of standings.
struct Far {
    standing: Option<bool>,
    asked: Mutex<Vec<Take>>,
}

impl RateStore for Far {
    fn take(&self, takes: Vec<Take>) -> BoxFuture<'static, Result<Vec<Standing>, StateAway>> {
        self.asked.lock().unwrap().extend(&takes);
        let wait = Duration::from_millis(10);
        let standings = self
            .standing
            .map(|allowed| vec![Standing { allowed, remaining: 3, wait }; takes.len()])
            .ok_or(StateAway);
        Box::pin(async move { standings })
    }
}

fn shared(standing: Option<bool>, policy: OnStateFailure) -> (Arc<Far>, Arc<AtomicUsize>, RateLimit) {
    let far = Arc::new(Far { standing, asked: Mutex::default() });
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let away = WhenAway::new(
        policy,
        Arc::new(move |operation| {
            assert_eq!(operation, "rate");
            count.fetch_add(1, Ordering::Relaxed);
        }),
    );
    let limit = RateLimit::new(
        "site /a",
        &[rate("r", &[RateKey::Ip], 1, 60, 0)],
        &RateTables::new(Arc::new(ManualClock::default())),
        Some(Shared { store: far.clone(), away }),
    );
    (far, told, limit)
}

#[test]
fn the_shared_store_decides_when_it_answers() {
    let (far, told, limit) = shared(Some(true), OnStateFailure::Deny);
    let lines = passed(from("192.0.2.1").asks(&limit));
    assert_eq!(line(&lines, header::LIMIT), r#""r";r=3;t=1"#);
    assert!(from("192.0.2.1").passes(&limit));
    assert!(from("192.0.2.9").passes(&limit));
    let asked = far.asked.lock().unwrap();
    assert_eq!(asked[0], asked[1]);
    assert_ne!(asked[0].key, asked[2].key);
    assert_eq!(told.load(Ordering::Relaxed), 0);
    let (_, _, limit) = shared(Some(false), OnStateFailure::Allow);
    assert_eq!(
        from("192.0.2.1").asks(&limit).unwrap_err().extra.unwrap().retry_after,
        Some(Duration::from_secs(1))
    );
}

#[test]
fn gateways_with_the_same_policy_agree_on_keys() {
    let (one, _, first) = shared(Some(true), OnStateFailure::Deny);
    let (two, _, second) = shared(Some(true), OnStateFailure::Deny);
    assert!(from("192.0.2.1").passes(&first) && from("192.0.2.1").passes(&second));
    assert_eq!(*one.asked.lock().unwrap(), *two.asked.lock().unwrap());
}

#[test]
fn the_policy_decides_when_the_shared_store_is_away() {
    let (_, told, limit) = shared(None, OnStateFailure::Local);
    assert!(from("192.0.2.1").passes(&limit));
    assert_eq!(from("192.0.2.1").asks(&limit).unwrap_err().reason, Reason::RateLimited);
    assert_eq!(told.load(Ordering::Relaxed), 2);

    let (_, _, limit) = shared(None, OnStateFailure::Deny);
    let denial = from("192.0.2.1").asks(&limit).unwrap_err();
    assert_eq!(denial.reason, Reason::StateUnavailable);
    assert_eq!(denial.extra.unwrap().retry_after, Some(Duration::from_secs(1)));

    let (_, told, limit) = shared(None, OnStateFailure::Allow);
    assert!((0..20).all(|_| from("192.0.2.1").passes(&limit)));
    assert_eq!(told.load(Ordering::Relaxed), 20);
}
