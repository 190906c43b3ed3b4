use std::time::Duration;

use config::{Algorithm, Secret};
use proptest::prelude::*;

use super::*;
use crate::jwks::{KeySet, Origin};
use crate::jws::tests::hs256;

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

pub(super) fn settings() -> config::Jwt {
    let key = JwtKey::Shared { alg: Algorithm::HS256, secret: Secret::new("k"), kid: None };
    config::Jwt { keys: vec![key], issuer: None, audience: vec![], leeway: Duration::ZERO, max_age: None }
}

pub(super) fn names() -> Claims {
    let name = |name: &str| Some(name.to_owned());
    Claims { subject: "sub".into(), tenant: name("tid"), roles: name("a.roles"), permissions: name("scope") }
}

pub(super) fn verifier(jwt: &config::Jwt, claims: &Claims, sets: &KeySets) -> Verifier {
    let identity = config::Identity {
        jwt: jwt.clone(),
        accept: vec![],
        claims: claims.clone(),
        superuser: Some("root".to_owned()),
        forward: true,
    };
    Verifier::build("user", &identity, sets).unwrap()
}

pub(super) fn at(seconds: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)
}

fn verify(jwt: &config::Jwt, claims: &str) -> Result<Arc<Caller>, Reason> {
    let verifier = verifier(jwt, &names(), &KeySets::default());
    verifier.verify(&hs256("k", HEADER, claims), at(NOW as f64)).map_err(|denial| denial.reason)
}

/// With `exp` and `sub` unless the members given have them.
pub(super) fn token(members: &str) -> String {
    let exp = if members.contains("\"exp\"") { "" } else { ",\"exp\":1800000060" };
    let sub = if members.contains("\"sub\"") { "" } else { ",\"sub\":\"u1\"" };
    let comma = if members.is_empty() { "\"x\":0" } else { members };
    format!("{{{comma}{exp}{sub}}}")
}

fn reason(jwt: &config::Jwt, members: &str) -> Option<Reason> {
    verify(jwt, &token(members)).err()
}

#[test]
fn reads_who_asks_and_what_they_may() {
    let claims = r#"{"sub":"u1","tid":"t-acme","a":{"roles":["admin","x"]},"scope":"r:1  r:2,r:3","exp":1800000060.5}"#;
    let verified = verify(&settings(), claims).unwrap();
    assert_eq!(verified.subject, "u1");
    assert_eq!(verified.tenant.as_deref(), Some("t-acme"));
    assert_eq!(verified.roles, ["admin", "x"]);
    assert_eq!(verified.permissions, ["r:1", "r:2", "r:3"]);
    assert_eq!(verified.expires, at(NOW as f64 + 60.5));
}

#[test]
fn verifies_the_first_example_of_rfc_7515() {
    use base64::Engine;
    let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let key = JwtKey::Shared { alg: Algorithm::HS256, secret: Secret::new(secret), kid: None };
    let jwt = config::Jwt { keys: vec![key], issuer: Some("joe".into()), ..settings() };
    let claims = Claims { subject: "iss".into(), tenant: None, roles: None, permissions: None };
    let verifier = verifier(&jwt, &claims, &KeySets::default());
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6\
                     Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(verifier.verify(token, at(1_300_819_379.9)).unwrap().subject, "joe");
    assert_eq!(verifier.verify(token, at(1_300_819_380.0)).unwrap_err().reason, Reason::AuthExpired);
}

#[test]
fn verifies_what_another_library_signed() {
    let claims = serde_json::json!({ "sub": "u1", "exp": NOW + 60 });
    let key = jsonwebtoken::EncodingKey::from_secret(b"k");
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let verifier = verifier(&settings(), &names(), &KeySets::default());
    assert_eq!(verifier.verify(&token, at(NOW as f64)).unwrap().subject, "u1");
}

