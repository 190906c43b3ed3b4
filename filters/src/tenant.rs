//! Whose data a request is about, and whether its caller may say so.
//!
//! Every configured source that answers must name the same tenant. A header or query parameter that is absent or
//! empty, a host that is the bare domain, and a credential without tenant claim do not answer. Disagreement is told
//! before anything else, so that a caller learns nothing of tenants that are not theirs.
//!
//! When the claim is one of the sources, a caller without it has no tenant of their own, and what the request says
//! beside it is only a wish: on a route that demands a tenant that is a mismatch, unless the caller is superuser. On
//! a route where the tenant is optional, such as a provider's console, and on a route without `auth`, such as a
//! login, the other sources do.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use config::rules::TenantRule;
use config::{Tenant, TenantSource};
use pingora_http::RequestHeader;
use url::form_urlencoded;

use crate::denial::{Denial, Reason};
use crate::facts::Caller;

/// The tenants of a policy, found in constant time, and the sources that name them.
#[derive(Debug)]
pub struct Directory {
    sources: Vec<TenantSource>,
    /// By id and by name.
    by_word: HashMap<String, Arc<Tenant>>,
    /// By id and by name in lower case, as hosts write them.
    by_label: HashMap<String, Arc<Tenant>>,
}

impl Directory {
    /// An error when one word, in lower case for subdomains, would mean two tenants.
    pub fn build(tenants: &config::Tenants) -> Result<Self, String> {
        let size = tenants.directory.len() * 2;
        let (mut by_word, mut by_label) = (HashMap::with_capacity(size), HashMap::with_capacity(size));
        let labels = tenants.resolve.iter().any(|source| matches!(source, TenantSource::SubdomainOf(_)));
        for tenant in &tenants.directory {
            let tenant = Arc::new(tenant.clone());
            for word in [&tenant.id, &tenant.name] {
                add(&mut by_word, word.clone(), &tenant)?;
                if labels {
                    add(&mut by_label, word.to_ascii_lowercase(), &tenant)?;
                }
            }
        }
        Ok(Self { sources: tenants.resolve.clone(), by_word, by_label })
    }

    /// The tenant of this id or name.
    pub fn find(&self, word: &str) -> Option<&Arc<Tenant>> {
        self.by_word.get(word)
    }

    /// The request's tenant. None when the rule allows it: nobody asks, or the tenant is optional and nothing names
    /// one. `host` is lower case without port, `query` as it was sent, `params` the decoded names of the path.
    ///
    /// Refuses, in this order: `TenantMismatch` when two sources disagree, when the caller has no tenant to wish for
    /// another with, `TenantUnknown`, `TenantMissing`, `TenantMismatch` with the path, `TenantSuspended`.
    pub fn resolve(
        &self,
        rule: &TenantRule,
        request: &RequestHeader,
        host: &str,
        query: Option<&str>,
        caller: Option<&Caller>,
        params: &[(Arc<str>, String)],
    ) -> Result<Option<&Arc<Tenant>>, Denial> {
        let must_equal_path = match rule {
            TenantRule::None => return Ok(None),
            TenantRule::Optional => None,
            TenantRule::Required { must_equal_path } => must_equal_path.as_deref(),
        };
        let required = matches!(rule, TenantRule::Required { .. });

        let answer = self.answer(request, host, query, caller)?;
        let wishes = self.sources.contains(&TenantSource::Claim)
            && caller.is_some_and(|caller| caller.tenant.is_none() && !caller.superuser);
        let tenant = match answer {
            Answer::Silence if required => {
                return Err(Denial::new(Reason::TenantMissing, "nothing names a tenant"));
            }
            Answer::Silence => return Ok(None),
            _ if required && wishes => return Err(mismatch("a caller without tenant claim names a tenant")),
            Answer::Unknown(_) => {
                return Err(Denial::new(Reason::TenantUnknown, "the tenant is not in the directory"));
            }
            Answer::Known(tenant) => tenant,
        };
        if let Some(name) = must_equal_path {
            let value = params.iter().find(|(own, _)| &**own == name).map(|(_, value)| value);
            if value.is_none_or(|value| *value != tenant.id && *value != tenant.name) {
                return Err(mismatch("the path names another tenant"));
            }
        }
        if tenant.suspended {
            return Err(Denial::new(Reason::TenantSuspended, "the tenant is suspended"));
        }
        Ok(Some(tenant))
    }

