//! The app behind the demo: answers what it was told, and echoes on a socket. It trusts the gateway.

use std::io;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use filters::websocket::frame::{FrameHeader, Opcode};
use http::{HeaderName, HeaderValue, header};
use pingora_http::ResponseHeader;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::http1::Http1;
use crate::session::SEND;
use crate::wire::Wire;

const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Menshen demo</title>\
    <h1>The app behind the gateway</h1><p>Open the console, and open a socket: \
    <code>new WebSocket('ws://' + location.host + '/ws', ['bearer', token])</code></p>\n";

/// Starts it on a free port, on a thread of its own that ends with the process.
pub(super) fn start() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo-app".into()).spawn(move || runtime.block_on(accept(listener)))?;
    Ok(address)
}

async fn accept(listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move { drop(connection(stream).await) });
    }
}

async fn connection(stream: TcpStream) -> io::Result<()> {
    let mut wire = Box::new(Wire::tcp(stream));
    loop {
        let Ok(length) = wire.read_head(64 * 1024).await else { return Ok(()) };
        let Ok(mut request) = Http1::begin(wire, length, SEND) else { return Ok(()) };
        if request.head().headers.contains_key(header::UPGRADE) {
            return socket(request).await;
        }
        answer(&mut request).await?;
        let Some(again) = request.finish().await else { return Ok(()) };
        wire = again;
    }
}

async fn answer(request: &mut Http1) -> io::Result<()> {
    let mut size = 0;
    while let Ok(Some(bytes)) = request.body().await {
        size += bytes.len();
    }
    let head = request.head();
    let told = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let (content_type, body) = match head.uri.path() {
        "/" => ("text/html; charset=utf-8", PAGE.to_owned()),
        "/api/files" => {
            let files: Option<Value> =
                told("x-upload-files").and_then(|text| serde_json::from_str(text).ok());
            ("application/json", format!("{:#}\n", json!({ "stored": files, "bytes": size })))
        }
        path => {
            let who = json!({
                "path": path,
                "subject": told("x-auth-subject"),
                "permissions": told("x-auth-permissions"),
                "client": told("x-real-ip"),
                "request_id": told("x-request-id"),
            });
            ("application/json", format!("{who:#}\n"))
        }
    };
    let length = body.len().to_string();
    let mut head = head_of(200, &[(header::CONTENT_TYPE, content_type), (header::CONTENT_LENGTH, &length)])?;
    request.answer(&mut head).await?;
    request.write(body.as_bytes()).await?;
    request.end().await
}

/// Answers the handshake (RFC 6455 section 4.2.2) and echoes frames.
async fn socket(mut request: Http1) -> io::Result<()> {
    let key = request.head().headers.get(header::SEC_WEBSOCKET_KEY).map_or(&b""[..], HeaderValue::as_bytes);
    let accept = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    let accept = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &accept);
    let accept = STANDARD.encode(accept);
    let mut head = head_of(
        101,
        &[
            (header::UPGRADE, "websocket"),
            (header::CONNECTION, "Upgrade"),
            (header::SEC_WEBSOCKET_ACCEPT, &accept),
        ],
    )?;
    request.answer(&mut head).await?;
    echo(&mut request.into_wire()).await
}

fn head_of(status: u16, fields: &[(HeaderName, &str)]) -> io::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(fields.len())).map_err(io::Error::other)?;
    for (name, value) in fields {
        head.insert_header(name, *value).map_err(io::Error::other)?;
    }
    Ok(head)
}

async fn echo(wire: &mut Wire) -> io::Result<()> {
    let mut input = BytesMut::new();
    loop {
        while let Ok(Some((frame, start))) = FrameHeader::parse(&input) {
            let end = start + frame.length as usize;
            if input.len() < end {
                break;
            }
            let mut out = BytesMut::new();
            let opcode = if frame.opcode == Opcode::Ping { Opcode::Pong } else { frame.opcode };
            FrameHeader { mask: None, opcode, ..frame }.write(&mut out);
            let mask = frame.mask.unwrap_or_default();
            out.extend(input[start..end].iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
            wire.write_all(&out).await?;
            wire.flush().await?;
            if frame.opcode == Opcode::Close {
                return wire.shutdown().await;
            }
            let _ = input.split_to(end);
        }
        if wire.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}
