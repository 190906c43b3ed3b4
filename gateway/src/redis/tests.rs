//! Against a real `redis-server`, which is killed, frozen and brought back.

mod attempts;
mod books;

use std::collections::HashSet;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use filters::state::{
    Admission, LockLabel, LockSubject, LockTerms, LockoutStore, Outcome, Quota, RateStore, Take,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::{Builder, Runtime};

use super::*;

/// Where the time of an answer is measured.
const TIMEOUT: Duration = Duration::from_millis(50);
/// Where it is not, and a busy machine must not matter.
const PATIENT: Duration = Duration::from_secs(5);
/// What a busy machine may add to a timeout.
const SLACK: Duration = Duration::from_millis(400);
const DEADLINE: Duration = Duration::from_secs(20);

/// A server of this test's own, on a port that was free, without a disk.
struct Server {
    port: u16,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, child: Self::spawn(port, &[]) }
    }

    fn spawn(port: u16, options: &[String]) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--daemonize", "no"])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed")
    }

    fn url(&self) -> Secret {
        Secret::new(format!("redis://127.0.0.1:{}/0", self.port))
    }

    /// A connection that nothing keeps.
    fn plain(&self) -> redis::Connection {
        Client::open(format!("redis://127.0.0.1:{}/0", self.port)).unwrap().get_connection().unwrap()
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = Self::spawn(self.port, &[]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The runtime the connection lives on, as the gateway has it beside its workers.
fn control() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn open(server: &Server, control: &Runtime, timeout: Duration) -> Redis {
    let redis = Redis::open(&server.url(), timeout, control.handle()).unwrap();
    until(&redis, control, Presence::Here);
    redis
}

fn until(redis: &Redis, control: &Runtime, wanted: Presence) {
    let mut presence = redis.presence();
    control.block_on(async {
        tokio::time::timeout(DEADLINE, presence.wait_for(|now| *now == wanted)).await.unwrap().unwrap();
    });
}

fn take(key: u8, quota: Quota) -> Take {
    Take { key: [key; 16], quota }
}

/// One question from a worker's runtime, which is not the one the connection lives on.
fn ask(redis: &Redis, takes: &[Take]) -> Result<Vec<filters::state::Standing>, StateAway> {
    let worker = Builder::new_current_thread().enable_all().build().unwrap();
    worker.block_on(RateStore::take(redis, takes.to_vec()))
}

fn hourly(burst: u32) -> Quota {
    Quota::new(1, Duration::from_secs(3600), burst)
}

#[test]
fn two_gateways_share_a_limit_exactly() {
    let (server, control) = (Server::start(), control());
    let gateways = [open(&server, &control, PATIENT), open(&server, &control, PATIENT)];
    let passed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|n| {
                let redis = gateways[n % 2].clone();
                scope.spawn(move || {
                    let worker = Builder::new_current_thread().enable_all().build().unwrap();
                    worker.block_on(async {
                        let mut passed = 0;
                        for _ in 0..5 {
                            let asked = (0..20).map(|_| RateStore::take(&redis, vec![take(1, hourly(99))]));
                            for answer in futures_util::future::join_all(asked).await {
                                passed += usize::from(answer.expect("the server is there")[0].allowed);
                            }
                        }
                        passed
                    })
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(passed, 100, "of 400");
}

#[test]
fn rules_are_taken_together_or_not_at_all() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    let (wide, tight) = (take(1, hourly(9)), take(2, hourly(0)));
    let first = ask(&redis, &[wide, tight]).unwrap();
    assert!(first.iter().all(|standing| standing.allowed));
    assert_eq!((first[0].remaining, first[1].remaining), (9, 0));
    assert_eq!(first[0].wait, Duration::from_secs(3600));
    for _ in 0..5 {
        let refused = ask(&redis, &[wide, tight]).unwrap();
        assert!(refused[0].allowed && !refused[1].allowed);
        assert_eq!((refused[0].remaining, refused[1].remaining), (9, 0));
        assert!(refused[1].wait <= Duration::from_secs(3600) && refused[1].wait > Duration::from_secs(3500));
    }
    assert_eq!(ask(&redis, &[wide]).unwrap()[0].remaining, 8);
}

#[test]
fn units_come_back_with_time_and_keys_go() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, TIMEOUT);
    let quota = Quota::new(100, Duration::from_secs(1), 0);
    assert!(ask(&redis, &[take(3, quota)]).unwrap()[0].allowed);
    let begun = Instant::now();
    while !ask(&redis, &[take(3, quota)]).unwrap()[0].allowed {
        assert!(begun.elapsed() < DEADLINE);
    }
    // Only the probe's key may be left once the counter's own time is over.
    let mut plain = server.plain();
    let begun = Instant::now();
    loop {
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut plain).unwrap();
        assert!(
            keys.iter()
                .all(|key| key == "menshen:probe" || *key == format!("menshen:rate:{}", "03".repeat(16)))
        );
        if !keys.iter().any(|key| key.starts_with("menshen:rate:")) {
            break;
        }
        assert!(begun.elapsed() < DEADLINE);
    }
}

/// Asks until the store is known to be away; no question may take longer than the timeout. Says how many took it.
fn ask_until_away(redis: &Redis) -> usize {
    let begun = Instant::now();
    let mut waited = 0;
    while *redis.presence().borrow() == Presence::Here {
        let question = Instant::now();
        let answer = ask(redis, &[take(4, hourly(1_000_000))]);
        assert!(question.elapsed() < TIMEOUT + SLACK, "{:?}", question.elapsed());
        waited += usize::from(answer.is_err() && question.elapsed() >= TIMEOUT);
        assert!(begun.elapsed() < DEADLINE);
    }
    waited
}

/// The mean time of a question while the store is away.
fn answers_at_once(redis: &Redis) {
    let worker = Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    for _ in 0..1000 {
        let answer = worker.block_on(RateStore::take(redis, vec![take(4, hourly(1))]));
        assert_eq!(answer, Err(StateAway));
    }
    assert!(begun.elapsed() < SLACK, "1,000 questions took {:?}", begun.elapsed());
}

#[test]
fn a_killed_server_costs_no_time_and_is_found_again() {
    let (mut server, control) = (Server::start(), control());
    let redis = open(&server, &control, TIMEOUT);
    server.end();
    ask_until_away(&redis);
    answers_at_once(&redis);
    server.start_again();
    until(&redis, &control, Presence::Here);
    assert!(
        ask(&redis, &[take(4, hourly(1))]).unwrap()[0].allowed,
        "also though it has forgotten the scripts"
    );
}

#[test]
fn a_frozen_server_costs_three_timeouts_and_is_found_again() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, TIMEOUT);
    server.send(Signal::SIGSTOP);
    let waited = ask_until_away(&redis);
    assert!((1..=FAILURES as usize).contains(&waited), "{waited} questions waited");
    answers_at_once(&redis);
    server.send(Signal::SIGCONT);
    until(&redis, &control, Presence::Here);
    assert!(ask(&redis, &[take(5, hourly(1))]).unwrap()[0].allowed);
}

