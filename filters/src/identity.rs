//! Who asks: the identities of a policy, and the one that a request's credential satisfies.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use config::CredentialPlace;
use pingora_http::RequestHeader;

use crate::credential::{self, Credential};
use crate::denial::{Denial, Reason};
use crate::facts::Caller;
use crate::jwks::{KeySets, Wanted};
use crate::jwt::Verifier;

/// The identities of a policy, ready to verify.
#[derive(Debug)]
pub struct Identities {
    by_name: HashMap<String, Arc<Identity>>,
}

#[derive(Debug)]
struct Identity {
    verifier: Verifier,
    accept: Vec<CredentialPlace>,
    forward: bool,
}

impl Identities {
    /// Prepares every identity. Published key sets are read from the cells of `key_sets`, which outlives the policy.
    /// The error names the identity and the key that cannot be used.
    pub fn build(
        identities: &BTreeMap<String, config::Identity>,
        key_sets: &KeySets,
    ) -> Result<Self, String> {
        let mut by_name = HashMap::with_capacity(identities.len());
        for (name, identity) in identities {
            let verifier = Verifier::build(name, identity, key_sets)
                .map_err(|problem| format!("identities.{name}.{problem}"))?;
            let ready = Identity { verifier, accept: identity.accept.clone(), forward: identity.forward };
            by_name.insert(name.clone(), Arc::new(ready));
        }
        Ok(Self { by_name })
    }

    /// The identities that a route accepts. An error when the policy does not have one of them.
    pub fn accepted(&self, names: &[String]) -> Result<Accepted, String> {
        let mut accepted = Accepted { identities: Vec::with_capacity(names.len()), places: Vec::new() };
        for name in names {
            let identity =
                self.by_name.get(name).ok_or_else(|| format!("the policy has no identity {name:?}"))?;
            for place in &identity.accept {
                if !accepted.places.contains(place) {
                    accepted.places.push(place.clone());
                }
            }
            accepted.identities.push(Arc::clone(identity));
        }
        Ok(accepted)
    }
}

/// The identities that a route accepts, in its order, and every place where a credential of theirs may stand.
#[derive(Debug)]
pub struct Accepted {
    identities: Vec<Arc<Identity>>,
    places: Vec<CredentialPlace>,
}

impl Accepted {
    /// Finds the request's credential, takes it out of the query, verifies it, and sees to it that the app behind
    /// gets it as `Authorization: Bearer`, or not at all. The first of the identities that accepts the place it
    /// stood in and verifies it is the caller's. `websocket` is the credential that the subprotocol offered.
    ///
    /// `AuthMissing` without a credential, `RequestMalformed` with two, else what the verifiers say; of several
    /// refusals the most useful one: expired before not fetched before invalid. A key that no published set has is
    /// asked for, but not waited for.
    pub fn establish(
        &self,
        request: &mut RequestHeader,
        websocket: Option<&str>,
        now: SystemTime,
    ) -> Result<Arc<Caller>, Denial> {
        let presented = self.find(request, websocket)?;
        let proof = presented.verify(now)?;
        presented.finish(request, proof)
    }

    /// Like [`establish`](Self::establish), but once, when a published key is missing and is going to be fetched now,
    /// waits as `wait` says (a moment, at most) and looks again. A request that verifies at first never waits.
    pub async fn establish_patiently<W: Future<Output = ()>>(
        &self,
        request: &mut RequestHeader,
        websocket: Option<&str>,
        now: SystemTime,
        wait: impl FnOnce(Wanted) -> W,
    ) -> Result<Arc<Caller>, Denial> {
        let presented = self.find(request, websocket)?;
        let proof = match presented.verify(now) {
            Ok(proof) => proof,
            Err(denial) => match presented.key_wanted() {
                Some(wanted) => {
                    wait(wanted).await;
                    presented.verify(now)?
                }
                None => return Err(denial),
            },
        };
        presented.finish(request, proof)
    }

    /// Whether a credential may be cut from the query.
    pub fn looks_into_query(&self) -> bool {
        self.places.iter().any(|place| matches!(place, CredentialPlace::Query(_)))
    }

