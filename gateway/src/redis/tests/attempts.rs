//! Attempts whose asker heard nothing of them.

use std::time::{Duration, Instant};

use filters::state::{LockoutStore, StateAway};
use futures_util::FutureExt;
use nix::sys::signal::Signal;

use super::{DEADLINE, PATIENT, Server, TERMS, TIMEOUT, control, open, subject, until};
use crate::redis::{Presence, RETRY, Redis};

/// Waits until no attempt of the first subject is under way.
async fn none_is_under_way(server: &Server) {
    let (mut plain, begun) = (server.plain(), Instant::now());
    let key = format!("menshen:lockout:{}:attempts", hex::encode(subject(1).key));
    loop {
        let attempts: u64 = redis::cmd("ZCARD").arg(&key).query(&mut plain).unwrap();
        if attempts == 0 {
            return;
        }
        assert!(begun.elapsed() < DEADLINE, "{attempts} are still under way");
        tokio::time::sleep(RETRY / 10).await;
    }
}

/// Waits until the server has answered everything that was asked before.
async fn has_caught_up(redis: &Redis) {
    let begun = Instant::now();
    while redis.list().await.is_err() {
        assert!(begun.elapsed() < DEADLINE);
    }
}

#[test]
fn whoever_goes_away_before_the_answer_leaves_no_attempt_under_way() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    control.block_on(async {
        // Gone while the question is on its way, and when the answer is there but was not looked at.
        for _ in 0..20 {
            let mut asked = redis.reserve(&subject(1), TERMS);
            assert!(asked.as_mut().now_or_never().is_none());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        has_caught_up(&redis).await;
        none_is_under_way(&server).await;
        server.send(Signal::SIGSTOP);
        let mut asked = redis.reserve(&subject(1), TERMS);
        assert!(tokio::time::timeout(TIMEOUT, &mut asked).await.is_err());
        drop(asked);
        server.send(Signal::SIGCONT);
        has_caught_up(&redis).await;
        none_is_under_way(&server).await;
    });
}

#[test]
fn an_answer_that_comes_too_late_leaves_no_attempt_under_way() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, TIMEOUT);
    server.send(Signal::SIGSTOP);
    assert_eq!(control.block_on(redis.reserve(&subject(1), TERMS)), Err(StateAway));
    server.send(Signal::SIGCONT);
    control.block_on(async {
        has_caught_up(&redis).await;
        none_is_under_way(&server).await;
    });
}

#[test]
fn a_connection_that_is_lost_meanwhile_leaves_no_attempt_under_way() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, TIMEOUT);
    server.send(Signal::SIGSTOP);
    while *redis.presence().borrow() == Presence::Here {
        assert_eq!(control.block_on(redis.reserve(&subject(1), TERMS)), Err(StateAway));
    }
    server.send(Signal::SIGCONT);
    until(&redis, &control, Presence::Here);
    control.block_on(none_is_under_way(&server));
}
