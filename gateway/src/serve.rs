//! The journey of one request, from its head to its record. Read from top to bottom: what is refused anywhere goes
//! to one place, and every request ends in one record.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use config::Action;
use filters::body::declared_length;
use filters::exchange::{Arrival, Exchange};
use filters::lockout::FailedAttempt;
use filters::pipeline::Route;
use filters::{Denial, FileReport, Findings, Pending, Reason, WholeBody};
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::connection::Client;
use crate::intake::{Intake, Pace};
use crate::phase::Phase;
use crate::proxy::{End, Failure, Forward, Outgoing};
use crate::record::{Asked, Login, Observed, Record, Refusal};
use crate::refusal::{self, After};
use crate::session::Session;
use crate::snapshot::Snapshot;
use crate::socket::{self, Terms};
use crate::spool::SpoolError;
use crate::upstream::Server;
use crate::wire::Wire;

/// What is found out about a request beside its exchange, for its record.
#[derive(Default)]
pub struct Trail {
    /// The status the client was sent; 499 when it went away first.
    status: u16,
    bytes_in: u64,
    bytes_out: u64,
    upstream: Option<(usize, Arc<Server>, Duration)>,
    denial: Option<Denial>,
    failed_login: Option<FailedAttempt>,
    files: Vec<FileReport>,
}

/// Serves one request. `None` when its connection must not be used any more; a socket is served to its end here. The
/// session stays in its place, because moving it costs more than a rule; only a socket takes it.
pub async fn request(slot: &mut Option<Session>, client: &Client, snapshot: Arc<Snapshot>) -> Option<After> {
    let session = slot.as_mut()?;
    let started = Instant::now();
    let raw_head = session.raw_head().cloned();
    let arrival = client.arrival(raw_head.as_deref());
    let mut exchange = Exchange::begin(&arrival);
    let mut trail = Trail::default();
    let mut journey = Journey { client, snapshot: &snapshot, trail: &mut trail, exchange: &mut exchange };
    let after = match journey.run(session, &arrival).await {
        Ok(Step::Answered(after)) => after,
        Ok(Step::Upgraded(app, head)) => {
            let told = Told::of(session.head());
            if let Some(session) = slot.take() {
                trail.socket(session, app, head, &exchange, client, &snapshot).await;
            }
            report(&told, client, &snapshot, &exchange, trail, started);
            return None;
        }
        Err(Failure::Denied(denial)) => {
            let errors = &snapshot.config.errors;
            let (sent, after) = refusal::send(session, &denial, errors, &exchange.request_id).await;
            trail.status = denial.reason.status();
            trail.bytes_out = sent;
            trail.denial = Some(denial);
            Some(after)
        }
        Err(Failure::Gone) => {
            trail.status = 499;
            None
        }
    };
    trail.bytes_in = session.received();
    report(&Told::of(session.head()), client, &snapshot, &exchange, trail, started);
    after
}

/// Where a journey ends.
enum Step {
    /// The client has its answer. `None` when the connection broke on the way.
    Answered(Option<After>),
    /// The app switched protocols; the client has not been told yet.
    Upgraded(Box<Wire>, Box<ResponseHeader>),
}

struct Journey<'a> {
    client: &'a Client,
    snapshot: &'a Snapshot,
    trail: &'a mut Trail,
    exchange: &'a mut Exchange,
}