    fn find(&self, request: &mut RequestHeader, websocket: Option<&str>) -> Result<Presented<'_>, Denial> {
        let Some(credential) = credential::take(&self.places, request, websocket)? else {
            return Err(Denial::new(Reason::AuthMissing, "no credential").challenge(""));
        };
        Ok(Presented { accepted: self, credential })
    }
}

/// A credential and the identities it may satisfy.
struct Presented<'a> {
    accepted: &'a Accepted,
    credential: Credential<'a>,
}

impl<'a> Presented<'a> {
    fn verify(&self, now: SystemTime) -> Result<(&'a Identity, Arc<Caller>), Denial> {
        let mut refusal: Option<Denial> = None;
        for identity in self.candidates() {
            match identity.verifier.verify(&self.credential.token.0, now) {
                Ok(caller) => return Ok((identity, caller)),
                Err(denial) if refusal.as_ref().is_none_or(|other| rank(&denial) < rank(other)) => {
                    refusal = Some(denial);
                }
                Err(_) => {}
            }
        }
        Err(refusal.unwrap_or_else(|| {
            Denial::new(Reason::Internal, "a credential was found where none is accepted")
        }))
    }

    fn key_wanted(&self) -> Option<Wanted> {
        self.candidates().find_map(|identity| identity.verifier.key_wanted(&self.credential.token.0))
    }

    fn finish(
        self,
        request: &mut RequestHeader,
        (identity, caller): (&Identity, Arc<Caller>),
    ) -> Result<Arc<Caller>, Denial> {
        if identity.forward {
            credential::forward(request, &caller.token.0)?;
        } else {
            credential::withhold(request, &self.accepted.places)?;
        }
        Ok(caller)
    }

    fn candidates(&self) -> impl Iterator<Item = &'a Identity> {
        let accepts =
            |identity: &&Identity| identity.accept.iter().any(|place| self.credential.stood_in(place));
        self.accepted.identities.iter().map(|identity| &**identity).filter(accepts)
    }
}

