//! `auth` and `tenant` of a route.

use crate::problem::quote;
use crate::read::{Reader, Shape, did_you_mean};
use crate::rules::{Auth, TenantRule};
use crate::scalar::{boolean, line, word, written_line};

pub(super) fn auth(r: &Reader<'_>) -> Option<Option<Auth>> {
    r.shapes(&[
        (Shape::Text, &|r| word(&[("none", ())])(r).map(|()| None)),
        (Shape::Table, &|r| {
            let t = r.table()?;
            let identities =
                t.required("identity", "Names in identities; the credential must satisfy one.", |r| {
                    r.one_or_some(identity)
                });
            let require = t.or("require", "Permissions that are needed.", "{}", |r| {
                let t = r.table()?;
                let any = t.or("any", "At least one of these.", "[]", |r| r.list(line));
                let all = t.or("all", "All of these.", "[]", |r| r.list(line));
                Some((any?, all?))
            });
            let roles = t.or("roles", "At least one of these roles.", "[]", |r| r.list(line));
            let (identities, (any, all), roles) = (identities?, require?, roles?);
            let known = r.loading.known.borrow();
            for name in &identities {
                let Some(Some(claims)) = known.identities.get(name) else { continue };
                let remedy =
                    |claim: &str| format!("add \"{claim}\" to the claims of the identity, or take this away");
                if !roles.is_empty() && claims.roles.is_none() {
                    t.problem(
                        "roles",
                        format!("no claim says the roles of {}", quote(name)),
                        remedy("roles"),
                    );
                }
                if !(any.is_empty() && all.is_empty()) && claims.permissions.is_none() {
                    let what = format!("no claim says the permissions of {}", quote(name));
                    t.problem("require", what, remedy("permissions"));
                }
            }
            Some(Some(Auth { identities, any, all, roles }))
        }),
    ])
}

fn identity(r: &Reader<'_>) -> Option<String> {
    let written = written_line(r)?;
    let known = r.loading.known.borrow();
    if known.identities.contains_key(&written.text) {
        return Some(written.text);
    }
    let names: Vec<&str> = known.identities.keys().map(String::as_str).collect();
    let remedy = if names.is_empty() {
        "add it to \"identities\"".into()
    } else {
        did_you_mean(if written.variable { "" } else { &written.text }, &names)
    };
    r.problem(format!("there is no identity {}", written.quoted()), remedy);
    None
}

pub(super) fn tenant(r: &Reader<'_>) -> Option<TenantRule> {
    r.shapes(&[
        (Shape::Text, &|r| {
            let rule = word(&[("none", 0), ("optional", 1), ("required", 2)])(r)?;
            Some(match rule {
                0 => TenantRule::None,
                1 => TenantRule::Optional,
                _ => TenantRule::Required { must_equal_path: None },
            })
        }),
        (Shape::Table, &|r| {
            let t = r.table()?;
            let required = t.required("required", "true: 400 tenant.missing without one.", boolean);
            let must_equal =
                t.optional("must_equal", "path:NAME, the part of the path that must be the tenant.", |r| {
                    let written = written_line(r)?;
                    match written.text.strip_prefix("path:") {
                        Some(name) if !name.is_empty() => Some(name.to_owned()),
                        _ => {
                            r.problem(
                                format!("{} names no part of the path", written.quoted()),
                                "write it as in path:tenant",
                            );
                            None
                        }
                    }
                });
            let (required, must_equal) = (required?, must_equal?);
            if !required && must_equal.is_some() {
                t.problem("required", "must_equal needs a tenant", "write \"required: true\"");
                return None;
            }
            Some(if required {
                TenantRule::Required { must_equal_path: must_equal }
            } else {
                TenantRule::Optional
            })
        }),
    ])
}
