//! One byte stream, to a client or to an app.
//!
//! A head is read whole, bounded in bytes, *before* any parser sees it, so that framing is judged on the bytes as they
//! came. A head and its body, or a chunk and its framing, leave with one system call and in one TLS record. And a spooled
//! body goes from its file to the app without coming through here (`sendfile`).

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use nix::sys::sendfile::sendfile;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use pingora_timeout::timeout;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Bytes read at a time while a head is awaited.
const READ: usize = 4096;

/// Bytes that are put together for one TLS record.
const RECORD: usize = 16 * 1024;

/// How long the other side may take to make room for a TLS goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Parts of a message that are sent at once, at most.
const PARTS: usize = 3;

/// A connection, with what was read from it and not yet used.
pub struct Wire {
    io: Io,
    inbox: BytesMut,
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
        Self { io, inbox: BytesMut::new() }
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
            if let Some(length) = self.head(seen, limit)? {
                return Ok(length);
            }
            seen = self.inbox.len();
            if !self.more().await {
                return Err(NoHead::Closed { partial: seen > 0 });
            }
        }
    }

    /// The length of the head in the inbox, once it is whole; looking again only at what is new since `seen`.
    pub fn head(&self, seen: usize, limit: usize) -> Result<Option<usize>, NoHead> {
        match head_end(&self.inbox, seen) {
            Some(end) if end <= limit => Ok(Some(end)),
            None if self.inbox.len() <= limit => Ok(None),
            _ => Err(NoHead::TooLarge),
        }
    }

    /// Reads once more into the inbox, `room` bytes or somewhat more at most. Returns how many; 0 when the connection
    /// ended.
    pub async fn receive(&mut self, room: usize) -> io::Result<usize> {
        self.make(room);
        match &mut self.io {
            Io::Tcp(stream) => stream.read_buf(&mut self.inbox).await,
            Io::Tls(stream) => stream.read_buf(&mut self.inbox).await,
        }
    }

    fn make(&mut self, room: usize) {
        if self.inbox.capacity() - self.inbox.len() < READ {
            self.inbox.reserve(room);
        }
    }

    /// Waits until there is something to read or more can be sent. What follows is for plain connections alone.
    pub async fn ready(&self) -> io::Result<Ready> {
        self.plain()?.ready(Interest::READABLE | Interest::WRITABLE).await
    }

    /// As [`receive`](Self::receive), without waiting.
    pub fn try_receive(&mut self, room: usize) -> io::Result<usize> {
        self.make(room);
        match &self.io {
            Io::Tcp(stream) => stream.try_read_buf(&mut self.inbox),
            Io::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends some of these bytes, without waiting.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.plain()?.try_write(bytes)
    }

    /// Sends some of a file's bytes from `at` on, `count` at most, without waiting for the connection. It may wait for
    /// pages that the system has not cached.
    pub fn try_send_file(&self, file: &File, at: u64, count: u64) -> io::Result<usize> {
        let stream = self.plain()?;
        let mut at = i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        match stream.try_io(Interest::WRITABLE, || Ok(sendfile(stream, file, Some(&mut at), count)?)) {
            Ok(0) if count > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => sent,
        }
    }

    fn plain(&self) -> io::Result<&TcpStream> {
        match &self.io {
            Io::Tcp(stream) => Ok(stream),
            Io::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
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

    /// Says goodbye. Whoever reads nothing any more does not hold this up.
    pub async fn close(&mut self) {
        let _ = timeout(GOODBYE, AsyncWriteExt::shutdown(self)).await;
    }

    /// Sends these parts, three at most, one behind the other.
    pub async fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        match &mut self.io {
            Io::Tcp(stream) => send_parts(stream, parts).await,
            Io::Tls(stream) => {
                let size: usize = parts.iter().map(|part| part.len()).sum();
                if size <= RECORD {
                    stream.write_all(&parts.concat()).await?;
                } else {
                    for part in parts {
                        stream.write_all(part).await?;
                    }
                }
                stream.flush().await
            }
        }
    }
}

async fn send_parts(stream: &mut TcpStream, parts: &[&[u8]]) -> io::Result<()> {
    let mut sent = 0;
    loop {
        let mut slices = [IoSlice::new(&[]); PARTS];
        let mut used = 0;
        let mut skip = sent;
        for part in parts {
            let left = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            if !left.is_empty() {
                slices[used] = IoSlice::new(left);
                used += 1;
            }
        }
        let n = match &slices[..used] {
            [] => return Ok(()),
            [one] => stream.write(one).await?,
            several => stream.write_vectored(several).await?,
        };
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        sent += n;
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

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.inbox.is_empty() {
            let n = self.inbox.len().min(buf.remaining());
            buf.put_slice(&self.inbox[..n]);
            self.inbox.advance(n);
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(_) => Poll::Ready(Ok(())),
            Io::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
    async fn sends_parts_in_order_however_they_are_taken() {
        let (mut wire, mut client) = pair().await;
        let large = vec![b'x'; 3_000_000];
        let expected = [b"head;", &large[..], b"tail"].concat();
        let sending = tokio::spawn(async move {
            wire.send(&[]).await.unwrap();
            wire.send(&[b"", b""]).await.unwrap();
            wire.send(&[b"head;", &large, b"tail"]).await.unwrap();
        });
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        sending.await.unwrap();
        assert!(seen == expected);
    }

    #[tokio::test]
    async fn reads_what_was_read_before_first() {
        let (mut wire, mut client) = pair().await;
        client.write_all(b"hello world").await.unwrap();
        assert!(wire.fill().await);
        let mut text = [0; 11];
        wire.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"hello world");
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_does_not_hold_up_a_goodbye() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], made.signing_key.into())
            .unwrap();
        let mut trusted = rustls::RootCertStore::empty();
        trusted.add(made.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(trusted)
            .with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let accepted = async { acceptor.accept(listener.accept().await.unwrap().0).await };
        let (_client, accepted) = tokio::join!(connector.connect(name, stream), accepted);
        let mut wire = Wire::tls(accepted.unwrap());
        let brief = Duration::from_millis(50);
        while timeout(brief, wire.send(&[&[0; RECORD]])).await.is_ok() {}
        assert!(timeout(10 * GOODBYE, wire.close()).await.is_ok());
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
