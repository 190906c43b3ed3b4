//! Asks an app and passes its answer on.
//!
//! The request's head and body have been admitted by now; here nothing is decided about them. What can still be
//! refused is what the app fails to do: 502 when it cannot be reached or breaks off, 504 when it is silent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::UpstreamTimeouts;
use filters::body::declared_length;
use filters::lockout::{Attempt, FailedAttempt};
use filters::{Denial, Pending, Reason, WholeBody};
use http::{Method, Version, header};
use pingora_http::ResponseHeader;
use pingora_timeout::{Elapsed, timeout};

use crate::app::{App, Fault, Piece, Turn};
use crate::intake::{Cut, Intake};
use crate::pool;
use crate::session::Session;
use crate::spool::SpooledBody;
use crate::upstream::{Server, Upstream, now_ms};
use crate::wire::Wire;

/// One request on its way to an app.
pub struct Forward<'a> {
    /// Who is asked.
    pub upstream: &'a Upstream,
    /// Within which times.
    pub timeouts: UpstreamTimeouts,
    /// Whether this is a WebSocket handshake: `Upgrade` goes through.
    pub upgrade: bool,
    /// The head the app gets.
    pub head: &'a [u8],
}

/// The request's body, on its way to the app.
pub enum Outgoing {
    /// There is none.
    Empty,
    /// Passed on as it comes; its length is known.
    Stream(Intake),
    /// Received and checked.
    Whole(SpooledBody),
}

/// What became of a request that an app answered.
pub struct Answer {
    /// The attempt that a lockout counts, when it failed.
    pub failed_login: Option<FailedAttempt>,
    /// Who answered.
    pub server: Arc<Server>,
    /// What it said.
    pub status: u16,
    /// From asking to the end of the answer's head.
    pub waited: Duration,
    /// How it ended.
    pub end: End,
}

/// How an answer ended.
pub enum End {
    /// The client has it all.
    Whole,
    /// It broke off; the client's connection or stream must not be used again.
    Broken(&'static str),
    /// The app switched protocols; the 101 has not been sent.
    Upgraded(Box<Wire>, Box<ResponseHeader>),
}

/// Why there was no answer.
#[derive(Debug)]
pub enum Failure {
    /// To be told to the client.
    Denied(Denial),
    /// Nobody is there to be told.
    Gone,
}

impl From<Cut> for Failure {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Denied(denial) => Failure::Denied(denial),
            Cut::Gone => Failure::Gone,
        }
    }
}