impl Journey<'_> {
    async fn run(&mut self, session: &mut Session, arrival: &Arrival<'_>) -> Result<Step, Failure> {
        if self.client.listener.settings.redirect_https {
            filters::framing::check(
                arrival.raw_head.unwrap_or_default(),
                session.head(),
                arrival.raw_head.is_none(),
            )
            .map_err(Failure::Denied)?;
            return self.redirect_to_https(session).await;
        }
        let snapshot = self.snapshot;
        let pipeline = &snapshot.pipeline;
        let route =
            pipeline.admit(session.head_mut(), arrival, self.exchange).await.map_err(Failure::Denied)?;
        if self.exchange.socket.is_some() && self.client.shared.phases.now() != Phase::Serving {
            return Err(Failure::Denied(Denial::new(Reason::Draining, "no new sockets while draining")));
        }
        match &route.settings.action {
            Action::Respond { status, body, content_type } => {
                self.respond(session, route, *status, content_type.clone(), Bytes::from(body.clone())).await
            }
            Action::Redirect { status, .. } => {
                let location = pipeline.location(route, self.exchange);
                self.redirect(session, Some(route), *status, location).await
            }
            Action::Upstream { .. } => self.forward(session, route, arrival).await,
        }
    }

    async fn forward(
        &mut self,
        session: &mut Session,
        route: &Route,
        arrival: &Arrival<'_>,
    ) -> Result<Step, Failure> {
        let snapshot = self.snapshot;
        let (mut body, mut pending) = self.body(session, route).await?;
        pending.release = route.release(self.exchange.tenant.as_deref(), &self.exchange.request_id);
        let target =
            self.exchange.route.and_then(|at| snapshot.upstream(at, self.exchange.tenant.as_deref()));
        let Some(target) = target else {
            return Err(Failure::Denied(Denial::new(Reason::Internal, "the route has no upstream")));
        };
        let upstream = &snapshot.upstreams[target];
        let exchange = &*self.exchange;
        let mut head =
            snapshot.pipeline.outgoing(session.head(), route, arrival, exchange).map_err(Failure::Denied)?;
        if let Outgoing::Whole(whole) = &body {
            head.set_length(whole.len());
        }
        let head = head.to_wire();
        let forward = Forward {
            upstream,
            timeouts: route.settings.timeouts.unwrap_or(upstream.timeouts),
            upgrade: self.exchange.socket.is_some(),
            head: &head,
        };
        let method = session.head().method.clone();
        let mut edit = |head: &mut ResponseHeader| snapshot.pipeline.respond(head, route, exchange, &method);
        let answer = forward.run(session, &mut body, pending, &mut edit).await?;
        drop(body);
        self.trail.status = answer.status;
        self.trail.failed_login = answer.failed_login;
        self.trail.upstream = Some((target, Arc::clone(&answer.server), answer.waited));
        match answer.end {
            End::Whole => {
                self.trail.bytes_out = session.sent();
                Ok(Step::Answered(Some(if session.is_body_done() { After::Reuse } else { After::Linger })))
            }
            End::Broken(why) => {
                log::info!("request_id={}: {why}", self.exchange.request_id);
                self.trail.bytes_out = session.sent();
                session.abort().await;
                Ok(Step::Answered(None))
            }
            End::Upgraded(app, head) => Ok(Step::Upgraded(app, head)),
        }
    }

    /// Decides how the body travels: not at all, straight through, or received, shown to every rule that wants to see
    /// it, and only then passed on. A body of unknown length is always received first: its size is a rule too.
    async fn body(&mut self, session: &mut Session, route: &Route) -> Result<(Outgoing, Pending), Failure> {
        let pipeline = &self.snapshot.pipeline;
        let mut inspection =
            pipeline.inspection(session.head(), route, self.exchange).map_err(Failure::Denied)?;
        let empty = session.is_body_done() || self.exchange.socket.is_some();
        let version = session.head().version;
        if inspection.is_empty() && empty {
            return Ok((Outgoing::Empty, Pending::default()));
        }
        let server = &self.snapshot.config.server;
        let pace = Pace { min_rate: server.min_body_rate, patience: server.timeouts.body };
        let mut intake = Intake::new(pace, route.body_limit());
        if !empty && version == Version::HTTP_11 && session.head().headers.contains_key(header::EXPECT) {
            session.say_continue().await.map_err(|_| Failure::Gone)?;
        }
        if inspection.is_empty() && declared_length(session.head()).is_some() {
            return Ok((Outgoing::Stream(intake), Pending::default()));
        }
        let mut whole = self.snapshot.spool.body();
        while let Some(bytes) = if empty { None } else { intake.next(session).await? } {
            inspection.chunk(&bytes, self.exchange).map_err(Failure::Denied)?;
            if whole.append(&bytes).await.map_err(exhausted)? {
                inspection.kept(&whole);
            }
        }
        whole.settle().await.map_err(exhausted)?;
        let found = tokio::select! {
            biased;
            found = inspection.finish(&whole, self.exchange) => found.map_err(Failure::Denied)?,
            () = session.gone() => return Err(Failure::Gone),
        };
        let Findings { request_headers, files, pending } = found;
        self.exchange.request_headers = request_headers;
        self.trail.files = files;
        let body = if empty { Outgoing::Empty } else { Outgoing::Whole(whole) };
        Ok((body, pending))
    }

    async fn respond(
        &mut self,
        session: &mut Session,
        route: &Route,
        status: u16,
        content_type: HeaderValue,
        body: Bytes,
    ) -> Result<Step, Failure> {
        let mut head = head(status, 4)?;
        let _ = head.insert_header(header::CONTENT_TYPE, content_type);
        let _ = head.insert_header(header::CONTENT_LENGTH, body.len());
        self.answer(session, Some(route), head, body).await
    }

    async fn redirect(
        &mut self,
        session: &mut Session,
        route: Option<&Route>,
        status: u16,
        location: Result<HeaderValue, Denial>,
    ) -> Result<Step, Failure> {
        let mut head = head(status, 4)?;
        let _ = head.insert_header(header::LOCATION, location.map_err(Failure::Denied)?);
        let _ = head.insert_header(header::CONTENT_LENGTH, 0);
        self.answer(session, route, head, Bytes::new()).await
    }

    async fn redirect_to_https(&mut self, session: &mut Session) -> Result<Step, Failure> {
        let port = self.client.shared.https_port();
        let head = session.head();
        let host = head.headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        let location =
            match (filters::host::parse(host), filters::path::normalise(&head.method, head.raw_path())) {
                (Some(authority), Ok(target)) => {
                    Ok(filters::redirect::to_https(&authority.host, port, &target.path, target.query))
                }
                (None, _) => Err(Denial::new(Reason::RequestMalformed, "no valid host")),
                (_, Err(denial)) => Err(denial),
            };
        self.redirect(session, None, 308, location).await
    }

    async fn answer(
        &mut self,
        session: &mut Session,
        route: Option<&Route>,
        mut head: ResponseHeader,
        body: Bytes,
    ) -> Result<Step, Failure> {
        let method = session.head().method.clone();
        if let Some(route) = route {
            self.snapshot.pipeline.respond(&mut head, route, self.exchange, &method);
        }
        self.trail.status = head.status.as_u16();
        let body = if method == Method::HEAD { Bytes::new() } else { body };
        self.trail.bytes_out = body.len() as u64;
        let linger = !session.is_body_done();
        let sent = session.answer(Box::new(head)).await.is_ok() && session.end(body).await.is_ok();
        Ok(Step::Answered(sent.then_some(if linger { After::Linger } else { After::Reuse })))
    }
}

