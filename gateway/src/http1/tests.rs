use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A request of which the client has said this much, and the client.
async fn asked(text: &[u8]) -> (Result<Http1, BadHead>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut wire = Box::new(Wire::tcp(listener.accept().await.unwrap().0));
    client.write_all(text).await.unwrap();
    let length = wire.read_head(64 * 1024).await.unwrap();
    (Http1::begin(wire, length, PATIENCE).map_err(|(_, bad)| bad), client)
}

async fn request(text: &str) -> (Http1, TcpStream) {
    let (request, client) = asked(text.as_bytes()).await;
    (request.unwrap(), client)
}

async fn body(request: &mut Http1) -> Result<String, Fault> {
    let mut all = Vec::new();
    while let Some(bytes) = request.body().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(String::from_utf8(all).unwrap())
}

fn head(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut head = ResponseHeader::build(status, None).unwrap();
    head.insert_header("Date", "now").unwrap();
    for (name, value) in fields {
        head.insert_header(*name, *value).unwrap();
    }
    head
}

/// What the client is sent in answer, and whether the connection stays open.
async fn told(asks: &str, mut head: ResponseHeader, pieces: &[&str]) -> (String, bool) {
    let (mut request, mut client) = request(asks).await;
    request.answer(&mut head).await.unwrap();
    for piece in pieces {
        request.write(piece.as_bytes()).await.unwrap();
    }
    request.end().await.unwrap();
    let kept = request.finish().await.is_some();
    let mut seen = String::new();
    client.read_to_string(&mut seen).await.unwrap();
    (seen, kept)
}

/// Long enough for whatever the client did to be seen.
async fn is_still_there(request: &mut Http1) {
    let seen = async {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = request.gone() => panic!("the client is said to be gone"),
        () = seen => {}
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn a_head_is_understood_as_it_stands() {
    let (request, _client) = request("POST /a?b HTTP/1.0\r\nHost: a\r\nX-Odd: \t b \r\nx-odd:\r\n\r\n").await;
    let head = request.head();
    assert_eq!(
        (head.method.as_str(), head.raw_path(), head.version),
        ("POST", &b"/a?b"[..], Version::HTTP_10)
    );
    let odd: Vec<_> = head.headers.get_all("x-odd").iter().collect();
    assert_eq!(odd, ["b", ""]);
    assert!(request.raw().ends_with(b"x-odd:\r\n\r\n") && request.is_body_done());
}

#[tokio::test]
async fn what_is_no_head_is_told_apart_from_one_that_is_too_long() {
    for text in [
        "\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "G\0T / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\na b: c\r\n\r\n",
        "GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n",
    ] {
        assert_eq!(asked(text.as_bytes()).await.0.err(), Some(BadHead::Malformed), "{text:?}");
    }
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
    assert_eq!(asked(many.as_bytes()).await.0.err(), Some(BadHead::TooManyLines));
    let most = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS));
    assert!(asked(most.as_bytes()).await.0.is_ok());
}

#[tokio::test]
async fn what_no_uri_holds_is_percent_encoded_in_a_target() {
    for (path, expected) in [
        (&b"/caf\xc3\xa9"[..], "/caf%C3%A9"),
        (b"/caf\xe9", "/caf%E9"),
        (b"/<a>?b=\"<c>\"", "/%3Ca%3E?b=%22%3Cc%3E%22"),
    ] {
        let text = [b"\r\nGET ", path, b" HTTP/1.1\r\nHost: a\r\nX: \xe9\r\n\r\n"].concat();
        let request = asked(&text).await.0.unwrap();
        assert_eq!(request.head().raw_path(), expected.as_bytes());
        assert_eq!(request.head().headers["x"].as_bytes(), b"\xe9");
        assert_eq!(request.raw()[..], text, "what is judged is what came");
    }
}

