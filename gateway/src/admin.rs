//! The operator's own listener: health, metrics, the policy in force, and a few acts.

mod origin;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use filters::state::Usage;
use http::{Method, header};
use pingora_http::{RequestHeader, ResponseHeader};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::http1::Http1;
use crate::phase::{Phase, reached};
use crate::reload;
use crate::shared::Shared;
use crate::timestamp;
use crate::wire::Wire;

/// For a request of the operator's, from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of head or body an admin request may have.
const LARGEST: usize = 16 * 1024;

/// Bytes that a tenant can be said to have stored: what Redis still counts exactly.
const MOST_USED: u64 = 1 << 53;

/// What the control thread does for admin calls that change something.
pub type Acts = mpsc::Sender<reload::Request>;

/// Serves the admin listener until the process ends.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, acts: Acts) {
    let mut phases = shared.phases.watch();
    loop {
        let accepted = tokio::select! {
            biased;
            () = reached(&mut phases, Phase::Ending) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (shared, acts) = (Arc::clone(&shared), acts.clone());
                tokio::spawn(async move { connection(stream, shared, acts).await });
            }
            Err(error) => {
                log::error!("admin: cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, acts: Acts) {
    let mut wire = Box::new(Wire::tcp(stream));
    loop {
        let Ok(Ok(length)) = tokio::time::timeout(PATIENCE, wire.read_head(LARGEST)).await else { return };
        let Ok(mut session) = Http1::begin(wire, length, PATIENCE) else { return };
        let served = tokio::time::timeout(PATIENCE * 3, request(&mut session, &shared, &acts)).await;
        if !matches!(served, Ok(Ok(()))) {
            return;
        }
        let Some(again) = session.finish().await else { return };
        wire = again;
    }
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
    allow: Option<&'static str>,
}

impl Answer {
    fn json(status: u16, value: &Value) -> Self {
        Self { status, content_type: "application/json", body: format!("{value}\n"), allow: None }
    }

    fn text(status: u16, text: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: text.into(), allow: None }
    }

    fn not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::text(405, "method not allowed\n") }
    }

    fn head(&self) -> pingora_core::Result<ResponseHeader> {
        let mut head = ResponseHeader::build(self.status, Some(5))?;
        head.insert_header(header::CONTENT_TYPE, self.content_type)?;
        head.insert_header(header::CONTENT_LENGTH, self.body.len())?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        if self.status == 401 {
            head.insert_header(header::WWW_AUTHENTICATE, "Bearer")?;
        }
        if let Some(allow) = self.allow {
            head.insert_header(header::ALLOW, allow)?;
        }
        Ok(head)
    }
}

async fn request(session: &mut Http1, shared: &Arc<Shared>, acts: &Acts) -> io::Result<()> {
    let answer = match is_allowed(session.head(), shared) {
        Ok(()) => match read_body(session).await? {
            Some(body) => answer(session.head(), &body, shared, acts).await,
            None => {
                Answer::json(413, &json!({ "error": format!("the body is longer than {LARGEST} bytes") }))
            }
        },
        Err(answer) => {
            read_body(session).await?;
            answer
        }
    };
    session.answer(&mut answer.head().map_err(io::Error::other)?).await?;
    session.write(answer.body.as_bytes()).await?;
    session.end().await
}

/// The whole body; `None` when it is too long. What is too long is read to its end all the same, because the answer is
/// lost to a client that is cut off while it sends.
async fn read_body(session: &mut Http1) -> io::Result<Option<Vec<u8>>> {
    let mut body = Some(Vec::new());
    while let Some(bytes) = session.body().await.map_err(|_| io::ErrorKind::ConnectionAborted)? {
        body = body.filter(|body| body.len() + bytes.len() <= LARGEST);
        if let Some(body) = &mut body {
            body.extend_from_slice(&bytes);
        }
    }
    Ok(body)
}

/// The token, when one is set, in constant time. Health answers without: probes have none. What changes something must
/// not be another site's doing.
fn is_allowed(head: &RequestHeader, shared: &Shared) -> Result<(), Answer> {
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    if reads && matches!(head.uri.path(), "/healthz" | "/readyz") {
        return Ok(());
    }
    let snapshot = shared.snapshot();
    let token = snapshot.config.admin.as_ref().and_then(|admin| admin.token.as_ref());
    if let Some(token) = token {
        let given = head.headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|given| given.strip_prefix(b"Bearer "));
        if !given.is_some_and(|given| given.ct_eq(token.expose()).into()) {
            return Err(Answer::json(401, &json!({ "error": "a bearer token is needed" })));
        }
    }
    if !reads && !origin::is_trusted(&head.headers, token.is_some()) {
        let error = "a page of another site, or another site's name, changes nothing here";
        return Err(Answer::json(403, &json!({ "error": error })));
    }
    Ok(())
}