impl Forward<'_> {
    /// Sends the request, tries another server when one cannot be connected to, and passes the answer on; `edit` has
    /// the last word on its head.
    pub async fn run(
        &self,
        session: &mut Session,
        body: &mut Outgoing,
        pending: Pending,
        edit: &mut (dyn FnMut(&mut ResponseHeader) + Send),
    ) -> Result<Answer, Failure> {
        let watched = !pending.must_hear();
        let mut tried = 0;
        let mut fresh = false;
        loop {
            let Some(index) = self.upstream.choose(tried, now_ms()) else {
                return Err(unavailable("no server of the upstream is up"));
            };
            let server = &self.upstream.servers[index];
            let started = Instant::now();
            let Some((wire, reused)) = self.connection(server, fresh, started).await else {
                tried |= 1 << index;
                continue;
            };
            let mut app = App::new(wire, self.timeouts.send);
            let head = match self.ask(session, &mut app, body, watched).await {
                Ok(head) => head,
                Err(Ask::Stale) if reused => {
                    fresh = true;
                    continue;
                }
                Err(Ask::Stale) => {
                    return Err(unavailable("the app closed the connection without an answer"));
                }
                Err(Ask::Failed(failure)) => return Err(failure),
            };
            let mut answer = Answer {
                server: Arc::clone(server),
                status: head.status.as_u16(),
                waited: started.elapsed(),
                failed_login: None,
                end: End::Whole,
            };
            answer.end = self.answer(session, (app, head), body, pending, edit, &mut answer).await?;
            return Ok(answer);
        }
    }

    /// A connection, and whether it had been used before.
    async fn connection(&self, server: &Server, fresh: bool, now: Instant) -> Option<(Box<Wire>, bool)> {
        let address = server.address()?;
        if !fresh && let Some(wire) = pool::take(address, now) {
            return Some((wire, true));
        }
        match pool::connect(address, self.timeouts.connect).await {
            Ok(wire) => {
                server.wake();
                Some((wire, false))
            }
            Err(error) => {
                log::warn!("upstream {}: {}: {error}", self.upstream.name, server.name);
                server.rest(now_ms());
                None
            }
        }
    }

    /// Sends head and body, and reads the answer's head. An app may answer before it has read the body. When the client
    /// is `watched`, its going away ends it.
    async fn ask(
        &self,
        session: &mut Session,
        app: &mut App,
        body: &mut Outgoing,
        watched: bool,
    ) -> Result<Box<ResponseHeader>, Ask> {
        let method = &session.head().method;
        let repeatable = matches!(body, Outgoing::Empty | Outgoing::Whole(_)) && is_idempotent(method);
        let lost = |detail| if repeatable { Ask::Stale } else { Ask::Failed(unavailable(detail)) };
        let length = match body {
            Outgoing::Empty => 0,
            Outgoing::Whole(whole) => whole.len(),
            Outgoing::Stream(_) => declared_length(session.head()).unwrap_or(u64::MAX),
        };
        if app.send_head(self.head, length, *method == Method::HEAD).await.is_err() {
            // Not a byte of it can have been acted on when the very first write fails.
            return Err(Ask::Stale);
        }
        let mut sending = matches!(body, Outgoing::Stream(_));
        loop {
            if give_next(app, body).await.is_err() {
                let denial = Denial::new(Reason::SpoolExhausted, "the spooled body cannot be read back");
                return Err(Ask::Failed(Failure::Denied(denial)));
            }
            let limit = (!app.is_sending()).then_some(self.timeouts.read);
            let free = app.wants_more();
            tokio::select! {
                biased;
                read = within(limit, app.answer()) => match read {
                    Ok(Ok(Turn::Sent)) => sending &= !app.is_deaf(),
                    Ok(Ok(Turn::Heard(head))) if is_interim(&head) => {}
                    Ok(Ok(Turn::Heard(head))) => return Ok(head),
                    Ok(Err(Fault::Closed)) => {
                        return Err(lost("the app closed the connection without an answer"));
                    }
                    Ok(Err(Fault::Unreadable)) => return Err(lost("the app's answer cannot be read")),
                    Err(_) => {
                        let denial = Denial::new(Reason::UpstreamTimeout, "no answer from the app in time");
                        return Err(Ask::Failed(Failure::Denied(denial)));
                    }
                },
                next = next_from_client(session, body, sending), if limit.is_some() && (sending && free || watched) => {
                    sending = pass_on(app, next.map_err(|cut| Ask::Failed(cut.into()))?);
                }
            }
        }
    }

    /// Passes the answer on, once everybody who waits for it has been told.
    async fn answer(
        &self,
        session: &mut Session,
        (mut app, mut head): (App, Box<ResponseHeader>),
        body: &mut Outgoing,
        mut pending: Pending,
        edit: &mut (dyn FnMut(&mut ResponseHeader) + Send),
        answer: &mut Answer,
    ) -> Result<End, Failure> {
        if answer.status == 101 && !self.upgrade {
            return Err(unavailable("the app switched protocols unasked"));
        }
        if let Err(fault) = pending.settle(&mut head).await {
            log::warn!("upstream {}: {fault}", self.upstream.name);
        }
        if answer.status == 101 {
            filters::headers::strip_response(&mut head, true);
            edit(&mut head);
            return Ok(End::Upgraded(app.into_wire(), head));
        }
        let attempt = match pending.attempt {
            Some(mut attempt) => {
                attempt.head(head.status);
                if attempt.wants_body() {
                    Some(attempt)
                } else {
                    answer.failed_login = attempt.settle().await;
                    None
                }
            }
            None => None,
        };
        reframe(&mut head, session);
        edit(&mut head);
        if session.answer(head).await.is_err() {
            return Ok(End::Broken("the client went away"));
        }
        let end = self.relay(session, &mut app, body, attempt, answer).await;
        if let End::Whole = end
            && let Some(address) = answer.server.address()
            && let Some(wire) = app.into_idle()
        {
            pool::put(address, wire, self.upstream, Instant::now());
        }
        Ok(end)
    }

    /// Passes the answer's body on, and what is left of the request's.
    async fn relay(
        &self,
        session: &mut Session,
        app: &mut App,
        body: &mut Outgoing,
        mut attempt: Option<Attempt>,
        answer: &mut Answer,
    ) -> End {
        // The last bytes of an answer that is read by a rule wait until that rule has been told.
        let mut held = Bytes::new();
        let mut sending = matches!(body, Outgoing::Stream(_)) && !session.is_body_done() && !app.is_deaf();
        while !app.is_done() {
            if give_next(app, body).await.is_err() {
                return End::Broken("the spooled body cannot be read back");
            }
            let free = !app.is_sending();
            tokio::select! {
                biased;
                read = timeout(self.timeouts.read, app.body()) => match read {
                    Ok(Ok(Turn::Sent)) => sending &= !app.is_deaf(),
                    Ok(Ok(Turn::Heard(Some(mut bytes)))) => {
                        if let Some(attempt) = &mut attempt {
                            attempt.chunk(&bytes);
                            std::mem::swap(&mut held, &mut bytes);
                        }
                        if session.write(bytes).await.is_err() {
                            return End::Broken("the client went away");
                        }
                    }
                    Ok(Ok(Turn::Heard(None))) => break,
                    Ok(Err(_)) => return End::Broken("the app broke off its answer"),
                    Err(_) => return End::Broken("the app fell silent in its answer"),
                },
                next = next_from_client(session, body, sending), if free => match next {
                    Ok(next) => sending = pass_on(app, next),
                    Err(_) => return End::Broken("the client went away"),
                }
            }
        }
        if let Some(attempt) = attempt {
            answer.failed_login = attempt.settle().await;
        }
        if session.end(held).await.is_err() {
            return End::Broken("the client went away");
        }
        End::Whole
    }
}

