use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn pair() -> (App, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let wire = Wire::tcp(listener.accept().await.unwrap().0);
    (App::new(Box::new(wire), Duration::from_secs(10)), server)
}

async fn heard_head(app: &mut App) -> Result<Box<ResponseHeader>, Fault> {
    loop {
        if let Turn::Heard(head) = app.answer().await? {
            return Ok(head);
        }
    }
}

async fn heard_body(app: &mut App) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    loop {
        match app.body().await? {
            Turn::Sent => {}
            Turn::Heard(None) => return Ok(body),
            Turn::Heard(Some(bytes)) => {
                assert!(!bytes.is_empty());
                body.extend_from_slice(&bytes);
            }
        }
    }
}

fn of_file(file: &std::sync::Arc<File>, end: u64) -> Piece {
    Piece::File { file: std::sync::Arc::clone(file), at: 0, end }
}

/// What is read when the app says this in pieces of `size` bytes and then closes, or not; and whether another request
/// may follow.
async fn heard(
    text: &[u8],
    size: usize,
    closes: bool,
    is_head: bool,
) -> Result<(ResponseHeader, Vec<u8>, bool), Fault> {
    let (mut app, mut server) = pair().await;
    app.send_head(b"GET / HTTP/1.1\r\n\r\n", 0, is_head).await.unwrap();
    let pieces: Vec<Vec<u8>> = text.chunks(size).map(<[u8]>::to_vec).collect();
    server.set_nodelay(true).unwrap();
    let says = tokio::spawn(async move {
        server.read_exact(&mut [0; 18]).await.unwrap();
        for piece in pieces {
            server.write_all(&piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        (!closes).then_some(server)
    });
    let read = async {
        let mut head = heard_head(&mut app).await?;
        while head.status.is_informational() && head.status != 101 {
            head = heard_head(&mut app).await?;
        }
        let body = heard_body(&mut app).await?;
        Ok((*head, body))
    };
    let read = read.await;
    let _server = says.await.unwrap();
    read.map(|(head, body)| (head, body, app.into_idle().is_some()))
}

/// The same, however it is cut.
async fn answer(text: &str, closes: bool) -> Result<(String, bool), Fault> {
    let whole = heard(text.as_bytes(), usize::MAX, closes, false).await;
    let whole = whole.map(|(_, body, kept)| (String::from_utf8(body).unwrap(), kept));
    for size in [1, 7] {
        let cut = heard(text.as_bytes(), size, closes, false).await;
        let cut = cut.map(|(_, body, kept)| (String::from_utf8(body).unwrap(), kept));
        assert_eq!(cut, whole, "{text:?} in pieces of {size}");
    }
    whole
}

#[tokio::test]
async fn an_answer_ends_where_it_says() {
    for (text, body, kept) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello", "hello", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, Close\r\n\r\nhello", "hello", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello", "hello", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n1;a=b\r\n!\r\n0\r\nX: y\r\n\r\n",
            "hello!",
            true,
        ),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "a", false),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, Chunked\r\nContent-Length: 3\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "a",
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "ok",
            true,
        ),
    ] {
        assert_eq!(answer(text, false).await, Ok((body.to_owned(), kept)), "{text:?}");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_ends_with_the_connection() {
    let text = "HTTP/1.1 200 OK\r\n\r\nhello";
    assert_eq!(answer(text, true).await, Ok(("hello".to_owned(), false)));
}

#[tokio::test]
async fn what_breaks_off_is_not_whole() {
    for text in [
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        assert_eq!(answer(text, true).await, Err(Fault::Closed), "{text:?}");
    }
}

#[tokio::test]
async fn what_is_framed_twice_or_not_at_all_is_no_answer() {
    for text in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        assert_eq!(answer(text, false).await, Err(Fault::Unreadable), "{text:?}");
    }
}

#[tokio::test]
async fn an_app_that_only_ever_says_wait_is_not_waited_for() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (count, expected) in [(1000, Ok(b"ok".to_vec())), (1001, Err(Fault::Unreadable))] {
        let text = "HTTP/1.1 102 Processing\r\n\r\n".repeat(count) + answer;
        let read = heard(text.as_bytes(), usize::MAX, false, false).await;
        assert_eq!(read.map(|(_, body, _)| body), expected, "{count}");
    }
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_and_keeps_its_length() {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let (head, body, kept) = heard(text, usize::MAX, false, true).await.unwrap();
    assert_eq!((&head.headers["content-length"], body.len(), kept), (&HeaderValue::from(5), 0, true));
}

#[tokio::test]
async fn fields_keep_their_case_and_folded_ones_become_one_line() {
    let text =
        b"HTTP/1.1 299 Fine by me\r\nX-Odd-CASE : a\r\n  b\r\nx-odd-case: c\r\nContent-Length: 0\r\n\r\n";
    let (head, ..) = heard(text, usize::MAX, false, false).await.unwrap();
    assert_eq!(head.get_reason_phrase(), Some("Fine by me"));
    let mut wire = Vec::new();
    head.header_to_h1_wire(&mut wire);
    assert_eq!(String::from_utf8(wire).unwrap(), "X-Odd-CASE: a b\r\nx-odd-case: c\r\nContent-Length: 0\r\n");
}

#[tokio::test]
async fn a_connection_with_more_on_it_than_was_asked_for_is_not_used_again() {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n";
    let (_, body, kept) = heard(text, usize::MAX, false, false).await.unwrap();
    assert_eq!((body.as_slice(), kept), (&b"ok"[..], false));
}

#[tokio::test]
async fn a_body_is_sent_as_it_is_given() {
    let (mut app, mut server) = pair().await;
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, &[b'f'; 3_000_000]).unwrap();
    let file = Arc::new(file);
    let sending = tokio::spawn(async move {
        app.send_head(b"head;", 3_000_002, false).await.unwrap();
        for piece in [of_file(&file, 3_000_000), Piece::Bytes("to".into()), Piece::Bytes("o much".into())] {
            app.give(piece);
            while app.is_sending() {
                assert!(matches!(app.answer().await, Ok(Turn::Sent)));
            }
        }
        assert!(app.is_deaf() && app.owed == 0);
    });
    let mut seen = Vec::new();
    server.read_to_end(&mut seen).await.unwrap();
    sending.await.unwrap();
    assert!(seen == [&b"head;"[..], &[b'f'; 3_000_000], b"to"].concat());
}

#[tokio::test]
async fn a_file_that_is_shorter_than_announced_is_not_gone_on_with() {
    let (mut app, _server) = pair().await;
    app.send_head(b"head;", 10, false).await.unwrap();
    app.give(of_file(&Arc::new(tempfile::tempfile().unwrap()), 10));
    assert!(matches!(app.answer().await, Ok(Turn::Sent)));
    assert!(app.is_deaf() && app.into_idle().is_none());
}

#[tokio::test]
async fn an_answer_is_heard_while_the_app_takes_no_more_of_the_body() {
    let (mut app, mut server) = pair().await;
    app.send_head(b"head;", 100_000_000, false).await.unwrap();
    app.give(Piece::Bytes(vec![b'x'; 100_000_000].into()));
    server
        .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        .await
        .unwrap();
    assert_eq!(heard_head(&mut app).await.unwrap().status, 100);
    assert_eq!(heard_head(&mut app).await.unwrap().status, 413);
    assert_eq!(heard_body(&mut app).await.unwrap(), b"no");
    assert!(app.is_sending() && app.into_idle().is_none(), "it still waits for the rest");
}
