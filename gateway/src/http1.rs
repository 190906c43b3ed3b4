//! One request of a client over HTTP/1 (RFC 9112), and its answer.
//!
//! The head is parsed from bytes that have all come and that `framing::check` judges; what follows it is read to the
//! letter of its framing. A connection stays open when both sides have said everything they announced and neither wants
//! to close.

use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use filters::body::declared_length;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Version};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_timeout::timeout;

use crate::app::connection_says;
use crate::chunks::Chunks;
use crate::rest::Rest;
use crate::session::Fault;
use crate::timestamp::push_http_date;
use crate::wire::Wire;

/// Lines of a head.
const MAX_FIELDS: usize = 256;

/// Bytes of body that are read at a time: at first, and once they come as fast as they are read.
const ROOM: usize = 16 * 1024;
const MOST_ROOM: usize = 64 * 1024;

/// Why a head was not understood.
#[derive(Debug, PartialEq, Eq)]
pub enum BadHead {
    /// It is not one.
    Malformed,
    /// It has more lines than are read.
    TooManyLines,
}

/// A request whose head has been read.
pub struct Http1 {
    wire: Box<Wire>,
    raw: Bytes,
    head: Box<RequestHeader>,
    input: Rest,
    room: usize,
    received: u64,
    output: Output,
    /// An answer's head that waits for the first bytes of its body.
    held: Vec<u8>,
    sent: u64,
    patience: Duration,
    keep: bool,
    deaf: bool,
}

/// How the answer's body is framed.
enum Output {
    /// Its head has not been written.
    Unknown,
    /// Bytes still to be written.
    Length(u64),
    Chunked,
    UntilClose,
    /// Nothing more is written.
    Done,
}

impl Http1 {
    /// Takes the head, the first `length` bytes of what was read, from the wire. `patience` bounds each write. What could
    /// not be understood is lost, and its connection given back.
    pub fn begin(
        mut wire: Box<Wire>,
        length: usize,
        patience: Duration,
    ) -> Result<Self, (Box<Wire>, BadHead)> {
        let raw = wire.inbox().split_to(length).freeze();
        let head = match parse(&raw) {
            Ok(head) => head,
            Err(bad) => return Err((wire, bad)),
        };
        let input = if head.headers.contains_key(TRANSFER_ENCODING) {
            Rest::Chunked(Chunks::of_request())
        } else {
            Rest::of_length(declared_length(&head).unwrap_or_default())
        };
        let keep = head.version == Version::HTTP_11 && !connection_says(&head.headers, "close");
        Ok(Self {
            wire,
            raw,
            head,
            input,
            room: ROOM,
            received: 0,
            output: Output::Unknown,
            held: Vec::new(),
            sent: 0,
            patience,
            keep,
            deaf: false,
        })
    }

    /// The head as it came.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The head.
    pub fn head(&self) -> &RequestHeader {
        &self.head
    }

    /// The head, for rules to edit. The framing of the body was read before.
    pub fn head_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    /// Bytes of the request's body so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of the answer's body so far.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the request's body has been read to its end.
    pub fn is_body_done(&self) -> bool {
        self.input.is_nothing()
    }

    /// The next bytes of the request's body; none at its end. May be dropped while it waits.
    pub async fn body(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let bytes = self.input.take(self.wire.inbox()).ok_or(Fault::Misframed)?;
            if !bytes.is_empty() {
                self.received += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            if self.input.is_nothing() {
                return Ok(None);
            }
            match self.wire.receive(self.room).await {
                Ok(n) if n > 0 => self.make_room(n),
                Ok(_) | Err(_) => return Err(Fault::Gone),
            }
        }
    }

    /// After `read` bytes: twice the room when they filled what there was, and no more than at first once they no longer
    /// come that fast.
    fn make_room(&mut self, read: usize) {
        if read >= self.room {
            self.room = (self.room * 2).min(MOST_ROOM);
        } else if read < ROOM {
            self.give_back();
        }
    }

    /// Holds no more memory than what it holds needs: many clients may wait, but not each in the room of a fast body.
    fn give_back(&mut self) {
        if self.room > ROOM {
            self.room = ROOM;
            let inbox = self.wire.inbox();
            *inbox = BytesMut::from(&inbox[..]);
        }
    }

