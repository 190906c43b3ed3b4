//! One byte stream, to a client or to an app.
//!
//! Three things are done here that cost a system call, a copy or an ambiguity elsewhere. A head is read whole, bounded in
//! bytes, *before* any parser sees it, so that framing is judged on the bytes as they came. A head can be held back until
//! its first body bytes follow, so that a small message is one `send`. And a spooled body goes from its file to the app
//! without coming through here (`sendfile`).

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use nix::sys::sendfile::sendfile;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::chunks::Chunks;

/// Bytes read at a time while a head is awaited.
const READ: usize = 4096;

/// A head larger than this is not held back.
const HOLD: usize = 16 * 1024;

/// A connection, with what was read from it and not yet used, and what is held back from it.
pub struct Wire {
    io: Io,
    inbox: BytesMut,
    outbox: BytesMut,
    chunks: Option<Chunks>,
    hold: Hold,
}

/// What is shared with whoever serves a [`Wire`] that a session has taken.
#[derive(Clone, Default)]
pub struct Hold(Arc<Signs>);

#[derive(Default)]
struct Signs {
    hold: AtomicBool,
    misframed: AtomicBool,
}

impl Hold {
    /// Has the wire keep the next bytes written until more follow, or a flush. Applies to the next write only.
    pub fn next_write(&self) {
        self.0.hold.store(true, Ordering::Relaxed);
    }

    /// Whether what was read is no chunked body, though the head announced one.
    pub fn is_misframed(&self) -> bool {
        self.0.misframed.load(Ordering::Relaxed)
    }

    fn take(&self) -> bool {
        self.0.hold.load(Ordering::Relaxed) && {
            self.0.hold.store(false, Ordering::Relaxed);
            true
        }
    }
}

enum Io {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why no head could be read.
#[derive(Debug)]
pub enum NoHead {
    /// The client closed the connection, or it broke, before a whole head had come.
    Closed {
        /// Whether part of one had.
        partial: bool,
    },
    /// It does not end within the limit.
    TooLarge,
}

impl Wire {
    /// Over a plain connection.
    pub fn tcp(stream: TcpStream) -> Self {
        Self::new(Io::Tcp(stream))
    }

    /// Over a connection whose TLS ends here.
    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::new(Io::Tls(Box::new(stream)))
    }

    fn new(io: Io) -> Self {
        Self { io, inbox: BytesMut::new(), outbox: BytesMut::new(), chunks: None, hold: Hold::default() }
    }

    /// The switch that holds a write back.
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// Gives bytes back, to be read before any others.
    pub fn unread(&mut self, bytes: BytesMut) {
        if self.inbox.is_empty() {
            self.inbox = bytes;
        } else if !bytes.is_empty() {
            let mut all = bytes;
            all.extend_from_slice(&self.inbox);
            self.inbox = all;
        }
    }

    /// Has the chunked body behind a head of this many bytes judged while it is read; nothing for another body.
    pub fn judge_chunks(&mut self, head: Option<usize>) {
        self.chunks = head.map(Chunks::behind);
    }

    fn judge(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.chunks.as_mut().is_none_or(|chunks| chunks.follow(bytes)) {
            return Ok(());
        }
        self.hold.0.misframed.store(true, Ordering::Relaxed);
        Err(io::ErrorKind::InvalidData.into())
    }

