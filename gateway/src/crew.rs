//! The workers as a crew: a connection is served by whoever has few.
//!
//! The kernel deals connections out to the workers' sockets by a hash of their addresses, which leaves one with half as
//! many again as another, and its clients with the longest waits. So a worker that has clearly more than the one with
//! the fewest passes a new connection on. That happens once in a connection's life; a request costs nothing for it.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::listener::Listener;
use crate::phase::Connection;

/// A connection that was accepted. `server.max_connections` bounds how many there are.
pub struct Newcomer {
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// Itself.
    pub stream: TcpStream,
    /// Who connected.
    pub peer: SocketAddr,
    /// Its place among all,
    pub counted: Connection,
    /// and among those of its worker. Taken before it is passed on, so that a burst is dealt out evenly.
    pub serving: Serving,
}

/// See the module.
pub struct Crew(Vec<Member>);

struct Member {
    connections: AtomicUsize,
    newcomers: UnboundedSender<Newcomer>,
}

impl Crew {
    /// So many workers, and what each of them is passed.
    pub fn of(workers: usize) -> (Arc<Self>, Vec<UnboundedReceiver<Newcomer>>) {
        let (members, passed) = (0..workers)
            .map(|_| {
                let (newcomers, passed) = unbounded_channel();
                (Member { connections: AtomicUsize::new(0), newcomers }, passed)
            })
            .unzip();
        (Arc::new(Self(members)), passed)
    }

    /// Who should serve what `worker` accepted.
    pub fn choose(&self, worker: usize) -> usize {
        let count = |member: &Member| member.connections.load(Ordering::Relaxed);
        let own = self.0.get(worker).map_or(0, count);
        let least = self.0.iter().enumerate().min_by_key(|(_, member)| count(member));
        match least {
            // A sixteenth more, and two: connections that come and go are not worth a wake-up.
            Some((other, member)) if own > count(member) + 2 + own / 16 => other,
            _ => worker,
        }
    }

    /// Passes a connection on; gives it back when that worker takes no more.
    pub fn pass(&self, to: usize, newcomer: Newcomer) -> Option<Newcomer> {
        match self.0.get(to) {
            Some(member) => member.newcomers.send(newcomer).err().map(|refused| refused.0),
            None => Some(newcomer),
        }
    }

    /// Counts a connection that a worker serves, until this is dropped.
    pub fn serving(self: &Arc<Self>, worker: usize) -> Serving {
        if let Some(member) = self.0.get(worker) {
            member.connections.fetch_add(1, Ordering::Relaxed);
        }
        Serving { crew: Arc::clone(self), worker }
    }
}

/// A connection of one worker's.
pub struct Serving {
    crew: Arc<Crew>,
    worker: usize,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(member) = self.crew.0.get(self.worker) {
            member.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_the_idlest_when_the_difference_is_worth_it() {
        let (crew, _passed) = Crew::of(3);
        let mut served: Vec<Serving> = Vec::new();
        for (has, chosen) in [(1, 0), (2, 0), (3, 1)] {
            served.push(crew.serving(0));
            assert_eq!(crew.choose(0), chosen, "with {has}");
        }
        served.extend([crew.serving(1), crew.serving(1)]);
        assert_eq!((crew.choose(0), crew.choose(1), crew.choose(2)), (2, 1, 2));
        drop(served);
        assert_eq!(crew.choose(0), 0);
    }

    #[test]
    fn ends_nearly_even_however_the_kernel_deals() {
        let (crew, _passed) = Crew::of(4);
        let mut counts = [0_usize; 4];
        let served: Vec<Serving> = (0..400)
            .map(|_| {
                let worker = crew.choose(0);
                counts[worker] += 1;
                crew.serving(worker)
            })
            .collect();
        assert!(counts.iter().all(|count| (90..=120).contains(count)), "{counts:?}");
        drop(served);
    }
}
