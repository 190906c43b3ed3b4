//! What a rule demands, in the policy's own words.

use std::time::Duration;

use config::rules::{
    Archives, Auth, DedupeMode, FailedWhen, Lockout, LockoutKey, OriginPattern, Rate, RateKey, Upload,
};
use config::{CredentialPlace, Route, RuleName, TenantSource};
use serde_json::{Map, Value, json};

/// Names with values, in the order they are told.
pub type Facts = Map<String, Value>;

/// The settings of one rule of a route. A rule that is not here does not compile.
pub(super) fn of(rule: RuleName, route: &Route) -> Facts {
    let mut facts = Facts::new();
    let mut tell = |name: &str, list: Vec<String>| {
        if !list.is_empty() {
            facts.insert(name.to_owned(), json!(list));
        }
    };
    match rule {
        RuleName::Ip => {
            tell("allow", route.allow_ips.iter().map(ToString::to_string).collect());
            tell("deny", route.deny_ips.iter().map(ToString::to_string).collect());
        }
        RuleName::Origin => {
            let origins = route.websocket.iter().flat_map(|socket| &socket.origins);
            tell("origins", origins.map(origin).collect());
        }
        RuleName::Auth => {
            if let Some(Auth { identities: _, any, all, roles }) = &route.auth {
                tell("any_of", any.clone());
                tell("all_of", all.clone());
                tell("roles", roles.clone());
            }
        }
        RuleName::Tenant => {}
        RuleName::Rate => tell("limits", route.limits.rate.iter().map(rate).collect()),
        RuleName::Body => tell("limit", route.limits.body.map(size).into_iter().collect()),
        RuleName::Lockout => {
            if let Some(Lockout { key, failures, within, lock, failed_when }) = &route.lockout {
                tell("by", key.iter().map(lockout_key).collect());
                let terms = format!("{failures} failures in {}", duration(*within));
                tell("locks_after", vec![terms]);
                tell("for", vec![duration(*lock)]);
                tell("failed_when", vec![failure(failed_when)]);
            }
        }
        RuleName::Upload => {
            if let Some(upload) = &route.upload {
                let Upload {
                    fields,
                    max_files,
                    classes,
                    scan,
                    raw,
                    max_fields,
                    max_field_size,
                    declared_type,
                    pdf_active,
                    dedupe,
                    quota,
                    archives,
                } = upload;
                tell("fields", fields.clone());
                tell("files", vec![format!("at most {max_files}")]);
                let class = |class: &config::rules::UploadClass| {
                    format!("{} ({}) {}", class.name, class.extensions.join(" "), size(class.max_size))
                };
                tell("classes", classes.iter().map(class).collect());
                tell(
                    "other_fields",
                    vec![format!("at most {max_fields}, of {} each", size(*max_field_size))],
                );
                let declared = if *declared_type { "match" } else { "ignore" };
                tell("declared_type", vec![declared.to_owned()]);
                let active = if *pdf_active { "allow" } else { "deny" };
                tell("pdf_active", vec![active.to_owned()]);
                let Archives { max_members, max_member, max_total, max_ratio, max_depth } = archives;
                let members = format!("at most {max_members} members, of {} each", size(*max_member));
                let together = format!("{} and {max_ratio} times the file together", size(*max_total));
                tell("archives", vec![members, together, format!("{max_depth} deep")]);
                facts.insert("scan".to_owned(), json!(scan));
                facts.insert("raw".to_owned(), json!(raw));
                facts.insert("dedupe".to_owned(), json!(dedupe.map(|dedupe| mode(dedupe.mode))));
                facts.insert("quota".to_owned(), json!(quota));
            }
        }
    }
    facts
}

fn mode(mode: DedupeMode) -> &'static str {
    match mode {
        DedupeMode::Annotate => "annotate",
        DedupeMode::Reject => "reject",
    }
}

/// `60/min by ip, burst 20`
fn rate(rate: &Rate) -> String {
    let Rate { name, by, limit, per, burst } = rate;
    let by: Vec<String> = by.iter().map(rate_key).collect();
    format!("{name}: {limit}/{} by {} with burst {burst}", period(*per), by.join("+"))
}

