//! `tenants.plans`

use std::collections::BTreeMap;
use std::sync::Arc;

use super::named;
use crate::loading::{Loading, Planned};
use crate::model::{Plan, Site};
use crate::problem::quote;
use crate::read::{Reader, did_you_mean};
use crate::rules::Upload;
use crate::scalar::{size_between, written_line};
use crate::table::Table;

pub(super) fn plans(r: &Reader<'_>) -> Option<BTreeMap<String, Arc<Plan>>> {
    let plans = named(r, |r| {
        let t = r.table()?;
        let storage = t.optional(
            "storage",
            "Bytes that a tenant may store; without limit when missing.",
            size_between(0, 1 << 50),
        );
        let uploads =
            t.optional("uploads", "Classes of files that may come; all when missing.", |r| r.list(class));
        let max_size = t.or(
            "max_size",
            "Bytes of one file of a class, where that is less than the route's.",
            "{}",
            |r| {
                r.names(|class, r| {
                    let size = size_between(1, 1 << 40)(r)?;
                    speak(r, class.to_owned(), quote(class), false, Some(size));
                    Some(size)
                })
            },
        );
        let (uploads, max_size) = (uploads?, max_size?);
        for (class, _) in &max_size {
            if uploads.as_ref().is_some_and(|uploads| !uploads.contains(class)) {
                let what = format!("the plan does not have the class {}", quote(class));
                t.problem("max_size", what, "add it to \"uploads\", or take it away");
            }
        }
        let name = r.path.last_key().to_owned();
        Some(Plan { name, storage: storage?, uploads, max_size: max_size.into_iter().collect() })
    });
    Some(plans?.into_iter().map(|(name, plan)| (name, Arc::new(plan))).collect())
}

fn class(r: &Reader<'_>) -> Option<String> {
    let written = written_line(r)?;
    speak(r, written.text.clone(), written.quoted().to_owned(), written.variable, None);
    Some(written.text)
}

/// Remembers that a plan speaks of a class.
fn speak(r: &Reader<'_>, class: String, quoted: String, variable: bool, max_size: Option<u64>) {
    if let Some(place) = r.place() {
        let planned = Planned { class, quoted, variable, max_size, place };
        r.loading.known.borrow_mut().planned.push(planned);
    }
}

/// The plan of a tenant.
pub(super) fn name(r: &Reader<'_>) -> Option<Arc<Plan>> {
    let written = written_line(r)?;
    let known = r.loading.known.borrow();
    if let Some(plan) = known.plans.get(&written.text) {
        return plan.clone();
    }
    let names: Vec<&str> = known.plans.keys().map(String::as_str).collect();
    let remedy = if names.is_empty() {
        "add it to \"plans\"".into()
    } else {
        did_you_mean(if written.variable { "" } else { &written.text }, &names)
    };
    r.problem(format!("there is no plan {}", written.quoted()), remedy);
    None
}

/// Plans speak of classes that only routes have. To be called when all routes have been read.
pub(super) fn check(t: &Table<'_>, loading: &Loading<'_>, sites: &[Site]) {
    let uploads = || sites.iter().flat_map(|site| &site.routes).filter_map(|route| route.upload.as_ref());
    let mut largest = BTreeMap::<&str, u64>::new();
    for class in uploads().flat_map(|upload: &Upload| &upload.classes) {
        let size = largest.entry(&class.name).or_default();
        *size = class.max_size.max(*size);
    }
    let names: Vec<&str> = largest.keys().copied().collect();
    let known = loading.known.borrow();
    for planned in &known.planned {
        match (largest.get(planned.class.as_str()), planned.max_size) {
            (None, _) => {
                let meant = if planned.variable { "" } else { &planned.class };
                let what = format!("no route has a class {}", planned.quoted);
                loading.report(planned.place.problem(what, did_you_mean(meant, &names)));
            }
            (Some(most), Some(size)) if size >= *most => {
                let what = "no route takes more than this of the class anyway";
                loading.warn(planned.place.problem(what, "write less, or take it away"));
            }
            (Some(_), _) => {}
        }
    }
    let plans = known.plans.values().flatten();
    for plan in plans.filter(|plan| plan.storage.is_some() && !uploads().any(|upload| upload.quota)) {
        if let Some(place) = t.place_in(&["tenants", "plans", &plan.name, "storage"]) {
            let what = "no route counts what tenants store";
            loading.warn(place.problem(what, "add \"quota: tenant\" to the \"upload\" of a route"));
        }
    }
}
