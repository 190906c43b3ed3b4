//! What tenants store, and what was stored before.

use std::time::{Duration, Instant};

use filters::state::{Fingerprints, Grant, Quotas, SPACE_KEPT, Space, StateAway, Usage};
use futures_util::FutureExt;
use nix::sys::signal::Signal;

use super::{DEADLINE, PATIENT, SLACK, Server, TIMEOUT, control, open, until};
use crate::redis::{Presence, RETRY, Redis};

fn space(tenant: &str, bytes: u64) -> Space {
    Space { tenant: tenant.into(), bytes }
}

async fn reserved(redis: &Redis, space: &Space, limit: u64) -> Result<u64, Usage> {
    match redis.reserve(space, Some(limit)).await.expect("the server is there") {
        Grant::Reserved(number) => Ok(number),
        Grant::Exceeded(usage) => Err(usage),
    }
}

#[test]
fn gateways_share_a_storage_to_the_last_byte() {
    let (server, control) = (Server::start(), control());
    let gateways = [open(&server, &control, PATIENT), open(&server, &control, PATIENT)];
    control.block_on(async {
        let five = space("t-1", 5);
        let asked = (0..40).map(|n| reserved(&gateways[n % 2], &five, 100));
        let granted: Vec<u64> =
            futures_util::future::join_all(asked).await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(granted.len(), 20);
        assert_eq!(gateways[0].usage("t-1").await, Ok(Usage { used: 0, reserved: 100 }));
        // The gateway that settles need not be the one that reserved.
        for (n, number) in granted.iter().enumerate() {
            gateways[n % 2].settle(&five, *number, n % 4 != 0).await.unwrap();
        }
        assert_eq!(gateways[1].usage("t-1").await, Ok(Usage { used: 75, reserved: 0 }));
        let full = reserved(&gateways[0], &space("t-1", 26), 100).await;
        assert_eq!(full, Err(Usage { used: 75, reserved: 0 }));
        assert!(reserved(&gateways[0], &space("t-1", 25), 100).await.is_ok());
        assert!(reserved(&gateways[0], &space("t-2", 100), 100).await.is_ok(), "another's is its own");
        let unlimited = gateways[0].reserve(&space("t-1", 1 << 50), None).await;
        assert!(matches!(unlimited, Ok(Grant::Reserved(_))));
    });
}

#[test]
fn the_apps_own_count_and_what_it_frees_are_taken() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    control.block_on(async {
        assert_eq!(redis.usage("nobody").await, Ok(Usage::default()));
        assert_eq!(redis.set("t-1", 1 << 53).await, Ok(Usage::default()));
        assert_eq!(redis.usage("t-1").await, Ok(Usage { used: 1 << 53, reserved: 0 }));
        assert!(reserved(&redis, &space("t-1", 1), 1 << 50).await.is_err());
        assert_eq!(redis.set("t-1", 10).await.map(|before| before.used), Ok(1 << 53));
        redis.free(&space("t-1", 3)).await.unwrap();
        assert_eq!(redis.usage("t-1").await.map(|usage| usage.used), Ok(7));
        redis.free(&space("t-1", u64::MAX)).await.unwrap();
        assert_eq!(redis.usage("t-1").await.map(|usage| usage.used), Ok(0), "never below nothing");
        // Neither key of one tenant can be that of another.
        redis.set("reserved:t-1", 5).await.unwrap();
        assert!(reserved(&redis, &space("t-1", 1), 100).await.is_ok());
        assert_eq!(redis.usage("t-1").await, Ok(Usage { used: 0, reserved: 1 }));
    });
}

#[test]
fn a_reservation_is_forgotten_unless_its_gateway_says_that_it_stands() {
    let (server, control) = (Server::start(), control());
    let (alive, dead) = (open(&server, &control, PATIENT), open(&server, &control, PATIENT));
    let mut plain = server.plain();
    let key = "menshen:quota:reserved:t-1";
    control.block_on(async {
        let number = reserved(&alive, &space("t-1", 30), 100).await.unwrap();
        reserved(&dead, &space("t-1", 40), 100).await.unwrap();
        drop(dead);
        // Both are about to be forgotten.
        let members: Vec<String> = redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).query(&mut plain).unwrap();
        let time: (u64, u64) = redis::cmd("TIME").query(&mut plain).unwrap();
        let soon = time.0 * 1000 + time.1 / 1000 + 1500;
        for member in members.iter().filter(|member| *member != "sum") {
            redis::cmd("ZADD").arg(key).arg("XX").arg(soon).arg(member).exec(&mut plain).unwrap();
        }
        alive.renew().await;
        let begun = Instant::now();
        while alive.usage("t-1").await.unwrap().reserved != 30 {
            assert!(begun.elapsed() < DEADLINE);
        }
        let left: i64 = redis::cmd("PTTL").arg(key).query(&mut plain).unwrap();
        assert!(left > 0 && left as u128 <= SPACE_KEPT.as_millis(), "and all of them in the end: {left}");
        alive.settle(&space("t-1", 30), number, true).await.unwrap();
        assert_eq!(alive.usage("t-1").await, Ok(Usage { used: 30, reserved: 0 }));
    });
}