#[test]
fn an_idle_restart_is_mended_before_a_request_comes() {
    let (mut server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    server.end();
    until(&redis, &control, Presence::Away);
    server.start_again();
    until(&redis, &control, Presence::Here);
    assert!(ask(&redis, &[take(6, hourly(1))]).is_ok());
}

#[test]
fn a_server_that_is_not_there_at_start_is_away_and_then_found() {
    let (mut server, control) = (Server::start(), control());
    server.end();
    let redis = Redis::open(&server.url(), TIMEOUT, control.handle()).unwrap();
    until(&redis, &control, Presence::Away);
    answers_at_once(&redis);
    server.start_again();
    until(&redis, &control, Presence::Here);
}

#[test]
fn a_server_that_takes_no_writes_is_away() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, TIMEOUT);
    let mut plain = server.plain();
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).exec(&mut plain).unwrap();
    ask_until_away(&redis);
    answers_at_once(&redis);
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0).exec(&mut plain).unwrap();
    until(&redis, &control, Presence::Here);
}

#[test]
fn the_connection_ends_with_its_last_owner() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    let mut presence = redis.presence();
    drop(redis);
    let ended = control.block_on(async {
        tokio::time::timeout(DEADLINE, async { while presence.changed().await.is_ok() {} }).await
    });
    assert!(ended.is_ok(), "the task that keeps the connection has ended");
}