    /// What each source says, in the order they are asked. A source may say more than one word.
    pub fn testimony<'s>(
        &'s self,
        request: &RequestHeader,
        host: &str,
        query: Option<&str>,
        caller: Option<&Caller>,
    ) -> Vec<(&'s TenantSource, String)> {
        let mut words = Vec::new();
        for source in &self.sources {
            let heard = self.hear(source, request, host, query, caller, |word, _| {
                words.push((source, word.to_owned()));
                Ok(())
            });
            debug_assert!(heard.is_ok(), "who only listens refuses nothing");
        }
        words
    }

    /// What all sources say together.
    fn answer(
        &self,
        request: &RequestHeader,
        host: &str,
        query: Option<&str>,
        caller: Option<&Caller>,
    ) -> Result<Answer<'_>, Denial> {
        let mut all = Answer::Silence;
        for source in &self.sources {
            self.hear(source, request, host, query, caller, |_, answer| {
                all = std::mem::replace(&mut all, Answer::Silence).and(answer)?;
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// Tells `listen` every word that one source says, and what it means.
    fn hear<'d>(
        &'d self,
        source: &TenantSource,
        request: &RequestHeader,
        host: &str,
        query: Option<&str>,
        caller: Option<&Caller>,
        mut listen: impl FnMut(&str, Answer<'d>) -> Result<(), Denial>,
    ) -> Result<(), Denial> {
        match source {
            TenantSource::Claim => {
                if let Some(word) = caller.and_then(|caller| caller.tenant.as_deref()) {
                    listen(word, self.named(word))?;
                }
            }
            TenantSource::Header(name) => {
                for line in request.headers.get_all(name) {
                    let word = String::from_utf8_lossy(line.as_bytes().trim_ascii());
                    if !word.is_empty() {
                        listen(&word, self.named(&word))?;
                    }
                }
            }
            TenantSource::Query(name) => {
                for (own, word) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
                    if own == name.as_str() && !word.is_empty() {
                        listen(&word, self.named(&word))?;
                    }
                }
            }
            TenantSource::SubdomainOf(domain) => {
                if let Some(label) =
                    host.strip_suffix(domain.as_str()).and_then(|rest| rest.strip_suffix('.'))
                {
                    let known = self.by_label.get(label).map(Answer::Known);
                    listen(label, known.unwrap_or_else(|| Answer::Unknown(label.to_owned())))?;
                }
            }
        }
        Ok(())
    }

    fn named(&self, word: &str) -> Answer<'_> {
        self.find(word).map_or_else(|| Answer::Unknown(word.to_owned()), Answer::Known)
    }
}

/// What sources say of a request's tenant.
enum Answer<'d> {
    Silence,
    Known(&'d Arc<Tenant>),
    /// A word that no tenant has.
    Unknown(String),
}

