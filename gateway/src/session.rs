//! One request of a client and its answer, whichever HTTP it speaks.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use pingora_core::protocols::http::v2::server::HttpSession as Http2;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::http1::Http1;
use crate::wire::Wire;

/// How long the client may take to read a piece of the answer.
pub const SEND: Duration = Duration::from_secs(60);

/// A request whose head has been read.
pub enum Session {
    /// HTTP/1.0 or HTTP/1.1.
    Http1(Http1),
    /// A stream of HTTP/2.
    Http2(Box<Http2>),
}

/// Why there is no more of a request's body.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client went away.
    Gone,
    /// What came is not framed as the head says.
    Misframed,
}

impl Session {
    /// A stream, each write to which may take `SEND`.
    pub fn http2(mut stream: Http2) -> Self {
        stream.set_write_timeout(Some(SEND));
        Self::Http2(Box::new(stream))
    }

    /// The head as it came, over HTTP/1.
    pub fn raw_head(&self) -> Option<&Bytes> {
        match self {
            Self::Http1(one) => Some(one.raw()),
            Self::Http2(_) => None,
        }
    }

    /// The request's head.
    pub fn head(&self) -> &RequestHeader {
        match self {
            Self::Http1(one) => one.head(),
            Self::Http2(two) => two.req_header(),
        }
    }

    /// The request's head, for rules to edit. The framing of its body was read before.
    pub fn head_mut(&mut self) -> &mut RequestHeader {
        match self {
            Self::Http1(one) => one.head_mut(),
            Self::Http2(two) => two.req_header_mut(),
        }
    }

    /// Whether the request's body has been read to its end, or there is none.
    pub fn is_body_done(&self) -> bool {
        match self {
            Self::Http1(one) => one.is_body_done(),
            Self::Http2(two) => two.is_body_done(),
        }
    }

    /// The next bytes of the request's body, without a limit of time; none at its end. May be dropped while it waits.
    pub async fn body(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Http1(one) => one.body().await,
            Self::Http2(two) => two.read_body_bytes().await.map_err(|_| Fault::Gone),
        }
    }

    /// Returns when the client has gone away, or has reset the stream.
    pub async fn gone(&mut self) {
        match self {
            Self::Http1(one) => one.gone().await,
            Self::Http2(two) => drop(two.read_body_or_idle(true).await),
        }
    }

    /// No request follows on this connection.
    pub fn close_after(&mut self) {
        if let Self::Http1(one) = self {
            one.close_after();
        }
    }

    /// Tells a client that waits with its body that it may send it.
    pub async fn say_continue(&mut self) -> io::Result<()> {
        match self {
            Self::Http1(one) => one.say_continue().await,
            Self::Http2(_) => Ok(()),
        }
    }

    /// Writes the head of the answer. It may be kept until the first bytes of its body.
    pub async fn answer(&mut self, mut head: Box<ResponseHeader>) -> io::Result<()> {
        match self {
            Self::Http1(one) => one.answer(&mut head).await,
            Self::Http2(two) => two.write_response_header(head, false).map_err(io::Error::other),
        }
    }

    /// Writes the next bytes of the answer's body.
    pub async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            _ if bytes.is_empty() => Ok(()),
            Self::Http1(one) => one.write(&bytes).await,
            Self::Http2(two) => two.write_body(bytes, false).await.map_err(io::Error::other),
        }
    }

    /// Writes the last bytes of the answer's body, if any, and its end.
    pub async fn end(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Http1(one) => {
                one.write(&bytes).await?;
                one.end().await
            }
            Self::Http2(two) => two.write_body(bytes, true).await.map_err(io::Error::other),
        }
    }

    /// Bytes of the request's body so far.
    pub fn received(&self) -> u64 {
        match self {
            Self::Http1(one) => one.received(),
            Self::Http2(two) => two.body_bytes_read() as u64,
        }
    }

    /// Bytes of the answer's body so far.
    pub fn sent(&self) -> u64 {
        match self {
            Self::Http1(one) => one.sent(),
            Self::Http2(two) => two.body_bytes_sent() as u64,
        }
    }

    /// Gives up an answer that cannot be completed, so that the client does not take it for whole.
    pub async fn abort(&mut self) {
        match self {
            Self::Http1(one) => one.abort().await,
            Self::Http2(two) => two.shutdown(),
        }
    }

    /// Ends the exchange. Gives back a connection on which another request may follow.
    pub async fn finish(self) -> Option<Box<Wire>> {
        match self {
            Self::Http1(one) => one.finish().await,
            Self::Http2(mut two) => {
                let _ = two.finish();
                None
            }
        }
    }

    /// The connection below, when it carries this exchange alone.
    pub fn into_wire(self) -> Option<Box<Wire>> {
        match self {
            Self::Http1(one) => Some(one.into_wire()),
            Self::Http2(_) => None,
        }
    }
}
