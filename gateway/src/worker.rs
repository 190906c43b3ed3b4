//! A serving thread: one event loop, its own sockets, its own connections to the apps.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::connection;
use crate::listener::Listener;
use crate::phase::{Phase, reached};
use crate::pool;
use crate::shared::Shared;

/// How often dead idle connections to apps are closed.
const SWEEP: Duration = Duration::from_secs(5);

/// Starts a worker on these sockets. It ends when the process drains and the last connection has ended, or at once
/// when it is told to.
pub fn start(
    number: usize,
    sockets: Vec<(Arc<Listener>, TcpListener)>,
    shared: Arc<Shared>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        runtime.block_on(work(sockets, shared));
        // Whatever is still running was told to end: it is dropped here, and its sockets are closed.
        runtime.shutdown_timeout(Duration::from_millis(100));
    })
}

async fn work(sockets: Vec<(Arc<Listener>, TcpListener)>, shared: Arc<Shared>) {
    let tasks: Vec<_> = sockets
        .into_iter()
        .map(|(listener, socket)| tokio::spawn(accept(listener, socket, Arc::clone(&shared))))
        .collect();
    let sweep = tokio::spawn(async {
        let mut turn = tokio::time::interval(SWEEP);
        loop {
            turn.tick().await;
            pool::sweep(Instant::now());
        }
    });
    let mut phases = shared.phases.watch();
    for task in tasks {
        let _ = task.await;
    }
    reached(&mut phases, Phase::Ending).await;
    sweep.abort();
}

async fn accept(listener: Arc<Listener>, socket: TcpListener, shared: Arc<Shared>) {
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return log::error!("{}: cannot listen: {error}", listener.address),
    };
    let mut phases = shared.phases.watch();
    loop {
        let accepted = tokio::select! {
            biased;
            () = reached(&mut phases, Phase::Draining) => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let limit = shared.snapshot().config.server.max_connections;
                let Some(counted) = shared.phases.connection(limit) else {
                    log::warn!("{} connections: one more was closed", limit);
                    continue;
                };
                let (shared, listener) = (Arc::clone(&shared), Arc::clone(&listener));
                tokio::spawn(async move {
                    connection::serve(shared, listener, stream, peer).await;
                    drop(counted);
                });
            }
            Err(error) => {
                log::error!("{}: cannot accept: {error}", listener.address);
                // Out of file descriptors, most likely: give running requests time to end.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
