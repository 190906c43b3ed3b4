//! `limits` and `lockout` of a route.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::Value;

use crate::read::{Reader, Shape};
use crate::rules::{FailedWhen, Limits, Lockout, LockoutKey, Rate, RateKey};
use crate::scalar::{self, size, small, time_limit, token, word, written_line};

pub(super) fn limits(r: &Reader<'_>) -> Option<Limits> {
    let t = r.table()?;
    let body = t.optional(
        "body",
        "Bytes of body; more is 413. Default: 1MB; with upload the largest class times max_files, and 1MB.",
        size,
    );
    let rate = t.or("rate", "Requests in time; all must allow.", "[]", |r| r.list(rate));
    let mut rate = rate?;
    // The names are labels of metrics and headers, so that two of one route must differ.
    let mut taken = BTreeMap::new();
    for (index, rate) in rate.iter_mut().enumerate() {
        if rate.name.is_empty() {
            rate.name = if index == 0 { "rate".into() } else { format!("rate-{}", index + 1) };
        }
        if taken.insert(rate.name.clone(), index).is_some() {
            t.problem("rate", "two limits of this route have the same name", "give each a name of its own");
            return None;
        }
    }
    Some(Limits { body: body?, rate })
}

fn rate(r: &Reader<'_>) -> Option<Rate> {
    let t = r.table()?;
    let by =
        t.required("by", "What is counted; several together make one counter.", |r| r.one_or_some(rate_key));
    let limit = t.required("limit", "How many, as in 60/min.", scalar::rate);
    let burst = t.optional(
        "burst",
        "How many beyond the first may come at once; the whole limit when missing.",
        small(0, 1_000_000_000),
    );
    let name =
        t.optional("name", "Its label in metrics and headers; rate, rate-2 and so on when missing.", token);
    let (limit, per) = limit?;
    Some(Rate { name: name?.unwrap_or_default(), by: by?, limit, per, burst: burst?.unwrap_or(limit - 1) })
}

fn rate_key(r: &Reader<'_>) -> Option<RateKey> {
    if let Some(header) = after(r, "header:") {
        let Ok(name) = header.parse() else {
            r.problem(format!("{} names no header", scalar::quoted(r)), "write it as in header:X-Device");
            return None;
        };
        return Some(RateKey::Header(name));
    }
    words_or(
        r,
        &[
            ("ip", RateKey::Ip),
            ("tenant", RateKey::Tenant),
            ("subject", RateKey::Subject),
            ("identity", RateKey::Identity),
            ("route", RateKey::Route),
        ],
        "header:NAME",
        "^header:.+$",
    )
}

pub(super) fn lockout(r: &Reader<'_>) -> Option<Lockout> {
    let t = r.table()?;
    let key =
        t.required("key", "What is locked; several together make one key.", |r| r.one_or_some(lockout_key));
    let failures = t.required("failures", "How many failures lock.", small(1, 1_000_000));
    let within = t.required("within", "The time in which they are counted.", time_limit);
    let lock = t.required("lock", "How long it stays locked.", time_limit);
    let failed_when = t.required("failed_when", "What counts as a failure.", |r| {
        r.variant(&[
            ("status", "The answer's status is one of these.", &|r| {
                let codes =
                    r.one_or_some(|r| StatusCode::from_u16(u16::try_from(small(100, 599)(r)?).ok()?).ok());
                codes.map(FailedWhen::Status)
            }),
            (
                "json",
                "A field of the answer's JSON body, a path with dots, has one of these values.",
                &failed_json,
            ),
        ])
    });
    Some(Lockout { key: key?, failures: failures?, within: within?, lock: lock?, failed_when: failed_when? })
}

fn lockout_key(r: &Reader<'_>) -> Option<LockoutKey> {
    for (prefix, make) in
        [("json:", LockoutKey::Json as fn(String) -> LockoutKey), ("form:", LockoutKey::Form)]
    {
        if let Some(field) = after(r, prefix) {
            if field.is_empty() || field.split('.').any(str::is_empty) {
                r.problem(format!("{} names no field", scalar::quoted(r)), "write it as in json:username");
                return None;
            }
            return Some(make(field));
        }
    }
    words_or(r, &[("ip", LockoutKey::Ip), ("tenant", LockoutKey::Tenant)], "json:FIELD", "^(json|form):.+$")
}

fn failed_json(r: &Reader<'_>) -> Option<FailedWhen> {
    let fields = r.names(|_, r| r.one_or_some(json_value))?;
    let [(field, values)] = <[_; 1]>::try_from(fields)
        .map_err(|_| r.problem("one field belongs here", "write it as in {code: [40101]}"))
        .ok()?;
    if field.split('.').any(str::is_empty) {
        r.problem("this names no field", "write a name, or names with dots between them");
        return None;
    }
    Some(FailedWhen::Json { field, values })
}

/// A value as JSON would have it.
fn json_value(r: &Reader<'_>) -> Option<Value> {
    r.shapes(&[(Shape::Text, &|r| {
        let written = r.scalar()?;
        Some(match written.text.as_str() {
            "true" if written.plain => true.into(),
            "false" if written.plain => false.into(),
            text if written.plain => {
                text.parse::<i64>().map(Value::from).unwrap_or_else(|_| Value::from(text))
            }
            text => text.into(),
        })
    })])
}

/// What follows a prefix.
fn after(r: &Reader<'_>, prefix: &str) -> Option<String> {
    r.span()?;
    if !r.is_text() {
        return None;
    }
    written_line(r)?.text.strip_prefix(prefix).map(str::to_owned)
}

/// One of the words. What else there may be has a form, which is told beside them, and a pattern for the schema; it
/// was read before.
fn words_or<T: Clone>(
    r: &Reader<'_>,
    words: &[(&'static str, T)],
    form: &'static str,
    pattern: &str,
) -> Option<T> {
    let mut indexed: Vec<_> = words.iter().enumerate().map(|(index, (word, _))| (*word, index)).collect();
    indexed.push((form, words.len()));
    let index = word(&indexed)(r);
    r.describe_with(|schema| {
        if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
            any.push(serde_json::json!({"type": "string", "pattern": pattern}));
        }
    });
    words.get(index?).map(|(_, value)| value.clone())
}
