//! A client that sends bytes exactly as they are given.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::http::runtime;
use crate::wait::SOON;

/// A TCP connection.
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
    ended: bool,
}

/// An HTTP/1.1 response as it came.
#[derive(Debug, Clone)]
pub struct RawAnswer {
    /// Its status.
    pub status: u16,
    /// Status line and header lines, without the empty line.
    pub head: String,
    /// Its body, without chunk framing.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// A header field, when it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Raw {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&to, SOON).expect("the server accepts connections");
        stream.set_nodelay(true).expect("the socket is open");
        stream.set_write_timeout(Some(SOON)).expect("the limit is not zero");
        Self { stream, buffer: Vec::new(), ended: false }
    }

    /// Connects and sends.
    pub fn sending(to: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut raw = Self::connect(to);
        raw.write(bytes);
        raw
    }

    /// Sends. That the server has closed already is no error: it may answer early.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends; whether the connection took it.
    pub fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Goes away at once (RST), so that the server knows that nobody is left.
    pub fn reset(self) {
        let _entered = runtime().enter();
        let reset = self.stream.set_nonblocking(true).and_then(|()| {
            tokio::net::TcpStream::from_std(self.stream).and_then(|stream| stream.set_zero_linger())
        });
        reset.expect("the socket is open");
    }

    /// Says that nothing more will come.
    pub fn end_of_writing(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next response, an interim one too; `None` when the server closes before one is whole.
    ///
    /// # Panics
    /// When none comes within [`SOON`].
    pub fn answer(&mut self) -> Option<RawAnswer> {
        self.answer_within(SOON)
    }

    /// The same with another limit.
    pub fn answer_within(&mut self, limit: Duration) -> Option<RawAnswer> {
        let deadline = Instant::now() + limit;
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if !self.fill(deadline) {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end + 4);
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut answer = RawAnswer { status, head, body: Vec::new() };
        if status < 200 || status == 204 || status == 304 {
            return Some(answer);
        }
        answer.body = if answer.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            self.chunks(deadline)?
        } else if let Some(length) = answer.header("content-length") {
            self.exactly(length.parse().ok()?, deadline)?
        } else {
            while self.fill(deadline) {}
            std::mem::take(&mut self.buffer)
        };
        Some(answer)
    }

    /// Whatever comes until the server closes; what came so far when `limit` passes first.
    pub fn rest(&mut self, limit: Duration) -> (Vec<u8>, bool) {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && self.try_fill(deadline).unwrap_or(false) {}
        (std::mem::take(&mut self.buffer), self.ended)
    }

    /// Whether the server closes within `limit` without sending anything more.
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let (rest, ended) = self.rest(limit);
        rest.is_empty() && ended
    }

    fn chunks(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(end) = find(&self.buffer, b"\r\n") {
                    break self.buffer.drain(..end + 2).collect::<Vec<_>>();
                }
                if !self.fill(deadline) {
                    return None;
                }
            };
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).ok()?;
            let chunk = self.exactly(size + 2, deadline)?;
            if size == 0 {
                return Some(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    fn exactly(&mut self, length: usize, deadline: Instant) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill(deadline) {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Reads once; false at the end.
    fn fill(&mut self, deadline: Instant) -> bool {
        self.try_fill(deadline).unwrap_or_else(|| {
            panic!("nothing came in time, after {:?}", String::from_utf8_lossy(&self.buffer));
        })
    }

    /// Reads once; false at the end, `None` when nothing came in time.
    fn try_fill(&mut self, deadline: Instant) -> Option<bool> {
        if self.ended {
            return Some(false);
        }
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left)).expect("the limit is not zero");
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.ended = true,
            Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
            Err(_) => self.ended = true,
        }
        Some(!self.ended)
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}