fn rate_key(key: &RateKey) -> String {
    match key {
        RateKey::Ip => "ip".to_owned(),
        RateKey::Tenant => "tenant".to_owned(),
        RateKey::Subject => "subject".to_owned(),
        RateKey::Identity => "identity".to_owned(),
        RateKey::Route => "route".to_owned(),
        RateKey::Header(name) => format!("header:{name}"),
    }
}

fn lockout_key(key: &LockoutKey) -> String {
    match key {
        LockoutKey::Ip => "ip".to_owned(),
        LockoutKey::Tenant => "tenant".to_owned(),
        LockoutKey::Json(path) => format!("json:{path}"),
        LockoutKey::Form(name) => format!("form:{name}"),
    }
}

fn failure(when: &FailedWhen) -> String {
    match when {
        FailedWhen::Status(codes) => {
            let codes: Vec<&str> = codes.iter().map(http::StatusCode::as_str).collect();
            format!("status {}", codes.join(" "))
        }
        FailedWhen::Json { field, values } => {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("json:{field} {}", values.join(" "))
        }
    }
}

fn origin(pattern: &OriginPattern) -> String {
    match pattern {
        OriginPattern::Any => "*".to_owned(),
        OriginPattern::Origin { scheme, host, port: None } => format!("{scheme}://{host}:*"),
        OriginPattern::Origin { scheme, host, port: Some(port) } => match (scheme.as_str(), port) {
            ("https", 443) | ("http", 80) => format!("{scheme}://{host}"),
            _ => format!("{scheme}://{host}:{port}"),
        },
    }
}

/// Where a tenant is told: `claim`, `header x-tenant-id`.
pub(super) fn source(source: &TenantSource) -> String {
    match source {
        TenantSource::Claim => "claim".to_owned(),
        TenantSource::Header(name) => format!("header {name}"),
        TenantSource::SubdomainOf(domain) => format!("subdomain of {domain}"),
        TenantSource::Query(name) => format!("query {name}"),
    }
}

/// Where a credential may stand: `header`, `cookie session`.
pub(super) fn place(place: &CredentialPlace) -> String {
    match place {
        CredentialPlace::Header => "header".to_owned(),
        CredentialPlace::Cookie(name) => format!("cookie {name}"),
        CredentialPlace::WebSocket(marker) => format!("websocket {marker}"),
        CredentialPlace::Query(name) => format!("query {name}"),
    }
}

/// `5MB`; bytes when there is no whole number of anything larger.
fn size(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

/// `15m`, `500ms`
pub(super) fn duration(time: Duration) -> String {
    let millis = time.as_millis();
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
        if millis >= unit && millis.is_multiple_of(unit) {
            return format!("{}{name}", millis / unit);
        }
    }
    format!("{millis}ms")
}

/// What stands behind the slash of a rate.
fn period(per: Duration) -> String {
    match per.as_secs() {
        1 if per.subsec_nanos() == 0 => "s".to_owned(),
        60 => "min".to_owned(),
        3600 => "h".to_owned(),
        86_400 => "d".to_owned(),
        _ => duration(per),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_written_as_the_policy_writes_them() {
        assert_eq!((size(5 << 20), size(1536), size(3)), ("5MB".into(), "1536B".into(), "3B".into()));
        let text = |millis| duration(Duration::from_millis(millis));
        assert_eq!((text(900_000), text(500), text(90_000)), ("15m".into(), "500ms".into(), "90s".into()));
        let rule = |limit, seconds| Rate {
            name: "rate".into(),
            by: vec![RateKey::Ip, RateKey::Header(http::header::USER_AGENT)],
            limit,
            per: Duration::from_secs(seconds),
            burst: 20,
        };
        assert_eq!(rate(&rule(60, 60)), "rate: 60/min by ip+header:user-agent with burst 20");
        assert_eq!(rate(&rule(5, 10)), "rate: 5/10s by ip+header:user-agent with burst 20");
    }
}
