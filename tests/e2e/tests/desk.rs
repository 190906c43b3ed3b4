//! The desk behind its own policy: WebSockets whose tokens travel where a browser can put them.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use harness::gateway::Builder;
use harness::http::{Wire, get, post};
use harness::origin::{Origin, Then};
use harness::raw::Raw;
use harness::socket::{Handshake, Said, Socket};
use harness::{Browser, Certificate, Desk, Gateway, SOON, policy, token, until};
use serde_json::{Value, json};

/// A policy for the desk's sockets on a plain listener.
const SOCKETS: &str = r#"
identities:
  agent:
    jwt: { keys: [{ alg: HS256, secret: "@env:JWT_KEY" }] }
    accept: [header, { websocket: bearer }, { query: token }]
    claims: { subject: sub, roles: role }
upstreams:
  api: { servers: ["${APP}"] }
sites:
  - hosts: ["*"]
    defaults: { upstream: api, auth: { identity: agent } }
    routes:
      - path: /ws/agent
        websocket: { origins: ["https://desk.example.com", "https://*.desk.example.com", "http://localhost:*"], max_message: 64KB, idle_timeout: 5m }
      - path: /ws/h5
        websocket: { origins: ["*"], max_message: 1KB, idle_timeout: 1s }
      - path: /api/*
"#;

fn sockets(app: &Desk) -> Builder {
    Gateway::builder().policy(SOCKETS).env("APP", app.address())
}

fn agent() -> String {
    token::mint(json!({ "sub": "ada", "role": "agent", "jti": "j-1" }))
}

fn to_agent() -> Handshake {
    Socket::to("/ws/agent").header("origin", "http://localhost:3000")
}

/// What the app says it saw of the handshake.
fn hello(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.text()).unwrap()
}

#[test]
fn a_socket_opens_and_echoes_in_a_browser_over_tls() {
    let app = Desk::start();
    let certificate = Certificate::localhost();
    let gateway = policy::desk(&app, &certificate).start();
    let page = Origin::start(|exchange| {
        exchange.respond(200, "Content-Type: text/html\r\n", b"<title>desk</title>")
    });
    let browser = Browser::start();
    browser.open(&format!("http://localhost:{}/", page.address().port()));
    let token = agent();
    let script = "
        const [url, token] = given;
        const socket = new WebSocket(url, ['bearer', token]);
        const messages = [];
        const next = () => new Promise((resolve, reject) => {
            socket.onmessage = event => resolve(event.data);
            socket.onclose = event => reject(new Error('closed with ' + event.code));
        });
        const hello = JSON.parse(await next());
        socket.send('你好');
        const echo = await next();
        const protocol = socket.protocol;
        socket.close(1000);
        return { hello, echo, protocol };";
    let url = format!("wss://localhost:{}/ws/agent", gateway.secure().port());
    let seen = browser.run(script, json!([url, token]));
    assert_eq!(seen["echo"], "你好", "{seen} {}", browser.console());
    assert_eq!(seen["protocol"], "bearer");
    assert_eq!(seen["hello"]["uri"], "/ws/agent");
    assert_eq!(seen["hello"]["headers"]["authorization"], format!("Bearer {token}"));
    assert_eq!(seen["hello"]["subprotocols"], json!([]));

    let opened = || app.log().entries().iter().filter(|entry| entry["type"] == "websocket").count();
    let before = opened();
    let refused = browser.run(
        "return await new Promise(resolve => {
            const socket = new WebSocket(given[0], ['bearer', given[1]]);
            socket.onopen = () => resolve('open');
            socket.onclose = event => resolve('closed ' + event.code);
        });",
        json!([url, token.replace('.', "x.")]),
    );
    assert_eq!(refused, "closed 1006");
    assert_eq!(opened(), before);
}

#[test]
fn the_app_sees_authorization_and_the_token_nowhere_else() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let token = agent();
    let mut socket = to_agent().protocols(&["bearer", &token, "chat.v1"]).open(gateway.address());
    let seen = hello(&mut socket);
    assert_eq!(seen["headers"]["authorization"], format!("Bearer {token}"));
    assert_eq!(seen["subprotocols"], json!(["chat.v1"]));
    assert_eq!(seen["uri"], "/ws/agent");
    assert_eq!(seen["headers"]["x-auth-subject"], "ada");
    assert_eq!(seen.to_string().matches(&token).count(), 1);
    assert_eq!(socket.protocol.as_deref(), Some("chat.v1"));
    socket.send("hello");
    assert_eq!(socket.text(), "hello");
    socket.send_bytes(vec![0, 255, 7]);
    assert_eq!(socket.hear(), Said::Binary(vec![0, 255, 7]));
    let long = "x".repeat(60 * 1024);
    socket.send(&long);
    assert_eq!(socket.text(), long);
}

#[test]
fn a_token_is_taken_in_each_of_the_three_forms() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let token = agent();
    let encoded = format!("base64url.bearer.{}", BASE64_URL_SAFE_NO_PAD.encode(&token));
    let single = format!("bearer.{token}");
    for protocols in [vec!["bearer", &token, "chat.v1"], vec![&single, "chat.v1"], vec![&encoded, "chat.v1"]]
    {
        let mut socket = to_agent().protocols(&protocols).open(gateway.address());
        let seen = hello(&mut socket);
        assert_eq!(seen["headers"]["authorization"], format!("Bearer {token}"), "{protocols:?}");
        assert_eq!(seen["subprotocols"], json!(["chat.v1"]), "{protocols:?}");
        assert_eq!(socket.protocol.as_deref(), Some("chat.v1"), "{protocols:?}");
    }
    let twice = to_agent().protocols(&["bearer", &token, &single]).refused(gateway.address());
    assert_eq!(twice.status, 400, "{twice:?}");
}

#[test]
fn the_marker_is_selected_when_the_app_selects_nothing() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let token = agent();
    let mut socket = Socket::to("/ws/h5").protocols(&["bearer", &token]).open(gateway.address());
    assert_eq!(socket.protocol.as_deref(), Some("bearer"));
    assert_eq!(hello(&mut socket)["subprotocols"], json!([]));
}

#[test]
fn a_socket_opens_with_the_token_in_the_header() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let mut socket =
        to_agent().header("authorization", &format!("Bearer {}", agent())).open(gateway.address());
    assert_eq!(hello(&mut socket)["headers"]["x-auth-subject"], "ada");
    assert_eq!(socket.protocol, None);
}

#[test]
fn a_token_in_the_query_is_cut_out() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let token = agent();
    let mut socket = Socket::to(&format!("/ws/agent?room=7&token={token}&lang=en"))
        .header("origin", "http://localhost:3000")
        .open(gateway.address());
    let seen = hello(&mut socket);
    assert_eq!(seen["uri"], "/ws/agent?room=7&lang=en");
    assert_eq!(seen["headers"]["authorization"], format!("Bearer {token}"));
    drop(socket);
    let line = until("the socket's line in the access log", SOON, || {
        gateway.access_log().into_iter().find(|line| line["path"] == "/ws/agent")
    });
    assert!(!line.to_string().contains(&token), "{line}");
    let over_http = get(&format!("/api/echo?token={token}")).send(gateway.address());
    assert_eq!(over_http.is(200).json()["uri"], "/api/echo");
}

#[test]
fn a_wrong_token_never_reaches_the_app() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let wrong =
        token::mint_with("another key, as long as the right one is but not it", json!({ "sub": "ada" }));
    let ended = token::mint(json!({ "sub": "ada", "exp": token::now() - 60 }));
    for (protocols, code) in [
        (vec!["bearer", wrong.as_str()], "auth.invalid"),
        (vec!["bearer", ended.as_str()], "auth.expired"),
        (vec!["bearer", "nonsense"], "auth.invalid"),
        (vec!["chat.v1"], "auth.missing"),
        (vec![], "auth.missing"),
    ] {
        let refused = to_agent().protocols(&protocols).refused(gateway.address());
        assert_eq!(refused.status, 401, "{protocols:?} {refused:?}");
        assert!(refused.body.contains(code), "{protocols:?} {refused:?}");
    }
    assert_eq!(app.log().entries(), Vec::<Value>::new());
}

#[test]
fn only_listed_pages_may_open_a_socket() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let token = agent();
    let from = |origin: &str| Socket::to("/ws/agent").protocols(&["bearer", &token]).header("origin", origin);
    let good = [
        "https://desk.example.com",
        "http://localhost:8123",
        "http://localhost",
        "https://a.desk.example.com",
    ];
    for origin in good {
        from(origin).open(gateway.address());
    }
    let before = app.log().entries().iter().filter(|entry| entry["type"] == "websocket").count();
    for origin in [
        "https://desk.example.com.evil.test",
        "https://evil.test",
        "http://desk.example.com",
        "https://desk.example.com:8443",
        "https://localhost:3000",
        "null",
    ] {
        let refused = from(origin).refused(gateway.address());
        assert_eq!(refused.status, 403, "{origin} {refused:?}");
        assert!(refused.body.contains("origin.denied"), "{origin} {refused:?}");
    }
    let after = app.log().entries().iter().filter(|entry| entry["type"] == "websocket").count();
    assert_eq!(before, after);
}

#[test]
fn a_request_with_any_upgrade_meets_the_rules() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    for upgrade in ["websocket", "WebSocket", "h2c", "foo", "TLS/1.0", "websocket, foo", "", "foo/2"] {
        for path in ["/ws/agent", "/ws/h5", "/api/echo", "/api/admin/stats"] {
            let mut raw = Raw::sending(
                gateway.address(),
                format!(
                    "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                     Upgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                ),
            );
            let answer = raw.answer().unwrap_or_else(|| panic!("no answer to {upgrade} {path}"));
            assert!(matches!(answer.status, 400 | 401 | 403), "{upgrade} {path}: {answer:?}");
        }
    }
    assert_eq!(app.log().entries(), Vec::<Value>::new());
}

#[test]
fn a_route_without_websocket_opens_none() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let refused = Socket::to("/api/echo")
        .header("authorization", &format!("Bearer {}", agent()))
        .try_open(gateway.address(), None)
        .err()
        .expect("it does not open");
    assert_ne!(refused.status, 101);
    let upgrades = app.log().entries().into_iter().filter(|entry| entry["type"] == "websocket").count();
    assert_eq!(upgrades, 0, "{:?}", app.log().entries());
}

#[test]
fn an_app_may_answer_an_upgrade_with_plain_http() {
    let origin =
        Origin::start(|exchange| exchange.respond(403, "Content-Type: text/plain\r\n", b"not today"));
    let gateway = Gateway::builder().policy(SOCKETS).env("APP", origin.address()).start();
    let refused = to_agent().protocols(&["bearer", &agent()]).refused(gateway.address());
    assert_eq!((refused.status, refused.body.as_str()), (403, "not today"));
}

#[test]
fn open_sockets_are_told_when_the_gateway_goes() {
    let app = Desk::start();
    let mut gateway = sockets(&app).start();
    let mut socket = to_agent().protocols(&["bearer", &agent()]).open(gateway.address());
    hello(&mut socket);
    gateway.signal(nix::sys::signal::Signal::SIGQUIT);
    match socket.hear() {
        Said::Close(Some((code, _))) => assert_eq!(code, 1001),
        other => panic!("{other:?}"),
    }
    socket.close();
    assert_eq!(gateway.wait(SOON).code(), Some(0));
    let close = until("the app to see the close", SOON, || {
        app.log().entries().into_iter().find(|entry| entry["type"] == "websocket.close")
    });
    assert_eq!(close["code"], 1001, "{close}");
}

#[test]
fn a_message_beyond_the_limit_closes_the_socket() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let mut socket = Socket::to("/ws/h5").protocols(&["bearer", &agent()]).open(gateway.address());
    hello(&mut socket);
    socket.send(&"x".repeat(1024));
    assert_eq!(socket.text().len(), 1024);
    socket.send(&"x".repeat(1025));
    assert!(matches!(socket.hear(), Said::Close(Some((1009, _)))));
}

#[test]
fn a_silent_socket_is_closed() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let mut socket = Socket::to("/ws/h5").protocols(&["bearer", &agent()]).open(gateway.address());
    hello(&mut socket);
    assert!(matches!(socket.hear(), Said::Close(Some((1001, _)))));
}

#[test]
fn a_socket_ends_with_its_token() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let short = token::mint(json!({ "sub": "ada", "exp": token::now() + 2 }));
    let mut socket = to_agent().protocols(&["bearer", &short]).open(gateway.address());
    hello(&mut socket);
    let close = socket.hear();
    assert!(matches!(close, Said::Close(Some((4401, _)))), "{close:?}");
    assert!(token::now() <= serde_json::from_str::<u64>(&expiry(&short)).unwrap() + 2, "it was late");
}

fn expiry(token: &str) -> String {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["exp"].to_string()
}

#[test]
fn a_close_of_either_side_reaches_the_other() {
    let app = Desk::start();
    let gateway = sockets(&app).start();
    let mut socket = to_agent().protocols(&["bearer", &agent()]).open(gateway.address());
    hello(&mut socket);
    socket.send("close 4000");
    assert_eq!(socket.hear(), Said::Close(Some((4000, "as asked".to_owned()))));
    let mut other = to_agent().protocols(&["bearer", &agent()]).open(gateway.address());
    hello(&mut other);
    drop(other);
    until("the app to see that the client left", SOON, || {
        (app.log().entries().iter().filter(|entry| entry["type"] == "websocket.close").count() == 2)
            .then_some(())
    });
}

#[test]
fn bytes_that_the_app_sends_behind_its_101_are_not_lost() {
    let origin = Origin::start(|exchange| {
        let key = exchange.head.header("sec-websocket-key").unwrap_or_default().to_owned();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let mut bytes = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(b"\x81\x05first");
        exchange.raw(&bytes);
        exchange.is_closed_within(SOON);
        Then::Close
    });
    let gateway = Gateway::builder().policy(SOCKETS).env("APP", origin.address()).start();
    let mut socket = to_agent().protocols(&["bearer", &agent()]).open(gateway.address());
    assert_eq!(socket.text(), "first");
}

#[test]
fn the_desk_s_own_policy_lets_an_agent_work() {
    let app = Desk::start();
    let certificate = Certificate::localhost();
    let gateway = policy::desk(&app, &certificate).start();
    for wire in [Wire::Http2(certificate.client(&["h2"])), Wire::Http1Tls(certificate.client(&["http/1.1"]))]
    {
        let login = post("/api/agents/login")
            .json(&json!({ "user_id": "ada", "password": "ada-password" }))
            .send_over(&wire, gateway.secure());
        let token = login.is(200).json()["token"].as_str().unwrap().to_owned();
        let me = get("/api/me").bearer(&token).send_over(&wire, gateway.secure());
        assert_eq!(me.is(200).json()["X-Auth-Subject"], "ada");
        get("/api/me").send_over(&wire, gateway.secure()).refused(401, "auth.missing");
        get("/api/admin/stats")
            .bearer(&token)
            .send_over(&wire, gateway.secure())
            .refused(403, "auth.forbidden");
    }
    let redirect = get("/api/me?x=1").host("localhost").send(gateway.address());
    assert!(matches!(redirect.status, 301 | 308), "{redirect:?}");
    assert!(redirect.must("location").starts_with("https://localhost"), "{redirect:?}");
    assert!(redirect.must("location").ends_with("/api/me?x=1"), "{redirect:?}");
}