#[tokio::test]
async fn a_body_ends_where_its_framing_says_and_the_next_request_begins() {
    for (framing, on_wire) in
        [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n")]
    {
        let (mut request, _client) =
            request(&format!("POST / HTTP/1.1\r\n{framing}\r\n\r\n{on_wire}{GET}")).await;
        assert!(!request.is_body_done());
        assert_eq!(body(&mut request).await.unwrap(), "hello");
        assert_eq!((request.is_body_done(), request.received()), (true, 5));
        request.answer(&mut head(200, &[("Content-Length", "0")])).await.unwrap();
        let mut wire = request.finish().await.unwrap();
        assert_eq!(&wire.inbox()[..], GET.as_bytes());
    }
}

#[tokio::test]
async fn a_body_leaves_no_large_buffer_behind() {
    let (mut request, mut client) =
        request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n").await;
    let sending = tokio::spawn(async move {
        client.write_all(&vec![b'x'; 2_999_999]).await.unwrap();
        client
    });
    while request.received() < 2_999_999 {
        request.body().await.unwrap();
    }
    assert!(request.room > ROOM, "it was read in large pieces");
    let mut client = sending.await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert_eq!(request.body().await.unwrap().as_deref(), Some(&b"x"[..]));
    assert_eq!(request.room, ROOM, "and then in small ones");
    request.room = MOST_ROOM;
    request.answer(&mut head(200, &[("Content-Length", "0")])).await.unwrap();
    assert_eq!(request.finish().await.unwrap().inbox().capacity(), 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_no_body_is_a_fault() {
    for (text, fault) in [
        ("Content-Length: 5\r\n\r\nhell", Fault::Gone),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhel", Fault::Gone),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Fault::Gone),
        ("Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", Fault::Misframed),
    ] {
        let (mut request, client) = request(&format!("POST / HTTP/1.1\r\n{text}")).await;
        drop(client);
        assert_eq!(body(&mut request).await, Err(fault), "{text:?}");
    }
}

#[tokio::test]
async fn a_client_that_only_closed_its_side_is_still_there() {
    let (mut request, mut client) = request(GET).await;
    client.shutdown().await.unwrap();
    is_still_there(&mut request).await;
    request.answer(&mut head(200, &[("Content-Length", "2")])).await.unwrap();
    request.write(b"ok").await.unwrap();
    assert!(request.finish().await.is_none());
    let mut seen = String::new();
    client.read_to_string(&mut seen).await.unwrap();
    assert!(seen.ends_with("\r\n\r\nok"), "{seen:?}");
}

#[tokio::test]
async fn a_client_that_resets_is_gone() {
    let (mut request, client) = request(GET).await;
    client.set_zero_linger().unwrap();
    drop(client);
    request.gone().await;
}

#[tokio::test]
async fn the_next_request_is_kept_while_this_one_is_watched() {
    let (mut request, mut client) = request(GET).await;
    client.write_all(GET.as_bytes()).await.unwrap();
    is_still_there(&mut request).await;
    request.answer(&mut head(204, &[])).await.unwrap();
    assert_eq!(&request.finish().await.unwrap().inbox()[..], GET.as_bytes());
}

#[tokio::test]
async fn an_answer_is_framed_as_its_head_says() {
    let close = "GET / HTTP/1.1\r\nConnection: x, close\r\n\r\n";
    let old = "GET / HTTP/1.0\r\n\r\n";
    let only_head = "HEAD / HTTP/1.1\r\n\r\n";
    let owed = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhe";
    let (length, chunked) = (("Content-Length", "5"), ("Transfer-Encoding", "chunked"));
    for (asks, status, fields, pieces, body, kept) in [
        (GET, 200, &[length][..], &["he", "llo"][..], "hello", true),
        (GET, 200, &[length], &["hello, world"], "hello", true),
        (GET, 200, &[length], &["hell"], "hell", false),
        (GET, 200, &[("Content-Length", "0")], &["x"], "", true),
        (GET, 200, &[chunked], &["hello", "", "!"], "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", true),
        (GET, 200, &[], &["hello"], "hello", false),
        (GET, 304, &[length], &["hello"], "", true),
        (GET, 204, &[], &["hello"], "", true),
        (only_head, 200, &[length], &["hello"], "", true),
        (only_head, 200, &[chunked], &[], "", true),
        (close, 200, &[length], &["hello"], "hello", false),
        (old, 200, &[length], &["hello"], "hello", false),
        (owed, 413, &[length], &["hello"], "hello", false),
    ] {
        let (seen, open) = told(asks, head(status, fields), pieces).await;
        let (head, sent) = seen.split_once("\r\n\r\n").unwrap();
        assert_eq!((sent, open), (body, kept), "{asks:?} {status} {fields:?}");
        let says = if asks == GET && fields == [length] && body == "hell" { true } else { kept };
        assert!(
            head.ends_with(if says { "Connection: keep-alive" } else { "Connection: close" }),
            "{head:?}"
        );
    }
}

#[tokio::test]
async fn an_answers_head_says_what_is_true_of_this_connection() {
    let mut odd = head(200, &[("Content-Length", "0"), ("Connection", "close, x-odd"), ("X-Odd", "1")]);
    odd.set_reason_phrase(Some("Fine")).unwrap();
    odd.remove_header("date");
    let (seen, _) = told(GET, odd, &[]).await;
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!((lines[0], lines.len()), ("HTTP/1.1 200 Fine", 6), "{seen:?}");
    assert!(lines[3].starts_with("Date: ") && lines[3].ends_with(" GMT"));
    assert_eq!(lines[4], "Connection: keep-alive");
}

#[tokio::test]
async fn a_client_hears_of_an_answer_that_breaks_off_before_its_body() {
    let (mut request, mut client) = request(GET).await;
    request.answer(&mut head(200, &[("Content-Length", "5")])).await.unwrap();
    request.abort().await;
    drop(request);
    let mut seen = String::new();
    client.read_to_string(&mut seen).await.unwrap();
    assert!(seen.starts_with("HTTP/1.1 200") && seen.ends_with("\r\n\r\n"), "{seen:?}");
}

#[tokio::test]
async fn a_head_leaves_with_the_first_bytes_of_its_body() {
    let (mut request, mut client) =
        request("GET / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    request.say_continue().await.unwrap();
    let mut seen = [0; 512];
    let n = client.read(&mut seen).await.unwrap();
    assert_eq!(&seen[..n], b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"ok").await.unwrap();
    assert_eq!(body(&mut request).await.unwrap(), "ok");
    request.answer(&mut head(200, &[("Content-Length", "5")])).await.unwrap();
    assert!(client.try_read(&mut seen).is_err(), "nothing is sent before there is a body");
    request.write(b"hello").await.unwrap();
    let n = client.read(&mut seen).await.unwrap();
    assert!(seen[..n].ends_with(b"Connection: keep-alive\r\n\r\nhello"));
}
