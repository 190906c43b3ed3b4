//! `upstreams`

use std::collections::BTreeMap;

use crate::model::{Health, Upstream, UpstreamServer, UpstreamTimeouts};
use crate::pattern::parse_host;
use crate::read::{Reader, Shape, did_you_mean};
use crate::scalar::{boolean, count, small, time_limit, written_line};

pub(super) fn upstreams(r: &Reader<'_>) -> Option<BTreeMap<String, Upstream>> {
    super::named(r, upstream)
}

fn upstream(r: &Reader<'_>) -> Option<Upstream> {
    let t = r.table()?;
    let servers = t.required("servers", "The servers of this app.", |r| r.some(server));
    let health = t.optional("health", "Active checks; without them only failed connections count.", health);
    let keepalive =
        t.or("keepalive", "Idle connections kept per server and worker.", "32", count(0, 100_000));
    let timeouts = t.or("timeouts", "Time limits towards the app.", "{}", timeouts);
    let servers = servers?;
    if servers.iter().all(|server| server.backup) {
        t.problem("servers", "every server is a backup", "take \"backup\" away from one");
    }
    for (index, server) in servers.iter().enumerate() {
        if servers[..index].iter().any(|other| other.address == server.address) {
            t.problem("servers", "the same server is listed twice", "use weight to give one more requests");
            break;
        }
        if index > 1000 {
            t.problem("servers", "there are more than 1000 servers", "list fewer");
            break;
        }
    }
    Some(Upstream { servers, health: health?, keepalive: keepalive?, timeouts: timeouts? })
}

fn server(r: &Reader<'_>) -> Option<UpstreamServer> {
    r.shapes(&[
        (Shape::Text, &|r| Some(UpstreamServer { address: address(r)?, weight: 1, backup: false })),
        (Shape::Table, &|r| {
            let t = r.table()?;
            let address = t.required("address", "HOST:PORT.", address);
            let weight = t.or("weight", "Its share in round robin.", "1", small(1, 1000));
            let backup = t.or("backup", "Asked only when no other server is up.", "false", boolean);
            Some(UpstreamServer { address: address?, weight: weight?, backup: backup? })
        }),
    ])
}

fn address(r: &Reader<'_>) -> Option<String> {
    let written = written_line(r)?;
    if is_host_and_port(&written.text) {
        r.remember();
        return Some(written.text);
    }
    let remedy = if written.text.contains("://") {
        "write HOST:PORT without a scheme, as in 127.0.0.1:5000"
    } else {
        "write HOST:PORT, as in 127.0.0.1:5000 or app.internal:80"
    };
    r.problem(format!("{} is not the address of a server", written.quoted()), remedy);
    None
}

/// Whether this is `host:port`, `1.2.3.4:port` or `[::1]:port`.
pub(super) fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    port && matches!(parse_host(host), Ok(crate::HostPattern::Exact(_)))
}

fn health(r: &Reader<'_>) -> Option<Health> {
    let t = r.table()?;
    let path = t.required("path", "What is asked with GET; 2xx and 3xx are well.", |r| {
        let written = written_line(r)?;
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if written.text.starts_with('/') && written.text.bytes().all(fits) {
            return Some(written.text);
        }
        r.problem(format!("{} is not a path", written.quoted()), "begin with a slash, as in /health");
        None
    });
    let every = t.or("every", "Time between checks.", "5s", time_limit);
    let timeout = t.or("timeout", "For one answer.", "2s", time_limit);
    let rise = t.or("rise", "Good answers in a row that bring a server up.", "2", small(1, 1000));
    let fall = t.or("fall", "Bad answers in a row that take it down.", "2", small(1, 1000));
    Some(Health { path: path?, every: every?, timeout: timeout?, rise: rise?, fall: fall? })
}

pub(super) fn timeouts(r: &Reader<'_>) -> Option<UpstreamTimeouts> {
    let t = r.table()?;
    let connect = t.or("connect", "For a connection.", "5s", time_limit);
    let read =
        t.or("read", "Between two reads of an answer; beyond it 504 upstream.timeout.", "60s", time_limit);
    let send = t.or("send", "Between two writes of a request.", "60s", time_limit);
    Some(UpstreamTimeouts { connect: connect?, read: read?, send: send? })
}

/// The name of an upstream that exists.
pub(super) fn name(r: &Reader<'_>) -> Option<String> {
    let written = written_line(r)?;
    let known = r.loading.known.borrow();
    if known.upstreams.contains_key(&written.text) {
        return Some(written.text);
    }
    let names: Vec<&str> = known.upstreams.keys().map(String::as_str).collect();
    let remedy = if names.is_empty() {
        "add it to \"upstreams\"".into()
    } else {
        did_you_mean(if written.variable { "" } else { &written.text }, &names)
    };
    r.problem(format!("there is no upstream {}", written.quoted()), remedy);
    None
}