#[test]
fn a_wrong_url_is_refused_without_being_repeated() {
    let control = control();
    let wrong =
        Redis::open(&Secret::new("http://user:hunter2@x"), TIMEOUT, control.handle()).map(drop).unwrap_err();
    assert!(!wrong.to_string().contains("hunter2"));
}

const TERMS: LockTerms =
    LockTerms { failures: 5, within: Duration::from_secs(900), lock: Duration::from_secs(1800) };

fn subject(n: u8) -> LockSubject {
    let keys =
        vec![("ip".to_owned(), "192.0.2.1".to_owned()), ("json:username".to_owned(), "#00ff".to_owned())];
    LockSubject { key: [n; 16], label: Arc::new(LockLabel { route: "/login".into(), keys }) }
}

async fn attempt(redis: &Redis, n: u8, terms: LockTerms, outcome: Outcome) -> bool {
    let Admission::Go(number) = redis.reserve(&subject(n), terms).await.unwrap() else { return false };
    redis.settle(&subject(n), terms, Some(number), outcome).await.unwrap();
    true
}

#[test]
fn gateways_share_failures_and_locks() {
    let (server, control) = (Server::start(), control());
    let (one, two) = (open(&server, &control, PATIENT), open(&server, &control, PATIENT));
    control.block_on(async {
        for n in 0..5 {
            let gateway = if n % 2 == 0 { &one } else { &two };
            let Admission::Go(number) = gateway.reserve(&subject(1), TERMS).await.unwrap() else {
                panic!("it is not locked yet")
            };
            let locked = gateway.settle(&subject(1), TERMS, Some(number), Outcome::Failed).await.unwrap();
            assert_eq!(locked, n == 4);
        }
        let Admission::Wait(wait) = two.reserve(&subject(1), TERMS).await.unwrap() else {
            panic!("it is locked")
        };
        assert!(wait > Duration::from_secs(1790) && wait <= TERMS.lock);
        assert!(attempt(&one, 2, TERMS, Outcome::Failed).await, "another key is not");

        let listed = two.list().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].label, *subject(1).label);
        assert_eq!(listed[0].until.duration_since(listed[0].since).unwrap(), TERMS.lock);
        assert!(!one.remove("0000000000000000").await.unwrap());
        assert!(!one.remove("").await.unwrap());
        assert!(one.remove(&listed[0].id).await.unwrap());
        assert!(!one.remove(&listed[0].id).await.unwrap());
        assert!(one.list().await.unwrap().is_empty());
        assert!(attempt(&two, 1, TERMS, Outcome::Failed).await);
    });
}

#[test]
fn success_clears_shared_failures_and_an_unclear_end_does_not() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    control.block_on(async {
        for _ in 0..3 {
            for _ in 0..4 {
                assert!(attempt(&redis, 1, TERMS, Outcome::Failed).await);
            }
            assert!(attempt(&redis, 1, TERMS, Outcome::Unclear).await);
            assert!(attempt(&redis, 1, TERMS, Outcome::Passed).await);
        }
        for _ in 0..4 {
            assert!(attempt(&redis, 1, TERMS, Outcome::Failed).await);
        }
        assert!(attempt(&redis, 1, TERMS, Outcome::Unclear).await);
        redis.settle(&subject(1), TERMS, None, Outcome::Failed).await.unwrap();
        assert!(
            !attempt(&redis, 1, TERMS, Outcome::Failed).await,
            "a failure without a reservation counts too"
        );
    });
}

