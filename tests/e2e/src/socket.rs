//! A WebSocket client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::Request;
use futures_util::{SinkExt, StreamExt};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::http::{runtime, secured};
use crate::wait::SOON;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An open socket.
pub struct Socket {
    stream: WebSocketStream<Box<dyn Stream>>,
    /// What the server selected.
    pub protocol: Option<String>,
}

/// Why a socket did not open.
#[derive(Debug)]
pub struct Refused {
    /// The status of the answer.
    pub status: u16,
    /// Its body; of [`Handshake::try_open`] only what came with the head.
    pub body: String,
}

/// A handshake in the making.
#[derive(Clone)]
pub struct Handshake {
    target: String,
    headers: Vec<(String, String)>,
    protocols: Vec<String>,
}

/// What a socket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A Close frame: its code and reason, when it had any.
    Close(Option<(u16, String)>),
    /// The connection ended without a Close frame.
    Cut,
}

impl Socket {
    /// A handshake for this path.
    pub fn to(target: &str) -> Handshake {
        Handshake { target: target.to_owned(), headers: Vec::new(), protocols: Vec::new() }
    }

    /// Sends a text message.
    pub fn send(&mut self, text: &str) {
        runtime().block_on(self.stream.send(Message::text(text))).expect("the socket is open");
    }

    /// Sends bytes.
    pub fn send_bytes(&mut self, bytes: Vec<u8>) {
        runtime().block_on(self.stream.send(Message::binary(bytes))).expect("the socket is open");
    }

    /// Closes it as a browser does.
    pub fn close(&mut self) {
        let _ = runtime().block_on(self.stream.close(None));
    }

    /// What comes next, pings and pongs aside.
    ///
    /// # Panics
    /// When nothing comes within [`SOON`].
    pub fn hear(&mut self) -> Said {
        self.hear_within(SOON).expect("the socket says something")
    }

    /// The same with another limit; `None` when nothing comes.
    pub fn hear_within(&mut self, limit: Duration) -> Option<Said> {
        runtime().block_on(async {
            tokio::time::timeout(limit, async {
                loop {
                    return match self.stream.next().await {
                        Some(Ok(Message::Text(text))) => Said::Text(text.as_str().to_owned()),
                        Some(Ok(Message::Binary(bytes))) => Said::Binary(bytes.to_vec()),
                        Some(Ok(Message::Close(frame))) => Said::Close(
                            frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned())),
                        ),
                        Some(Ok(_)) => continue,
                        Some(Err(_)) | None => Said::Cut,
                    };
                }
            })
            .await
            .ok()
        })
    }

    /// The next text message.
    ///
    /// # Panics
    /// When something else comes.
    pub fn text(&mut self) -> String {
        match self.hear() {
            Said::Text(text) => text,
            other => panic!("no text but {other:?}"),
        }
    }
}

impl Handshake {
    /// A header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The protocols offered, as the second argument of `new WebSocket`.
    pub fn protocols(mut self, protocols: &[&str]) -> Self {
        self.protocols = protocols.iter().map(|&protocol| protocol.to_owned()).collect();
        self
    }

    /// Opens it.
    ///
    /// # Panics
    /// When it is refused.
    pub fn open(&self, to: SocketAddr) -> Socket {
        self.try_open(to, None).unwrap_or_else(|refused| panic!("{}: {refused:?}", self.target))
    }

    /// Expects a refusal, and reads it whole.
    ///
    /// # Panics
    /// When it opens.
    pub fn refused(&self, to: SocketAddr) -> Refused {
        let mut call = crate::http::get(&self.target).host(&format!("localhost:{}", to.port()));
        for (name, value) in self.lines() {
            call = call.header(&name, value);
        }
        let answer = call.send(to);
        assert_ne!(answer.status, 101, "{} opens", self.target);
        Refused { status: answer.status, body: answer.text() }
    }

    /// The header lines of the handshake, without `Host`.
    fn lines(&self) -> Vec<(String, String)> {
        let mut lines: Vec<(String, String)> = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", &generate_key()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if !self.protocols.is_empty() {
            lines.push(("sec-websocket-protocol".to_owned(), self.protocols.join(", ")));
        }
        lines.extend(self.headers.iter().cloned());
        lines
    }

    /// Opens it, over TLS when settings for it are given.
    pub fn try_open(&self, to: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<Socket, Refused> {
        let broken = |error: String| Refused { status: 0, body: error };
        let mut request = Request::builder()
            .uri(format!("ws://localhost:{}{}", to.port(), self.target))
            .header("host", format!("localhost:{}", to.port()));
        for (name, value) in self.lines() {
            request = request.header(name, value);
        }
        let request = request.body(()).map_err(|error| broken(error.to_string()))?;
        runtime().block_on(async {
            let opening = async {
                let stream = TcpStream::connect(to).await.map_err(|error| broken(error.to_string()))?;
                let stream: Box<dyn Stream> = match tls {
                    Some(settings) => Box::new(secured(settings, stream).await.map_err(broken)?),
                    None => Box::new(stream),
                };
                tokio_tungstenite::client_async(request, stream).await.map_err(|error| match error {
                    Error::Http(answer) => Refused {
                        status: answer.status().as_u16(),
                        body: String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default())
                            .into_owned(),
                    },
                    other => broken(other.to_string()),
                })
            };
            let (stream, answer) = tokio::time::timeout(SOON, opening)
                .await
                .map_err(|_| broken("no answer in time".to_owned()))??;
            let protocol = answer
                .headers()
                .get("sec-websocket-protocol")
                .map(|value| value.to_str().expect("it is text").to_owned());
            Ok(Socket { stream, protocol })
        })
    }
}