fn rank(denial: &Denial) -> u8 {
    match denial.reason {
        Reason::AuthExpired => 0,
        Reason::StateUnavailable => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use config::{Algorithm, Claims, JwtKey, Secret};

    use super::*;
    use crate::jwks::{KeySet, Origin};
    use crate::jws::tests::hs256;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn identity(secret: &str, accept: Vec<CredentialPlace>) -> config::Identity {
        let name = |name: &str| Some(name.to_owned());
        let key = JwtKey::Shared { alg: Algorithm::HS256, secret: Secret::new(secret), kid: None };
        config::Identity {
            jwt: config::Jwt {
                keys: vec![key],
                issuer: None,
                audience: vec![],
                leeway: Duration::ZERO,
                max_age: None,
            },
            accept,
            claims: Claims {
                subject: "sub".into(),
                tenant: name("tid"),
                roles: name("role"),
                permissions: name("p"),
            },
            superuser: Some("root".into()),
            forward: true,
        }
    }

    fn identities(all: Vec<(&str, config::Identity)>) -> Identities {
        let all = all.into_iter().map(|(name, one)| (name.to_owned(), one)).collect();
        Identities::build(&all, &KeySets::default()).unwrap()
    }

    fn cookie() -> CredentialPlace {
        CredentialPlace::Cookie("session".into())
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn token(secret: &str, exp: u64) -> String {
        hs256(
            secret,
            r#"{"alg":"HS256"}"#,
            &format!(r#"{{"sub":"u1","tid":"t1","role":"r","p":"root","exp":{exp}}}"#),
        )
    }

    fn request(headers: &[(&'static str, String)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/x", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, value.as_str()).unwrap();
        }
        request
    }

    /// What a route that names these accepts.
    fn route(all: &Identities, names: &[&str]) -> Accepted {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        all.accepted(&names).unwrap()
    }

    fn bearer(token: &str) -> (&'static str, String) {
        ("authorization", format!("Bearer {token}"))
    }

    #[test]
    fn establishes_the_caller_and_tells_the_app() {
        let all = identities(vec![("user", identity("k", vec![cookie()]))]);
        let good = token("k", 1_800_000_060);
        let mut asked = request(&[("cookie", format!("session={good}"))]);
        let caller = route(&all, &["user"]).establish(&mut asked, None, now()).unwrap();
        assert_eq!(
            (&*caller.identity, &*caller.subject, caller.tenant.as_deref()),
            ("user", "u1", Some("t1"))
        );
        assert!(caller.superuser);
        assert_eq!(caller.expires, now() + Duration::from_secs(60));
        assert_eq!(asked.headers["authorization"], format!("Bearer {good}"));
        assert!(asked.headers.contains_key("cookie"));
    }

    #[test]
    fn keeps_the_credential_from_an_app_that_must_not_have_it() {
        let secretive =
            config::Identity { forward: false, ..identity("k", vec![CredentialPlace::Header, cookie()]) };
        let all = identities(vec![("user", secretive)]);
        let good = token("k", 1_800_000_060);
        let mut asked = request(&[bearer(&good), ("cookie", format!("session={good}; a=b"))]);
        route(&all, &["user"]).establish(&mut asked, None, now()).unwrap();
        assert!(!asked.headers.contains_key("authorization"));
        assert_eq!(asked.headers["cookie"], "a=b");
    }

    #[test]
    fn asks_for_a_credential_with_the_scheme_alone() {
        let all = identities(vec![("user", identity("k", vec![CredentialPlace::Header]))]);
        for headers in [
            vec![],
            vec![("authorization", "Basic eDp5".to_owned())],
            vec![("cookie", "session=x".to_owned())],
        ] {
            let denial = route(&all, &["user"]).establish(&mut request(&headers), None, now()).unwrap_err();
            assert_eq!(denial.reason, Reason::AuthMissing);
            assert_eq!(denial.extra.unwrap().challenge.unwrap(), "");
        }
    }

    #[test]
    fn the_first_identity_that_verifies_wins() {
        let header = || vec![CredentialPlace::Header];
        let all = identities(vec![("a", identity("ka", header())), ("b", identity("kb", header()))]);
        let establish = |order: &[&str], token: &str| {
            route(&all, order)
                .establish(&mut request(&[bearer(token)]), None, now())
                .map(|caller| caller.identity.to_string())
                .map_err(|denial| denial.reason)
        };
        assert_eq!(establish(&["a", "b"], &token("kb", 1_800_000_060)), Ok("b".into()));
        assert_eq!(establish(&["b", "a"], &token("ka", 1_800_000_060)), Ok("a".into()));
        assert_eq!(establish(&["a"], &token("kb", 1_800_000_060)), Err(Reason::AuthInvalid));
        assert_eq!(establish(&["a", "b"], &token("kb", 1)), Err(Reason::AuthExpired), "the useful refusal");
        assert_eq!(establish(&["b", "a"], &token("kb", 1)), Err(Reason::AuthExpired));
        assert!(all.accepted(&["nobody".to_owned()]).is_err());
    }

    #[test]
    fn a_credential_counts_only_for_identities_that_accept_its_place() {
        let all = identities(vec![
            ("api", identity("k", vec![CredentialPlace::Header])),
            ("web", identity("other", vec![cookie()])),
        ]);
        let mut asked = request(&[("cookie", format!("session={}", token("k", 1_800_000_060)))]);
        let denial = route(&all, &["api", "web"]).establish(&mut asked, None, now()).unwrap_err();
        assert_eq!(denial.reason, Reason::AuthInvalid);
    }

    #[test]
    fn a_token_that_one_identity_knows_is_nobody_to_another() {
        let header = || vec![CredentialPlace::Header];
        let mut same = identity("ka", header());
        same.superuser = None;
        let all = identities(vec![
            ("a", identity("ka", header())),
            ("b", identity("kb", header())),
            ("same", same),
        ]);
        let good = token("ka", 1_800_000_060);
        let establish =
            |name: &str| route(&all, &[name]).establish(&mut request(&[bearer(&good)]), None, now());
        let first = establish("a").unwrap();
        assert!(Arc::ptr_eq(&first, &establish("a").unwrap()), "it is known");
        assert_eq!(establish("b").unwrap_err().reason, Reason::AuthInvalid);
        let other = establish("same").unwrap();
        assert_eq!((&*other.identity, other.superuser), ("same", false));
        assert_eq!((&*first.identity, first.superuser), ("a", true));
    }

    #[test]
    fn tells_the_app_of_a_known_token_wherever_it_stands() {
        let all = identities(vec![("user", identity("k", vec![CredentialPlace::Header, cookie()]))]);
        let good = token("k", 1_800_000_060);
        for _ in 0..2 {
            for headers in [vec![bearer(&good)], vec![("cookie", format!("session={good}"))]] {
                let mut asked = request(&headers);
                let caller = route(&all, &["user"]).establish(&mut asked, None, now()).unwrap();
                assert_eq!(caller.token.0, good);
                assert_eq!(asked.headers["authorization"], format!("Bearer {good}"));
            }
        }
    }

    #[tokio::test]
    async fn waits_once_for_a_published_key_that_is_on_its_way() {
        let sets = KeySets::default();
        let url = "file:/keys.json";
        let mut published = identity("k", vec![CredentialPlace::Query("token".into())]);
        published.jwt.keys = vec![JwtKey::Jwks { url: url.into() }];
        let all = Identities::build(&[("user".to_owned(), published)].into(), &sets).unwrap();
        let user = route(&all, &["user"]);
        let cell = sets.cell(url);
        let fetch = || {
            let k = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, SECRET);
            let set = format!(r#"{{"keys":[{{"kty":"oct","alg":"HS256","k":"{k}"}}]}}"#);
            cell.put(KeySet::parse(set.as_bytes(), Origin::File).unwrap());
            cell.end_round();
        };
        let mut asked = request(&[]);
        let establish = async |asked: &mut RequestHeader, fetches: bool| {
            asked.set_raw_path(format!("/x?token={}", token(SECRET, 1_800_000_060)).as_bytes()).unwrap();
            let mut waited = false;
            let wait = |wanted: crate::jwks::Wanted| {
                waited = true;
                if fetches {
                    fetch();
                }
                assert_eq!(wanted.is_over(), fetches);
                std::future::ready(())
            };
            let result = user.establish_patiently(asked, None, now(), wait).await;
            (result.map(drop).map_err(|denial| denial.reason), waited)
        };
        assert_eq!(
            establish(&mut asked, false).await,
            (Err(Reason::StateUnavailable), false),
            "nobody fetches"
        );
        cell.set_open(true);
        assert_eq!(establish(&mut asked, false).await, (Err(Reason::StateUnavailable), true));
        assert_eq!(asked.raw_path(), b"/x");
        assert_eq!(establish(&mut asked, true).await, (Ok(()), true));
        assert!(asked.headers.contains_key("authorization"));
        assert_eq!(establish(&mut asked, false).await, (Ok(()), false));
    }

    #[test]
    fn names_the_key_that_cannot_be_used() {
        let bad = identity("", vec![CredentialPlace::Header]);
        let problem = Identities::build(&[("user".to_owned(), bad)].into(), &KeySets::default()).unwrap_err();
        assert!(problem.starts_with("identities.user.jwt.keys[0]: "), "{problem}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_never_lets_noise_in(header in "[ -~]{0,60}", cookie in "[ -~]{0,60}", socket in "\\PC{0,40}") {
            let places = vec![CredentialPlace::Header, self::cookie(), CredentialPlace::WebSocket("bearer".into())];
            let all = identities(vec![("user", identity("k", places))]);
            let mut asked = request(&[("authorization", header), ("cookie", cookie)]);
            proptest::prop_assert!(route(&all, &["user"]).establish(&mut asked, Some(&socket), now()).is_err());
        }
    }
}
