//! One request to an app over HTTP/1.1 (RFC 9112): a head and a body go out, a head and a body come back.
//!
//! Where an answer ends is never guessed: a length that is no number, two different ones, a coding other than chunked, or
//! chunks that are none make it unreadable. An app may answer before it has read the body, so that sending and hearing are
//! one wait. It may be dropped at any point; what was read is still there for the next, and what was not sent, too.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};
use pingora_http::{ResponseHeader, header_value_from_raw};
use pingora_timeout::timeout;

use crate::chunks::Chunks;
use crate::rest::Rest;
use crate::wire::Wire;

/// Bytes of an answer's head.
const MAX_HEAD: usize = 1 << 20;

/// Bytes of head and of body that are read at a time.
const HEAD: usize = 4096;
const BODY: usize = 64 * 1024;

/// Lines of an answer's head.
const MAX_FIELDS: usize = 256;

/// Fields that are usually added to an answer on its way.
const ADDED: usize = 6;

/// Interim answers that are read before the answer's own.
const MAX_INTERIM: u16 = 1000;

/// A connection to an app, from a request's first byte to its answer's last.
pub struct App {
    wire: Box<Wire>,
    patience: Duration,
    /// Bytes of the request's body that the app has not been sent.
    owed: u64,
    /// Those of them that are to be sent now.
    unsent: Option<Piece>,
    deaf: bool,
    bodiless: bool,
    rest: Rest,
    interim: u16,
    keep: bool,
}

/// A piece of a request's body.
pub enum Piece {
    /// These.
    Bytes(Bytes),
    /// Part of a file, sent without reading it here.
    File {
        /// The file.
        file: Arc<File>,
        /// Where the part begins.
        at: u64,
        /// Where it ends.
        end: u64,
    },
}

/// What came of waiting for an app.
#[derive(Debug)]
pub enum Turn<T> {
    /// The piece has been sent, or the app takes no more.
    Sent,
    /// This was read first.
    Heard(T),
}

/// Why there is no answer, or no more of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The app closed the connection, or it broke.
    Closed,
    /// What it sent is no answer.
    Unreadable,
}

impl App {
    /// Over a connection on which nothing is under way. `patience` bounds each wait for the app to take more.
    pub fn new(wire: Box<Wire>, patience: Duration) -> Self {
        Self {
            wire,
            patience,
            owed: 0,
            unsent: None,
            deaf: false,
            bodiless: false,
            rest: Rest::Nothing,
            interim: 0,
            keep: false,
        }
    }

