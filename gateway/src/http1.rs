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

use crate::chunks::Chunks;
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
    input: Input,
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

/// What is still to come of the request's body.
enum Input {
    Length(u64),
    Chunked(Chunks),
    Done,
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
            Input::Chunked(Chunks::of_request())
        } else {
            match declared_length(&head) {
                None | Some(0) => Input::Done,
                Some(length) => Input::Length(length),
            }
        };
        let keep = head.version == Version::HTTP_11 && !wants_to_close(&head);
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
        matches!(self.input, Input::Done)
    }

    /// The next bytes of the request's body; none at its end. May be dropped while it waits.
    pub async fn body(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let inbox = self.wire.inbox();
            match &mut self.input {
                Input::Done => return Ok(None),
                Input::Length(left) if !inbox.is_empty() => {
                    let n = usize::try_from(*left).map_or(inbox.len(), |left| left.min(inbox.len()));
                    let bytes = inbox.split_to(n).freeze();
                    *left -= n as u64;
                    if *left == 0 {
                        self.input = Input::Done;
                    }
                    self.received += n as u64;
                    return Ok(Some(bytes));
                }
                Input::Chunked(chunks) if !inbox.is_empty() => {
                    let bytes = chunks.decode(inbox).ok_or(Fault::Misframed)?;
                    if chunks.is_done() {
                        self.input = Input::Done;
                    }
                    if !bytes.is_empty() {
                        self.received += bytes.len() as u64;
                        return Ok(Some(bytes));
                    }
                    continue;
                }
                Input::Length(_) | Input::Chunked(_) => {}
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

fn wants_to_close(head: &RequestHeader) -> bool {
    let words = |line: &HeaderValue| {
        line.as_bytes()
            .split(|&byte| byte == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    head.headers.get_all(CONNECTION).iter().any(words)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A request of which the client has said this much, and the client.
    async fn asked(text: &[u8]) -> (Result<Http1, BadHead>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut wire = Box::new(Wire::tcp(listener.accept().await.unwrap().0));
        client.write_all(text).await.unwrap();
        let length = wire.read_head(64 * 1024).await.unwrap();
        (Http1::begin(wire, length, PATIENCE).map_err(|(_, bad)| bad), client)
    }

    async fn request(text: &str) -> (Http1, TcpStream) {
        let (request, client) = asked(text.as_bytes()).await;
        (request.unwrap(), client)
    }

    async fn body(request: &mut Http1) -> Result<String, Fault> {
        let mut all = Vec::new();
        while let Some(bytes) = request.body().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(String::from_utf8(all).unwrap())
    }

    fn head(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        head.insert_header("Date", "now").unwrap();
        for (name, value) in fields {
            head.insert_header(*name, *value).unwrap();
        }
        head
    }

    /// What the client is sent in answer, and whether the connection stays open.
    async fn told(asks: &str, mut head: ResponseHeader, pieces: &[&str]) -> (String, bool) {
        let (mut request, mut client) = request(asks).await;
        request.answer(&mut head).await.unwrap();
        for piece in pieces {
            request.write(piece.as_bytes()).await.unwrap();
        }
        request.end().await.unwrap();
        let kept = request.finish().await.is_some();
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        (seen, kept)
    }

    /// Long enough for whatever the client did to be seen.
    async fn is_still_there(request: &mut Http1) {
        let seen = async {
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = request.gone() => panic!("the client is said to be gone"),
            () = seen => {}
        }
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[tokio::test]
    async fn a_head_is_understood_as_it_stands() {
        let (request, _client) =
            request("POST /a?b HTTP/1.0\r\nHost: a\r\nX-Odd: \t b \r\nx-odd:\r\n\r\n").await;
        let head = request.head();
        assert_eq!(
            (head.method.as_str(), head.raw_path(), head.version),
            ("POST", &b"/a?b"[..], Version::HTTP_10)
        );
        let odd: Vec<_> = head.headers.get_all("x-odd").iter().collect();
        assert_eq!(odd, ["b", ""]);
        assert!(request.raw().ends_with(b"x-odd:\r\n\r\n") && request.is_body_done());
    }

    #[tokio::test]
    async fn what_is_no_head_is_told_apart_from_one_that_is_too_long() {
        for text in [
            "\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "G\0T / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\na b: c\r\n\r\n",
            "GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
        ] {
            assert_eq!(asked(text.as_bytes()).await.0.err(), Some(BadHead::Malformed), "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(asked(many.as_bytes()).await.0.err(), Some(BadHead::TooManyLines));
        let most = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS));
        assert!(asked(most.as_bytes()).await.0.is_ok());
    }

    #[tokio::test]
    async fn what_no_uri_holds_is_percent_encoded_in_a_target() {
        for (path, expected) in [
            (&b"/caf\xc3\xa9"[..], "/caf%C3%A9"),
            (b"/caf\xe9", "/caf%E9"),
            (b"/<a>?b=\"<c>\"", "/%3Ca%3E?b=%22%3Cc%3E%22"),
        ] {
            let text = [b"\r\nGET ", path, b" HTTP/1.1\r\nHost: a\r\nX: \xe9\r\n\r\n"].concat();
            let request = asked(&text).await.0.unwrap();
            assert_eq!(request.head().raw_path(), expected.as_bytes());
            assert_eq!(request.head().headers["x"].as_bytes(), b"\xe9");
            assert_eq!(request.raw()[..], text, "what is judged is what came");
        }
    }

    #[tokio::test]
    async fn a_body_ends_where_its_framing_says_and_the_next_request_begins() {
        for (framing, on_wire) in [
            ("Content-Length: 5", "hello"),
            ("Transfer-Encoding: chunked", "2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n"),
        ] {
            let (mut request, _client) =
                request(&format!("POST / HTTP/1.1\r\n{framing}\r\n\r\n{on_wire}{GET}")).await;
            assert!(!request.is_body_done());
            assert_eq!(body(&mut request).await.unwrap(), "hello");
            assert_eq!((request.is_body_done(), request.received()), (true, 5));
            request.answer(&mut head(200, &[("Content-Length", "0")])).await.unwrap();
            let mut wire = request.finish().await.unwrap();
            assert_eq!(&wire.inbox()[..], GET.as_bytes());
        }
    }

    #[tokio::test]
    async fn a_body_leaves_no_large_buffer_behind() {
        let (mut request, mut client) =
            request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n").await;
        let sending = tokio::spawn(async move {
            client.write_all(&vec![b'x'; 2_999_999]).await.unwrap();
            client
        });
        while request.received() < 2_999_999 {
            request.body().await.unwrap();
        }
        assert!(request.room > ROOM, "it was read in large pieces");
        let mut client = sending.await.unwrap();
        client.write_all(b"x").await.unwrap();
        assert_eq!(request.body().await.unwrap().as_deref(), Some(&b"x"[..]));
        assert_eq!(request.room, ROOM, "and then in small ones");
        request.room = MOST_ROOM;
        request.answer(&mut head(200, &[("Content-Length", "0")])).await.unwrap();
        assert_eq!(request.finish().await.unwrap().inbox().capacity(), 0);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_or_is_no_body_is_a_fault() {
        for (text, fault) in [
            ("Content-Length: 5\r\n\r\nhell", Fault::Gone),
            ("Transfer-Encoding: chunked\r\n\r\n5\r\nhel", Fault::Gone),
            ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Fault::Gone),
            ("Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", Fault::Misframed),
        ] {
            let (mut request, client) = request(&format!("POST / HTTP/1.1\r\n{text}")).await;
            drop(client);
            assert_eq!(body(&mut request).await, Err(fault), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_only_closed_its_side_is_still_there() {
        let (mut request, mut client) = request(GET).await;
        client.shutdown().await.unwrap();
        is_still_there(&mut request).await;
        request.answer(&mut head(200, &[("Content-Length", "2")])).await.unwrap();
        request.write(b"ok").await.unwrap();
        assert!(request.finish().await.is_none());
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        assert!(seen.ends_with("\r\n\r\nok"), "{seen:?}");
    }

    #[tokio::test]
    async fn a_client_that_resets_is_gone() {
        let (mut request, client) = request(GET).await;
        client.set_zero_linger().unwrap();
        drop(client);
        request.gone().await;
    }

    #[tokio::test]
    async fn the_next_request_is_kept_while_this_one_is_watched() {
        let (mut request, mut client) = request(GET).await;
        client.write_all(GET.as_bytes()).await.unwrap();
        is_still_there(&mut request).await;
        request.answer(&mut head(204, &[])).await.unwrap();
        assert_eq!(&request.finish().await.unwrap().inbox()[..], GET.as_bytes());
    }

    #[tokio::test]
    async fn an_answer_is_framed_as_its_head_says() {
        let close = "GET / HTTP/1.1\r\nConnection: x, close\r\n\r\n";
        let old = "GET / HTTP/1.0\r\n\r\n";
        let only_head = "HEAD / HTTP/1.1\r\n\r\n";
        let owed = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe";
        let (length, chunked) = (("Content-Length", "5"), ("Transfer-Encoding", "chunked"));
        for (asks, status, fields, pieces, body, kept) in [
            (GET, 200, &[length][..], &["he", "llo"][..], "hello", true),
            (GET, 200, &[length], &["hello, world"], "hello", true),
            (GET, 200, &[length], &["hell"], "hell", false),
            (GET, 200, &[("Content-Length", "0")], &["x"], "", true),
            (GET, 200, &[chunked], &["hello", "", "!"], "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", true),
            (GET, 200, &[], &["hello"], "hello", false),
            (GET, 304, &[length], &["hello"], "", true),
            (GET, 204, &[], &["hello"], "", true),
            (only_head, 200, &[length], &["hello"], "", true),
            (only_head, 200, &[chunked], &[], "", true),
            (close, 200, &[length], &["hello"], "hello", false),
            (old, 200, &[length], &["hello"], "hello", false),
            (owed, 413, &[length], &["hello"], "hello", false),
        ] {
            let (seen, open) = told(asks, head(status, fields), pieces).await;
            let (head, sent) = seen.split_once("\r\n\r\n").unwrap();
            assert_eq!((sent, open), (body, kept), "{asks:?} {status} {fields:?}");
            let says = if asks == GET && fields == [length] && body == "hell" { true } else { kept };
            assert!(
                head.ends_with(if says { "Connection: keep-alive" } else { "Connection: close" }),
                "{head:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_answers_head_says_what_is_true_of_this_connection() {
        let mut odd = head(200, &[("Content-Length", "0"), ("Connection", "close, x-odd"), ("X-Odd", "1")]);
        odd.set_reason_phrase(Some("Fine")).unwrap();
        odd.remove_header("date");
        let (seen, _) = told(GET, odd, &[]).await;
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!((lines[0], lines.len()), ("HTTP/1.1 200 Fine", 6), "{seen:?}");
        assert!(lines[3].starts_with("Date: ") && lines[3].ends_with(" GMT"));
        assert_eq!(lines[4], "Connection: keep-alive");
    }

    #[tokio::test]
    async fn a_client_hears_of_an_answer_that_breaks_off_before_its_body() {
        let (mut request, mut client) = request(GET).await;
        request.answer(&mut head(200, &[("Content-Length", "5")])).await.unwrap();
        request.abort().await;
        drop(request);
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        assert!(seen.starts_with("HTTP/1.1 200") && seen.ends_with("\r\n\r\n"), "{seen:?}");
    }

    #[tokio::test]
    async fn a_head_leaves_with_the_first_bytes_of_its_body() {
        let (mut request, mut client) =
            request("GET / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
        request.say_continue().await.unwrap();
        let mut seen = [0; 512];
        let n = client.read(&mut seen).await.unwrap();
        assert_eq!(&seen[..n], b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"ok").await.unwrap();
        assert_eq!(body(&mut request).await.unwrap(), "ok");
        request.answer(&mut head(200, &[("Content-Length", "5")])).await.unwrap();
        assert!(client.try_read(&mut seen).is_err(), "nothing is sent before there is a body");
        request.write(b"hello").await.unwrap();
        let n = client.read(&mut seen).await.unwrap();
        assert!(seen[..n].ends_with(b"Connection: keep-alive\r\n\r\nhello"));
    }
}
