//! Whether the caller may: the permissions and roles a route demands.
//!
//! Passes when the caller has one of `any` (if there are any), every one of `all`, and one of `roles` (if there are
//! any). The superuser permission stands for all permissions; it is no role.

use config::RuleName;
use config::rules::Auth;
use pingora_http::RequestHeader;

use crate::denial::{Denial, Reason};
use crate::facts::{Caller, Facts};
use crate::filter::{Filter, Judgement};

/// What a route demands of its caller.
#[derive(Debug)]
pub struct Authorise {
    any: Vec<String>,
    all: Vec<String>,
    roles: Vec<String>,
}

impl Authorise {
    /// None when the route asks for nothing but a caller.
    pub fn build(auth: &Auth) -> Option<Self> {
        if auth.any.is_empty() && auth.all.is_empty() && auth.roles.is_empty() {
            return None;
        }
        Some(Self { any: auth.any.clone(), all: auth.all.clone(), roles: auth.roles.clone() })
    }

    fn verdict(&self, caller: Option<&Caller>) -> Result<(), Denial> {
        let Some(caller) = caller else {
            return Err(Denial::new(Reason::AuthMissing, "no caller").challenge(""));
        };
        let may = |permission| caller.superuser || caller.permissions.contains(permission);
        if !self.any.is_empty() && !self.any.iter().any(may) {
            return Err(forbidden("the caller has none of the permissions"));
        }
        if !self.all.iter().all(may) {
            return Err(forbidden("the caller lacks a permission"));
        }
        if !self.roles.is_empty() && !self.roles.iter().any(|role| caller.roles.contains(role)) {
            return Err(forbidden("the caller has none of the roles"));
        }
        Ok(())
    }
}

impl Filter for Authorise {
    fn name(&self) -> RuleName {
        RuleName::Auth
    }

    fn judge(&self, _request: &mut RequestHeader, facts: &Facts<'_>) -> Judgement {
        match self.verdict(facts.caller) {
            Ok(()) => Judgement::PASS,
            Err(denial) => Judgement::deny(denial),
        }
    }
}

/// With the challenge of RFC 6750 section 3.1; what would have sufficed is not told.
fn forbidden(detail: &'static str) -> Denial {
    Denial::new(Reason::AuthForbidden, detail).challenge(r#"error="insufficient_scope""#)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::facts::Token;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn demand(any: &[&str], all: &[&str], roles: &[&str]) -> Authorise {
        Authorise::build(&Auth {
            identities: list(&["user"]),
            any: list(any),
            all: list(all),
            roles: list(roles),
        })
        .unwrap()
    }

    fn caller(permissions: &[&str], roles: &[&str]) -> Caller {
        Caller {
            identity: Arc::from("user"),
            subject: "u1".into(),
            tenant: None,
            roles: list(roles),
            permissions: list(permissions),
            superuser: false,
            expires: SystemTime::UNIX_EPOCH,
            token: Token(String::new()),
        }
    }

    fn may(demand: &Authorise, caller: &Caller) -> bool {
        match demand.verdict(Some(caller)) {
            Ok(()) => true,
            Err(denial) => {
                assert_eq!(denial.reason, Reason::AuthForbidden);
                assert_eq!(denial.extra.unwrap().challenge.unwrap(), r#"error="insufficient_scope""#);
                false
            }
        }
    }

    #[test]
    fn any_takes_one_of_the_permissions() {
        let rule = demand(&["r", "w"], &[], &[]);
        assert!(may(&rule, &caller(&["x", "w"], &[])));
        assert!(!may(&rule, &caller(&["x"], &["r"])));
        assert!(!may(&rule, &caller(&["R", "r:x", ""], &[])));
    }

    #[test]
    fn all_takes_every_permission() {
        let rule = demand(&[], &["r", "w"], &[]);
        assert!(may(&rule, &caller(&["w", "r", "x"], &[])));
        assert!(!may(&rule, &caller(&["w"], &[])));
    }

    #[test]
    fn roles_take_one_of_the_roles() {
        let rule = demand(&[], &[], &["admin", "root"]);
        assert!(may(&rule, &caller(&[], &["x", "root"])));
        assert!(!may(&rule, &caller(&["admin"], &["x"])));
    }

    #[test]
    fn every_demand_counts() {
        let rule = demand(&["a", "b"], &["c"], &["d"]);
        assert!(may(&rule, &caller(&["b", "c"], &["d"])));
        for (permissions, roles) in [(&["c"][..], &["d"][..]), (&["a"], &["d"]), (&["a", "c"], &[])] {
            assert!(!may(&rule, &caller(permissions, roles)));
        }
    }

    #[test]
    fn the_superuser_has_every_permission_and_no_role() {
        let root = Caller { superuser: true, ..caller(&["system:admin"], &[]) };
        assert!(may(&demand(&["r"], &["w", "x"], &[]), &root));
        assert!(!may(&demand(&[], &[], &["admin"]), &root));
    }

    #[test]
    fn nobody_is_asked_to_sign_in() {
        assert_eq!(demand(&["r"], &[], &[]).verdict(None).unwrap_err().reason, Reason::AuthMissing);
        let none = Auth { identities: list(&["user"]), any: vec![], all: vec![], roles: vec![] };
        assert!(Authorise::build(&none).is_none());
    }
}