enum Ask {
    /// The connection died before it answered, and asking again does no harm.
    Stale,
    Failed(Failure),
}

fn unavailable(detail: &'static str) -> Failure {
    Failure::Denied(Denial::new(Reason::UpstreamUnavailable, detail))
}

/// RFC 9110 section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
}

fn is_interim(head: &ResponseHeader) -> bool {
    head.status.is_informational() && head.status.as_u16() != 101
}

/// Gives the app the next piece of a body that was received whole: what is in its file, or some of what is in memory.
async fn give_next(app: &mut App, body: &Outgoing) -> std::io::Result<()> {
    let Outgoing::Whole(whole) = body else { return Ok(()) };
    if app.wants_more() && app.owed() > 0 {
        let at = whole.len() - app.owed();
        app.give(match whole.file() {
            Some((file, end)) if at < end => Piece::File { file: Arc::clone(file), at, end },
            _ => Piece::Bytes(whole.read(at..whole.len()).await?),
        });
    }
    Ok(())
}

/// What comes of it, within the limit of time if there is one.
async fn within<F: Future>(limit: Option<Duration>, future: F) -> Result<F::Output, Elapsed> {
    match limit {
        Some(limit) => timeout(limit, future).await,
        None => Ok(future.await),
    }
}

/// The next piece of the body, `None` at its end. Once it has ended: never anything, unless the client goes away.
async fn next_from_client(
    session: &mut Session,
    body: &mut Outgoing,
    sending: bool,
) -> Result<Option<Bytes>, Cut> {
    match body {
        Outgoing::Stream(intake) if sending => intake.next(session).await,
        _ => {
            session.gone().await;
            Err(Cut::Gone)
        }
    }
}

/// Whether more of the body is to be sent.
fn pass_on(app: &mut App, next: Option<Bytes>) -> bool {
    let more = next.is_some();
    if let Some(bytes) = next {
        app.give(Piece::Bytes(bytes));
    }
    more && !app.is_deaf()
}

/// Takes away what is between the app and the gateway only (RFC 9110 section 7.6.1), and frames the body for this
/// client.
fn reframe(head: &mut ResponseHeader, session: &Session) {
    filters::headers::strip_response(head, false);
    let bodiless = session.head().method == Method::HEAD || matches!(head.status.as_u16(), 204 | 304);
    if head.status.as_u16() == 204 {
        // RFC 9110 section 8.6: whoever reads it anyway would wait for a body.
        head.remove_header(&header::CONTENT_LENGTH);
    }
    let version = session.head().version;
    if version == Version::HTTP_11 && !bodiless && !head.headers.contains_key(header::CONTENT_LENGTH) {
        let _ = head.insert_header(header::TRANSFER_ENCODING, "chunked");
    } else {
        head.remove_header(&header::TRANSFER_ENCODING);
    }
    head.set_version(if version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 });
}
