//! Active checks: asks every server of an upstream now and then whether it is well.

use std::sync::Arc;
use std::time::Duration;

use config::Health;
use tokio::task::JoinHandle;

use crate::app::{App, Turn};
use crate::pool;
use crate::upstream::{Server, Upstream};

/// How often servers given by name are looked up again.
const RESOLVE: Duration = Duration::from_secs(30);

/// The checks of one snapshot; they end when it is dropped.
pub struct Checks(Vec<JoinHandle<()>>);

impl Checks {
    /// Starts checking. To be called on the control runtime.
    pub fn start(upstreams: &[Arc<Upstream>]) -> Self {
        let mut tasks = Vec::new();
        for upstream in upstreams {
            for server in &upstream.servers {
                tasks.push(tokio::spawn(resolve_again(Arc::clone(server))));
                match upstream.health.clone() {
                    Some(health) => {
                        tasks.push(tokio::spawn(check(Arc::clone(upstream), Arc::clone(server), health)));
                    }
                    None => server.unchecked(),
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

async fn check(upstream: Arc<Upstream>, server: Arc<Server>, health: Health) {
    let mut turn = tokio::time::interval(health.every);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        let well = tokio::time::timeout(health.timeout, is_well(&server, &health)).await == Ok(Some(true));
        if let Some(up) = server.checked(well, &health) {
            log::warn!("upstream {}: {} is {}", upstream.name, server.name, if up { "up" } else { "down" });
        }
    }
}

/// A status from 200 to 399 is well; `None` when there was no answer at all.
async fn is_well(server: &Server, health: &Health) -> Option<bool> {
    let wire = pool::connect(server.address()?, health.timeout).await.ok()?;
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: menshen-health\r\nConnection: close\r\n\r\n",
        health.path, server.name
    );
    let mut app = App::new(wire, health.timeout);
    app.send_head(head.as_bytes(), 0, false).await.ok()?;
    let Turn::Heard(answer) = app.answer().await.ok()? else { return None };
    Some((200..400).contains(&answer.status.as_u16()))
}
