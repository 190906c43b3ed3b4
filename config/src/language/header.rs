//! `request_headers` and `response_headers` of a route.

use std::collections::HashSet;

use http::{HeaderName, HeaderValue};

use crate::problem::quote;
use crate::read::Reader;
use crate::rules::{GATEWAY_FIELDS, Headers};
use crate::scalar::{header_name, header_value};

/// Headers that describe the message on its way, which is the gateway's own affair (RFC 9110 section 7.6.1).
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn headers(r: &Reader<'_>, request: bool) -> Option<Headers> {
    let t = r.table()?;
    let name = |r: &Reader<'_>, name: &HeaderName| {
        let gateways = request && GATEWAY_FIELDS.contains(&name.as_str().replace('_', "-").as_str());
        if gateways {
            report(r, name);
        }
        !gateways && is_free(r, name)
    };
    let pairs = |r: &Reader<'_>| -> Option<Vec<(HeaderName, HeaderValue)>> {
        let pairs = r.names(|key, r| {
            let value = header_value(r);
            let Ok(header) = key.parse::<HeaderName>() else {
                if r.span().is_some() {
                    r.problem(
                        format!("{} cannot be a header's name", quote(key)),
                        "write letters, digits and hyphens",
                    );
                }
                return None;
            };
            name(r, &header).then_some(())?;
            Some((header, value?))
        })?;
        let pairs: Vec<_> = pairs.into_iter().map(|(_, pair)| pair).collect();
        let mut names = HashSet::new();
        if !pairs.iter().all(|(name, _)| names.insert(name)) {
            r.problem("the same header is written twice", "keep one of the two; case does not matter");
            return None;
        }
        Some(pairs)
    };
    let set = t.or("set", "Replaces.", "{}", pairs);
    let add = t.or("add", "Adds beside what is there.", "{}", pairs);
    let remove = t.or("remove", "Takes away.", "[]", |r| {
        r.list(|r| {
            let header = header_name(r)?;
            name(r, &header).then_some(header)
        })
    });
    Some(Headers { set: set?, add: add?, remove: remove? })
}

/// Whether a header says nothing of the message on its way. An app may take an underscore for a hyphen.
pub(super) fn is_free(r: &Reader<'_>, name: &HeaderName) -> bool {
    let free = !FRAMING.contains(&name.as_str().replace('_', "-").as_str());
    if !free {
        report(r, name);
    }
    free
}

fn report(r: &Reader<'_>, name: &HeaderName) {
    r.problem(format!("only the gateway sets {}", quote(name.as_str())), "take it away");
}