    /// Sends the head of a request that is followed by `length` bytes of body. An answer to HEAD has no body.
    pub async fn send_head(&mut self, head: &[u8], length: u64, is_head: bool) -> io::Result<()> {
        self.owed = length;
        self.bodiless = is_head;
        match timeout(self.patience, self.wire.send(&[head])).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Whether the next piece of the body can be given.
    pub fn wants_more(&self) -> bool {
        self.unsent.is_none() && !self.deaf
    }

    /// Bytes of the body that the app has not been sent.
    pub fn owed(&self) -> u64 {
        self.owed
    }

    /// Whether a piece is being sent.
    pub fn is_sending(&self) -> bool {
        self.unsent.is_some()
    }

    /// Whether the app takes no more of the body: it closed, or let `patience` pass.
    pub fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Has this piece sent while the answer is waited for. Of more than was announced nothing is sent.
    pub fn give(&mut self, piece: Piece) {
        if piece.left() > self.owed {
            self.stop_sending();
        } else if self.wants_more() && piece.left() > 0 {
            self.unsent = Some(piece);
        }
    }

    fn stop_sending(&mut self) {
        self.deaf = true;
        self.unsent = None;
    }

    /// Reads once more, or sends the piece to its end, whichever is first.
    async fn turn(&mut self, room: usize) -> io::Result<Turn<usize>> {
        while let Some(piece) = &mut self.unsent {
            let Ok(ready) = timeout(self.patience, self.wire.ready()).await else {
                self.stop_sending();
                return Ok(Turn::Sent);
            };
            match self.wire.try_receive(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return received.map(Turn::Heard),
            }
            if !ready?.is_writable() {
                continue;
            }
            let sent = match &*piece {
                Piece::Bytes(bytes) => self.wire.try_send(bytes),
                Piece::File { file, at, end } => self.wire.try_send_file(file, *at, end - at),
            };
            match sent {
                Ok(n) => {
                    self.owed -= n as u64;
                    piece.advance(n);
                    if piece.left() == 0 {
                        self.unsent = None;
                        return Ok(Turn::Sent);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.stop_sending();
                    return Ok(Turn::Sent);
                }
            }
        }
        self.wire.receive(room).await.map(Turn::Heard)
    }

    /// The next head: an interim one (1xx), after which another follows, or the answer's own.
    pub async fn answer(&mut self) -> Result<Turn<Box<ResponseHeader>>, Fault> {
        let mut seen = 0;
        let length = loop {
            match self.wire.head(seen, MAX_HEAD) {
                Ok(Some(length)) => break length,
                Ok(None) => seen = self.wire.inbox().len(),
                Err(_) => return Err(Fault::Unreadable),
            }
            match self.turn(HEAD).await {
                Ok(Turn::Sent) => return Ok(Turn::Sent),
                Ok(Turn::Heard(0)) | Err(_) => return Err(Fault::Closed),
                Ok(Turn::Heard(_)) => {}
            }
        };
        let raw = self.wire.inbox().split_to(length).freeze();
        let mut head = parse(&raw).ok_or(Fault::Unreadable)?;
        match head.status.as_u16() {
            101 => self.rest = Rest::Nothing,
            100..200 if self.interim == MAX_INTERIM => return Err(Fault::Unreadable),
            100..200 => self.interim += 1,
            status => {
                self.keep = is_kept(&head);
                self.rest = self.framing(&mut head, status)?;
            }
        }
        Ok(Turn::Heard(head))
    }

    /// RFC 9112 section 6.3.
    fn framing(&mut self, head: &mut ResponseHeader, status: u16) -> Result<Rest, Fault> {
        let empty = self.bodiless || matches!(status, 204 | 304);
        if head.headers.contains_key(TRANSFER_ENCODING) {
            head.remove_header(&CONTENT_LENGTH);
            // An HTTP/1.0 server that says so may mean anything by it.
            self.keep &= head.version == Version::HTTP_11;
            return match is_chunked(&head.headers) {
                _ if empty => Ok(Rest::Nothing),
                true => Ok(Rest::Chunked(Chunks::of_answer())),
                // Nobody asked for another coding, and the client would not be told of it.
                false => Err(Fault::Unreadable),
            };
        }
        Ok(match content_length(head)? {
            _ if empty => Rest::Nothing,
            Some(length) => Rest::of_length(length),
            None => {
                self.keep = false;
                Rest::UntilClose
            }
        })
    }

    /// The next bytes of the answer's body; none at its end.
    pub async fn body(&mut self) -> Result<Turn<Option<Bytes>>, Fault> {
        loop {
            let bytes = self.rest.take(self.wire.inbox()).ok_or(Fault::Unreadable)?;
            if !bytes.is_empty() || self.rest.is_nothing() {
                return Ok(Turn::Heard(Some(bytes).filter(|bytes| !bytes.is_empty())));
            }
            match self.turn(BODY).await {
                Ok(Turn::Sent) => return Ok(Turn::Sent),
                Ok(Turn::Heard(0)) if matches!(self.rest, Rest::UntilClose) => self.rest = Rest::Nothing,
                Ok(Turn::Heard(0)) | Err(_) => return Err(Fault::Closed),
                Ok(Turn::Heard(_)) => {}
            }
        }
    }

    /// Whether the answer's body has been read to its end.
    pub fn is_done(&self) -> bool {
        self.rest.is_nothing()
    }

    /// The connection, when another request may follow on it: both sides are done, and the app has not said that it
    /// will close. An app that answered before it was sent the whole body still waits for the rest.
    pub fn into_idle(mut self) -> Option<Box<Wire>> {
        let good = self.keep && self.is_done() && self.owed == 0 && self.wire.inbox().is_empty();
        good.then_some(self.wire)
    }

    /// What was read and not yet used.
    #[cfg(test)]
    pub fn inbox(&mut self) -> &mut bytes::BytesMut {
        self.wire.inbox()
    }

    /// The connection as it is, for what follows a 101.
    pub fn into_wire(self) -> Box<Wire> {
        self.wire
    }
}

impl Piece {
    /// Bytes left of it.
    pub fn left(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { at, end, .. } => end - at,
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(n),
            Self::File { at, .. } => *at += n as u64,
        }
    }
}

/// A head with its fields in the case they were written in.
fn parse(raw: &Bytes) -> Option<Box<ResponseHeader>> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    // RFC 9112 section 5.1: a proxy takes the blanks away. Section 5.2: a folded line becomes one.
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let whole = parser.parse_response_with_uninit_headers(&mut parsed, raw, &mut fields).ok()?;
    if whole != httparse::Status::Complete(raw.len()) {
        return None;
    }
    let mut head = Box::new(ResponseHeader::build(parsed.code?, Some(parsed.headers.len() + ADDED)).ok()?);
    head.set_version(if parsed.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 });
    head.set_reason_phrase(parsed.reason).ok()?;
    for field in &*parsed.headers {
        let value = header_value_from_raw(raw.slice_ref(field.value));
        head.append_header(raw.slice_ref(field.name.as_bytes()), value).ok()?;
    }
    Some(head)
}

/// The one length of all lines and entries, which is then the only one said; nothing when there is none.
fn content_length(head: &mut ResponseHeader) -> Result<Option<u64>, Fault> {
    let mut lines = head.headers.get_all(CONTENT_LENGTH).iter();
    let (Some(first), second) = (lines.next(), lines.next()) else { return Ok(None) };
    if second.is_none()
        && let Some(length) = number(first.as_bytes())
    {
        return Ok(Some(length));
    }
    let all: Vec<Option<u64>> =
        head.headers.get_all(CONTENT_LENGTH).iter().flat_map(words).map(number).collect();
    let length = all[0].ok_or(Fault::Unreadable)?;
    if all.iter().any(|other| *other != Some(length)) {
        return Err(Fault::Unreadable);
    }
    head.insert_header(CONTENT_LENGTH, length).map_err(|_| Fault::Unreadable)?;
    Ok(Some(length))
}

/// Whether `Transfer-Encoding` says nothing but chunked. Some servers say it twice and do it once.
fn is_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(words);
    codings.all(|coding| coding.eq_ignore_ascii_case(b"chunked"))
}

/// Digits alone, below 2⁶⁴.
fn number(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

/// Whether the app keeps the connection open (RFC 9112 section 9.3).
fn is_kept(head: &ResponseHeader) -> bool {
    let says = |wanted: &str| connection_says(&head.headers, wanted);
    !says("close") && (head.version == Version::HTTP_11 || says("keep-alive"))
}

/// Whether this is among the options of `Connection` (RFC 9110 section 7.6.1).
pub fn connection_says(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(words)
        .any(|word| word.eq_ignore_ascii_case(wanted.as_bytes()))
}

fn words(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests;
