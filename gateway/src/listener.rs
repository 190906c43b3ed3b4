//! Where clients connect: sockets, TLS handshakes, PROXY lines.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use filters::proxy_protocol::{self, Parsed};
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::tls::Resolver;
use crate::wire::Wire;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A listener of the policy, bound.
pub struct Listener {
    /// What the policy says; port 0 stays 0 here.
    pub settings: config::Listener,
    /// Where it really listens.
    pub address: SocketAddr,
    /// What handshakes follow, when TLS ends here.
    pub tls: Option<Arc<ServerConfig>>,
    /// Its certificates, to be replaced at a reload.
    pub resolver: Option<Arc<Resolver>>,
}

/// Binds one socket per worker to an address, so that the kernel spreads connections over them. An address that
/// somebody else listens on is an error, as it would be without that.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let address = {
        let probe = socket(address, false)?;
        probe.bind(&address.into())?;
        probe.local_addr()?.as_socket().unwrap_or(address)
    };
    let sockets = (0..workers.max(1))
        .map(|_| {
            let socket = socket(address, true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            Ok(TcpListener::from(socket))
        })
        .collect::<io::Result<Vec<_>>>()?;
    Ok((address, sockets))
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A client's connection, ready for HTTP.
pub struct Accepted {
    /// Its bytes.
    pub wire: Wire,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    /// The TLS version, when TLS ended here.
    pub tls: Option<&'static str>,
    /// Who connected: the peer, or whom a trusted PROXY line names.
    pub client: SocketAddr,
}

/// The bytes with which an HTTP/2 client that knows beforehand begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Listener {
    /// Brings a connection to where HTTP begins, within `limit`.
    pub async fn open(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        trusted: bool,
        limit: Duration,
    ) -> io::Result<Accepted> {
        stream.set_nodelay(true)?;
        match tokio::time::timeout(limit, self.opened(&mut stream, peer, trusted)).await {
            Ok(Ok((client, Secured::Plain))) => self.plain(stream, client, limit).await,
            Ok(Ok((client, Secured::Tls(acceptor)))) => {
                let stream = tokio::time::timeout(limit, acceptor.accept(stream))
                    .await
                    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                let session = stream.get_ref().1;
                let http2 = session.alpn_protocol() == Some(b"h2");
                let tls = match session.protocol_version() {
                    Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
                    _ => "TLSv1.3",
                };
                Ok(Accepted { wire: Wire::tls(stream), http2, tls: Some(tls), client })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn opened(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        trusted: bool,
    ) -> io::Result<(SocketAddr, Secured)> {
        let client =
            if self.settings.proxy_protocol && trusted { proxy_line(stream, peer).await? } else { peer };
        let secured = match &self.tls {
            Some(settings) => Secured::Tls(TlsAcceptor::from(Arc::clone(settings))),
            None => Secured::Plain,
        };
        Ok((client, secured))
    }

    async fn plain(&self, stream: TcpStream, client: SocketAddr, limit: Duration) -> io::Result<Accepted> {
        let mut wire = Wire::tcp(stream);
        let http2 = self.settings.http2
            && match tokio::time::timeout(limit, starts_with_preface(&mut wire)).await {
                Ok(http2) => http2,
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            };
        Ok(Accepted { wire, http2, tls: None, client })
    }
}

enum Secured {
    Plain,
    Tls(TlsAcceptor),
}

async fn starts_with_preface(wire: &mut Wire) -> bool {
    loop {
        if !wire.fill().await {
            return false;
        }
        let seen = wire.inbox().len().min(PREFACE.len());
        if wire.inbox()[..seen] != PREFACE[..seen] {
            return false;
        }
        if seen == PREFACE.len() {
            return true;
        }
        if !wire.more().await {
            return false;
        }
    }
}

/// Reads the PROXY header and nothing behind it. A connection that does not begin with one is closed.
async fn proxy_line(stream: &mut TcpStream, peer: SocketAddr) -> io::Result<SocketAddr> {
    let mut seen = vec![0; 4096];
    let mut before = 0;
    loop {
        let n = stream.peek(&mut seen).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match proxy_protocol::parse(&seen[..n]) {
            Parsed::Header { addresses, consumed } => {
                stream.read_exact(&mut seen[..consumed]).await?;
                return Ok(addresses.map_or(peer, |(source, _)| source));
            }
            Parsed::Invalid => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "no valid PROXY header"));
            }
            // Peeking does not take the bytes, so the socket stays readable: wait until there are more of them.
            Parsed::Partial if n == before => tokio::time::sleep(Duration::from_millis(5)).await,
            Parsed::Partial => before = n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_an_address_somebody_listens_on() {
        let (address, _held) = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        assert_eq!(bind(address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn gives_every_worker_a_socket_on_the_same_port() {
        let (address, sockets) = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_ne!(address.port(), 0);
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        assert_eq!(sockets.len(), 3);
    }

    #[tokio::test]
    async fn tells_http2_by_its_preface_however_it_arrives() {
        use tokio::io::AsyncWriteExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (bytes, expected) in [(PREFACE, true), (b"PRI / HTTP/1.1\r\n".as_slice(), false), (b"GET", false)]
        {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut wire = Wire::tcp(listener.accept().await.unwrap().0);
            let (head, tail) = bytes.split_at(2);
            client.write_all(head).await.unwrap();
            let answer = tokio::spawn(async move { starts_with_preface(&mut wire).await });
            client.write_all(tail).await.unwrap();
            assert_eq!(answer.await.unwrap(), expected);
        }
    }
}
