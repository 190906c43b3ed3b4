//! The rule as a request meets it.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use futures_util::FutureExt;
use futures_util::future::ready;
use http::{Method, StatusCode};
use serde_json::json;

use super::*;
use crate::state::{Locked, ManualClock, Outcome, StateAway, WhenAway};

struct Body(Bytes);

impl WholeBody for Body {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Three bytes at a time, to show that the division does not matter.
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, std::io::Result<Bytes>> {
        let (start, end) = (range.start as usize, range.end as usize);
        Box::pin(ready(Ok(self.0.slice(start..end.min(start + 3)))))
    }
}

fn rule(key: Vec<LockoutKey>, failed_when: FailedWhen) -> config::rules::Lockout {
    let (within, lock) = (Duration::from_secs(900), Duration::from_secs(1800));
    config::rules::Lockout { key, failures: 5, within, lock, failed_when }
}

fn by_status() -> FailedWhen {
    FailedWhen::Status(vec![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN])
}

fn by_name_and_address() -> Vec<LockoutKey> {
    vec![LockoutKey::Ip, LockoutKey::Json("username".into())]
}

fn local(key: Vec<LockoutKey>, failed_when: FailedWhen) -> (Arc<LockoutTable>, Lockout) {
    let table = LockoutTable::new(Arc::new(ManualClock::default()));
    (table.clone(), Lockout::new("site /login", "/login", &rule(key, failed_when), &table, None))
}

fn asks(lockout: &Lockout, ip: &str, body: &str) -> Result<Option<Attempt>, Denial> {
    let mut request = RequestHeader::build("POST", b"/login", None).unwrap();
    request.insert_header("accept-encoding", "gzip").unwrap();
    let facts = Facts {
        request_id: "r-1",
        now: SystemTime::UNIX_EPOCH,
        client: ip.parse::<IpAddr>().unwrap(),
        method: &Method::POST,
        host: "a.example",
        path: "/login",
        route: "/login",
        params: &[],
        caller: None,
        tenant: None,
    };
    assert!(matches!(lockout.judge(&mut request, &facts), Judgement::Now(Ok(_))));
    let plain = matches!(lockout.rule.failed_when, FailedWhen::Json { .. });
    assert_eq!(request.headers.contains_key("accept-encoding"), !plain);
    let mut inspector = lockout.inspector(&request, &facts).unwrap().unwrap();
    inspector.chunk(body.as_bytes()).unwrap();
    let body = Body(Bytes::copy_from_slice(body.as_bytes()));
    let findings = inspector.finish(&body).now_or_never().expect("the test's stores answer at once")?;
    Ok(findings.pending.attempt)
}

/// A whole attempt that the app answers with this status; whether the app was asked.
fn login(lockout: &Lockout, ip: &str, body: &str, status: u16) -> bool {
    let Ok(attempt) = asks(lockout, ip, body) else { return false };
    let mut attempt = attempt.expect("somebody counts");
    attempt.head(StatusCode::from_u16(status).unwrap());
    attempt.settle().now_or_never().expect("the test's stores answer at once");
    true
}

fn name(name: &str) -> String {
    json!({"username": name, "password": "x"}).to_string()
}

#[test]
fn refuses_the_sixth_guess_for_one_user_and_nobody_else() {
    let (_, lockout) = local(by_name_and_address(), by_status());
    for _ in 0..5 {
        assert!(login(&lockout, "192.0.2.1", &name("bob"), 401));
    }
    let denial = asks(&lockout, "192.0.2.1", &name("bob")).unwrap_err();
    assert_eq!(denial.reason, Reason::AuthLocked);
    assert!(!denial.detail.contains("bob"));
    assert_eq!(denial.extra.unwrap().retry_after, Some(Duration::from_secs(1800)));
    assert!(login(&lockout, "192.0.2.1", &name("eve"), 401));
    assert!(login(&lockout, "192.0.2.2", &name("bob"), 401));
}

#[test]
fn another_spelling_of_the_name_is_the_same_user() {
    let (_, lockout) = local(vec![LockoutKey::Json("username".into())], by_status());
    for spelling in ["bob", "BOB ", "bób", "ｂｏｂ", "b\u{200B}ob"] {
        assert!(login(&lockout, "192.0.2.1", &name(spelling), 401));
    }
    assert!(!login(&lockout, "192.0.2.2", &name("Bob"), 401));
}

