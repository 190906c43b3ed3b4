//! What an attacker would try next: each of these once led somewhere.

use std::time::Duration;

use harness::origin::{Origin, Then};
use harness::{Gateway, Raw, policy};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn an_app_that_answers_before_it_read_the_body_is_not_asked_again_on_that_connection() {
    let origin = Origin::start(|exchange| {
        if exchange.head.method == "POST" {
            // The body is left where it is, and the connection is kept, as many servers do.
            exchange.raw("HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\n\r\nbig");
            return Then::KeepAlive;
        }
        exchange.respond(200, "", b"fresh")
    });
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let half = "POST /open/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\nAAAAAAAAAA";
    let mut attacker = Raw::sending(gateway.address(), half);
    assert_eq!(attacker.answer_within(SOON).unwrap().status, 413);
    for _ in 0..8 {
        let mut victim = Raw::sending(gateway.address(), "GET /open/y HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(victim.answer_within(SOON).unwrap().text(), "fresh");
    }
}

#[test]
fn a_body_whose_chunks_two_readers_could_divide_differently_is_400_and_the_connection_closed() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    for body in [
        "\r\n\r\n",
        " \r\n",
        ";a\r\n\r\n",
        "3;a=b\nX\r\nabc\r\n0\r\n\r\n",
        "3;a=\0\r\nabc\r\n0\r\n\r\n",
        "0\r\nbad line no colon\r\n\r\n",
        "zz\r\n",
    ] {
        let head = "POST /open/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = Raw::sending(gateway.address(), format!("{head}{body}"));
        let answer = client.answer_within(SOON).unwrap();
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{body:?}");
        client.write("GET /open/second HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.end_of_writing();
        assert!(client.closes_within(SOON), "{body:?}");
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn http_1_0_is_served_and_closed_though_it_asks_to_be_kept() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let request = "GET /open/x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";
    let mut client = Raw::sending(gateway.address(), request);
    assert_eq!(client.answer_within(SOON).unwrap().status, 200);
    assert!(client.closes_within(SOON));
}

#[test]
fn a_refusal_does_not_wait_for_a_small_body_that_never_comes() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().policy(policy::GUARDED).env("APP", origin.address()).start();
    let head = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nA";
    let mut client = Raw::sending(gateway.address(), head);
    assert!(client.answer_within(SOON).unwrap().status >= 400);
    assert_eq!(origin.requests(), 0);
}