impl<'d> Answer<'d> {
    /// Both, when they agree.
    fn and(self, other: Answer<'d>) -> Result<Answer<'d>, Denial> {
        match (self, other) {
            (Answer::Silence, answer) | (answer, Answer::Silence) => Ok(answer),
            (Answer::Known(one), Answer::Known(two)) if Arc::ptr_eq(one, two) => Ok(Answer::Known(one)),
            (Answer::Unknown(one), Answer::Unknown(two)) if one == two => Ok(Answer::Unknown(one)),
            _ => Err(mismatch("two sources name different tenants")),
        }
    }
}

fn add(words: &mut HashMap<String, Arc<Tenant>>, word: String, tenant: &Arc<Tenant>) -> Result<(), String> {
    match words.entry(word) {
        Entry::Occupied(entry) if !Arc::ptr_eq(entry.get(), tenant) => {
            Err(format!("tenants.directory: {:?} would name two tenants", entry.key()))
        }
        entry => {
            entry.or_insert_with(|| Arc::clone(tenant));
            Ok(())
        }
    }
}

fn mismatch(detail: &'static str) -> Denial {
    Denial::new(Reason::TenantMismatch, detail)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use http::HeaderName;

    use super::*;
    use crate::facts::Token;

    const REQUIRED: TenantRule = TenantRule::Required { must_equal_path: None };

    fn tenant(id: &str, name: &str) -> Tenant {
        Tenant {
            id: id.into(),
            name: name.into(),
            suspended: name == "gone",
            plan: None,
            upstreams: BTreeMap::new(),
        }
    }

    fn directory(resolve: Vec<TenantSource>) -> Directory {
        let directory = vec![tenant("t-acme", "acme"), tenant("t-beta", "Beta"), tenant("t-gone", "gone")];
        Directory::build(&config::Tenants { resolve, directory, file: None }).unwrap()
    }

    fn every_source() -> Directory {
        directory(vec![
            TenantSource::Claim,
            TenantSource::Header(HeaderName::from_static("x-tenant-id")),
            TenantSource::SubdomainOf("card.example.com".into()),
            TenantSource::Query("tenant".into()),
        ])
    }

    fn caller(tenant: Option<&str>) -> Caller {
        Caller {
            identity: Arc::from("user"),
            subject: "u1".into(),
            tenant: tenant.map(str::to_owned),
            roles: vec![],
            permissions: vec![],
            superuser: false,
            expires: SystemTime::UNIX_EPOCH,
            token: Token(String::new()),
        }
    }

    /// One request, said in the words of the sources.
    #[derive(Default)]
    struct Ask<'a> {
        caller: Option<Caller>,
        headers: &'a [&'a str],
        host: &'a str,
        query: Option<&'a str>,
    }

    impl Ask<'_> {
        fn of<'d>(&self, directory: &'d Directory, rule: &TenantRule) -> Result<Option<&'d str>, Reason> {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            for value in self.headers {
                request.append_header("x-tenant-id", *value).unwrap();
            }
            let params = [(Arc::from("tenant"), "t-acme".to_owned()), (Arc::from("name"), "acme".to_owned())];
            directory
                .resolve(rule, &request, self.host, self.query, self.caller.as_ref(), &params)
                .map(|tenant| tenant.map(|tenant| tenant.id.as_str()))
                .map_err(|denial| denial.reason)
        }
    }

    fn claims(tenant: &str) -> Option<Caller> {
        Some(caller(Some(tenant)))
    }

    #[test]
    fn each_source_names_a_tenant() {
        let all = every_source();
        let acme = Ok(Some("t-acme"));
        assert_eq!(Ask { caller: claims("t-acme"), ..Ask::default() }.of(&all, &REQUIRED), acme);
        assert_eq!(Ask { caller: claims("acme"), ..Ask::default() }.of(&all, &REQUIRED), acme);
        assert_eq!(Ask { headers: &["acme"], ..Ask::default() }.of(&all, &REQUIRED), acme);
        assert_eq!(Ask { host: "acme.card.example.com", ..Ask::default() }.of(&all, &REQUIRED), acme);
        assert_eq!(Ask { host: "t-acme.card.example.com", ..Ask::default() }.of(&all, &REQUIRED), acme);
        assert_eq!(Ask { query: Some("a=1&ten%61nt=t%2Dacme"), ..Ask::default() }.of(&all, &REQUIRED), acme);
        let beta = Ask { host: "beta.card.example.com", ..Ask::default() };
        assert_eq!(beta.of(&all, &REQUIRED), Ok(Some("t-beta")), "a host has no capitals");
    }

    #[test]
    fn sources_that_say_nothing_do_not_answer() {
        let all = every_source();
        for host in ["card.example.com", "localhost", "xcard.example.com", ""] {
            let silent = Ask { headers: &["", " "], host, query: Some("tenant=&x=t-beta"), ..Ask::default() };
            assert_eq!(silent.of(&all, &REQUIRED), Err(Reason::TenantMissing), "{host}");
            assert_eq!(silent.of(&all, &TenantRule::Optional), Ok(None));
            let own = Ask { caller: claims("t-acme"), ..silent };
            assert_eq!(own.of(&all, &REQUIRED), Ok(Some("t-acme")));
        }
    }

    #[test]
    fn all_that_answer_must_agree() {
        let all = every_source();
        let agreed = Ask {
            caller: claims("t-acme"),
            headers: &["acme", "t-acme"],
            host: "acme.card.example.com",
            query: Some("tenant=acme"),
        };
        assert_eq!(agreed.of(&all, &REQUIRED), Ok(Some("t-acme")));
        for ask in [
            Ask { caller: claims("t-acme"), headers: &["t-beta"], ..Ask::default() },
            Ask { caller: claims("t-acme"), headers: &["nobody"], ..Ask::default() },
            Ask { caller: claims("nobody"), headers: &["t-acme"], ..Ask::default() },
            Ask { caller: claims("t-acme"), headers: &["t-gone"], ..Ask::default() },
            Ask { caller: claims("t-acme"), host: "beta.card.example.com", ..Ask::default() },
            Ask { caller: claims("t-acme"), host: "x.acme.card.example.com", ..Ask::default() },
            Ask { caller: claims("t-acme"), query: Some("tenant=t-acme&tenant=t-beta"), ..Ask::default() },
            Ask { headers: &["t-acme", "t-beta"], ..Ask::default() },
            Ask { headers: &["x", "y"], ..Ask::default() },
            Ask { headers: &["t-acme"], query: Some("tenant=t-beta"), ..Ask::default() },
        ] {
            for rule in [REQUIRED, TenantRule::Optional] {
                assert_eq!(
                    ask.of(&all, &rule),
                    Err(Reason::TenantMismatch),
                    "{:?} {:?}",
                    ask.headers,
                    ask.query
                );
            }
        }
    }

    #[test]
    fn refuses_unknown_and_suspended_tenants() {
        let all = every_source();
        for rule in [REQUIRED, TenantRule::Optional] {
            let unknown = Err(Reason::TenantUnknown);
            assert_eq!(Ask { headers: &["nobody"], ..Ask::default() }.of(&all, &rule), unknown);
            assert_eq!(Ask { headers: &["ACME"], ..Ask::default() }.of(&all, &rule), unknown);
            assert_eq!(Ask { headers: &["t-acme, t-beta"], ..Ask::default() }.of(&all, &rule), unknown);
            assert_eq!(Ask { caller: claims("nobody"), ..Ask::default() }.of(&all, &rule), unknown);
            let suspended = Err(Reason::TenantSuspended);
            assert_eq!(Ask { headers: &["gone"], ..Ask::default() }.of(&all, &rule), suspended);
            assert_eq!(Ask { caller: claims("t-gone"), ..Ask::default() }.of(&all, &rule), suspended);
        }
    }

    #[test]
    fn a_header_alone_gives_no_tenant_to_a_caller_without_one() {
        let all = every_source();
        let nobodys = Some(caller(None));
        for ask in [
            Ask { caller: nobodys.clone(), headers: &["t-acme"], ..Ask::default() },
            Ask { caller: nobodys.clone(), headers: &["nobody"], ..Ask::default() },
            Ask { caller: nobodys.clone(), host: "acme.card.example.com", ..Ask::default() },
        ] {
            assert_eq!(ask.of(&all, &REQUIRED), Err(Reason::TenantMismatch));
        }
        let silent = Ask { caller: nobodys.clone(), ..Ask::default() };
        assert_eq!(silent.of(&all, &REQUIRED), Err(Reason::TenantMissing));
        let console = Ask { caller: nobodys.clone(), headers: &["t-acme"], ..Ask::default() };
        assert_eq!(console.of(&all, &TenantRule::Optional), Ok(Some("t-acme")));
        let root = Ask {
            caller: nobodys.map(|one| Caller { superuser: true, ..one }),
            headers: &["t-acme"],
            ..console
        };
        assert_eq!(root.of(&all, &REQUIRED), Ok(Some("t-acme")));
        let by_header = directory(vec![TenantSource::Header(HeaderName::from_static("x-tenant-id"))]);
        assert_eq!(console.of(&by_header, &REQUIRED), Ok(Some("t-acme")), "the claim is no source here");
    }

    #[test]
    fn the_path_must_name_the_same_tenant() {
        let all = every_source();
        let path = |name: &str| TenantRule::Required { must_equal_path: Some(name.into()) };
        let acme = Ask { caller: claims("t-acme"), ..Ask::default() };
        assert_eq!(acme.of(&all, &path("tenant")), Ok(Some("t-acme")));
        assert_eq!(acme.of(&all, &path("name")), Ok(Some("t-acme")));
        assert_eq!(acme.of(&all, &path("absent")), Err(Reason::TenantMismatch));
        for other in ["t-beta", "t-gone"] {
            let other = Ask { caller: claims(other), ..Ask::default() };
            assert_eq!(other.of(&all, &path("tenant")), Err(Reason::TenantMismatch));
        }
    }

    #[test]
    fn nobody_asks_where_the_rule_is_none() {
        let ask = Ask { caller: claims("t-acme"), headers: &["t-beta"], ..Ask::default() };
        assert_eq!(ask.of(&every_source(), &TenantRule::None), Ok(None));
    }

    #[test]
    fn refuses_a_directory_in_which_a_word_means_two_tenants() {
        let build =
            |resolve, directory| Directory::build(&config::Tenants { resolve, directory, file: None });
        assert!(build(vec![], vec![tenant("a", "b"), tenant("b", "c")]).is_err());
        assert!(build(vec![], vec![tenant("a", "x"), tenant("a", "y")]).is_err());
        let differ_by_case = || vec![tenant("a", "x"), tenant("b", "X")];
        assert!(build(vec![], differ_by_case()).is_ok());
        assert!(build(vec![TenantSource::SubdomainOf("d".into())], differ_by_case()).is_err());
        assert!(build(vec![], vec![tenant("a", "a")]).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_never_gives_another_tenant_than_the_claim(
            header in "(t-acme|acme|t-beta|[ -~]{0,12})", query in "[a-z%=&0-9-]{0,30}", label in "[a-z.-]{0,12}"
        ) {
            let host = format!("{label}.card.example.com");
            let all = every_source();
            let ask = Ask { caller: claims("t-acme"), headers: &[&header], host: &host, query: Some(&query) };
            if let Ok(tenant) = ask.of(&all, &REQUIRED) {
                proptest::prop_assert_eq!(tenant, Some("t-acme"));
            }
        }
    }
}
