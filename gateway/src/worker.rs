//! A serving thread: one event loop, its own sockets, its own connections to the apps.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::builtin::most_at_a_time;
use crate::connection;
use crate::crew::{Crew, Newcomer, Serving};
use crate::listener::Listener;
use crate::phase::{Connection, Phase, reached};
use crate::pool;
use crate::shared::Shared;

/// Threads that read and write spooled bodies for one worker; those that judge files by rules come on top, because they
/// wait for what the others read. Each keeps some memory of its own for a while.
const DISK_THREADS: usize = 8;

/// How often dead idle connections to apps are closed.
const SWEEP: Duration = Duration::from_secs(5);

/// Starts a worker on these sockets. It ends when the process drains and the last connection has ended, or at once
/// when it is told to.
pub fn start(
    number: usize,
    sockets: Vec<(Arc<Listener>, TcpListener)>,
    crew: Arc<Crew>,
    passed: UnboundedReceiver<Newcomer>,
    shared: Arc<Shared>,
) -> io::Result<JoinHandle<()>> {
    let blocking = DISK_THREADS + most_at_a_time();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(blocking).build()?;
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        runtime.block_on(work(Worker { number, crew, shared }, sockets, passed));
        // Whatever is still running was told to end: it is dropped here, and its sockets are closed.
        runtime.shutdown_timeout(Duration::from_millis(100));
    })
}

/// What the tasks of one worker share.
#[derive(Clone)]
struct Worker {
    number: usize,
    crew: Arc<Crew>,
    shared: Arc<Shared>,
}

async fn work(
    worker: Worker,
    sockets: Vec<(Arc<Listener>, TcpListener)>,
    passed: UnboundedReceiver<Newcomer>,
) {
    let mut tasks: Vec<_> = sockets
        .into_iter()
        .map(|(listener, socket)| tokio::spawn(worker.clone().accept(listener, socket)))
        .collect();
    tasks.push(tokio::spawn(worker.clone().take_over(passed)));
    let shared = worker.shared;
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

impl Worker {
    async fn accept(self, listener: Arc<Listener>, socket: TcpListener) {
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return log::error!("{}: cannot listen: {error}", listener.address),
        };
        let mut phases = self.shared.phases.watch();
        loop {
            let accepted = tokio::select! {
                biased;
                () = reached(&mut phases, Phase::Draining) => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let limit = self.shared.snapshot().config.server.max_connections;
                    let Some(counted) = self.shared.phases.connection(limit) else {
                        log::warn!("{} connections: one more was closed", limit);
                        continue;
                    };
                    self.seat(Arc::clone(&listener), stream, peer, counted);
                }
                Err(error) => {
                    log::error!("{}: cannot accept: {error}", listener.address);
                    // Out of file descriptors, most likely: give running requests time to end.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Serves a connection, or passes it on.
    fn seat(&self, listener: Arc<Listener>, stream: TcpStream, peer: SocketAddr, counted: Connection) {
        let other = self.crew.choose(self.number);
        let serving = self.crew.serving(other);
        if other == self.number {
            return self.serve(listener, stream, peer, (counted, serving));
        }
        let Ok(stream) = stream.into_std() else { return };
        let newcomer = Newcomer { listener, stream, peer, counted, serving };
        if let Some(refused) = self.crew.pass(other, newcomer) {
            self.take(refused);
        }
    }

    /// Serves what others pass on, until the process drains.
    async fn take_over(self, mut passed: UnboundedReceiver<Newcomer>) {
        let mut phases = self.shared.phases.watch();
        loop {
            tokio::select! {
                newcomer = passed.recv() => match newcomer {
                    Some(newcomer) => self.take(newcomer),
                    None => return,
                },
                () = reached(&mut phases, Phase::Draining) => break,
            }
        }
        passed.close();
        while let Some(newcomer) = passed.recv().await {
            self.take(newcomer);
        }
    }

    fn take(&self, newcomer: Newcomer) {
        let Newcomer { listener, stream, peer, counted, serving } = newcomer;
        match TcpStream::from_std(stream) {
            Ok(stream) => self.serve(listener, stream, peer, (counted, serving)),
            Err(error) => log::error!("{peer}: a connection cannot be taken over: {error}"),
        }
    }

    fn serve(
        &self,
        listener: Arc<Listener>,
        stream: TcpStream,
        peer: SocketAddr,
        counted: (Connection, Serving),
    ) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            connection::serve(shared, listener, stream, peer).await;
            drop(counted);
        });
    }
}
