//! Idle connections to apps, one pool per worker: taking one wakes no other thread and takes no lock.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::upstream::Upstream;
use crate::wire::Wire;

/// An idle connection older than this is not used again: below the keep-alive of the usual app servers' proxies,
/// above the pause between two clicks.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Connections to one server, and since when each is idle.
type Idle = Vec<(Box<Wire>, Instant)>;

thread_local! {
    static IDLE: RefCell<HashMap<SocketAddr, Idle>> = RefCell::default();
}

/// A connection that is still good, the one used last first.
pub fn take(address: SocketAddr, now: Instant) -> Option<Box<Wire>> {
    IDLE.with_borrow_mut(|idle| {
        let connections = idle.get_mut(&address)?;
        while let Some((wire, since)) = connections.pop() {
            if now.duration_since(since) < MAX_IDLE && wire.is_quiet() {
                return Some(wire);
            }
        }
        None
    })
}

/// Keeps a connection for the next request, unless there are enough.
pub fn put(address: SocketAddr, wire: Box<Wire>, upstream: &Upstream, now: Instant) {
    IDLE.with_borrow_mut(|idle| {
        let connections = idle.entry(address).or_default();
        if connections.len() < upstream.keepalive {
            connections.push((wire, now));
        }
    });
}

/// Closes what died or has been idle too long. To be called now and then.
pub fn sweep(now: Instant) {
    IDLE.with_borrow_mut(|idle| {
        for connections in idle.values_mut() {
            connections.retain(|(wire, since)| now.duration_since(*since) < MAX_IDLE && wire.is_quiet());
        }
        idle.retain(|_, connections| !connections.is_empty());
    });
}

/// A new connection, within `limit`.
pub async fn connect(address: SocketAddr, limit: Duration) -> std::io::Result<Box<Wire>> {
    let stream = match pingora_timeout::timeout(limit, TcpStream::connect(address)).await {
        Ok(connected) => connected?,
        Err(_) => return Err(std::io::ErrorKind::TimedOut.into()),
    };
    stream.set_nodelay(true)?;
    Ok(Box::new(Wire::tcp(stream)))
}
