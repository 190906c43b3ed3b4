//! A policy is replaced while the gateway serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::http::{Connection, Wire, get, post};
use harness::socket::Socket;
use harness::wait::within;
use harness::{Certificate, Gateway, Origin, SOON, policy, token, until};
use nix::sys::signal::Signal;
use serde_json::json;

const VERSIONED: &str = r#"
upstreams:
  app: { servers: ["${APP:-127.0.0.1:1}"] }
sites:
  - hosts: ["*"]
    routes:
      - { path: /version, auth: none, respond: { status: 200, body: one } }
      - { path: /held, auth: none, upstream: app, response_headers: { set: { X-Version: one } } }
"#;

fn version(gateway: &Gateway) -> String {
    get("/version").send(gateway.address()).is(200).text()
}

/// Waits until `wanted` is served.
fn serves(gateway: &Gateway, wanted: &str) {
    until(&format!("version {wanted}"), SOON, || (version(gateway) == wanted).then_some(()));
}

fn reloads(gateway: &Gateway) -> f64 {
    gateway.metric(&["menshen_config_reloads_total"])
}

/// Waits until one more reload has been counted.
fn reloads_once_more(gateway: &Gateway, before: f64, how: &str) {
    until(&format!("a reload by {how}"), SOON, || (reloads(gateway) > before).then_some(()));
}

#[test]
fn a_changed_file_is_served_at_once() {
    let gateway = Gateway::builder().policy(VERSIONED).start();
    let first = gateway.generation();
    assert_eq!(version(&gateway), "one");
    gateway.rewrite(|text| text.replace("body: one", "body: two"));
    serves(&gateway, "two");
    let text = fs::read_to_string(gateway.policy()).unwrap().replace("body: two", "body: three");
    fs::write(gateway.policy(), text).unwrap();
    serves(&gateway, "three");
    assert!(gateway.generation() > first);
}

