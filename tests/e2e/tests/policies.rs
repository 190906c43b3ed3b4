//! What the policies that ship say of a request: `policies/cases/NAME.yaml` beside `policies/NAME.yaml`.
//!
//! ```yaml
//! env: { WECARD_FLASK: "${APP}" }          # ${APP}: an app that answers 200 to everything; ${FREE}: 127.0.0.1:0;
//!                                          # ${DIR}: a folder; ${CERT}, ${KEY}: files of a certificate
//! users: { alice: { sub: alice } }         # claims of tokens
//! cases:
//!   - name: a sentence
//!     request: GET http://card.example.com/api/me
//!     as: alice                            # Authorization: Bearer, unless {token} stands in the URL or a header
//!     headers: { X-Tenant-ID: t-beta }
//!     json: { user: x }                    # or text: …, or file: { name: a.png, content: png | mp4 | php | pdf | eicar, size: 6MB }
//!     websocket: true                      # adds the lines of a handshake
//!     app: 401                             # what the app answers, instead of 200
//!     before: 5                            # sent so many times first
//!     verdict: { status: 401, code: auth.missing, route: /api/* }     # code and route when it is refused there
//! ```
//!
//! Each case meets a gateway of its own, so that counters do not mix.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::gateway::Builder;
use harness::http::{Answer, Call, Wire, call};
use harness::sample::{self, PNG};
use harness::{Certificate, Form, Gateway, Origin, policy, root, token};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    env: BTreeMap<String, String>,
    #[serde(default)]
    users: BTreeMap<String, Value>,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    request: String,
    #[serde(rename = "as")]
    user: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    json: Option<Value>,
    text: Option<String>,
    file: Option<File>,
    #[serde(default)]
    websocket: bool,
    app: Option<u16>,
    #[serde(default)]
    before: usize,
    verdict: Verdict,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    content: String,
    size: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    status: u16,
    code: Option<String>,
    route: Option<String>,
}