async fn answer(head: &RequestHeader, body: &[u8], shared: &Arc<Shared>, acts: &Acts) -> Answer {
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    match head.uri.path() {
        "/" if reads => page(shared),
        "/healthz" if reads => Answer::text(200, "ok\n"),
        "/readyz" if reads => match shared.phases.now() {
            Phase::Serving => Answer::text(200, "ready\n"),
            _ => Answer::text(503, "draining\n"),
        },
        "/metrics" if reads => Answer {
            status: 200,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: metrics(shared),
            allow: None,
        },
        "/policy" if reads => Answer::json(200, &policy(shared)),
        "/reload" if head.method == Method::POST => reload(acts).await,
        "/reload" => Answer::not_allowed("POST"),
        "/lockouts" if reads => lockouts(shared).await,
        path if path.starts_with("/lockouts/") && head.method == Method::DELETE => {
            unlock(shared, &path["/lockouts/".len()..]).await
        }
        path if path.starts_with("/lockouts/") => Answer::not_allowed("DELETE"),
        "/" | "/healthz" | "/readyz" | "/metrics" | "/policy" | "/lockouts" => {
            Answer::not_allowed("GET, HEAD")
        }
        path => match tenant_of(path) {
            Some(tenant) => usage(shared, &head.method, tenant, body).await,
            None => Answer::json(404, &json!({ "error": "there is nothing at this address" })),
        },
    }
}

/// The tenant whose usage is at this path, as it is written there.
fn tenant_of(path: &str) -> Option<&str> {
    path.strip_prefix("/tenants/")?.strip_suffix("/usage")
}

fn metrics(shared: &Shared) -> String {
    let snapshot = shared.snapshot();
    let usage = snapshot.spool.usage();
    shared.metrics.spool_bytes("memory").set(usage.memory as i64);
    shared.metrics.spool_bytes("disk").set(usage.disk as i64);
    shared.metrics.upstreams_up(snapshot.upstreams.iter().flat_map(|upstream| {
        upstream.servers.iter().map(|server| (&*upstream.name, &*server.name, server.is_healthy()))
    }));
    shared.metrics.scanners_up(shared.stores.scanner_servers());
    snapshot.reporter.metrics()
}

fn policy(shared: &Shared) -> Value {
    let snapshot = shared.snapshot();
    let last_error = shared
        .last_error()
        .map(|error| json!({ "at": timestamp::rfc3339(error.at), "problems": error.problems }));
    json!({
        "version": 1,
        "generation": snapshot.generation,
        "digest": snapshot.digest,
        "loaded_at": timestamp::rfc3339(snapshot.loaded_at),
        "files": snapshot.files,
        "last_error": last_error,
    })
}

async fn reload(acts: &Acts) -> Answer {
    match reload::ask(acts, "admin").await {
        Some(Ok(generation)) => Answer::json(200, &json!({ "generation": generation })),
        Some(Err(problems)) => Answer::json(422, &json!({ "problems": problems })),
        None => Answer::json(503, &json!({ "error": "the process is ending" })),
    }
}

async fn lockouts(shared: &Shared) -> Answer {
    match shared.stores.locked().await {
        Ok(locked) => {
            let entry = |one: filters::state::Locked| {
                json!({
                    "id": one.id,
                    "route": one.label.route,
                    "key": one.label.keys.iter().map(|(name, value)| json!({ name: value })).collect::<Vec<_>>(),
                    "since": timestamp::rfc3339(one.since),
                    "until": timestamp::rfc3339(one.until),
                })
            };
            Answer::json(200, &locked.into_iter().map(entry).collect())
        }
        Err(_) => Answer::json(503, &json!({ "error": "the shared state is away" })),
    }
}

async fn unlock(shared: &Shared, id: &str) -> Answer {
    match shared.stores.unlock(id).await {
        Ok(true) => {
            shared.snapshot().reporter.unlocked(id);
            Answer { body: String::new(), ..Answer::text(204, "") }
        }
        Ok(false) => Answer::json(404, &json!({ "error": "there is no such lockout" })),
        Err(_) => Answer::json(503, &json!({ "error": "the shared state is away" })),
    }
}