#[test]
fn demands_an_end_and_keeps_to_it() {
    let jwt = settings();
    assert_eq!(reason(&jwt, r#""exp":1800000000.5"#), None);
    assert_eq!(reason(&jwt, r#""exp":1800000000"#), Some(Reason::AuthExpired));
    assert_eq!(reason(&jwt, r#""exp":-1"#), Some(Reason::AuthExpired));
    assert_eq!(verify(&jwt, r#"{"sub":"u1"}"#).unwrap_err(), Reason::AuthInvalid);
    for exp in ["null", "\"1800000060\"", "[1800000060]", "true"] {
        assert_eq!(reason(&jwt, &format!("\"exp\":{exp}")), Some(Reason::AuthInvalid), "{exp}");
    }
    assert_eq!(reason(&jwt, r#""exp":1e300"#), None, "an end beyond all calendars is far away");
}

#[test]
fn refuses_what_is_not_good_yet() {
    let jwt = settings();
    for (members, expected) in [
        (r#""nbf":1800000000,"iat":1800000000"#, None),
        (r#""nbf":1800000000.1"#, Some(Reason::AuthInvalid)),
        (r#""iat":1800000001"#, Some(Reason::AuthInvalid)),
        (r#""nbf":"0""#, Some(Reason::AuthInvalid)),
        (r#""iat":null"#, Some(Reason::AuthInvalid)),
    ] {
        assert_eq!(reason(&jwt, members), expected, "{members}");
    }
}

#[test]
fn forgives_the_leeway_and_no_more() {
    let jwt = config::Jwt { leeway: Duration::from_secs(30), ..settings() };
    for (members, expected) in [
        (r#""exp":1799999971"#, None),
        (r#""exp":1799999970"#, Some(Reason::AuthExpired)),
        (r#""nbf":1800000030,"iat":1800000030"#, None),
        (r#""nbf":1800000031"#, Some(Reason::AuthInvalid)),
    ] {
        assert_eq!(reason(&jwt, members), expected, "{members}");
    }
}

#[test]
fn a_token_older_than_max_age_has_expired() {
    let jwt = config::Jwt { max_age: Some(Duration::from_secs(900)), ..settings() };
    assert_eq!(reason(&jwt, r#""iat":1799999101"#), None);
    assert_eq!(reason(&jwt, r#""iat":1799999100"#), Some(Reason::AuthExpired));
    assert_eq!(reason(&jwt, ""), Some(Reason::AuthInvalid), "without iat its age is unknown");
    let young = verify(&jwt, &token(r#""iat":1799999110"#)).unwrap();
    assert_eq!(young.expires, at(NOW as f64 + 10.0), "sooner than exp");
}

#[test]
fn checks_issuer_and_audience() {
    let jwt =
        config::Jwt { issuer: Some("wecard".into()), audience: vec!["a".into(), "b".into()], ..settings() };
    let bad = Some(Reason::AuthInvalid);
    for (members, expected) in [
        (r#""iss":"wecard","aud":"b""#, None),
        (r#""iss":"wecard","aud":["x","a"]"#, None),
        (r#""iss":"wecard","aud":["x"]"#, bad),
        (r#""iss":"wecard","aud":["a",1]"#, bad),
        (r#""iss":"wecard","aud":[]"#, bad),
        (r#""iss":"wecard","aud":{"a":"a"}"#, bad),
        (r#""iss":"wecard""#, bad),
        (r#""iss":"Wecard","aud":"a""#, bad),
        (r#""iss":["wecard"],"aud":"a""#, bad),
        (r#""aud":"a""#, bad),
        (r#""iss":"other","aud":"a","exp":1"#, bad),
    ] {
        assert_eq!(reason(&jwt, members), expected, "{members}");
    }
    assert_eq!(reason(&settings(), r#""iss":1,"aud":{}"#), None, "nobody asks for them");
}

#[test]
fn a_subject_is_a_word_or_a_whole_number() {
    assert_eq!(verify(&settings(), &token(r#""sub":42"#)).unwrap().subject, "42");
    for sub in ["\"\"", "null", "1.5", "true", "[\"u\"]", "{}", "\"a\\nb\"", "100000000000000000000"] {
        assert_eq!(reason(&settings(), &format!("\"sub\":{sub}")), Some(Reason::AuthInvalid), "{sub}");
    }
}

#[test]
fn a_tenant_is_a_word_or_absent() {
    let tenant =
        |value: &str| verify(&settings(), &token(&format!("\"tid\":{value}"))).map(|one| one.tenant.clone());
    assert_eq!(tenant("\"t\""), Ok(Some("t".into())));
    assert_eq!(tenant("7"), Ok(Some("7".into())));
    assert_eq!(tenant("null"), Ok(None));
    assert_eq!(tenant("\"\""), Ok(None));
    for value in ["[\"t\"]", "{}", "false"] {
        assert_eq!(tenant(value), Err(Reason::AuthInvalid), "{value}");
    }
}

#[test]
fn lists_come_as_arrays_or_strings() {
    let read = |members: &str| verify(&settings(), &token(members));
    let permissions = |value: &str| read(&format!("\"scope\":{value}")).map(|one| one.permissions.clone());
    assert_eq!(permissions(r#"["a b","c",7,null,"d,e",""]"#).unwrap(), ["a b", "c", "7"]);
    assert_eq!(permissions(r#"" a,b  c ""#).unwrap(), ["a", "b", "c"]);
    assert_eq!(permissions("null").unwrap(), Vec::<String>::new());
    assert_eq!(permissions("{}"), Err(Reason::AuthInvalid));
    let roles = |value: &str| read(&format!("\"a.roles\":{value}")).unwrap().roles.clone();
    assert_eq!(roles(r#""site admin, guest""#), ["site admin", "guest"]);
}

#[test]
fn refuses_other_keys_and_tampered_tokens() {
    let verifier = verifier(&settings(), &names(), &KeySets::default());
    let refused = |token: &str| verifier.verify(token, at(NOW as f64)).unwrap_err();
    let claims = token("");
    for token in [
        hs256("other", HEADER, &claims),
        hs256("k", r#"{"alg":"none"}"#, &claims),
        hs256("k", r#"{"alg":"HS512"}"#, &claims),
        hs256("k", HEADER, "[]"),
        hs256("k", HEADER, ""),
        hs256("k", HEADER, r#"{"sub":"a","exp":1800000060,"sub":"b"}"#),
        hs256("k", HEADER, &claims).replacen("eyJ4", "eyJ5", 1),
        hs256("other", HEADER, r#"{"sub":"u","exp":1}"#),
        String::new(),
    ] {
        let denial = refused(&token);
        assert_eq!(denial.reason, Reason::AuthInvalid, "{token}");
        assert_eq!(denial.extra.unwrap().challenge.unwrap(), INVALID);
    }
    assert_eq!(
        refused(&hs256("k", HEADER, &self::token("\"exp\":1"))).extra.unwrap().challenge.unwrap(),
        EXPIRED
    );
}

#[test]
fn a_named_key_verifies_only_tokens_that_name_it() {
    let key = |secret: &str, kid: &str| JwtKey::Shared {
        alg: Algorithm::HS256,
        secret: Secret::new(secret),
        kid: Some(kid.to_owned()),
    };
    let jwt = config::Jwt { keys: vec![key("a", "1"), key("b", "2")], ..settings() };
    let verifier = verifier(&jwt, &names(), &KeySets::default());
    let good = |secret: &str, header: &str| {
        verifier.verify(&hs256(secret, header, &token("")), at(NOW as f64)).is_ok()
    };
    assert!(good("a", r#"{"alg":"HS256","kid":"1"}"#));
    assert!(good("b", r#"{"alg":"HS256","kid":"2"}"#));
    assert!(!good("a", r#"{"alg":"HS256","kid":"2"}"#));
    assert!(!good("a", HEADER));
}

#[test]
fn published_keys_fail_closed_and_ring_for_what_is_missing() {
    let sets = KeySets::default();
    let url = "file:/keys.json".to_owned();
    let jwt = config::Jwt { keys: vec![JwtKey::Jwks { url: url.clone() }], ..settings() };
    let verifier = verifier(&jwt, &names(), &sets);
    let secret = "0123456789abcdef0123456789abcdef";
    let named = |kid: &str| hs256(secret, &format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#), &token(""));
    let verdict =
        |kid: &str| verifier.verify(&named(kid), at(NOW as f64)).map(drop).map_err(|denial| denial.reason);

    assert_eq!(verdict("a"), Err(Reason::StateUnavailable));
    let cell = sets.cell(&url);
    let k = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, secret);
    let set = format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","kid":"a","k":"{k}"}}]}}"#);
    cell.put(KeySet::parse(set.as_bytes(), Origin::File).unwrap());
    assert_eq!(verdict("a"), Ok(()));
    assert_eq!(verdict("b"), Err(Reason::AuthInvalid));
    assert!(verifier.key_wanted(&named("b")).is_none(), "nobody fetches");
    cell.set_open(true);
    assert!(verifier.key_wanted(&named("b")).is_some());
    assert!(verifier.key_wanted(&named("a")).is_none());
    assert!(verifier.key_wanted("junk").is_none());
}

/// Run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
fn measures_a_verification() {
    let claims = token(
        r#""iss":"wecard","iat":1799999000,"tid":"t-acme","a":{"roles":["editor"]},"scope":["asset:read","asset:write","card:read"],"jti":"0b1f6f7e-5b0a-4a52-9b1e-6d5f2a9f3c11""#,
    );
    let jwt = config::Jwt { issuer: Some("wecard".into()), ..settings() };
    let verifier = verifier(&jwt, &names(), &KeySets::default());
    let token = hs256("k", HEADER, &claims);
    let now = at(NOW as f64);
    let time = |label: &str, work: &dyn Fn()| {
        let rounds = 50_000;
        let best = (0..7).map(|_| {
            let start = std::time::Instant::now();
            (0..rounds).for_each(|_| work());
            start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds)
        });
        println!("{label}: {:.0} ns", best.fold(f64::INFINITY, f64::min));
    };
    println!("{} bytes", token.len());
    let moment = Moment::new(now, 0.0);
    time("verify HS256", &|| drop(std::hint::black_box(verifier.prove(&token, &moment).unwrap())));
    time("  parse", &|| assert!(Compact::parse(&token).is_ok()));
    let compact = Compact::parse(&token).unwrap();
    time("  signature", &|| assert!(compact.signed_by(&verifier.keys[0])));
    let payload = compact.payload().unwrap();
    time("  claims JSON", &|| drop(std::hint::black_box(Json::object(&payload))));
    time("verify what is known", &|| drop(std::hint::black_box(verifier.verify(&token, now).unwrap())));

    let rsa = aws_lc_rs::signature::RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let public: aws_lc_rs::signature::RsaPublicKeyComponents<Vec<u8>> =
        aws_lc_rs::signature::KeyPair::public_key(&rsa).into();
    let key = Key::rsa(Algorithm::RS256, &public.n, &public.e, None).unwrap();
    let mut signature = vec![0; 256];
    let random = aws_lc_rs::rand::SystemRandom::new();
    rsa.sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut signature).unwrap();
    time("RS256 signature", &|| assert!(key.verifies(token.as_bytes(), &signature)));
}

proptest! {
    #[test]
    fn never_panics_on_signed_claims(claims in r#"\{("(sub|exp|nbf|iat|iss|aud|tid|scope|a)":(-?[0-9]{1,25}(\.[0-9]{1,5})?(e-?[0-9]{1,3})?|"[a-z ,]{0,8}"|\[("x",?)?\]|\{\}|null),?){0,6}\}"#) {
        let jwt = config::Jwt { max_age: Some(Duration::from_secs(60)), ..settings() };
        let _ = verify(&jwt, &claims);
        let _ = verify(&settings(), &claims.replace('}', ",\"exp\":1800000001}"));
    }
}