    /// What was read and not yet used.
    pub fn inbox(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    /// Waits for at least one byte. `false` when the connection ended.
    pub async fn fill(&mut self) -> bool {
        if !self.inbox.is_empty() {
            return true;
        }
        self.more().await
    }

    /// Waits until the inbox holds a whole head and returns its length with the blank line. Bare line feeds end a
    /// head here too: whether they may is judged on the bytes.
    pub async fn read_head(&mut self, limit: usize) -> Result<usize, NoHead> {
        let mut seen = 0;
        loop {
            if let Some(end) = head_end(&self.inbox, seen) {
                return if end <= limit { Ok(end) } else { Err(NoHead::TooLarge) };
            }
            if self.inbox.len() > limit {
                return Err(NoHead::TooLarge);
            }
            seen = self.inbox.len();
            if !self.more().await {
                return Err(NoHead::Closed { partial: seen > 0 });
            }
        }
    }

    /// Reads once more into the inbox, `room` bytes or somewhat more at most. Returns how many; 0 when the connection
    /// ended.
    pub async fn receive(&mut self, room: usize) -> io::Result<usize> {
        if self.inbox.capacity() - self.inbox.len() < READ {
            self.inbox.reserve(room);
        }
        match &mut self.io {
            Io::Tcp(stream) => stream.read_buf(&mut self.inbox).await,
            Io::Tls(stream) => stream.read_buf(&mut self.inbox).await,
        }
    }

    /// Reads once more into the inbox. `false` when the connection ended.
    pub async fn more(&mut self) -> bool {
        matches!(self.receive(READ).await, Ok(n) if n > 0)
    }

    /// Whether an idle connection is still good: neither closed nor with bytes nobody asked for. Costs a system call
    /// only when the event loop has seen something happen on it.
    pub fn is_quiet(&self) -> bool {
        let Io::Tcp(stream) = &self.io else { return false };
        let mut probe = [0; 1];
        self.inbox.is_empty()
            && matches!(stream.try_read(&mut probe), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends what is held back and says goodbye.
    pub async fn close(&mut self) {
        let _ = AsyncWriteExt::shutdown(self).await;
    }

    /// Sends some of a file's bytes from `at` on, `count` at most, and returns how many. For a plain connection.
    pub async fn send_file(&mut self, file: &File, at: u64, count: u64) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_outbox(cx)).await?;
        let Io::Tcp(stream) = &self.io else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut at = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        loop {
            stream.writable().await?;
            let sent =
                stream.try_io(Interest::WRITABLE, || Ok(sendfile(stream, file, Some(&mut at), count)?));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) if count > 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                sent => return sent,
            }
        }
    }

    fn poll_outbox(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let sent = ready!(self.io.poll_send(cx, &self.outbox))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

/// Where the head ends, when `bytes` holds its blank line; looking again only at what is new since `seen`.
fn head_end(bytes: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    memchr::memchr_iter(b'\n', &bytes[from..]).map(|at| from + at).find_map(|at| match &bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

impl Io {
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.inbox.is_empty() {
            match &mut self.io {
                Io::Tcp(stream) => ready!(Pin::new(stream).poll_read(cx, buf))?,
                Io::Tls(stream) => ready!(Pin::new(stream.as_mut()).poll_read(cx, buf))?,
            }
        } else {
            let n = self.inbox.len().min(buf.remaining());
            buf.put_slice(&self.inbox[..n]);
            self.inbox.advance(n);
        }
        Poll::Ready(self.judge(&buf.filled()[before..]))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.outbox.is_empty() {
            if this.hold.take() && buf.len() <= HOLD {
                this.outbox.extend_from_slice(buf);
                return Poll::Ready(Ok(buf.len()));
            }
            return this.io.poll_send(cx, buf);
        }
        if let Io::Tcp(stream) = &mut this.io {
            let both = [IoSlice::new(&this.outbox), IoSlice::new(buf)];
            let sent = ready!(Pin::new(stream).poll_write_vectored(cx, &both))?;
            let held = this.outbox.len();
            if sent > held {
                this.outbox.clear();
                return Poll::Ready(Ok(sent - held));
            }
            this.outbox.advance(sent);
        } else if this.outbox.len() + buf.len() <= HOLD {
            // One TLS record for both.
            this.outbox.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        ready!(this.poll_outbox(cx))?;
        this.io.poll_send(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outbox(cx))?;
        match &mut self.io {
            Io::Tcp(_) => Poll::Ready(Ok(())),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outbox(cx))?;
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

#[async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        self.close().await;
    }
}

// What follows is asked of a stream by Pingora's own connection pool and logs, which are not used here.

impl UniqueID for Wire {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Wire {}

impl GetTimingDigest for Wire {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Wire {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Wire {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[async_trait]
impl Peek for Wire {}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.io {
            Io::Tcp(_) => "Wire(tcp)",
            Io::Tls(_) => "Wire(tls)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Wire::tcp(listener.accept().await.unwrap().0), client)
    }

    #[test]
    fn finds_the_end_of_a_head_wherever_the_reads_ended() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        for seen in 0..head.len() - 4 {
            assert_eq!(head_end(head, seen.min(24)), Some(27));
        }
        assert_eq!(head_end(b"GET / HTTP/1.1\nHost: a\n\n", 0), Some(24));
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n", 0), None);
    }

    #[tokio::test]
    async fn refuses_a_head_beyond_its_limit_without_reading_on() {
        let (mut wire, mut client) = pair().await;
        client.write_all(&[b'a'; 3000]).await.unwrap();
        assert!(matches!(wire.read_head(1000).await, Err(NoHead::TooLarge)));
    }

    #[tokio::test]
    async fn sends_a_held_head_together_with_its_body() {
        let (mut wire, mut client) = pair().await;
        wire.hold().next_write();
        wire.write_all(b"head;").await.unwrap();
        let mut probe = [0; 16];
        assert!(client.try_read(&mut probe).is_err(), "nothing is sent while the head is held");
        wire.write_all(b"body").await.unwrap();
        let n = client.read(&mut probe).await.unwrap();
        assert_eq!(&probe[..n], b"head;body");
    }

    #[tokio::test]
    async fn a_flush_sends_what_is_held() {
        let (mut wire, mut client) = pair().await;
        wire.hold().next_write();
        wire.write_all(b"head").await.unwrap();
        wire.flush().await.unwrap();
        let mut probe = [0; 16];
        let n = client.read(&mut probe).await.unwrap();
        assert_eq!(&probe[..n], b"head");
    }

    #[tokio::test]
    async fn reads_what_was_given_back_first() {
        let (mut wire, mut client) = pair().await;
        client.write_all(b" world").await.unwrap();
        wire.unread(BytesMut::from(&b"hello"[..]));
        let mut text = [0; 11];
        wire.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"hello world");
    }

    #[tokio::test]
    async fn a_closed_connection_is_not_quiet() {
        let (wire, client) = pair().await;
        assert!(wire.is_quiet());
        drop(client);
        while wire.is_quiet() {
            tokio::task::yield_now().await;
        }
    }
}