    /// Returns when the client has gone away. One that has said all it has to say may still listen (RFC 9112 section
    /// 9.6): that it closed its side is no end. Nor is it when it sends the next request already; what is read of that is
    /// kept, and then no more is noticed.
    pub async fn gone(&mut self) {
        while !self.deaf && self.wire.inbox().is_empty() {
            match self.wire.receive(ROOM).await {
                Ok(0) => {
                    self.deaf = true;
                    self.keep = false;
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
        std::future::pending().await
    }

    /// No request follows on this connection.
    pub fn close_after(&mut self) {
        self.keep = false;
    }

    /// Tells a client that waits with its body that it may send it (RFC 9110 section 10.1.1).
    pub async fn say_continue(&mut self) -> io::Result<()> {
        self.send(&[b"HTTP/1.1 100 Continue\r\n\r\n"]).await
    }

    /// Writes the head of the answer, or keeps it until the first bytes of a body whose length it tells. Says when and,
    /// but for a 101, whether the connection stays open.
    pub async fn answer(&mut self, head: &mut ResponseHeader) -> io::Result<()> {
        let status = head.status.as_u16();
        self.output = if self.head.method == Method::HEAD || matches!(status, 101 | 204 | 304) {
            Output::Done
        } else if head.headers.contains_key(TRANSFER_ENCODING) {
            Output::Chunked
        } else {
            match head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()) {
                Some(0) => Output::Done,
                Some(length) => Output::Length(length),
                None => Output::UntilClose,
            }
        };
        self.keep &= self.is_body_done() && !matches!(self.output, Output::UntilClose);
        let mut wire = Vec::with_capacity(1024);
        wire.extend_from_slice(b"HTTP/1.1 ");
        wire.extend_from_slice(head.status.as_str().as_bytes());
        wire.push(b' ');
        wire.extend_from_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
        wire.extend_from_slice(b"\r\n");
        if status != 101 && head.headers.contains_key(CONNECTION) {
            head.remove_header(&CONNECTION);
        }
        head.header_to_h1_wire(&mut wire);
        if status != 101 {
            if !head.headers.contains_key(DATE) {
                wire.extend_from_slice(b"Date: ");
                push_http_date(SystemTime::now(), &mut wire);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(match self.keep {
                true => b"Connection: keep-alive\r\n",
                false => b"Connection: close\r\n",
            });
        }
        wire.extend_from_slice(b"\r\n");
        if let Output::Length(_) = self.output {
            self.held = wire;
            return Ok(());
        }
        self.send(&[&wire]).await
    }

    /// Writes bytes of the answer's body; no more than its head announced.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = match &mut self.output {
            Output::Length(left) => {
                let n = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= n as u64;
                &bytes[..n]
            }
            Output::Chunked | Output::UntilClose => bytes,
            Output::Unknown | Output::Done => return Ok(()),
        };
        if bytes.is_empty() {
            return Ok(());
        }
        self.sent += bytes.len() as u64;
        if let Output::Chunked = self.output {
            let size = format!("{:X}\r\n", bytes.len());
            return self.send(&[size.as_bytes(), bytes, b"\r\n"]).await;
        }
        let held = std::mem::take(&mut self.held);
        self.send(&[&held, bytes]).await
    }

    /// Ends the answer's body. One that is shorter than was announced ends with the connection.
    pub async fn end(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.output, Output::Done) {
            Output::Chunked => self.send(&[b"0\r\n\r\n"]).await,
            Output::Length(left) => {
                self.keep &= left == 0;
                let held = std::mem::take(&mut self.held);
                self.send(&[&held]).await
            }
            Output::Unknown | Output::UntilClose | Output::Done => Ok(()),
        }
    }

    /// Ends an answer that cannot be completed. What is still held of it is sent: a client that saw a kept connection close
    /// without a byte would take its request for one that nobody has read, and may repeat it.
    pub async fn abort(&mut self) {
        self.keep = false;
        let held = std::mem::take(&mut self.held);
        let _ = self.send(&[&held]).await;
    }

    async fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        match timeout(self.patience, self.wire.send(parts)).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// The connection, when another request may follow; else it is closed.
    pub async fn finish(mut self) -> Option<Box<Wire>> {
        if self.keep && self.is_body_done() {
            self.give_back();
            return Some(self.wire);
        }
        self.wire.close().await;
        None
    }

    /// What was read and not yet used.
    #[cfg(test)]
    pub fn inbox(&mut self) -> &mut BytesMut {
        self.wire.inbox()
    }

    /// The connection as it is, with what was read of it and not used.
    pub fn into_wire(self) -> Box<Wire> {
        self.wire
    }
}

/// A head with its names in lower case, as every rule looks for them.
fn parse(raw: &Bytes) -> Result<Box<RequestHeader>, BadHead> {
    let line = memchr::memchr(b'\n', raw.get(2..).unwrap_or_default()).map_or(raw.len(), |end| end + 2);
    if raw[..line].iter().fold(false, |any, &byte| any | is_escaped(byte)) {
        return parse(&escaped(raw, line));
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, raw, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == raw.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooManyLines),
        _ => return Err(BadHead::Malformed),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else { return Err(BadHead::Malformed) };
    let mut head = RequestHeader::build_no_case(method, target.as_bytes(), Some(parsed.headers.len()))
        .map_err(|_| BadHead::Malformed)?;
    head.set_version(if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 });
    for field in &*parsed.headers {
        let name = raw.slice_ref(field.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(raw.slice_ref(field.value));
        let appended = value.ok().and_then(|value| head.append_header(name, value).ok());
        appended.ok_or(BadHead::Malformed)?;
    }
    Ok(Box::new(head))
}

/// What no URI holds as it is (RFC 3986), and careless clients send all the same. Nginx takes it.
fn is_escaped(byte: u8) -> bool {
    !byte.is_ascii() | matches!(byte, b'"' | b'<' | b'>')
}

/// The same head with these bytes of its first line, `line` bytes long, percent-encoded.
fn escaped(raw: &[u8], line: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(raw.len() + 64);
    for &byte in &raw[..line] {
        if is_escaped(byte) {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            out.extend_from_slice(&[byte]);
        }
    }
    out.extend_from_slice(&raw[line..]);
    out.freeze()
}

#[cfg(test)]
mod tests;