fn exhausted(error: SpoolError) -> Failure {
    Failure::Denied(error.into())
}

fn head(status: u16, lines: usize) -> Result<ResponseHeader, Failure> {
    ResponseHeader::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), Some(lines))
        .map_err(|_| Failure::Denied(Denial::new(Reason::Internal, "a response head cannot be built")))
}

/// Refuses what never became a request.
pub async fn refuse_unread(mut wire: Box<Wire>, client: &Client, snapshot: &Snapshot, denial: Denial) {
    let started = Instant::now();
    let exchange = Exchange::begin(&client.arrival(None));
    let status = denial.reason.status();
    let bytes_out =
        refusal::send_raw(&mut wire, &denial, &snapshot.config.errors, &exchange.request_id).await;
    let trail = Trail { status, bytes_out, denial: Some(denial), ..Trail::default() };
    report(&Told::default(), client, snapshot, &exchange, trail, started);
    refusal::linger(&mut wire).await;
}

/// Counts an HTTP/2 stream that was refused below this.
pub fn note_malformed(client: &Client) {
    let snapshot = client.shared.snapshot();
    let exchange = Exchange::begin(&client.arrival(None));
    let denial = Denial::new(Reason::RequestMalformed, "a malformed HTTP/2 stream");
    let trail = Trail { status: 400, denial: Some(denial), ..Trail::default() };
    let told = Told { protocol: "HTTP/2.0", ..Told::default() };
    report(&told, client, &snapshot, &exchange, trail, Instant::now());
}