#[test]
fn a_swapped_symlink_is_served_at_once() {
    let builder = Gateway::builder().policy(VERSIONED);
    let folder = builder.folder().join("mounted");
    let text = builder.text();
    let publish = |name: &str, body: &str| {
        // As Kubernetes mounts a ConfigMap: the file is a link through `..data`, which is replaced as a whole.
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("policy.yaml"), text.replace("body: one", body)).unwrap();
        let _ = fs::remove_file(folder.join("..data_tmp"));
        symlink(name, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    fs::create_dir(&folder).unwrap();
    publish("..2026_11_21_1", "body: one");
    symlink("..data/policy.yaml", folder.join("policy.yaml")).unwrap();
    for start_with in [folder.clone(), folder.join("policy.yaml")] {
        publish("..2026_11_21_1", "body: one");
        let gateway = Gateway::builder().policy_at(&start_with).env("DIR", folder.display()).start();
        assert_eq!(version(&gateway), "one");
        publish("..2026_11_21_2", "body: two");
        fs::remove_dir_all(folder.join("..2026_11_21_1")).unwrap();
        serves(&gateway, "two");
        publish("..2026_11_21_3", "body: three");
        fs::remove_dir_all(folder.join("..2026_11_21_2")).unwrap();
        serves(&gateway, "three");
    }
}

#[test]
fn a_hangup_a_command_and_a_call_reload_too() {
    let gateway = Gateway::builder().policy(VERSIONED).start();
    let before = reloads(&gateway);
    gateway.signal(Signal::SIGHUP);
    reloads_once_more(&gateway, before, "SIGHUP");
    let policy = gateway.policy().to_str().unwrap();
    for arguments in [vec!["reload", "-c", policy], vec!["-c", policy, "-s", "reload"]] {
        let before = reloads(&gateway);
        // The command reads the same policy, and so needs the same environment.
        let finished = run_with_folder(&gateway, &arguments);
        assert_eq!(finished.code, 0, "{finished:?}");
        reloads_once_more(&gateway, before, "command");
    }
    let before = reloads(&gateway);
    let answer = post("/reload").send(gateway.admin());
    assert!((200..300).contains(&answer.status), "{answer:?}");
    reloads_once_more(&gateway, before, "call");
    assert_eq!(version(&gateway), "one");
}

fn run_with_folder(gateway: &Gateway, arguments: &[&str]) -> harness::process::Finished {
    let mut command = harness::process::command(harness::gateway::binary());
    command.args(arguments).current_dir(gateway.folder()).env("DIR", gateway.folder());
    harness::process::finish("menshen", command)
}

#[test]
fn a_wrong_policy_changes_nothing_and_is_reported_with_its_line() {
    let gateway = Gateway::builder().policy(VERSIONED).start();
    let generation = gateway.generation();
    let rejected = gateway.metric(&["menshen_config_reloads_total", "result=\"rejected\""]);
    let text = fs::read_to_string(gateway.policy()).unwrap();
    let wrong = text.replace("body: one", "boddy: two");
    let line = 1 + wrong.lines().position(|line| line.contains("boddy")).unwrap();
    gateway.rewrite(|_| wrong);
    let place = format!("policy.yaml:{line}:");
    until("the problem to be logged", SOON, || gateway.error_log().contains(&place).then_some(()));
    assert_eq!(version(&gateway), "one");
    let told = gateway.ask("/policy").json();
    assert_eq!(told["generation"], generation);
    assert!(told["last_error"].to_string().contains(&place), "{told}");
    assert_eq!(gateway.metric(&["menshen_config_reloads_total", "result=\"rejected\""]), rejected + 1.0);
    let called = post("/reload").send(gateway.admin());
    assert!(called.status >= 400, "{called:?}");
    assert!(called.text().contains(&place), "{called:?}");
    assert!(gateway.audit().iter().any(|line| line.to_string().contains("reload")), "{:?}", gateway.audit());
    gateway.rewrite(|text| text.replace("boddy: two", "body: three"));
    serves(&gateway, "three");
    assert!(gateway.ask("/policy").json()["last_error"].is_null());
}

#[test]
fn policies_that_cannot_be_built_are_refused_whole() {
    let certificate = Certificate::localhost();
    let gateway = Gateway::builder().policy(VERSIONED).tls(&certificate).start();
    for wrong in ["listeners: [", "version: 2", "sites: []", "\tx", "", "body: two\n    unknown: key"] {
        let before = reloads(&gateway);
        gateway.rewrite(|text| match wrong {
            "" => String::new(),
            "sites: []" => text[..text.find("sites:").unwrap()].to_owned() + wrong,
            _ => text.replace("version: 1", wrong),
        });
        until(&format!("{wrong:?} to be looked at"), SOON, || (reloads(&gateway) > before).then_some(()));
        assert_eq!(version(&gateway), "one", "{wrong:?}");
        let whole = Gateway::builder().policy(VERSIONED).tls(&certificate).text();
        let before = reloads(&gateway);
        gateway.rewrite(|_| whole);
        until("the good policy to be back", SOON, || (reloads(&gateway) > before).then_some(()));
    }
    let before = gateway.metric(&["menshen_config_reloads_total", "rejected"]);
    fs::write(certificate.key(), "no key").unwrap();
    gateway.signal(Signal::SIGHUP);
    until("the broken key to be refused", SOON, || {
        (gateway.metric(&["menshen_config_reloads_total", "rejected"]) > before).then_some(())
    });
    let still = get("/version").send_over(&Wire::Http2(certificate.client(&["h2"])), gateway.secure());
    assert_eq!(still.is(200).text(), "one");
}

/// Ends the load also when an assertion fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn two_hundred_reloads_under_load_fail_no_request() {
    let origin = Origin::echo();
    let certificate = Certificate::localhost();
    let gateway = Gateway::builder().policy(VERSIONED).tls(&certificate).env("APP", origin.address()).start();
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures = std::thread::scope(|scope| {
        let kept = |wire: Wire, to| {
            let (done, served) = (&done, &served);
            scope.spawn(move || {
                let mut connection = Connection::to(&wire, to);
                let mut failures = Vec::new();
                while !done.load(Ordering::Relaxed) && failures.len() < 10 {
                    for path in ["/held", "/version"] {
                        match connection.exchange(&get(path)) {
                            Ok(answer) if answer.status == 200 => _ = served.fetch_add(1, Ordering::Relaxed),
                            Ok(answer) => failures.push(format!("{path}: {answer:?}")),
                            Err(error) => {
                                failures.push(format!("{path}: {error}"));
                                connection = Connection::to(&wire, to);
                            }
                        }
                    }
                }
                failures
            })
        };
        let mut clients = vec![
            kept(Wire::Http1, gateway.address()),
            kept(Wire::Http1, gateway.address()),
            kept(Wire::Http2(certificate.client(&["h2"])), gateway.secure()),
        ];
        let (done_seen, served_seen, gateway_seen) = (&done, &served, &gateway);
        clients.push(scope.spawn(move || {
            let mut failures = Vec::new();
            while !done_seen.load(Ordering::Relaxed) && failures.len() < 10 {
                match get("/held").try_send(gateway_seen.address()) {
                    Ok(answer) if answer.status == 200 => _ = served_seen.fetch_add(1, Ordering::Relaxed),
                    other => failures.push(format!("a new connection: {other:?}")),
                }
            }
            failures
        }));
        let end = End(&done);
        for round in 0..200 {
            let (from, to) = if round % 2 == 0 { ("one", "two") } else { ("two", "one") };
            let (old, new) = (format!("body: {from}"), format!("body: {to}"));
            let text = fs::read_to_string(gateway.policy()).unwrap();
            fs::write(gateway.folder().join("next"), text.replace(&old, &new)).unwrap();
            fs::rename(gateway.folder().join("next"), gateway.policy()).unwrap();
            let answer = post("/reload").send(gateway.admin());
            assert!((200..300).contains(&answer.status), "{answer:?}");
            assert_eq!(version(&gateway), to, "round {round}");
        }
        drop(end);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(failures.is_empty(), "{failures:?}");
    assert!(served.load(Ordering::Relaxed) > 400, "there was load: {served:?}");
}

#[test]
fn counters_locks_and_sockets_outlive_a_reload() {
    let origin = Origin::start(|exchange| {
        if exchange.head.header("upgrade").is_some() {
            let key = exchange.head.header("sec-websocket-key").unwrap_or_default().to_owned();
            let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
            exchange.raw(format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            ));
            exchange.some();
            exchange.raw(b"\x81\x05still");
            exchange.is_closed_within(SOON);
            return harness::origin::Then::Close;
        }
        exchange.body();
        exchange.respond(401, "", b"wrong")
    });
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let to = gateway.address();
    get("/once").send(to).is(401);
    get("/once").send(to).refused(429, "rate.limited");
    let attempt = || post("/login").json(&json!({ "username": "alice", "password": "guess" })).send(to);
    attempt().is(401);
    attempt().is(401);
    attempt().refused(429, "auth.locked");
    let mut socket = Socket::to("/socket")
        .header("origin", "http://localhost:1")
        .protocols(&["bearer", &token::of("alice", "t-acme")])
        .open(to);
    let generation = gateway.generation();
    gateway
        .rewrite(|text| text + "      - { path: /new, auth: none, respond: { status: 200, body: new } }\n");
    until("the new route", SOON, || (get("/new").send(to).status == 200).then_some(()));
    assert!(gateway.generation() > generation);
    get("/once").send(to).refused(429, "rate.limited");
    attempt().refused(429, "auth.locked");
    socket.send("are you there?");
    assert_eq!(socket.text(), "still");
}

#[test]
fn a_request_is_served_by_the_policy_it_began_with() {
    let origin = Origin::start(|exchange| {
        // Answers when it is told to, by a second request.
        static GO: AtomicBool = AtomicBool::new(false);
        if exchange.head.target.contains("go") {
            GO.store(true, Ordering::SeqCst);
        } else {
            within(SOON, || GO.load(Ordering::SeqCst).then_some(()));
        }
        exchange.respond(200, "", b"held")
    });
    let gateway = Gateway::builder().policy(VERSIONED).env("APP", origin.address()).start();
    let to = gateway.address();
    let held = std::thread::spawn(move || get("/held").send(to));
    origin.wait_for_requests(1);
    gateway
        .rewrite(|text| text.replace("body: one", "body: two").replace("X-Version: one", "X-Version: two"));
    serves(&gateway, "two");
    let next = get("/held?go").send(to);
    assert_eq!(next.header("x-version"), Some("two"));
    assert_eq!(held.join().unwrap().header("x-version"), Some("one"));
}

#[test]
fn a_changed_address_needs_an_upgrade_and_the_rest_is_applied() {
    let gateway = Gateway::builder().policy(VERSIONED).start();
    let other = harness::redis::free_address();
    gateway.rewrite(|text| {
        text.replacen("- { address: \"127.0.0.1:0\" }", &format!("- {{ address: \"{other}\" }}"), 1)
            .replace("body: one", "body: two")
    });
    serves(&gateway, "two");
    until("it to be reported", SOON, || {
        ["needs a restart", "upgrade"].iter().any(|words| gateway.error_log().contains(words)).then_some(())
    });
    assert!(get("/version").try_send(other).is_err());
}

#[test]
fn a_replaced_certificate_is_served() {
    let (old, new) = (Certificate::localhost(), Certificate::localhost());
    let gateway = Gateway::builder().policy(VERSIONED).tls(&old).start();
    get("/version").send_over(&Wire::Http1Tls(old.client(&[])), gateway.secure()).is(200);
    fs::copy(new.cert(), old.cert()).unwrap();
    fs::copy(new.key(), old.key()).unwrap();
    until("the new certificate", SOON, || {
        get("/version").try_over(&Wire::Http1Tls(new.client(&[])), gateway.secure()).ok()
    })
    .is(200);
    assert!(get("/version").try_over(&Wire::Http1Tls(old.client(&[])), gateway.secure()).is_err());
}
