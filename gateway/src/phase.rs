//! Whether the process serves, drains or ends; told to every worker.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// What the process is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Takes connections.
    Serving,
    /// Takes none; what runs may finish.
    Draining,
    /// Whatever still runs is cut off.
    Ending,
}

/// The phase, and how much still runs.
pub struct Phases {
    sender: watch::Sender<Phase>,
    connections: AtomicUsize,
}

impl Default for Phases {
    fn default() -> Self {
        Self { sender: watch::Sender::new(Phase::Serving), connections: AtomicUsize::new(0) }
    }
}

impl Phases {
    /// Goes on to a later phase; never back.
    pub fn enter(&self, phase: Phase) {
        self.sender.send_if_modified(|current| {
            *current < phase && {
                *current = phase;
                true
            }
        });
    }

    /// The phase now.
    pub fn now(&self) -> Phase {
        *self.sender.borrow()
    }

    /// To be told of later phases.
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.sender.subscribe()
    }

    /// Counts a client's connection, unless there are `limit` already.
    pub fn connection(self: &std::sync::Arc<Self>, limit: usize) -> Option<Connection> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= limit {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Connection(std::sync::Arc::clone(self)))
    }

    /// Client connections now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// One counted connection.
pub struct Connection(std::sync::Arc<Phases>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until the phase is at least `phase`.
pub async fn reached(watch: &mut watch::Receiver<Phase>, phase: Phase) {
    // An error means that the sender is gone, and with it the process.
    let _ = watch.wait_for(|now| *now >= phase).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn never_goes_back() {
        let phases = Phases::default();
        phases.enter(Phase::Ending);
        phases.enter(Phase::Draining);
        assert_eq!(phases.now(), Phase::Ending);
    }

    #[test]
    fn counts_connections_up_to_the_limit() {
        let phases = Arc::new(Phases::default());
        let first = phases.connection(1);
        assert!(first.is_some() && phases.connection(1).is_none());
        drop(first);
        assert!(phases.connection(1).is_some());
    }
}
