//! The apps behind the gateway: which server is asked next, and which is left in peace.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use config::{Health, UpstreamTimeouts};

/// How long a server that refused a connection is not asked again, while others can be.
const REST: Duration = Duration::from_secs(10);

/// Most servers one upstream may have: `tried` is a set of bits.
pub const MAX_SERVERS: usize = 64;

/// One upstream of the policy, ready to be asked.
pub struct Upstream {
    /// Its name in the policy.
    pub name: Arc<str>,
    /// Its servers, in the order of the policy.
    pub servers: Vec<Arc<Server>>,
    /// Idle connections kept per server and worker.
    pub keepalive: usize,
    /// Time limits, unless the route has its own.
    pub timeouts: UpstreamTimeouts,
    /// Active checks.
    pub health: Option<Health>,
    turns: Vec<u8>,
    backups: Vec<u8>,
    turn: AtomicUsize,
}

/// One server. It outlives a reload that does not remove it.
pub struct Server {
    /// `host:port` as the policy says it.
    pub name: Arc<str>,
    address: ArcSwapOption<SocketAddr>,
    fixed: Option<SocketAddr>,
    healthy: AtomicBool,
    streak: AtomicU32,
    rest_until: AtomicU64,
}

/// Servers by upstream and address: what survives a reload.
#[derive(Default)]
pub struct Servers(Mutex<HashMap<(String, String), Arc<Server>>>);

impl Servers {
    /// Builds an upstream with the servers that are already known, and forgets none: [`Servers::retain`] does.
    pub fn upstream(&self, name: &str, settings: &config::Upstream) -> Upstream {
        let mut known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let servers: Vec<_> = settings
            .servers
            .iter()
            .take(MAX_SERVERS)
            .map(|server| {
                let key = (name.to_owned(), server.address.clone());
                Arc::clone(known.entry(key).or_insert_with(|| Arc::new(Server::new(&server.address))))
            })
            .collect();
        let weights: Vec<_> =
            settings.servers.iter().take(MAX_SERVERS).map(|s| if s.backup { 0 } else { s.weight }).collect();
        let backups = settings.servers.iter().enumerate().filter(|(_, s)| s.backup);
        Upstream {
            name: name.into(),
            keepalive: settings.keepalive,
            timeouts: settings.timeouts,
            health: settings.health.clone(),
            turns: smooth_turns(&weights),
            backups: backups.map(|(i, _)| i as u8).collect(),
            turn: AtomicUsize::new(0),
            servers,
        }
    }

    /// Forgets the servers that no upstream has any more.
    pub fn retain(&self, in_use: &[Arc<Upstream>]) {
        let mut known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.retain(|(upstream, server), _| {
            in_use.iter().any(|u| *u.name == **upstream && u.servers.iter().any(|s| *s.name == **server))
        });
    }
}

impl Upstream {
    /// The server whose turn it is among those that are up and not in `tried`; a backup when there is none; one that
    /// only rests, rather than nobody.
    pub fn choose(&self, tried: u64, now_ms: u64) -> Option<usize> {
        let untried = |i: &&u8| tried & (1 << **i) == 0;
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let turns =
            || (0..self.turns.len()).map(|n| &self.turns[(start + n) % self.turns.len()]).filter(untried);
        let backups = || self.backups.iter().filter(untried);
        let ready = |i: &&u8| self.servers[**i as usize].is_ready(now_ms);
        let healthy = |i: &&u8| self.servers[**i as usize].is_healthy();
        turns()
            .find(ready)
            .or_else(|| backups().find(ready))
            .or_else(|| turns().find(healthy))
            .or_else(|| backups().find(healthy))
            .map(|i| *i as usize)
    }
}

impl Server {
    fn new(name: &str) -> Self {
        let fixed = name.parse().ok();
        let server = Self {
            name: name.into(),
            address: ArcSwapOption::empty(),
            fixed,
            healthy: AtomicBool::new(true),
            streak: AtomicU32::new(0),
            rest_until: AtomicU64::new(0),
        };
        server.resolve();
        server
    }

    /// Where it is, once its name was resolved.
    pub fn address(&self) -> Option<SocketAddr> {
        self.fixed.or_else(|| self.address.load().as_deref().copied())
    }

    /// Asks the system's resolver again, when the server was given by name. Blocks. The last good answer stays.
    pub fn resolve(&self) {
        if self.fixed.is_some() {
            return;
        }
        match self.name.to_socket_addrs().map(|mut all| all.next()) {
            Ok(Some(address)) => self.address.store(Some(Arc::new(address))),
            _ => log::warn!("upstream server {} cannot be resolved", self.name),
        }
    }

