//! The app behind the demo: answers what it was told, and echoes on a socket. It trusts the gateway.

use std::io;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use filters::websocket::frame::{FrameHeader, Opcode};
use http::header;
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::connection::wire_of;
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

async fn connection(stream: TcpStream) -> pingora_core::Result<()> {
    let mut wire = Box::new(Wire::tcp(stream));
    loop {
        if wire.read_head(64 * 1024).await.is_err() {
            return Ok(());
        }
        let mut session = ServerSession::new_http1(wire);
        if !session.read_request().await? {
            return Ok(());
        }
        if session.is_upgrade_req() {
            return socket(session).await;
        }
        answer(&mut session).await?;
        let Some(reusable) = session.finish().await? else { return Ok(()) };
        let Ok(again) = reusable.into_parts().0.into_any().downcast::<Wire>() else { return Ok(()) };
        wire = again;
    }
}

async fn answer(session: &mut ServerSession) -> pingora_core::Result<()> {
    let mut size = 0;
    while let Some(bytes) = session.read_request_body().await? {
        size += bytes.len();
    }
    let head = session.req_header();
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
    let mut response = ResponseHeader::build(200, Some(3))?;
    response.insert_header(header::CONTENT_TYPE, content_type)?;
    response.insert_header(header::CONTENT_LENGTH, body.len())?;
    session.write_response_header(Box::new(response)).await?;
    session.write_response_body(Bytes::from(body), true).await
}

/// Answers the handshake (RFC 6455 section 4.2.2) and echoes frames.
async fn socket(mut session: ServerSession) -> pingora_core::Result<()> {
    let key = session.get_header_bytes("sec-websocket-key").to_vec();
    let accept = [&key[..], b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    let accept = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &accept);
    let mut response = ResponseHeader::build(101, Some(3))?;
    response.insert_header(header::UPGRADE, "websocket")?;
    response.insert_header(header::CONNECTION, "Upgrade")?;
    response.insert_header(header::SEC_WEBSOCKET_ACCEPT, STANDARD.encode(accept))?;
    session.write_response_header(Box::new(response)).await?;
    if let Some(mut wire) = wire_of(session) {
        let _ = echo(&mut wire).await;
    }
    Ok(())
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