#[test]
fn space_that_was_taken_counts_though_its_reservation_was_forgotten() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    let mut plain = server.plain();
    control.block_on(async {
        let number = reserved(&redis, &space("t-1", 30), 100).await.unwrap();
        redis::cmd("DEL").arg("menshen:quota:reserved:t-1").exec(&mut plain).unwrap();
        redis.settle(&space("t-1", 30), number, true).await.unwrap();
        assert_eq!(redis.usage("t-1").await, Ok(Usage { used: 30, reserved: 0 }));
    });
}

#[test]
fn a_frozen_server_learns_once_of_what_was_taken_meanwhile() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, TIMEOUT);
    let taken = space("t-1", 30);
    let number = control.block_on(reserved(&redis, &taken, 100)).unwrap();
    server.send(Signal::SIGSTOP);
    let asked = Instant::now();
    let told = control.block_on(redis.settle(&taken, number, true));
    assert_eq!(told, Err(StateAway));
    assert!(asked.elapsed() < TIMEOUT + SLACK, "{:?}", asked.elapsed());
    // The message waits in the server's socket, and is sent again as well.
    until(&redis, &control, Presence::Away);
    server.send(Signal::SIGCONT);
    until(&redis, &control, Presence::Here);
    control.block_on(async {
        becomes(&redis, Usage { used: 30, reserved: 0 }).await;
        // However often it is told.
        redis.settle(&taken, number, true).await.unwrap();
        assert_eq!(redis.usage("t-1").await, Ok(Usage { used: 30, reserved: 0 }));
    });
}

#[test]
fn a_server_that_comes_back_learns_of_what_it_never_heard() {
    let (mut server, control) = (Server::start(), control());
    let redis = open(&server, &control, TIMEOUT);
    let (taken, files) = (space("t-1", 30), [[1; 16]]);
    let number = control.block_on(reserved(&redis, &taken, 100)).unwrap();
    server.end();
    until(&redis, &control, Presence::Away);
    control.block_on(async {
        assert_eq!(redis.settle(&taken, number, true).await, Err(StateAway));
        assert_eq!(redis.remember(&files, "r-1", PATIENT).await, Err(StateAway));
    });
    // Without a trace of the reservation, as if its time were over.
    server.start_again();
    until(&redis, &control, Presence::Here);
    control.block_on(async {
        becomes(&redis, Usage { used: 30, reserved: 0 }).await;
        let begun = Instant::now();
        while redis.find(&files).await.unwrap() != [Some("r-1".to_owned())] {
            assert!(begun.elapsed() < DEADLINE);
        }
    });
}

/// Asks until the books of `t-1` are like this.
async fn becomes(redis: &Redis, wanted: Usage) {
    let begun = Instant::now();
    while redis.usage("t-1").await != Ok(wanted) {
        assert!(begun.elapsed() < DEADLINE, "{:?} is not {wanted:?}", redis.usage("t-1").await);
        tokio::time::sleep(RETRY / 10).await;
    }
}

#[test]
fn whoever_goes_away_before_the_answer_leaves_nothing_reserved() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    control.block_on(async {
        // Gone while the question is on its way, and when the answer is there but was not looked at.
        for _ in 0..20 {
            let mut asked = redis.reserve(&space("t-1", 30), Some(1000));
            assert!(asked.as_mut().now_or_never().is_none());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.send(Signal::SIGSTOP);
        let mut asked = redis.reserve(&space("t-1", 30), Some(1000));
        assert!(tokio::time::timeout(TIMEOUT, &mut asked).await.is_err());
        drop(asked);
        server.send(Signal::SIGCONT);
        becomes(&redis, Usage::default()).await;
    });
}

#[test]
fn an_answer_that_comes_too_late_leaves_nothing_reserved() {
    let (server, control) = (Server::start(), control());
    let (hasty, patient) = (open(&server, &control, TIMEOUT), open(&server, &control, PATIENT));
    server.send(Signal::SIGSTOP);
    assert_eq!(control.block_on(hasty.reserve(&space("t-1", 30), Some(100))), Err(StateAway));
    server.send(Signal::SIGCONT);
    control.block_on(becomes(&patient, Usage::default()));
}

