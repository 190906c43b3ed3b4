//! Active checks: asks every server of an upstream now and then whether it is well.

use std::sync::Arc;
use std::time::Duration;

use config::Health;
use pingora_core::protocols::http::v1::client::HttpSession as Client;
use pingora_http::RequestHeader;
use tokio::task::JoinHandle;

use crate::metrics::Metrics;
use crate::pool;
use crate::upstream::{Server, Upstream};

/// How often servers given by name are looked up again.
const RESOLVE: Duration = Duration::from_secs(30);

/// The checks of one snapshot; they end when it is dropped.
pub struct Checks(Vec<JoinHandle<()>>);

impl Checks {
    /// Starts checking. To be called on the control runtime.
    pub fn start(upstreams: &[Arc<Upstream>], metrics: &Arc<Metrics>) -> Self {
        let mut tasks = Vec::new();
        for upstream in upstreams {
            for server in &upstream.servers {
                tasks.push(tokio::spawn(resolve_again(Arc::clone(server))));
                match upstream.health.clone() {
                    Some(health) => {
                        metrics.upstream_up(&upstream.name, &server.name).set(server.is_healthy().into());
                        let check =
                            check(Arc::clone(upstream), Arc::clone(server), health, Arc::clone(metrics));
                        tasks.push(tokio::spawn(check));
                    }
                    None => {
                        server.unchecked();
                        metrics.upstream_up(&upstream.name, &server.name).set(1);
                    }
                }
            }
        }
        Self(tasks)
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn resolve_again(server: Arc<Server>) {
    loop {
        tokio::time::sleep(RESOLVE).await;
        let server = Arc::clone(&server);
        let _ = tokio::task::spawn_blocking(move || server.resolve()).await;
    }
}

async fn check(upstream: Arc<Upstream>, server: Arc<Server>, health: Health, metrics: Arc<Metrics>) {
    let mut turn = tokio::time::interval(health.every);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        let well = tokio::time::timeout(health.timeout, is_well(&server, &health)).await == Ok(Some(true));
        if let Some(up) = server.checked(well, &health) {
            let (name, state) = (&server.name, if up { "up" } else { "down" });
            log::warn!("upstream {}: {name} is {state}", upstream.name);
            metrics.upstream_up(&upstream.name, name).set(up.into());
        }
    }
}

/// A status from 200 to 399 is well; `None` when there was no answer at all.
async fn is_well(server: &Server, health: &Health) -> Option<bool> {
    let wire = pool::connect(server.address()?, health.timeout).await.ok()?;
    let mut head = RequestHeader::build("GET", health.path.as_bytes(), Some(3)).ok()?;
    head.insert_header("Host", &*server.name).ok()?;
    head.insert_header("User-Agent", "menshen-health").ok()?;
    head.insert_header("Connection", "close").ok()?;
    let mut client = Client::new(wire);
    client.write_request_header(Box::new(head)).await.ok()?;
    client.read_response().await.ok()?;
    client.get_status().map(|status| (200..400).contains(&status.as_u16()))
}
