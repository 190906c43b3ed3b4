//! `server`, `listeners` and `admin`.

use crate::model::{Admin, Certificate, Listener, Server, ServerTimeouts, Tls};
use crate::read::{Reader, Shape};
use crate::scalar::{
    boolean, byte_rate, count, network, path, size_between, socket_address, time_limit, word,
};
use crate::secret_source::{secret, warn_if_everyone_reads};

pub(super) fn server(r: &Reader<'_>) -> Option<Server> {
    let t = r.table()?;
    let pid_file =
        t.optional("pid_file", "Where the process id is written, for reload, quit and stop.", path);
    let workers = t.optional(
        "workers",
        "Serving threads, one event loop each; as many as cores when missing.",
        count(1, 1024),
    );
    let trusted_proxies = t.or(
        "trusted_proxies",
        "Peers whose X-Forwarded-For, X-Request-Id and PROXY line are believed.",
        "[]",
        |r| r.list(network),
    );
    let max_header_size = t.or(
        "max_header_size",
        "Bytes of a request's head; more is refused with 431.",
        "32KB",
        size_between(1 << 10, 1 << 20),
    );
    let max_connections =
        t.or("max_connections", "Client connections at a time.", "10000", count(1, 10_000_000));
    let min_body_rate =
        t.or("min_body_rate", "Bytes a second below which a body is too slow.", "500/s", byte_rate);
    let timeouts = t.or("timeouts", "Time limits towards clients.", "{}", |r| {
        let t = r.table()?;
        let header = t.or("header", "For the whole head of a request.", "10s", time_limit);
        let body = t.or("body", "For a body that stays below min_body_rate.", "30s", time_limit);
        let keepalive = t.or("keepalive", "For an idle connection between requests.", "60s", time_limit);
        let shutdown =
            t.or("shutdown", "For running requests once the gateway is to end.", "30s", time_limit);
        Some(ServerTimeouts { header: header?, body: body?, keepalive: keepalive?, shutdown: shutdown? })
    });
    Some(Server {
        pid_file: pid_file?,
        workers: workers?.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        trusted_proxies: trusted_proxies?,
        max_header_size: usize::try_from(max_header_size?).ok()?,
        max_connections: max_connections?,
        min_body_rate: min_body_rate?,
        timeouts: timeouts?,
    })
}

pub(super) fn listeners(r: &Reader<'_>) -> Option<Vec<Listener>> {
    let listeners = r.some(|r| {
        let listener = listener(r)?;
        Some((listener, r.place()?))
    })?;
    let tls = listeners.iter().any(|(listener, _)| listener.tls.is_some());
    if let Some((_, place)) = listeners.iter().find(|(listener, _)| listener.redirect_https && !tls) {
        r.loading.report(place.problem(
            "redirect: https leads nowhere, as no listener has tls",
            "add a listener with tls, or take \"redirect\" away",
        ));
    }
    Some(listeners.into_iter().map(|(listener, _)| listener).collect())
}

fn listener(r: &Reader<'_>) -> Option<Listener> {
    #[derive(Clone, Copy, PartialEq)]
    enum Protocol {
        Http1,
        Http2,
    }
    let t = r.table()?;
    let address =
        t.required("address", "IP:PORT to listen on; port 0 asks the system for a free one.", |r| {
            let address = socket_address(r)?;
            claim_address(r, address);
            r.remember();
            Some(address)
        });
    let protocols = t.or(
        "protocols",
        "What is spoken here: HTTP/2 by ALPN with tls and by prior knowledge without, HTTP/1.1.",
        "[h2, http/1.1]",
        |r| r.some(word(&[("h2", Protocol::Http2), ("http/1.1", Protocol::Http1)])),
    );
    let tls = t.optional("tls", "TLS, when it ends here.", tls);
    let redirect = t.optional(
        "redirect",
        "Answer everything with a redirect to the same URL by https.",
        word(&[("https", ())]),
    );
    let proxy_protocol = t.or(
        "proxy_protocol",
        "Connections begin with a PROXY v1 or v2 header, believed from trusted_proxies only.",
        "false",
        boolean,
    );
    let (protocols, tls, redirect) = (protocols?, tls?, redirect?);
    if redirect.is_some() && tls.is_some() {
        t.problem(
            "redirect",
            "a listener with tls redirects to itself",
            "redirect from a listener without tls",
        );
    }
    Some(Listener {
        address: address?,
        http2: protocols.contains(&Protocol::Http2),
        http1: protocols.contains(&Protocol::Http1),
        tls,
        redirect_https: redirect.is_some(),
        proxy_protocol: proxy_protocol?,
    })
}