#[test]
fn a_reservation_that_was_lost_is_put_back_while_it_stands() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    let mut plain = server.plain();
    control.block_on(async {
        let held = space("t-1", 30);
        let number = reserved(&redis, &held, 100).await.unwrap();
        redis::cmd("DEL").arg("menshen:quota:reserved:t-1").exec(&mut plain).unwrap();
        redis.renew().await;
        redis.renew().await;
        assert_eq!(redis.usage("t-1").await, Ok(Usage { used: 0, reserved: 30 }));
        redis.settle(&held, number, true).await.unwrap();
        assert_eq!(redis.usage("t-1").await, Ok(Usage { used: 30, reserved: 0 }));
        // And not when it ended while it was being renewed.
        redis.inner.reservations.add(number, held.clone());
        let mut renewed = Box::pin(redis.renew());
        assert!(renewed.as_mut().now_or_never().is_none());
        redis.inner.reservations.remove(number);
        renewed.await;
        becomes(&redis, Usage { used: 30, reserved: 0 }).await;
    });
}

#[test]
fn an_upload_costs_the_same_however_many_are_under_way() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    let mut plain = server.plain();
    // What the server itself measured, in microseconds for each script of so many.
    let mut cost = |tenant: &str, uploads: usize| {
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut plain).unwrap();
        let asked = (0..uploads).map(|_| redis.reserve(&space(tenant, 1), Some(1 << 40)));
        for answer in control.block_on(futures_util::future::join_all(asked)) {
            assert!(matches!(answer, Ok(Grant::Reserved(_))));
        }
        let said: String = redis::cmd("INFO").arg("commandstats").query(&mut plain).unwrap();
        let line = said.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
        let mean = line.split(',').find_map(|part| part.strip_prefix("usec_per_call=")).unwrap();
        mean.parse::<f64>().unwrap()
    };
    cost("t-1", 10_000);
    let (few, many) = (cost("t-2", 200), cost("t-1", 200));
    assert!(many < few * 8.0, "{many} us beside 10,000 others, {few} us alone");
    let all = control.block_on(redis.usage("t-1"));
    assert_eq!(all, Ok(Usage { used: 0, reserved: 10_200 }));
}

#[test]
fn space_whose_time_is_over_is_free_at_once_however_much_it_is() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    let mut plain = server.plain();
    let key = "menshen:quota:reserved:t-1";
    control.block_on(async {
        let three = space("t-1", 3);
        let asked = (0..2500).map(|_| reserved(&redis, &three, 1 << 40));
        futures_util::future::join_all(asked).await;
        let members: Vec<String> = redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).query(&mut plain).unwrap();
        for member in members.iter().filter(|member| *member != "sum").skip(1) {
            redis::cmd("ZADD").arg(key).arg("XX").arg(1).arg(member).exec(&mut plain).unwrap();
        }
        assert_eq!(redis.usage("t-1").await, Ok(Usage { used: 0, reserved: 3 }));
        assert!(reserved(&redis, &space("t-1", 97), 100).await.is_ok());
    });
}

#[test]
fn a_killed_server_keeps_nobody_waiting() {
    let (mut server, control) = (Server::start(), control());
    let redis = open(&server, &control, TIMEOUT);
    server.end();
    until(&redis, &control, Presence::Away);
    control.block_on(async {
        let begun = Instant::now();
        for _ in 0..100 {
            assert_eq!(redis.reserve(&space("t-1", 1), None).await, Err(StateAway));
            assert_eq!(redis.find(&[[1; 16]]).await, Err(StateAway));
            assert_eq!(redis.remember(&[[1; 16]], "r-1", PATIENT).await, Err(StateAway));
            assert_eq!(redis.usage("t-1").await, Err(StateAway));
        }
        assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    });
}

#[test]
fn gateways_share_which_request_stored_a_file_first() {
    let (server, control) = (Server::start(), control());
    let (one, two) = (open(&server, &control, PATIENT), open(&server, &control, PATIENT));
    let files = [[1; 16], [2; 16], [3; 16]];
    control.block_on(async {
        assert_eq!(one.find(&files).await, Ok(vec![None, None, None]));
        one.remember(&files[..1], "r-1", SPACE_KEPT).await.unwrap();
        // Nobody waits, and it is done all the same.
        drop(two.remember(&files[..2], "r-2", SPACE_KEPT));
        let begun = Instant::now();
        while one.find(&files).await.unwrap()[1].is_none() {
            assert!(begun.elapsed() < DEADLINE);
        }
        let found = two.find(&files).await.unwrap();
        assert_eq!(found, [Some("r-1".to_owned()), Some("r-2".to_owned()), None]);
        one.remember(&files[2..], "r-3", Duration::from_millis(50)).await.unwrap();
        while one.find(&files).await.unwrap()[2].is_some() {
            assert!(begun.elapsed() < DEADLINE, "a file is forgotten in time");
        }
        assert_eq!(one.find(&[]).await, Ok(vec![]));
    });
}