#[test]
fn hiding_the_name_avoids_no_lock() {
    let large = format!(r#"{{"pad":"{}","username":"bob"}}"#, "x".repeat(LOOKED_AT));
    let hidden = [
        r#"{"username":"r1","username":"bob"}"#,
        r#"{"username":["bob"]}"#,
        r#"username=bob"#,
        large.as_str(),
        "",
        r#"{"username":"","x":2}"#,
        r#"{"username":" "}"#,
    ];
    let (_, lockout) = local(by_name_and_address(), by_status());
    let asked = hidden.iter().filter(|body| login(&lockout, "192.0.2.1", body, 401)).count();
    assert_eq!(asked, 5, "they all count as one");
    assert!(login(&lockout, "192.0.2.2", hidden[0], 401), "for each address");
}

#[test]
fn success_clears_and_a_malformed_request_does_not() {
    let (_, lockout) = local(by_name_and_address(), by_status());
    for _ in 0..4 {
        assert!(login(&lockout, "192.0.2.1", &name("bob"), 401));
    }
    assert!(login(&lockout, "192.0.2.1", &name("bob"), 200));
    for _ in 0..4 {
        assert!(login(&lockout, "192.0.2.1", &name("bob"), 401));
    }
    assert!(login(&lockout, "192.0.2.1", &name("bob"), 400));
    assert!(login(&lockout, "192.0.2.1", &name("bob"), 401));
    assert!(!login(&lockout, "192.0.2.1", &name("bob"), 401));
}

#[test]
fn failures_are_read_from_the_answers_body() {
    let failed = FailedWhen::Json { field: "data.code".into(), values: vec![json!(40101)] };
    let (_, lockout) = local(vec![LockoutKey::Form("user".into())], failed);
    let answered = |body: &str| {
        let Ok(attempt) = asks(&lockout, "192.0.2.1", "user=b%6Fb") else { return false };
        let mut attempt = attempt.unwrap();
        attempt.head(StatusCode::OK);
        assert!(attempt.wants_body());
        for byte in body.as_bytes() {
            attempt.chunk(&[*byte]);
        }
        attempt.settle().now_or_never().unwrap();
        true
    };
    assert!((0..4).all(|_| answered(r#"{"data":{"code":40101}}"#)));
    assert!(answered(r#"{"data":{"code":0}}"#), "success clears");
    assert!((0..4).all(|_| answered(r#"{"data":{"code":40101}}"#)));
    assert!(answered(r#"{"data":{"code":40001}}"#));
    assert!(answered("not JSON"));
    assert!(answered(r#"{"data":{"code":40101}}"#));
    assert!(!answered(r#"{"data":{"code":0}}"#));
}

#[test]
fn twenty_parallel_guesses_reach_the_app_five_times() {
    let (table, lockout) = local(by_name_and_address(), by_status());
    let mut attempts: Vec<Attempt> =
        (0..20).filter_map(|_| asks(&lockout, "192.0.2.1", &name("bob")).ok()).flatten().collect();
    assert_eq!(attempts.len(), 5);
    for mut attempt in attempts.drain(..) {
        attempt.head(StatusCode::UNAUTHORIZED);
        attempt.settle().now_or_never().unwrap();
    }
    assert_eq!(table.list().now_or_never().unwrap().unwrap().len(), 1);
    assert!(!login(&lockout, "192.0.2.1", &name("bob"), 401));
}

#[test]
fn tells_the_failure_that_locks_from_those_before_it() {
    let (_, lockout) = local(by_name_and_address(), by_status());
    let failed: Vec<_> = (0..5)
        .map(|_| {
            let mut attempt = asks(&lockout, "192.0.2.1", &name("bob")).unwrap().unwrap();
            attempt.head(StatusCode::UNAUTHORIZED);
            attempt.settle().now_or_never().unwrap().unwrap()
        })
        .collect();
    assert!(failed.iter().all(|failed| failed.key.contains("ip=192.0.2.1")));
    assert_eq!(
        failed.iter().map(|failed| failed.locked).collect::<Vec<_>>(),
        [false, false, false, false, true]
    );
    let mut attempt = asks(&lockout, "192.0.2.2", &name("bob")).unwrap().unwrap();
    attempt.head(StatusCode::OK);
    assert_eq!(attempt.settle().now_or_never().unwrap(), None);
}

#[test]
fn a_client_that_hangs_up_on_the_answer_has_still_failed() {
    let (_, lockout) = local(by_name_and_address(), by_status());
    for _ in 0..5 {
        let mut attempt = asks(&lockout, "192.0.2.1", &name("bob")).unwrap().unwrap();
        attempt.head(StatusCode::UNAUTHORIZED);
    }
    assert!(asks(&lockout, "192.0.2.1", &name("bob")).is_err());

    let failed = FailedWhen::Json { field: "code".into(), values: vec![json!(40101)] };
    let (_, lockout) = local(by_name_and_address(), failed);
    for _ in 0..5 {
        let mut attempt = asks(&lockout, "192.0.2.1", &name("bob")).unwrap().unwrap();
        attempt.head(StatusCode::OK);
        attempt.chunk(br#"{"code":401"#);
    }
    assert!(asks(&lockout, "192.0.2.1", &name("bob")).is_err());
}

#[test]
fn an_attempt_the_app_never_answered_counts_for_nothing() {
    let (table, lockout) = local(by_name_and_address(), by_status());
    for _ in 0..20 {
        drop(asks(&lockout, "192.0.2.1", &name("bob")).unwrap().unwrap());
    }
    assert!(table.is_empty());
}

#[test]
fn a_lock_is_shown_without_the_users_name() {
    let (table, lockout) = local(by_name_and_address(), by_status());
    for _ in 0..5 {
        assert!(login(&lockout, "2001:db8::1", &name("Bob.Smith"), 401));
    }
    let listed = table.list().now_or_never().unwrap().unwrap();
    assert_eq!(listed[0].label.route, "/login");
    assert_eq!(listed[0].label.keys[0], ("ip".into(), "2001:db8::/64".into()));
    let (kind, shown) = &listed[0].label.keys[1];
    assert_eq!(kind, "json:username");
    assert!(shown.starts_with('#') && shown.len() == 13, "{shown}");
    assert_eq!(listed[0].id.len(), 16);
}

/// A shared store that is away, always or once an attempt is under way.
struct Away {
    admits: bool,
}

impl LockoutStore for Away {
    fn reserve(&self, _: &LockSubject, _: LockTerms) -> BoxFuture<'static, Result<Admission, StateAway>> {
        Box::pin(ready(if self.admits { Ok(Admission::Go(1)) } else { Err(StateAway) }))
    }

    fn settle(
        &self,
        _: &LockSubject,
        _: LockTerms,
        _: Option<u64>,
        _: Outcome,
    ) -> BoxFuture<'static, Result<bool, StateAway>> {
        Box::pin(ready(Err(StateAway)))
    }

    fn list(&self) -> BoxFuture<'static, Result<Vec<Locked>, StateAway>> {
        Box::pin(ready(Err(StateAway)))
    }

    fn remove(&self, _: &str) -> BoxFuture<'static, Result<bool, StateAway>> {
        Box::pin(ready(Err(StateAway)))
    }
}

fn without_its_store(policy: OnStateFailure, admits: bool) -> (Arc<AtomicUsize>, Lockout) {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let away = WhenAway::new(
        policy,
        Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        }),
    );
    let table = LockoutTable::new(Arc::new(ManualClock::default()));
    let rule = rule(by_name_and_address(), by_status());
    let shared = Shared { store: Arc::new(Away { admits }) as Arc<dyn LockoutStore>, away };
    (told, Lockout::new("site /login", "/login", &rule, &table, Some(shared)))
}

#[test]
fn the_policy_decides_when_the_shared_store_is_away() {
    let (told, lockout) = without_its_store(OnStateFailure::Local, false);
    assert!((0..5).all(|_| login(&lockout, "192.0.2.1", &name("bob"), 401)));
    assert!(!login(&lockout, "192.0.2.1", &name("bob"), 401));
    assert_eq!(told.load(Ordering::Relaxed), 6);

    let (_, lockout) = without_its_store(OnStateFailure::Deny, false);
    assert_eq!(asks(&lockout, "192.0.2.1", &name("bob")).unwrap_err().reason, Reason::StateUnavailable);

    let (_, lockout) = without_its_store(OnStateFailure::Allow, false);
    assert!((0..20).all(|_| asks(&lockout, "192.0.2.1", &name("bob")).unwrap().is_none()));
}

#[test]
fn a_failure_that_the_shared_store_did_not_learn_is_counted_here() {
    for (policy, locks) in [(OnStateFailure::Local, 1), (OnStateFailure::Deny, 0), (OnStateFailure::Allow, 0)]
    {
        let (told, lockout) = without_its_store(policy, true);
        assert!((0..5).all(|_| login(&lockout, "192.0.2.1", &name("bob"), 401)));
        assert!(login(&lockout, "192.0.2.1", &name("bob"), 500));
        assert_eq!(lockout.rule.local.list().now_or_never().unwrap().unwrap().len(), locks);
        assert_eq!(told.load(Ordering::Relaxed), 5, "an end that counts for nothing is no loss");
    }
}
