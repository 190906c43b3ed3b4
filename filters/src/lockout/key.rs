//! What a lockout counts by.

use std::net::IpAddr;
use std::sync::Arc;

use config::rules::LockoutKey;
use sha2::{Digest, Sha256};

use super::Rule;
use crate::facts::Facts;
use crate::fields::{folded, form_field, json_field};
use crate::state::{LockLabel, LockSubject, network};

/// What the head says of who is asking.
pub(super) struct Client {
    network: IpAddr,
    tenant: Option<String>,
}

impl Client {
    pub(super) fn new(facts: &Facts<'_>) -> Self {
        Self { network: network(facts.client), tenant: facts.tenant.map(|tenant| tenant.id.clone()) }
    }

    /// IPv6 with its prefix length.
    fn shown(&self) -> String {
        match self.network {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("{address}/64"),
        }
    }
}

/// The key of a request; `body` is `None` when it was too long to be looked at. A SHA-256, so that gateways agree on
/// it. It hides values from a glance into the store, not from somebody who can try all addresses or names.
pub(super) fn subject(rule: &Rule, client: &Client, body: Option<&[u8]>) -> LockSubject {
    let mut hash = Sha256::new();
    feed(&mut hash, "scope", &rule.scope);
    let mut keys = Vec::with_capacity(rule.key.len());
    for key in &rule.key {
        let (kind, value) = match key {
            LockoutKey::Ip => ("ip".to_owned(), Some(client.shown())),
            LockoutKey::Tenant => ("tenant".to_owned(), client.tenant.clone()),
            LockoutKey::Json(path) => (format!("json:{path}"), body.and_then(|body| json_field(body, path))),
            LockoutKey::Form(name) => (format!("form:{name}"), body.and_then(|body| form_field(body, name))),
        };
        let is_field = matches!(key, LockoutKey::Json(_) | LockoutKey::Form(_));
        let value =
            if is_field { value.map(|name| folded(&name)).filter(|name| !name.is_empty()) } else { value };
        let shown = match value {
            Some(value) => {
                feed(&mut hash, &kind, &value);
                if is_field { format!("#{}", hex::encode(&Sha256::digest(&value)[..6])) } else { value }
            }
            None => {
                let instead = format!("?{}", client.shown());
                feed(&mut hash, "missing", &kind);
                feed(&mut hash, "ip", &instead);
                instead
            }
        };
        keys.push((kind, shown));
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    LockSubject { key, label: Arc::new(LockLabel { route: rule.route.clone(), keys }) }
}

/// With lengths, so that no two lists of values run together into the same bytes.
fn feed(hash: &mut Sha256, kind: &str, value: &str) {
    for text in [kind, value] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
}
