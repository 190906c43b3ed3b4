//! How often: counters in memory and in Redis.

use std::time::{Duration, Instant};

use harness::gateway::Builder;
use harness::http::get;
use harness::{Gateway, Origin, Redis, token};

const LIMITS: &str = r#"
state: { backend: "${STATE:-memory}", url: "${REDIS:-redis://127.0.0.1:1/0}", timeout: 100ms, on_failure: "${ON_FAILURE:-local}" }
identities:
  user:
    jwt: { keys: [{ alg: HS256, secret: "@env:JWT_KEY" }], issuer: wecard }
    claims: { subject: sub, tenant: tenant_id }
tenants:
  resolve: [claim]
  directory: [{ id: t-acme }, { id: t-beta }]
upstreams:
  app: { servers: ["${APP}"] }
sites:
  - hosts: ["*"]
    defaults: { upstream: app, auth: none }
    routes:
      - { path: /ip, limits: { rate: [{ by: ip, limit: 1/h, burst: 2, name: by-ip }] } }
      - { path: /header, limits: { rate: [{ by: "header:X-Key", limit: 1/h, burst: 0, name: by-key }] } }
      - { path: /subject, auth: { identity: user }, limits: { rate: [{ by: subject, limit: 1/h, burst: 0, name: by-subject }] } }
      - { path: /tenant, auth: { identity: user }, tenant: required, limits: { rate: [{ by: tenant, limit: 1/h, burst: 0, name: by-tenant }] } }
      - { path: /soon, limits: { rate: [{ by: ip, limit: 2/s, burst: 0, name: soon }] } }
      - { path: /free }
"#;

fn gateway(origin: &Origin) -> Builder {
    Gateway::builder().policy(LIMITS).server("trusted_proxies: [127.0.0.1/32]").env("APP", origin.address())
}

fn with_redis(origin: &Origin, redis: &Redis) -> Builder {
    gateway(origin).env("STATE", "redis").env("REDIS", redis.url())
}

#[test]
fn the_first_request_beyond_the_limit_and_its_burst_is_refused() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    counts_three_and_refuses_the_fourth(&gateway, &origin);
}

#[test]
fn counters_in_redis_refuse_at_the_same_place() {
    let origin = Origin::echo();
    let redis = Redis::start();
    let gateway = with_redis(&origin, &redis).start();
    counts_three_and_refuses_the_fourth(&gateway, &origin);
    assert_ne!(redis.ask("DBSIZE"), ":0\r\n+OK\r\n", "the counters are there");
}

fn counts_three_and_refuses_the_fourth(gateway: &Gateway, origin: &Origin) {
    for left in [2, 1, 0] {
        let answer = get("/ip").send(gateway.address());
        answer.is(200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"by-ip\";q=1;w=3600"));
        assert!(answer.must("ratelimit").starts_with(&format!("\"by-ip\";r={left}")), "{answer:?}");
    }
    let refused = get("/ip").send(gateway.address());
    refused.refused(429, "rate.limited");
    let wait: u64 = refused.must("retry-after").parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert!(refused.must("ratelimit").starts_with("\"by-ip\";r=0"), "{refused:?}");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"by-ip\";q=1;w=3600"));
    assert_eq!(origin.requests(), 3);
    get("/ip").header("x-forwarded-for", "203.0.113.9").send(gateway.address()).is(200);
    assert_eq!(gateway.metric(&["menshen_rate_limited_total", "by-ip"]), 1.0);
}

#[test]
fn each_key_has_its_own_counter() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    let to = gateway.address();
    get("/header").header("x-key", "a").send(to).is(200);
    get("/header").header("x-key", "b").send(to).is(200);
    get("/header").header("x-key", "a").send(to).refused(429, "rate.limited");
    get("/subject").bearer(&token::of("alice", "t-acme")).send(to).is(200);
    get("/subject").bearer(&token::of("bob", "t-acme")).send(to).is(200);
    get("/subject").bearer(&token::of("alice", "t-acme")).send(to).refused(429, "rate.limited");
    get("/tenant").bearer(&token::of("alice", "t-acme")).send(to).is(200);
    get("/tenant").bearer(&token::of("dora", "t-acme")).send(to).refused(429, "rate.limited");
    get("/tenant").bearer(&token::of("bob", "t-beta")).send(to).is(200);
}

#[test]
fn clients_of_one_ipv6_network_count_as_one() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    let from = |address: &str| get("/ip").header("x-forwarded-for", address).send(gateway.address()).status;
    assert_eq!([from("2001:db8:1:1::1"), from("2001:db8:1:1::2"), from("2001:db8:1:1:ffff::3")], [200; 3]);
    assert_eq!(from("2001:db8:1:1::4"), 429);
    assert_eq!(from("2001:db8:1:2::1"), 200);
}

#[test]
fn after_the_time_it_named_a_client_is_let_in_again() {
    let origin = Origin::echo();
    let gateway = gateway(&origin).start();
    get("/soon").send(gateway.address()).is(200);
    let refused = get("/soon").send(gateway.address());
    refused.refused(429, "rate.limited");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let asked = Instant::now();
    harness::until("to be let in again", Duration::from_secs(3), || {
        (get("/soon").send(gateway.address()).status == 200).then_some(())
    });
    assert!(asked.elapsed() <= Duration::from_millis(1500), "{:?}", asked.elapsed());
}

#[test]
fn two_gateways_share_their_counters_through_redis() {
    let origin = Origin::echo();
    let redis = Redis::start();
    let (one, other) = (with_redis(&origin, &redis).start(), with_redis(&origin, &redis).start());
    get("/ip").send(one.address()).is(200);
    get("/ip").send(other.address()).is(200);
    get("/ip").send(one.address()).is(200);
    get("/ip").send(other.address()).refused(429, "rate.limited");
}