    /// Whether the last checks say it is up.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    fn is_ready(&self, now_ms: u64) -> bool {
        self.is_healthy() && self.rest_until.load(Ordering::Relaxed) <= now_ms
    }

    /// It refused a connection: others first, for a while.
    pub fn rest(&self, now_ms: u64) {
        self.rest_until.store(now_ms + REST.as_millis() as u64, Ordering::Relaxed);
    }

    /// It took a connection.
    pub fn wake(&self) {
        if self.rest_until.load(Ordering::Relaxed) != 0 {
            self.rest_until.store(0, Ordering::Relaxed);
        }
    }

    /// Counts one check; `Some(up)` when that changed what is thought of it.
    pub fn checked(&self, well: bool, health: &Health) -> Option<bool> {
        if well == self.is_healthy() {
            self.streak.store(0, Ordering::Relaxed);
            return None;
        }
        let streak = self.streak.fetch_add(1, Ordering::Relaxed) + 1;
        let needed = if well { health.rise } else { health.fall };
        (streak >= needed).then(|| {
            self.streak.store(0, Ordering::Relaxed);
            self.rest_until.store(0, Ordering::Relaxed);
            self.healthy.store(well, Ordering::Relaxed);
            well
        })
    }

    /// Without checks a server counts as up.
    pub fn unchecked(&self) {
        self.healthy.store(true, Ordering::Relaxed);
    }
}

/// Milliseconds of a clock that never goes back.
pub fn now_ms() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

/// The order of turns in which every server comes as often as its weight and as evenly as can be: Nginx's smooth
/// weighted round robin, played once through.
fn smooth_turns(weights: &[u32]) -> Vec<u8> {
    let divisor = weights.iter().filter(|w| **w > 0).fold(0, |a, b| gcd(a, *b)).max(1);
    let weights: Vec<i64> = weights.iter().map(|w| i64::from((w / divisor).min(100))).collect();
    let total: i64 = weights.iter().sum();
    let mut current = vec![0; weights.len()];
    (0..total)
        .filter_map(|_| {
            current.iter_mut().zip(&weights).for_each(|(c, w)| *c += w);
            let best =
                (0..weights.len()).filter(|i| weights[*i] > 0).max_by_key(|i| (current[*i], -(*i as i64)))?;
            current[best] -= total;
            Some(best as u8)
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::UpstreamServer;

    fn upstream(servers: &[(&str, u32, bool)]) -> Upstream {
        let server = |(address, weight, backup): &(&str, u32, bool)| UpstreamServer {
            address: (*address).into(),
            weight: *weight,
            backup: *backup,
        };
        let timeout = Duration::from_secs(1);
        let settings = config::Upstream {
            servers: servers.iter().map(server).collect(),
            health: None,
            keepalive: 1,
            timeouts: UpstreamTimeouts { connect: timeout, read: timeout, send: timeout },
        };
        Servers::default().upstream("app", &settings)
    }

    #[test]
    fn spreads_turns_by_weight_and_evenly() {
        assert_eq!(smooth_turns(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(smooth_turns(&[2, 2]), [0, 1]);
    }

    #[test]
    fn passes_over_a_resting_server_and_comes_back() {
        let app = upstream(&[("127.0.0.1:1", 1, false), ("127.0.0.1:2", 1, false)]);
        app.servers[0].rest(0);
        assert!((0..4).all(|_| app.choose(0, 1) == Some(1)));
        let later = REST.as_millis() as u64 + 1;
        assert!((0..2).any(|_| app.choose(0, later) == Some(0)));
    }

    #[test]
    fn asks_a_backup_only_when_no_other_is_ready() {
        let app = upstream(&[("127.0.0.1:1", 1, false), ("127.0.0.1:2", 1, true)]);
        assert_eq!(app.choose(0, 1), Some(0));
        app.servers[0].rest(1);
        assert_eq!(app.choose(0, 2), Some(1));
    }

    #[test]
    fn asks_a_resting_server_rather_than_nobody() {
        let app = upstream(&[("127.0.0.1:1", 1, false)]);
        app.servers[0].rest(1);
        assert_eq!(app.choose(0, 2), Some(0));
        assert_eq!(app.choose(1, 2), None);
    }

    #[test]
    fn goes_down_and_up_after_its_streaks() {
        let health = Health {
            path: "/".into(),
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 2,
        };
        let app = upstream(&[("127.0.0.1:1", 1, false)]);
        let server = &app.servers[0];
        assert_eq!(server.checked(false, &health), None);
        assert_eq!(server.checked(false, &health), Some(false));
        assert_eq!(app.choose(0, 1), None);
        assert_eq!(server.checked(true, &health), None);
        assert_eq!(server.checked(true, &health), Some(true));
        assert_eq!(app.choose(0, 1), Some(0));
    }
}
