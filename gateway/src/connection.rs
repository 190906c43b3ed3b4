//! One client's connection: its requests, one after another over HTTP/1, side by side over HTTP/2.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use filters::exchange::Arrival;
use filters::{Denial, Reason};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::v2::server as h2_server;
use pingora_timeout::timeout;
use tokio::sync::watch;

use crate::http1::{BadHead, Http1};
use crate::identifiers;
use crate::listener::{Accepted, Listener};
use crate::phase::{Phase, reached};
use crate::refusal::{self, After};
use crate::serve;
use crate::session::{SEND, Session};
use crate::shared::Shared;
use crate::wire::{NoHead, Wire};

/// Streams a client may have open at a time.
const MAX_STREAMS: u32 = 128;

/// Streams that may be malformed before the whole connection is closed.
const MAX_MALFORMED_STREAMS: usize = 32;

/// What is known about a connection before its first request.
pub struct Client {
    /// Everything the process shares.
    pub shared: Arc<Shared>,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// Who connected, or whom a trusted PROXY line names.
    pub peer: IpAddr,
    /// The TLS version, when TLS ended here.
    pub tls: Option<&'static str>,
}

impl Client {
    /// How a request comes in, now.
    pub fn arrival<'a>(&self, raw_head: Option<&'a [u8]>) -> Arrival<'a> {
        Arrival {
            now: SystemTime::now(),
            peer: self.peer,
            https: self.tls.is_some(),
            port: self.listener.address.port(),
            raw_head,
            random: u128::from(identifiers::random()) << 64 | u128::from(identifiers::random()),
        }
    }
}

/// Serves a connection until it ends.
pub async fn serve(
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
) {
    let settings = Arc::clone(&shared.snapshot());
    let server = &settings.config.server;
    let trusted = settings.pipeline.trusts(peer.ip());
    let Accepted { wire, http2, tls, client } =
        match listener.open(stream, peer, trusted, server.timeouts.header).await {
            Ok(accepted) => accepted,
            Err(error) => {
                log::debug!("{peer}: no connection: {error}");
                return;
            }
        };
    drop(settings);
    let phases = shared.phases.watch();
    let client = Arc::new(Client { shared, listener, peer: client.ip(), tls });
    if http2 {
        streams(wire, client, phases).await;
    } else {
        requests(Box::new(wire), client, phases).await;
    }
}

/// HTTP/1: reads a head whole, judges its bytes, and serves the request; then the next.
async fn requests(mut wire: Box<Wire>, client: Arc<Client>, mut phases: watch::Receiver<Phase>) {
    let mut first = true;
    let mut draining = pin!(reached(&mut phases, Phase::Draining));
    loop {
        let snapshot = client.shared.snapshot();
        let times = snapshot.config.server.timeouts;
        if wire.inbox().is_empty() {
            let patience = if first { times.header } else { times.keepalive };
            tokio::select! {
                biased;
                filled = timeout(patience, wire.fill()) => if !matches!(filled, Ok(true)) { return },
                () = &mut draining => return,
            }
        }
        first = false;
        let limit = snapshot.config.server.max_header_size;
        let read = match timeout(times.header, wire.read_head(limit)).await {
            Ok(Ok(length)) => Http1::begin(wire, length, SEND).map_err(|(wire, bad)| (wire, misread(&bad))),
            Ok(Err(NoHead::Closed { .. })) => return,
            Ok(Err(NoHead::TooLarge)) => {
                let denial = too_large(wire.inbox(), limit);
                Err((wire, denial))
            }
            Err(_) => Err((wire, Denial::new(Reason::RequestTimeout, "the head did not come in time"))),
        };
        let mut session = match read {
            Ok(session) => session,
            Err((wire, denial)) => return serve::refuse_unread(wire, &client, &snapshot, denial).await,
        };
        if client.shared.phases.now() != Phase::Serving {
            session.close_after();
        }
        let mut slot = Some(Session::Http1(session));
        let after = serve::request(&mut slot, &client, snapshot).await;
        let (Some(session), Some(after)) = (slot, after) else { return };
        if after == After::Linger {
            if let Some(mut wire) = session.into_wire() {
                refusal::linger(&mut wire).await;
            }
            return;
        }
        let Some(again) = session.finish().await else { return };
        wire = again;
    }
}

fn misread(bad: &BadHead) -> Denial {
    match bad {
        BadHead::Malformed => Denial::new(Reason::RequestMalformed, "the head cannot be parsed"),
        BadHead::TooManyLines => Denial::new(Reason::RequestHeadTooLarge, "more header lines than are read"),
    }
}

/// A head that does not end: because of its first line, or of the rest.
fn too_large(seen: &BytesMut, limit: usize) -> Denial {
    let first_line = memchr::memchr(b'\n', seen).unwrap_or(seen.len());
    if first_line > filters::path::MAX_TARGET {
        Denial::new(Reason::RequestUriTooLong, "a request line of more than 8 KB")
    } else {
        Denial::new(Reason::RequestHeadTooLarge, format!("a head of more than {limit} bytes"))
    }
}

/// HTTP/2: every stream is a request of its own.
async fn streams(wire: Wire, client: Arc<Client>, mut phases: watch::Receiver<Phase>) {
    let snapshot = client.shared.snapshot();
    let mut options = h2_server::default_h2_options();
    options.max_concurrent_streams(MAX_STREAMS);
    options.max_header_list_size(u32::try_from(snapshot.config.server.max_header_size).unwrap_or(u32::MAX));
    options.initial_window_size(1 << 20);
    options.initial_connection_window_size(2 << 20);
    let times = snapshot.config.server.timeouts;
    drop(snapshot);
    let Ok(Ok(mut connection)) =
        timeout(times.header, h2_server::handshake(Box::new(wire), Some(options))).await
    else {
        return;
    };
    let digest = Arc::new(Digest::default());
    let alive = Arc::new(());
    let mut malformed = 0;
    let mut draining = false;
    loop {
        let next = h2_server::HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest));
        let accepted = tokio::select! {
            biased;
            () = reached(&mut phases, Phase::Draining), if !draining => {
                connection.graceful_shutdown();
                draining = true;
                continue;
            }
            next = timeout(idle(times.keepalive), next) => match next {
                Ok(next) => next,
                Err(_) if Arc::strong_count(&alive) > 1 => continue,
                Err(_) => return,
            },
        };
        match accepted {
            Ok(Some(h2_server::H2Accept::Session(session))) => {
                let (client, alive) = (Arc::clone(&client), Arc::clone(&alive));
                tokio::spawn(async move {
                    let snapshot = client.shared.snapshot();
                    let mut slot = Some(Session::http2(session));
                    if serve::request(&mut slot, &client, snapshot).await.is_some()
                        && let Some(session) = slot
                    {
                        session.finish().await;
                    }
                    drop(alive);
                });
            }
            Ok(Some(h2_server::H2Accept::Rejected)) => {
                malformed += 1;
                serve::note_malformed(&client);
                if malformed > MAX_MALFORMED_STREAMS {
                    return;
                }
            }
            Ok(None) | Err(_) => return,
        }
    }
}

fn idle(keepalive: Duration) -> Duration {
    keepalive.max(Duration::from_secs(1))
}