/// Runs every case of one policy; all that differ are shown together.
fn run(name: &str) {
    let path = root().join("policies/cases").join(format!("{name}.yaml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Cases =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!cases.cases.is_empty());
    let certificate = Certificate::new(&["localhost", "desk.example.com", "card.example.com"]);
    let mut wrong = Vec::new();
    for case in &cases.cases {
        if let Some(difference) = differs(name, &cases, case, &certificate) {
            wrong.push(format!("{}: {difference}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.cases.len(), wrong.join("\n"));
}

fn differs(name: &str, cases: &Cases, case: &Case, certificate: &Certificate) -> Option<String> {
    let (status, asked) = (case.app.unwrap_or(200), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let origin = Origin::start(move |exchange| {
        exchange.body();
        // The gateway's own health checks have no request id.
        let by_a_client = exchange.head.header("x-request-id").is_some();
        count.fetch_add(usize::from(by_a_client), Ordering::SeqCst);
        exchange.respond(if by_a_client { status } else { 200 }, "", b"{}")
    });
    let gateway =
        with_environment(Gateway::builder().policy(policy::shipped(name)), cases, &origin, certificate)
            .start();
    let (call, wire) = call_of(cases, case, certificate);
    let to = match wire {
        Wire::Http1 => gateway.address(),
        _ => gateway.secure(),
    };
    for _ in 0..case.before {
        call.send_over(&wire, to);
    }
    let before = asked.load(Ordering::SeqCst);
    let answer = call.send_over(&wire, to);
    let reached = asked.load(Ordering::SeqCst) > before;
    let verdict = &case.verdict;
    let (got, code) = answer.verdict();
    if got != verdict.status || (verdict.code.is_some() && verdict.code.as_deref() != Some(code.as_str())) {
        return Some(format!("got {got} {code}, expected {verdict:?}: {}", answer.text()));
    }
    if reached && verdict.code.is_some() || !reached && got < 300 {
        return Some(format!("reached the app: {reached}, expected {verdict:?}"));
    }
    let expected = verdict.route.as_ref()?;
    let route = route_of(&gateway, &answer, reached, &origin);
    (route != *expected).then(|| format!("met the route {route}, expected {expected}"))
}

fn with_environment(builder: Builder, cases: &Cases, origin: &Origin, certificate: &Certificate) -> Builder {
    let folder = builder.folder().display().to_string();
    cases.env.iter().fold(builder, |builder, (name, value)| {
        let value = value
            .replace("${APP}", &origin.address().to_string())
            .replace("${FREE}", "127.0.0.1:0")
            .replace("${DIR}", &folder)
            .replace("${CERT}", &certificate.cert().display().to_string())
            .replace("${KEY}", &certificate.key().display().to_string());
        builder.env(name, value)
    })
}

fn call_of(cases: &Cases, case: &Case, certificate: &Certificate) -> (Call, Wire) {
    let token = case.user.as_ref().map(|user| {
        token::mint(cases.users.get(user).unwrap_or_else(|| panic!("{}: who is {user}?", case.name)).clone())
    });
    let filled = |text: &str| text.replace("{token}", token.as_deref().unwrap_or_default());
    let (method, url) = case.request.split_once(' ').expect("a request is a method and a URL");
    let (scheme, rest) = url.split_once("://").expect("a URL begins with its scheme");
    let (host, path) = rest.split_at(rest.find('/').expect("a URL has a path"));
    let mut call = call(method, &filled(path)).host(host);
    for (name, value) in &case.headers {
        call = call.header(name, filled(value));
    }
    if let Some(token) = &token
        && !path.contains("{token}")
        && !case.headers.values().any(|value| value.contains("{token}"))
    {
        call = call.bearer(token);
    }
    if case.websocket {
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            call = call.header(name, value);
        }
    }
    if let Some(json) = &case.json {
        call = call.json(json);
    }
    if let Some(text) = &case.text {
        call = call.body("text/plain", text.clone());
    }
    if let Some(file) = &case.file {
        call = call.body(
            &Form::content_type(),
            Form::of(&file.name, "application/octet-stream", &content(file)).body(),
        );
    }
    let wire =
        if scheme == "https" { Wire::Http1Tls(certificate.client(&["http/1.1"])) } else { Wire::Http1 };
    (call, wire)
}

fn content(file: &File) -> Vec<u8> {
    let size = file.size.as_ref().map(|size| {
        let (number, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
        let unit = match unit {
            "" => 1,
            "KB" => 1024,
            "MB" => 1024 * 1024,
            other => panic!("{other} is no unit"),
        };
        number.parse::<usize>().expect("a size begins with a number") * unit
    });
    match (file.content.as_str(), size) {
        ("png", None) => PNG.to_vec(),
        ("png", Some(size)) => sample::png_of(size),
        ("mp4", None) => sample::mp4_of(1000),
        ("pdf", None) => sample::pdf(),
        ("eicar", None) => sample::infected_pdf(),
        ("php", None) => sample::PHP.to_vec(),
        other => panic!("{other:?} is no content"),
    }
}

/// The route that the request met, by its line in the access log.
fn route_of(gateway: &Gateway, answer: &Answer, reached: bool, origin: &Origin) -> String {
    let id = if reached {
        let text = origin.received_text().to_lowercase();
        let line =
            text.lines().rfind(|line| line.starts_with("x-request-id:")).expect("the app is told the id");
        line["x-request-id:".len()..].trim().to_owned()
    } else {
        answer.must("x-request-id").to_lowercase()
    };
    let line = harness::until("the line in the access log", harness::SOON, || {
        gateway
            .access_log()
            .into_iter()
            .find(|line| line["request_id"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(&id)))
    });
    line["route"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn quickstart_says_what_its_cases_say() {
    run("quickstart");
}

#[test]
fn wecard_says_what_its_cases_say() {
    run("wecard");
}

#[test]
fn smart_desk_says_what_its_cases_say() {
    run("smart-desk");
}