#[test]
fn parallel_guesses_through_two_gateways_get_five_answers() {
    let (server, control) = (Server::start(), control());
    let gateways = [open(&server, &control, PATIENT), open(&server, &control, PATIENT)];
    control.block_on(async {
        let asked = (0..20).map(|n| gateways[n % 2].reserve(&subject(1), TERMS));
        let answers = futures_util::future::join_all(asked).await;
        let admitted: HashSet<u64> = answers
            .into_iter()
            .filter_map(|answer| match answer.unwrap() {
                Admission::Go(number) => Some(number),
                Admission::Wait(wait) => {
                    assert_eq!(wait, Duration::from_secs(1));
                    None
                }
            })
            .collect();
        assert_eq!(admitted.len(), 5);
        for number in &admitted {
            // The futures are dropped: what was begun is done all the same.
            drop(gateways[0].settle(&subject(1), TERMS, Some(*number), Outcome::Failed));
        }
        let begun = Instant::now();
        while gateways[1].list().await.unwrap().is_empty() {
            assert!(begun.elapsed() < DEADLINE);
        }
    });
}

#[test]
fn shared_failures_and_locks_end_in_time() {
    let (server, control) = (Server::start(), control());
    let redis = open(&server, &control, PATIENT);
    let mut plain = server.plain();
    let mut keys = || redis::cmd("KEYS").arg("menshen:lockout*").query::<Vec<String>>(&mut plain).unwrap();
    let brief = LockTerms { within: Duration::from_millis(60), ..TERMS };
    control.block_on(async {
        assert!(attempt(&redis, 1, brief, Outcome::Failed).await);
        let begun = Instant::now();
        while !keys().is_empty() {
            assert!(begun.elapsed() < DEADLINE, "the failure is forgotten");
        }
        let brief = LockTerms { failures: 1, lock: Duration::from_secs(2), ..TERMS };
        assert!(attempt(&redis, 1, brief, Outcome::Failed).await);
        assert_eq!(redis.list().await.unwrap().len(), 1);
        let begun = Instant::now();
        while !redis.list().await.unwrap().is_empty() {
            assert!(
                !attempt(&redis, 1, brief, Outcome::Passed).await || redis.list().await.unwrap().is_empty()
            );
            assert!(begun.elapsed() < DEADLINE, "the lock ends");
        }
        assert!(attempt(&redis, 1, brief, Outcome::Passed).await);
        while !keys().is_empty() {
            assert!(begun.elapsed() < DEADLINE, "nothing is left of it");
        }
    });
}

#[test]
fn speaks_tls_and_believes_only_a_certificate_it_can_verify() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), issued.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), issued.signing_key.serialize_pem()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = ["--tls-port", &port.to_string(), "--tls-cert-file", &path("cert.pem")].map(str::to_owned);
    let more = ["--tls-key-file", &path("key.pem"), "--tls-auth-clients", "no"].map(str::to_owned);
    let _server = Server { port, child: Server::spawn(0, &[options, more].concat()) };
    // The list of trusted certificates is the environment's, which only another process can be given.
    let child = |trusted: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "redis::tests::asks_the_server_it_was_given", "--ignored"])
            .env("SSL_CERT_FILE", trusted)
            .env("MENSHEN_TEST_REDIS", format!("rediss://localhost:{port}/0"))
            .output()
            .unwrap()
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(path("other.pem"), other.cert.pem()).unwrap();
    let trusting = child(&path("cert.pem"));
    assert!(trusting.status.success(), "{}", String::from_utf8_lossy(&trusting.stdout));
    assert!(!child(&path("other.pem")).status.success());
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn asks_the_server_it_was_given() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap();
    let url = Secret::new(std::env::var("MENSHEN_TEST_REDIS").unwrap());
    let control = control();
    let redis = Redis::open(&url, PATIENT, control.handle()).unwrap();
    let mut presence = redis.presence();
    let here = control.block_on(async {
        let wait = presence.wait_for(|now| *now == Presence::Here);
        tokio::time::timeout(Duration::from_secs(3), wait).await.is_ok_and(|here| here.is_ok())
    });
    assert!(here);
    assert!(ask(&redis, &[take(1, hourly(1))]).unwrap()[0].allowed);
}
