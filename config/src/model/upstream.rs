//! `upstreams`.

use std::time::Duration;

/// One of `upstreams:`
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Never empty.
    pub servers: Vec<UpstreamServer>,
    /// Active checks; without them only failed connections are remembered.
    pub health: Option<Health>,
    /// Idle connections kept per server and worker.
    pub keepalive: usize,
    /// Time limits towards the app.
    pub timeouts: UpstreamTimeouts,
}

/// One of `upstreams.NAME.servers`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// `host:port`, resolved when the policy is built.
    pub address: String,
    /// Its share in round robin. At least 1.
    pub weight: u32,
    /// Asked only when no other server is up.
    pub backup: bool,
}

/// `upstreams.NAME.health`
#[derive(Debug, Clone)]
pub struct Health {
    /// What is asked with GET; 2xx and 3xx are well.
    pub path: String,
    /// Time between checks.
    pub every: Duration,
    /// For one answer.
    pub timeout: Duration,
    /// Good answers in a row that bring a server up.
    pub rise: u32,
    /// Bad answers in a row that take it down.
    pub fall: u32,
}

/// `timeouts` of an upstream, and of a route, which wins.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamTimeouts {
    /// For a connection.
    pub connect: Duration,
    /// Between two reads of an answer; 504 `upstream.timeout`.
    pub read: Duration,
    /// Between two writes of a request.
    pub send: Duration,
}
