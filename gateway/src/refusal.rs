//! The only writer of an error response.

use std::time::{Duration, Instant, SystemTime};

use config::Errors;
use filters::body::declared_length;
use filters::refusal::{Rendered, render};
use filters::{Denial, Reason};
use http::{Method, Version, header};
use pingora_http::ResponseHeader;

use crate::session::{SEND, Session};
use crate::wire::Wire;

/// A body no longer than this is read to its end before it is refused, so that the connection can be used again.
const WORTH_READING: u64 = 64 * 1024;

/// And no longer than this.
const READING: Duration = Duration::from_secs(2);

/// How long a client may go on sending a body nobody wants, so that it can still read why (Nginx's
/// `lingering_time` and `lingering_timeout`).
const LINGER: Duration = Duration::from_secs(30);
const LINGER_IDLE: Duration = Duration::from_secs(5);

/// Whether the connection can be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It can.
    Reuse,
    /// It cannot; what the client still sends is to be read for a while first.
    Linger,
}

/// Answers a request with a refusal. Says how many bytes of body were sent, and what becomes of the connection.
pub async fn send(session: &mut Session, denial: &Denial, errors: &Errors, request_id: &str) -> (u64, After) {
    let rendered = {
        let head = session.head();
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let (language, accept) = (text(header::ACCEPT_LANGUAGE), text(header::ACCEPT));
        render(denial, errors, language, accept, &head.method, request_id, SystemTime::now())
    };
    let expects = session.head().headers.contains_key(header::EXPECT);
    let mut after = After::Reuse;
    // CONNECT and TRACE are refused before anybody has looked at how they are framed.
    let unjudged = matches!(session.head().method, Method::CONNECT | Method::TRACE);
    if unjudged || denial.reason == Reason::RequestMalformed {
        // What is malformed may be framed in a way that only looks clear: nothing behind it is read.
        session.close_after();
        after = After::Linger;
    } else if !session.is_body_done() {
        let small = declared_length(session.head()).is_some_and(|length| length <= WORTH_READING);
        let read = small && !expects && discard(session, READING).await;
        after = if read { After::Reuse } else { After::Linger };
    }
    let size = rendered.body.len() as u64;
    let Rendered { status, headers, body } = rendered;
    let Ok(mut response) = ResponseHeader::build(status, Some(headers.len() + 2)) else {
        return (0, After::Linger);
    };
    for (name, value) in headers {
        let _ = response.append_header(name, value);
    }
    let http2 = session.head().version == Version::HTTP_2;
    response.set_version(if http2 { Version::HTTP_2 } else { Version::HTTP_11 });
    let sent = session.answer(Box::new(response)).await.is_ok() && session.end(body).await.is_ok();
    if sent { (size, after) } else { (0, After::Linger) }
}

/// Reads a body to its end, within `patience` in all.
async fn discard(session: &mut Session, patience: Duration) -> bool {
    let read = async {
        loop {
            match session.body().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    };
    pingora_timeout::timeout(patience, read).await.unwrap_or(false)
}

/// Answers what never became a request, such as a head that is malformed or too large.
pub async fn send_raw(wire: &mut Wire, denial: &Denial, errors: &Errors, request_id: &str) -> u64 {
    let rendered = render(denial, errors, None, None, &Method::GET, request_id, SystemTime::now());
    let reason = rendered.status.canonical_reason().unwrap_or("Refused");
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", rendered.status.as_u16()).into_bytes();
    for (name, value) in &rendered.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"connection: close\r\n\r\n");
    out.extend_from_slice(&rendered.body);
    let sent = pingora_timeout::timeout(SEND, wire.send(&[&out])).await;
    if matches!(sent, Ok(Ok(()))) { rendered.body.len() as u64 } else { 0 }
}

/// Ends our side and reads on for a while: closing at once would reset the connection before the client has read
/// the answer.
pub async fn linger(wire: &mut Wire) {
    wire.close().await;
    let until = Instant::now() + LINGER;
    loop {
        let left = until.saturating_duration_since(Instant::now()).min(LINGER_IDLE);
        wire.inbox().clear();
        match pingora_timeout::timeout(left, wire.more()).await {
            Ok(true) if Instant::now() < until => {}
            _ => return,
        }
    }
}
