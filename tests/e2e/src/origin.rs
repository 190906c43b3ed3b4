//! An app that is nothing but a socket: it counts connections, keeps every byte it is sent and answers as it is told.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::wait::{SOON, until};

/// Bytes of one connection that are kept.
const KEPT: usize = 4 * 1024 * 1024;

/// Whether a connection is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It may carry another request.
    KeepAlive,
    /// It is closed.
    Close,
}

type Script = dyn Fn(&mut Exchange) -> Then + Send + Sync;

/// The app. Its listener and its connections are closed on drop.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    closed: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
    received: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    streams: Mutex<Vec<TcpStream>>,
}

impl Origin {
    /// Answers every request as `script` does.
    pub fn start(script: impl Fn(&mut Exchange) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            closed: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            received: Mutex::default(),
            streams: Mutex::default(),
        });
        accept(listener, Arc::clone(&shared));
        Self { address, shared }
    }

    /// Reads every request whole and answers 200 with what it was: `method`, `target`, `headers` (a list of pairs),
    /// `length` and `sha256` of the body.
    pub fn echo() -> Self {
        Self::start(|exchange| {
            let Some(body) = exchange.body() else { return Then::Close };
            let answer = json!({
                "method": exchange.head.method,
                "target": exchange.head.target,
                "headers": exchange.head.headers,
                "length": body.length,
                "sha256": body.sha256,
            });
            exchange.respond(200, "Content-Type: application/json\r\n", answer.to_string().as_bytes())
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests whose head was received so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// What each connection sent so far, at most its first 4 MiB.
    pub fn received(&self) -> Vec<Vec<u8>> {
        let received = self.shared.received.lock().expect("nobody panics with this lock");
        received.iter().map(|bytes| bytes.lock().expect("nobody panics with this lock").clone()).collect()
    }

    /// All of that as text.
    pub fn received_text(&self) -> String {
        String::from_utf8_lossy(&self.received().concat()).into_owned()
    }

    /// Waits until `count` requests have come.
    pub fn wait_for_requests(&self, count: usize) {
        until(&format!("{count} requests at the app"), SOON, || (self.requests() >= count).then_some(()));
    }

    /// Closes its listener and its connections; new ones are refused.
    pub fn down(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts, which then drops the listener.
        let _ = TcpStream::connect(self.address);
        for stream in self.shared.streams.lock().expect("nobody panics with this lock").drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        until("the app's port to be closed", SOON, || {
            TcpStream::connect(self.address).is_err().then_some(())
        });
    }

    /// Listens again where it listened before.
    pub fn up(&self) {
        let listener = until("the port to be free again", SOON, || TcpListener::bind(self.address).ok());
        self.shared.closed.store(false, Ordering::SeqCst);
        accept(listener, Arc::clone(&self.shared));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if !self.shared.closed.swap(true, Ordering::SeqCst) {
            let _ = TcpStream::connect(self.address);
        }
        if let Ok(mut streams) = self.shared.streams.lock() {
            for stream in streams.drain(..) {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        }
    }
}

/// The head of a request, as it came.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Its method.
    pub method: String,
    /// Its target.
    pub target: String,
    /// Its header lines, in order, names as they came.
    pub headers: Vec<(String, String)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
        let mut lines = text.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        Self {
            method: first.next().unwrap_or_default().to_owned(),
            target: first.next().unwrap_or_default().to_owned(),
            headers: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect(),
        }
    }

    /// A header field, when it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// How often a header field is there.
    pub fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).count()
    }
}

/// One request and the connection it came on.
pub struct Exchange {
    /// Its head.
    pub head: Head,
    stream: TcpStream,
    buffer: Vec<u8>,
    record: Arc<Mutex<Vec<u8>>>,
    body_read: bool,
}

/// A body that was received whole.
#[derive(Debug, Clone)]
pub struct Received {
    /// Bytes.
    pub length: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Its first 64 KiB.
    pub start: Vec<u8>,
}

