//! `server`, `listeners` and `admin`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::secret::Secret;

/// `server:`
#[derive(Debug, Clone)]
pub struct Server {
    /// Where the process id is written; what `menshen reload|quit|stop` read.
    pub pid_file: Option<PathBuf>,
    /// Serving threads, one event loop each. At least 1. Default: cores.
    pub workers: usize,
    /// Peers whose `X-Forwarded-For`, `X-Request-Id` and PROXY line are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Bytes of a request's head; more is 431.
    pub max_header_size: usize,
    /// Client connections at a time, all listeners together.
    pub max_connections: usize,
    /// Bytes a second below which a body is too slow.
    pub min_body_rate: u64,
    /// Time limits towards clients.
    pub timeouts: ServerTimeouts,
}

/// `server.timeouts`
#[derive(Debug, Clone, Copy)]
pub struct ServerTimeouts {
    /// For the whole head of a request.
    pub header: Duration,
    /// For a body that stays below `min_body_rate`.
    pub body: Duration,
    /// For an idle connection between requests.
    pub keepalive: Duration,
    /// For running requests after QUIT.
    pub shutdown: Duration,
}

/// One of `listeners:`
#[derive(Debug, Clone)]
pub struct Listener {
    /// Port 0 asks the system for a free one.
    pub address: SocketAddr,
    /// Whether HTTP/2 is offered (by ALPN; on a plain listener by prior knowledge).
    pub http2: bool,
    /// Whether HTTP/1.1 is served.
    pub http1: bool,
    /// TLS, when it ends here.
    pub tls: Option<Tls>,
    /// Answer everything with a redirect to the same URL by https.
    pub redirect_https: bool,
    /// The connection starts with a PROXY v1 or v2 header, believed from trusted proxies only.
    pub proxy_protocol: bool,
}

/// `listeners[].tls`
#[derive(Debug, Clone)]
pub struct Tls {
    /// TLS 1.3 only when true, else 1.2 as well.
    pub tls13_only: bool,
    /// Certificate chains with their keys; chosen by the names they carry, the first is the default. Never empty.
    pub certificates: Vec<Certificate>,
}

/// A PEM chain and its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// File of the chain, leaf first.
    pub cert: PathBuf,
    /// File of the private key.
    pub key: PathBuf,
}

/// `admin:`
#[derive(Debug, Clone)]
pub struct Admin {
    /// Loopback unless `token` is set.
    pub address: SocketAddr,
    /// Bearer token asked of every admin call.
    pub token: Option<Secret>,
}
