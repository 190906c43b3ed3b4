//! `tenants`

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;

use super::{plan, upstream};
use crate::model::{Tenant, TenantSource, Tenants};
use crate::pattern::domain;
use crate::problem::quote;
use crate::read::{Path, Reader, Shape, did_you_mean};
use crate::scalar::{header_name, token, word, written_line};
use crate::tree::{self, Content};

pub(super) fn tenants(r: &Reader<'_>) -> Option<Tenants> {
    let t = r.table()?;
    let resolve = t.or(
        "resolve",
        "Where a request may say its tenant, the most trusted first; all that answer must agree.",
        "[claim]",
        |r| r.some(source),
    );
    // Tenants refer to plans. The names count even where the plans are wrong.
    if let Some(Content::Table(entries)) = t.node("plans").map(|node| &node.content) {
        let names = entries.iter().map(|entry| (entry.key.clone(), None));
        r.loading.known.borrow_mut().plans = names.collect();
    }
    let plans = t.or("plans", "What tenants may store, by a name of your own.", "{}", plan::plans);
    if let Some(plans) = &plans {
        let plans = plans.iter().map(|(name, plan)| (name.clone(), Some(Arc::clone(plan))));
        r.loading.known.borrow_mut().plans = plans.collect();
    }
    let directory = t.required("directory", "Every tenant there is.", |r| {
        r.shapes(&[
            (Shape::List, &|r| Some((directory(r)?, None))),
            (Shape::Table, &|r| {
                r.variant(&[("file", "A file with the list, read again when it changes.", &|r| {
                    let (directory, path) = directory_file(r)?;
                    Some((directory, Some(path)))
                })])
            }),
        ])
    });
    let resolve = resolve?;
    let no_claim = r.loading.known.borrow().identities.values().all(|claims| {
        // An identity that is wrong itself may have one.
        claims.as_ref().is_some_and(|claims| claims.tenant.is_none())
    });
    if resolve.contains(&TenantSource::Claim) && no_claim {
        let remedy = "add \"tenant\" to the claims of an identity, or take \"claim\" away";
        t.problem("resolve", "no identity has a claim that says the tenant", remedy);
    }
    r.loading.known.borrow_mut().tenant_sources = Some(resolve.clone());
    let (directory, file) = directory?;
    plans?;
    Some(Tenants { resolve, directory, file })
}

fn source(r: &Reader<'_>) -> Option<TenantSource> {
    r.shapes(&[
        (Shape::Text, &|r| word(&[("claim", ())])(r).map(|()| TenantSource::Claim)),
        (Shape::Table, &|r| {
            r.variant(&[
                ("header", "A request header.", &|r| header_name(r).map(TenantSource::Header)),
                ("subdomain_of", "The label in front of this domain.", &|r| {
                    domain(r).map(TenantSource::SubdomainOf)
                }),
                ("query", "A query parameter.", &|r| token(r).map(TenantSource::Query)),
            ])
        }),
    ])
}

fn directory_file(r: &Reader<'_>) -> Option<(Vec<Tenant>, PathBuf)> {
    let written = written_line(r)?;
    let path = r.loading.resolve(r.span()?.file, &written.text);
    let contents = r
        .loading
        .read_file(&path)
        .and_then(|contents| String::from_utf8(contents).map_err(|_| "is not UTF-8".into()));
    let text = match contents {
        Ok(text) => text,
        Err(reason) => {
            let what = format!("the file {} {reason}", written.quoted());
            r.problem(what, "write the path of a file this user may read");
            return None;
        }
    };
    // The name is shown as it is written here: a value of the environment is not.
    let shown = if written.variable { PathBuf::from(written.quoted()) } else { path.clone() };
    let file = r.loading.source(&shown);
    let (root, flaws) = tree::parse(file, text.strip_prefix('\u{feff}').unwrap_or(&text));
    let flawless = flaws.is_empty();
    for flaw in flaws {
        let key = if flaw.key.is_empty() { Path::Root.to_string() } else { flaw.key };
        r.loading.report(r.loading.place(flaw.at, key).problem(flaw.what, flaw.remedy));
    }
    let root = root?;
    let directory = r.below(&Path::Root, &root, None).read(directory)?;
    flawless.then_some((directory, path))
}

fn directory(r: &Reader<'_>) -> Option<Vec<Tenant>> {
    // What a path may say, `must_equal`, is an id or a name: neither may stand for two tenants.
    let taken = std::cell::RefCell::new(HashMap::<String, usize>::new());
    let index = std::cell::Cell::new(0);
    r.list(|r| {
        let t = r.table()?;
        let id = t.required("id", "What claims and headers say, and what the upstream is told.", identifier);
        let name = t.optional("name", "What a subdomain says; the id when missing.", identifier);
        let suspended = t.or(
            "status",
            "Suspended tenants are refused with 403.",
            "active",
            word(&[("active", false), ("suspended", true)]),
        );
        let plan = t.optional("plan", "Its plan; without one it may store anything.", plan::name);
        let upstreams = t.or(
            "upstreams",
            "Other upstreams for this tenant, by the name of the one they replace.",
            "{}",
            other_upstreams,
        );
        let (id, name, plan) = (id?, name?, plan?);
        if plan.is_none() && !r.loading.known.borrow().plans.is_empty() {
            t.warn("plan", "this tenant has no plan, and may store anything", "add \"plan: NAME\"");
        }
        index.set(index.get() + 1);
        for (key, value) in [("id", Some(&id)), ("name", name.as_ref())] {
            let Some(value) = value else { continue };
            let first = *taken.borrow_mut().entry(value.clone()).or_insert_with(|| index.get());
            if first != index.get() {
                let what = "another tenant has this as its id or name";
                t.problem(key, what, "give every tenant an id and a name of its own");
            }
        }
        Some(Tenant {
            name: name.unwrap_or_else(|| id.clone()),
            id,
            suspended: suspended?,
            plan,
            upstreams: upstreams?,
        })
    })
}

/// Fits into a header's value.
fn identifier(r: &Reader<'_>) -> Option<String> {
    let written = written_line(r)?;
    let spaced = written.text.trim() != written.text || written.text.contains(',');
    if HeaderValue::from_str(&written.text).is_err() || !written.text.is_ascii() || spaced {
        r.problem(
            format!("{} cannot be sent in a header", written.quoted()),
            "use ASCII without commas or outer spaces",
        );
        return None;
    }
    Some(written.text)
}

fn other_upstreams(r: &Reader<'_>) -> Option<BTreeMap<String, String>> {
    let pairs = r.names(|key, r| {
        let other = upstream::name(r);
        let known = r.loading.known.borrow();
        if r.span().is_some() && !known.upstreams.contains_key(key) {
            let names: Vec<&str> = known.upstreams.keys().map(String::as_str).collect();
            r.problem(format!("there is no upstream {} to replace", quote(key)), did_you_mean(key, &names));
            return None;
        }
        other
    });
    Some(pairs?.into_iter().collect())
}