/// What a record says in the client's own words.
#[derive(Default)]
struct Told {
    method: Option<Method>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    protocol: &'static str,
}

impl Told {
    fn of(head: &RequestHeader) -> Self {
        Self {
            method: Some(head.method.clone()),
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            referer: head.headers.get(header::REFERER).cloned(),
            protocol: match head.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2.0",
                _ => "HTTP/1.1",
            },
        }
    }
}

impl Trail {
    async fn socket(
        &mut self,
        mut session: Session,
        app: Box<Wire>,
        mut head: Box<ResponseHeader>,
        exchange: &Exchange,
        client: &Client,
        snapshot: &Snapshot,
    ) {
        let Some(rules) = snapshot.route(exchange).and_then(|route| route.settings.websocket.as_ref()) else {
            return;
        };
        if let Some(answer) = &exchange.socket {
            answer.settle(&mut head);
        }
        let terms = Terms {
            expires: exchange.caller.as_ref().map(|caller| caller.expires),
            idle: rules.idle_timeout,
            max_message: rules.max_message,
            extensions: head.headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS),
        };
        if session.answer(head).await.is_err() {
            return;
        }
        // With what an eager client sent behind its handshake.
        let Some(client_wire) = session.into_wire() else { return };
        let open = snapshot.route_metrics(exchange, &client.shared.metrics).websockets();
        open.inc();
        let ended = socket::relay(client_wire, app, terms, client.shared.phases.watch()).await;
        open.dec();
        self.bytes_in = ended.bytes_in;
        self.bytes_out = ended.bytes_out;
        if let Some(breach) = ended.breach {
            let (id, code, reason) = (&exchange.request_id, breach.code, breach.reason);
            log::info!("request_id={id}: socket closed with {code}: {reason}");
        }
    }
}

fn report(
    told: &Told,
    client: &Client,
    snapshot: &Snapshot,
    exchange: &Exchange,
    trail: Trail,
    started: Instant,
) {
    let denial = trail.denial.as_ref();
    let upstream = trail.upstream.as_ref();
    let observed: Vec<Observed> = exchange
        .observed
        .iter()
        .map(|(rule, reason)| Observed { filter: rule.as_str(), reason: *reason })
        .collect();
    snapshot.reporter.finish(&Record {
        time: SystemTime::now(),
        request_id: &exchange.request_id,
        trace_id: &exchange.trace_id,
        client: exchange.client,
        tenant: exchange.tenant.as_ref().map(|tenant| tenant.id.as_str()),
        subject: exchange.caller.as_ref().map(|caller| caller.subject.as_str()),
        method: told.method.as_ref().map_or("-", Method::as_str).as_bytes(),
        host: exchange.host.as_bytes(),
        path: exchange.path.as_bytes(),
        query: Some(exchange.query.as_bytes()).filter(|query| !query.is_empty()),
        status: trail.status,
        bytes_in: trail.bytes_in,
        bytes_out: trail.bytes_out,
        duration: started.elapsed(),
        upstream: upstream.map(|(index, server, waited)| Asked {
            name: &server.name,
            duration: *waited,
            metrics: snapshot.upstream_metrics(*index),
        }),
        route: snapshot.route_metrics(exchange, &client.shared.metrics),
        refusal: denial.map(|denial| Refusal {
            reason: denial.reason,
            filter: exchange.denied_by.unwrap_or("request"),
            detail: &denial.detail,
            errors: denial.extra.as_ref().map_or(&[], |extra| &extra.errors),
            rate: denial.extra.as_ref().and_then(|extra| extra.rule.as_deref()),
        }),
        user_agent: told.user_agent.as_ref().map(HeaderValue::as_bytes),
        referer: told.referer.as_ref().map(HeaderValue::as_bytes),
        tls: client.tls,
        protocol: told.protocol,
        observed: &observed,
        audited: snapshot.route(exchange).is_some_and(|route| route.settings.audit),
        files: &trail.files,
        login: match &trail.failed_login {
            None => Login::None,
            Some(failed) if failed.locked => Login::Locked(&failed.key),
            Some(failed) => Login::Failed(&failed.key),
        },
    });
}