impl Exchange {
    /// Reads the body to its end; `None` when the client leaves before it.
    pub fn body(&mut self) -> Option<Received> {
        self.body_read = true;
        let mut body = Hashing {
            hash: Sha256::new(),
            received: Received { length: 0, sha256: String::new(), start: Vec::new() },
        };
        if self.head.header("transfer-encoding").is_some() {
            loop {
                let line = self.line()?;
                let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
                self.take(size, &mut body)?;
                if size == 0 {
                    while !self.line()?.is_empty() {}
                    return Some(body.done());
                }
                self.line()?;
            }
        }
        let length = self.head.header("content-length").map_or(Some(0), |length| length.parse().ok())?;
        self.take(length, &mut body)?;
        Some(body.done())
    }

    /// Reads what comes next of the body, unparsed; 0 when the client leaves.
    pub fn some(&mut self) -> usize {
        if !self.buffer.is_empty() {
            let had = self.buffer.len();
            self.buffer.clear();
            return had;
        }
        let read = self.fill();
        self.buffer.clear();
        read
    }

    /// Answers with a body of a known length and keeps the connection, when the request's body was read.
    pub fn respond(&mut self, status: u16, header_lines: &str, body: &[u8]) -> Then {
        let mut bytes =
            format!("HTTP/1.1 {status} Said\r\n{header_lines}Content-Length: {}\r\n\r\n", body.len())
                .into_bytes();
        if self.head.method != "HEAD" {
            bytes.extend_from_slice(body);
        }
        if self.raw(&bytes) && self.body_read { Then::KeepAlive } else { Then::Close }
    }

    /// Writes bytes as they are; whether the connection took them.
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The connection itself, for what comes after an upgrade.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether the gateway closes the connection within `limit`.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        let _ = self.stream.set_read_timeout(Some(limit));
        let closed = loop {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => break error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        };
        let _ = self.stream.set_read_timeout(None);
        closed
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.drain(..end + 2).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill() == 0 {
                return None;
            }
        }
    }

    fn take(&mut self, mut length: usize, body: &mut Hashing) -> Option<()> {
        while length > 0 {
            if self.buffer.is_empty() && self.fill() == 0 {
                return None;
            }
            let some = self.buffer.len().min(length);
            body.update(&self.buffer[..some]);
            self.buffer.drain(..some);
            length -= some;
        }
        Some(())
    }

    fn fill(&mut self) -> usize {
        let mut chunk = [0; 64 * 1024];
        let read = self.stream.read(&mut chunk).unwrap_or(0);
        let mut record = self.record.lock().expect("nobody panics with this lock");
        let room = KEPT.saturating_sub(record.len()).min(read);
        record.extend_from_slice(&chunk[..room]);
        self.buffer.extend_from_slice(&chunk[..read]);
        read
    }
}

struct Hashing {
    hash: Sha256,
    received: Received,
}

impl Hashing {
    fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.received.length += bytes.len() as u64;
        let room = (64 * 1024usize).saturating_sub(self.received.start.len()).min(bytes.len());
        self.received.start.extend_from_slice(&bytes[..room]);
    }

    fn done(self) -> Received {
        Received { sha256: hex::encode(self.hash.finalize()), ..self.received }
    }
}

fn accept(listener: TcpListener, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if shared.closed.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            shared.connections.fetch_add(1, Ordering::SeqCst);
            let _ = stream.set_nodelay(true);
            if let Ok(copy) = stream.try_clone() {
                shared.streams.lock().expect("nobody panics with this lock").push(copy);
            }
            let record = Arc::new(Mutex::new(Vec::new()));
            shared.received.lock().expect("nobody panics with this lock").push(Arc::clone(&record));
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || converse(stream, record, &shared));
        }
    });
}

fn converse(stream: TcpStream, record: Arc<Mutex<Vec<u8>>>, shared: &Shared) {
    let mut exchange =
        Exchange { head: Head::default(), stream, buffer: Vec::new(), record, body_read: false };
    loop {
        let end = loop {
            if let Some(end) = exchange.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if exchange.fill() == 0 {
                return;
            }
        };
        exchange.head = Head::parse(&exchange.buffer[..end]);
        exchange.buffer.drain(..end + 4);
        exchange.body_read = exchange.head.header("content-length").is_none_or(|length| length == "0")
            && exchange.head.header("transfer-encoding").is_none();
        shared.requests.fetch_add(1, Ordering::SeqCst);
        if (shared.script)(&mut exchange) == Then::Close {
            let _ = exchange.stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}
