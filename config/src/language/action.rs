//! What a route does: `upstream`, `redirect` or `respond`.

use super::route::param_names;
use super::upstream;
use crate::model::{Action, PathPattern};
use crate::read::{Reader, Shape};
use crate::scalar::{header_value, small, text, word, written_line};
use crate::table::Table;

pub(super) fn upstream_action(r: &Reader<'_>) -> Option<Action> {
    r.shapes(&[
        (Shape::Text, &|r| Some(Action::Upstream { name: upstream::name(r)?, by_tenant: false })),
        (Shape::Table, &|r| {
            r.variant(&[(
                "tenant",
                "The one that the tenant's entry names instead of this, or this.",
                &|r| Some(Action::Upstream { name: upstream::name(r)?, by_tenant: true }),
            )])
        }),
    ])
}

pub(super) fn redirect(r: &Reader<'_>) -> Option<Action> {
    r.shapes(&[
        (Shape::Text, &|r| Some(Action::Redirect { to: target(r)?, status: 302 })),
        (Shape::Table, &|r| {
            let t = r.table()?;
            let to = t.required(
                "to",
                "A URL or path; {path}, {query}, {host} and the path's names are filled in.",
                target,
            );
            let status = t.or(
                "status",
                "301 and 308 are remembered by clients, 307 and 308 keep the method.",
                "302",
                word(&[("301", 301), ("302", 302), ("303", 303), ("307", 307), ("308", 308)]),
            );
            r.describe_with(|schema| {
                let status = schema.get_mut("properties").and_then(|keys| keys.get_mut("status"));
                if let Some(any) = status.and_then(|status| status.get_mut("anyOf")) {
                    any[0]["enum"] = serde_json::json!([301, 302, 303, 307, 308]);
                }
            });
            Some(Action::Redirect { to: to?, status: status? })
        }),
    ])
}

fn target(r: &Reader<'_>) -> Option<String> {
    let written = written_line(r)?;
    let path =
        written.text.starts_with('/') && !written.text.starts_with("//") && !written.text.starts_with("/\\");
    let url = ["https://", "http://"]
        .iter()
        .find_map(|scheme| written.text.strip_prefix(scheme))
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']));
    if path || url {
        return Some(written.text);
    }
    r.problem(
        format!("{} leads nowhere", written.quoted()),
        "write a path that begins with one slash, or https://HOST/PATH",
    );
    None
}

pub(super) fn respond(r: &Reader<'_>) -> Option<Action> {
    let t = r.table()?;
    let status = t.or("status", "The status.", "200", small(200, 599));
    let body = t.or("body", "What is sent.", "", body_text);
    let content_type = t.or("content_type", "Its type.", "text/plain; charset=utf-8", header_value);
    Some(Action::Respond { status: u16::try_from(status?).ok()?, body: body?, content_type: content_type? })
}

/// A text that may be empty.
fn body_text(r: &Reader<'_>) -> Option<String> {
    if r.is_null() { Some(String::new()) } else { text(r) }
}

/// Every brace of a redirect must be one that can be filled in.
pub(super) fn check_redirect(t: &Table<'_>, action: &Action, path: &PathPattern) {
    let Action::Redirect { to, .. } = action else { return };
    let mut names = param_names(path);
    names.extend(["path", "query", "host"]);
    let mut rest = to.as_str();
    while let Some(at) = rest.find(['{', '}']) {
        let inner = rest[at..].strip_prefix('{').and_then(|inner| inner.split_once('}'));
        match inner {
            Some((name, after)) if names.contains(&name) => rest = after,
            _ => {
                let remedy = format!(
                    "fill in only {}",
                    names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
                );
                t.problem("redirect", "the target has a brace that nothing fills in", remedy);
                return;
            }
        }
    }
}
