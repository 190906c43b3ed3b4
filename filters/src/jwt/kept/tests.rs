//! That a token which is known is judged as one that is not.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use config::JwtKey;
use proptest::prelude::*;

use super::*;
use crate::claims::Json;
use crate::denial::{Denial, Reason};
use crate::facts::Token;
use crate::jwks::{KeySetCell, KeySets, Origin};
use crate::jws::tests::hs256;
use crate::jwt::Verifier;
use crate::jwt::tests::{HEADER, NOW, at, names, settings, token, verifier};
use crate::jwt::times::Moment;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const URL: &str = "file:/keys.json";

fn of_policy() -> Verifier {
    verifier(&settings(), &names(), &KeySets::default())
}

fn judged(verifier: &Verifier, token: &str, now: f64) -> Result<Arc<Caller>, Reason> {
    verifier.verify(token, at(now)).map_err(|denial| denial.reason)
}

/// Whether the verifier knows the token.
fn knows(verifier: &Verifier, token: &str) -> bool {
    verifier.kept.find(token, |proof| verifier.counts(proof)).is_some()
}

fn soon(seconds: i64) -> f64 {
    NOW as f64 + seconds as f64
}

#[test]
fn a_token_that_comes_again_makes_the_same_caller() {
    let verifier = of_policy();
    let good = hs256("k", HEADER, &token(r#""tid":"t","scope":"root b""#));
    let first = judged(&verifier, &good, soon(0)).unwrap();
    let again = judged(&verifier, &good, soon(59)).unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!((first.subject.as_str(), first.tenant.as_deref(), first.superuser), ("u1", Some("t"), true));
    assert_eq!(*again, *judged(&of_policy(), &good, soon(59)).unwrap());
}

#[test]
fn a_known_token_ends_when_it_ends() {
    let jwt =
        config::Jwt { leeway: Duration::from_secs(5), max_age: Some(Duration::from_secs(30)), ..settings() };
    let verifier = verifier(&jwt, &names(), &KeySets::default());
    for (good, end) in
        [(token(r#""iat":1799999990,"exp":1800000010"#), 15), (token(r#""iat":1799999990"#), 25)]
    {
        let good = hs256("k", HEADER, &good);
        assert!(judged(&verifier, &good, soon(end - 1)).is_ok());
        assert!(knows(&verifier, &good));
        let denial = verifier.verify(&good, at(soon(end))).unwrap_err();
        assert_eq!(denial.reason, Reason::AuthExpired);
        assert!(denial.extra.unwrap().challenge.unwrap().contains("expired"));
        assert!(judged(&verifier, &good, soon(end - 1)).is_ok(), "the clock was set right");
    }
}

#[test]
fn a_known_token_is_not_good_yet_when_the_clock_goes_back() {
    for member in [r#""nbf":1799999990"#, r#""iat":1799999990"#] {
        let verifier = of_policy();
        let good = hs256("k", HEADER, &token(member));
        assert!(judged(&verifier, &good, soon(0)).is_ok());
        assert_eq!(judged(&verifier, &good, soon(-11)), Err(Reason::AuthInvalid), "{member}");
        assert!(judged(&verifier, &good, soon(-10)).is_ok());
    }
}

#[test]
fn keeps_nothing_that_is_not_good_in_every_respect() {
    let verifier = of_policy();
    for bad in [
        hs256("other", HEADER, &token("")),
        hs256("k", HEADER, &token(r#""exp":1"#)),
        hs256("k", HEADER, &token(r#""nbf":1800000001"#)),
        hs256("k", HEADER, &token(r#""sub":null"#)),
        hs256("k", HEADER, &token(r#""tid":{}"#)),
        hs256("k", HEADER, &token(r#""scope":{}"#)),
    ] {
        assert!(judged(&verifier, &bad, soon(0)).is_err());
    }
    assert!(verifier.kept.sets.get().is_none(), "not even a place was made");
}

#[test]
fn a_token_with_one_other_byte_is_another_token() {
    let verifier = of_policy();
    let good = hs256("k", HEADER, &token(""));
    assert!(judged(&verifier, &good, soon(0)).is_ok());
    for at in 0..good.len() {
        for byte in [b'A', b'B', b'.', b'='] {
            let mut other = good.clone().into_bytes();
            if std::mem::replace(&mut other[at], byte) != byte {
                let other = String::from_utf8(other).unwrap();
                assert_eq!(judged(&verifier, &other, soon(0)), Err(Reason::AuthInvalid), "{other}");
            }
        }
        assert!(judged(&verifier, &good[..at], soon(0)).is_err());
    }
    assert!(judged(&verifier, &format!("{good} "), soon(0)).is_err());
    assert!(judged(&verifier, &good, soon(0)).is_ok());
}

#[test]
fn the_hash_stands_for_no_token() {
    let mut verifier = of_policy();
    verifier.kept = KeptTokens::with_sets(1);
    let good = hs256("k", HEADER, &token(""));
    let forged = hs256("other", HEADER, &token(r#""sub":"root""#));
    assert!(judged(&verifier, &good, soon(0)).is_ok());
    let hash = verifier.kept.hash.hash_one(forged.as_str());
    lock(&verifier.kept.sets.get().unwrap()[0])[0].as_mut().unwrap().hash = hash;
    assert_eq!(judged(&verifier, &forged, soon(0)), Err(Reason::AuthInvalid));
}

#[test]
fn tokens_that_meet_in_one_set_drive_each_other_out_and_nothing_else() {
    let mut verifier = of_policy();
    verifier.kept = KeptTokens::with_sets(1);
    let tokens: Vec<String> =
        (0..5).map(|n| hs256("k", HEADER, &token(&format!(r#""sub":"u{n}""#)))).collect();
    for round in 0..3 {
        for (n, good) in tokens.iter().enumerate() {
            assert_eq!(judged(&verifier, good, soon(round)).unwrap().subject, format!("u{n}"));
        }
    }
    assert_eq!(tokens.iter().filter(|good| knows(&verifier, good)).count(), 2);
    // The one that was used last stays.
    assert!(judged(&verifier, &tokens[3], soon(0)).is_ok());
    assert!(judged(&verifier, &tokens[0], soon(0)).is_ok());
    assert!(knows(&verifier, &tokens[3]) && !knows(&verifier, &tokens[4]));
}

#[test]
fn never_holds_more_than_its_places() {
    let kept = KeptTokens::with_sets(4);
    let times = Times::good_at(&Moment::new(at(soon(0)), 0.0), &exp(), None).unwrap();
    for n in 0..1000 {
        kept.keep(&Arc::new(caller(format!("token {n}"), 0)), times, Proof::Own);
    }
    let held = (0..1000).filter(|n| kept.find(&format!("token {n}"), |_| true).is_some()).count();
    assert_eq!(held, 8);
}

#[test]
fn keeps_no_token_that_would_take_much_memory() {
    let kept = KeptTokens::new();
    let times = Times::good_at(&Moment::new(at(soon(0)), 0.0), &exp(), None).unwrap();
    for (length, words, is_kept) in
        [(MAX_TOKEN, 0, true), (MAX_TOKEN + 1, 0, false), (1000, 150, true), (1001, 200, false)]
    {
        let long = "x".repeat(length);
        kept.keep(&Arc::new(caller(long.clone(), words)), times, Proof::Own);
        assert_eq!(kept.find(&long, |_| true).is_some(), is_kept, "{length} {words}");
    }
    let bytes = SETS * size_of::<Mutex<Set>>();
    assert!(bytes <= 80 * 1024, "{bytes} bytes of sets");
}

fn exp() -> Json<'static> {
    Json::object(br#"{"exp":1800000060}"#).unwrap()
}

fn caller(token: String, words: usize) -> Caller {
    Caller {
        identity: "user".into(),
        subject: "u1".to_owned(),
        tenant: None,
        roles: vec!["r".to_owned(); words],
        permissions: vec![],
        superuser: false,
        expires: at(soon(60)),
        token: Token(token),
    }
}

fn published(sets: &KeySets) -> (Verifier, Arc<KeySetCell>) {
    let jwt = config::Jwt { keys: vec![JwtKey::Jwks { url: URL.into() }], ..settings() };
    (verifier(&jwt, &names(), sets), sets.cell(URL))
}

/// A set with a key of each of these names, which end their secrets.
fn set(kids: &[&str]) -> KeySet {
    let keys: Vec<String> = kids
        .iter()
        .map(|kid| {
            let secret = URL_SAFE_NO_PAD.encode(format!("{SECRET}{kid}"));
            format!(r#"{{"kty":"oct","alg":"HS256","kid":"{kid}","k":"{secret}"}}"#)
        })
        .collect();
    KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes(), Origin::File).unwrap()
}

fn signed_by(kid: &str, members: &str) -> String {
    hs256(&format!("{SECRET}{kid}"), &format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#), &token(members))
}

#[test]
fn a_published_key_that_is_withdrawn_is_good_for_nothing() {
    let sets = KeySets::default();
    let (verifier, cell) = published(&sets);
    let (a, b) = (signed_by("a", ""), signed_by("b", ""));
    cell.put(set(&["a", "b"]));
    assert!(judged(&verifier, &a, soon(0)).is_ok() && judged(&verifier, &b, soon(0)).is_ok());
    cell.put(set(&["b"]));
    assert!(!knows(&verifier, &b), "the set it was proved by is not the current one");
    assert_eq!(judged(&verifier, &a, soon(0)), Err(Reason::AuthInvalid));
    assert_eq!(judged(&verifier, &a, soon(100)), Err(Reason::AuthInvalid), "signature before expiry");
    assert!(judged(&verifier, &b, soon(0)).is_ok());
    assert!(knows(&verifier, &b) && !knows(&verifier, &a));
}

#[test]
fn a_published_key_that_is_replaced_under_its_name_is_good_for_nothing() {
    let sets = KeySets::default();
    let (verifier, cell) = published(&sets);
    let good = signed_by("a", "");
    cell.put(set(&["a"]));
    assert!(judged(&verifier, &good, soon(0)).is_ok());
    let other = URL_SAFE_NO_PAD.encode("another secret of at least 32 bytes");
    let other = format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","kid":"a","k":"{other}"}}]}}"#);
    cell.put(KeySet::parse(other.as_bytes(), Origin::File).unwrap());
    assert_eq!(judged(&verifier, &good, soon(0)), Err(Reason::AuthInvalid));
}

#[test]
fn a_withdrawn_set_is_not_kept_alive_by_its_tokens() {
    let sets = KeySets::default();
    let (verifier, cell) = published(&sets);
    cell.put(set(&["a"]));
    let old = Arc::downgrade(cell.current().as_ref().unwrap());
    assert!(judged(&verifier, &signed_by("a", ""), soon(0)).is_ok());
    cell.put(set(&["a"]));
    assert!(old.upgrade().is_none());
}

#[test]
fn another_cell_may_change_without_harm() {
    let sets = KeySets::default();
    let jwks = |url: &str| JwtKey::Jwks { url: url.into() };
    let jwt = config::Jwt { keys: vec![jwks("file:/other.json"), jwks(URL)], ..settings() };
    let verifier = verifier(&jwt, &names(), &sets);
    sets.cell(URL).put(set(&["a"]));
    let good = signed_by("a", "");
    assert!(judged(&verifier, &good, soon(0)).is_ok());
    sets.cell("file:/other.json").put(set(&["b"]));
    assert!(knows(&verifier, &good));
    sets.cell(URL).put(set(&["b"]));
    assert_eq!(judged(&verifier, &good, soon(0)), Err(Reason::AuthInvalid));
}

#[test]
fn threads_share_what_is_known() {
    let mut verifier = of_policy();
    verifier.kept = KeptTokens::with_sets(1);
    let tokens: Vec<String> =
        (0..4).map(|n| hs256("k", HEADER, &token(&format!(r#""sub":"u{n}""#)))).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (verifier, tokens) = (&verifier, &tokens);
            scope.spawn(move || {
                for n in (0..400).map(|round| (round * (thread + 1)) % 4) {
                    assert_eq!(judged(verifier, &tokens[n], soon(0)).unwrap().subject, format!("u{n}"));
                }
            });
        }
    });
}

/// Some tokens of each kind: good, good for a while, never good.
fn tokens() -> Vec<String> {
    let members = [
        "",
        r#""exp":1800000010"#,
        r#""nbf":1799999990,"exp":1800000020"#,
        r#""iat":1799999980,"tid":"t","scope":"root""#,
        r#""nbf":1800000015,"iat":1800000005"#,
        r#""nbf":1800000015,"iat":"x""#,
        r#""exp":1800000010,"sub":null"#,
        r#""exp":1800000010,"tid":{}"#,
    ];
    let published = ["a", "b"].iter().flat_map(|kid| members.map(|members| signed_by(kid, members)));
    let own = members.map(|members| hs256("k", HEADER, &token(members)));
    let bad = [hs256("other", HEADER, &token("")), "a.b.c".to_owned(), String::new()];
    published.chain(own).chain(bad).collect()
}

/// All that an answer says.
fn said(answer: Result<Arc<Caller>, Denial>) -> Result<Caller, String> {
    answer.map(|caller| Caller::clone(&caller)).map_err(|denial| format!("{denial:?}"))
}

#[derive(Debug, Clone)]
enum Event {
    Asks { token: usize, second: i64 },
    Publishes(&'static [&'static str]),
}

fn event() -> impl Strategy<Value = Event> {
    let asks = (0..tokens().len(), -30i64..40).prop_map(|(token, second)| Event::Asks { token, second });
    let publishes = prop_oneof![Just(&["a"][..]), Just(&["b"][..]), Just(&["a", "b"][..])];
    prop_oneof![12 => asks, 1 => publishes.prop_map(Event::Publishes)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_known_is_judged_as_what_is_not(
        events in prop::collection::vec(event(), 1..150),
        size in prop::sample::select(vec![1usize, 4, SETS]),
        max_age in prop::option::of(20u64..50),
        leeway in 0u64..3,
    ) {
        let sets = KeySets::default();
        let own = settings().keys.remove(0);
        let jwt = config::Jwt {
            keys: vec![own, JwtKey::Jwks { url: URL.into() }],
            leeway: Duration::from_secs(leeway),
            max_age: max_age.map(Duration::from_secs),
            ..settings()
        };
        let mut knowing = verifier(&jwt, &names(), &sets);
        knowing.kept = KeptTokens::with_sets(size);
        let tokens = tokens();
        for event in events {
            match event {
                Event::Publishes(kids) => sets.cell(URL).put(set(kids)),
                Event::Asks { token, second } => {
                    let now = at(soon(second));
                    let fresh = verifier(&jwt, &names(), &sets);
                    let expected = said(fresh.verify(&tokens[token], now));
                    prop_assert_eq!(said(knowing.verify(&tokens[token], now)), expected);
                }
            }
        }
    }
}