/// What a tenant has stored; POST sets it to the app's own count.
async fn usage(shared: &Shared, method: &Method, written: &str, body: &[u8]) -> Answer {
    let snapshot = shared.snapshot();
    let wanted = filters::path::decode(written);
    let tenants = || snapshot.config.tenants.iter().flat_map(|tenants| &tenants.directory);
    let tenant = tenants().find(|tenant| tenant.id == wanted);
    let Some(tenant) = tenant.or_else(|| tenants().find(|tenant| tenant.name == wanted)) else {
        return Answer::json(404, &json!({ "error": "there is no such tenant" }));
    };
    let usage = match *method {
        Method::GET | Method::HEAD => shared.stores.usage(&tenant.id).await,
        Method::POST => {
            let Some(used) = used_bytes(body) else {
                let error = format!("the body must be {{\"used_bytes\": N}}, N from 0 to {MOST_USED}");
                return Answer::json(400, &json!({ "error": error }));
            };
            let before = shared.stores.set_usage(&tenant.id, used).await;
            if let Ok(before) = before {
                snapshot.reporter.usage_set(&tenant.id, before.used, used);
            }
            before.map(|before| Usage { used, ..before })
        }
        _ => return Answer::not_allowed("GET, HEAD, POST"),
    };
    let plan = tenant.plan.as_ref();
    match usage {
        Ok(usage) => Answer::json(
            200,
            &json!({
                "tenant": tenant.id,
                "plan": plan.map(|plan| &plan.name),
                "limit_bytes": plan.and_then(|plan| plan.storage),
                "used_bytes": usage.used,
                "reserved_bytes": usage.reserved,
            }),
        ),
        Err(_) => Answer::json(503, &json!({ "error": "the shared state is away" })),
    }
}

/// What a POST says, when it is one object with one member.
fn used_bytes(body: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let used = value.as_object().filter(|members| members.len() == 1)?.get("used_bytes")?.as_u64()?;
    (used <= MOST_USED).then_some(used)
}

/// A page for people: what runs, what is up, where to look.
fn page(shared: &Shared) -> Answer {
    let snapshot = shared.snapshot();
    let mut rows = String::new();
    for upstream in &snapshot.upstreams {
        for server in &upstream.servers {
            let (state, mark) = if server.is_healthy() { ("up", "●") } else { ("down", "○") };
            rows.push_str(&format!(
                "<tr><td>{}</td><td>{}</td><td class=\"{state}\">{mark} {state}</td></tr>",
                escaped(&upstream.name),
                escaped(&server.name)
            ));
        }
    }
    let mut scanners = String::new();
    for (server, well) in shared.stores.scanner_servers() {
        let (state, mark) = if well { ("up", "●") } else { ("down", "○") };
        scanners.push_str(&format!(
            "<tr><td>{}</td><td class=\"{state}\">{mark} {state}</td></tr>",
            escaped(&server)
        ));
    }
    if !scanners.is_empty() {
        scanners =
            format!("<h2>Scanners</h2><table><tr><th>server</th><th>state</th></tr>{scanners}</table>");
    }
    let error = shared.last_error().map_or(String::new(), |error| {
        let lines: String = error.problems.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect();
        format!("<h2 class=\"down\">The last reload was rejected</h2><ul>{lines}</ul>")
    });
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Menshen</title><style>\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#222}}\
         table{{border-collapse:collapse}}td,th{{padding:.2rem 1rem .2rem 0;text-align:left}}\
         .up{{color:#176f2c}}.down{{color:#b3261e}}code{{background:#f2f2f2;padding:0 .2rem}}</style>\
         <h1>Menshen</h1><p>Policy generation {} of {}, {} sites, {} routes; {} client connections.</p>{error}\
         <h2>Upstreams</h2><table><tr><th>upstream</th><th>server</th><th>state</th></tr>{rows}</table>{scanners}\
         <h2>More</h2><p><a href=\"/metrics\">metrics</a> · <a href=\"/policy\">policy</a> · \
         <a href=\"/lockouts\">lockouts</a> · <a href=\"/readyz\">readiness</a></p>\
         <p>Reload with <code>curl -X POST …/reload</code>.</p></html>\n",
        snapshot.generation,
        escaped(&timestamp::rfc3339(snapshot.loaded_at)),
        snapshot.config.sites.len(),
        snapshot.pipeline.routes().len(),
        shared.phases.connections(),
    );
    Answer { status: 200, content_type: "text/html; charset=utf-8", body, allow: None }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