/// No two listeners may have the same address, unless the system chooses the port.
fn claim_address(r: &Reader<'_>, address: std::net::SocketAddr) {
    let Some(place) = r.place() else { return };
    if address.port() == 0 {
        return;
    }
    let mut known = r.loading.known.borrow_mut();
    match known.addresses.get(&address) {
        Some(first) => r.loading.report(place.problem(
            format!("{} is already listened on by {} at {first}", crate::scalar::quoted(r), first.key),
            "give each listener an address of its own",
        )),
        None => {
            known.addresses.insert(address, place);
        }
    }
}

fn tls(r: &Reader<'_>) -> Option<Tls> {
    let t = r.table()?;
    let tls13_only = t.or(
        "min_version",
        "The least version of TLS that is spoken.",
        "1.2",
        word(&[("1.2", false), ("1.3", true)]),
    );
    let certificates = t.required(
        "certificates",
        "Chains and their keys, chosen by the names they carry; the first is the default.",
        |r| r.some(certificate),
    );
    Some(Tls { tls13_only: tls13_only?, certificates: certificates? })
}

fn certificate(r: &Reader<'_>) -> Option<Certificate> {
    let t = r.table()?;
    let cert = t.required("cert", "PEM file of the chain, leaf first.", |r| readable_file(r, false));
    let key = t.required("key", "PEM file of the private key.", |r| readable_file(r, true));
    Some(Certificate { cert: cert?, key: key? })
}

/// A file that the gateway reads itself, when it starts and whenever it changes.
fn readable_file(r: &Reader<'_>, private: bool) -> Option<std::path::PathBuf> {
    let path = path(r)?;
    r.remember();
    if r.loading.has_disk() {
        r.loading.watch(&path);
        if let Err(error) = std::fs::File::open(&path) {
            let what = format!("the file {} {}", crate::scalar::quoted(r), crate::loading::reason(&error));
            r.problem(what, "write the path of a file this user may read");
            return None;
        }
        if private {
            warn_if_everyone_reads(r, &path);
        }
    }
    Some(path)
}

pub(super) fn admin(r: &Reader<'_>) -> Option<Admin> {
    let t = r.table()?;
    let address = t.required("address", "IP:PORT to listen on; loopback, unless token is set.", |r| {
        let address = socket_address(r)?;
        claim_address(r, address);
        r.remember();
        Some(address)
    });
    let token = t.optional("token", "The bearer token asked of every call.", secret);
    let (address, token) = (address?, token?);
    if !address.ip().is_loopback() && token.is_none() {
        let remedy = "listen on 127.0.0.1, or add \"token: '@env:NAME'\"";
        t.problem("address", "the admin listener can be reached from outside and asks for no token", remedy);
    }
    Some(Admin { address, token })
}

/// For keys that take `off` or a table.
pub(super) fn off_or<T>(r: &Reader<'_>, read: impl Fn(&Reader<'_>) -> Option<T>) -> Option<Option<T>> {
    r.shapes(&[
        (Shape::Text, &|r| word(&[("off", ())])(r).map(|()| None)),
        (Shape::Table, &|r| read(r).map(Some)),
    ])
}
