//! An HTTP client for HTTP/1.1 and HTTP/2, plain and over TLS.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// How long an answer may take, unless the call says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

type Payload = BoxBody<Bytes, std::io::Error>;

/// The runtime all clients share.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started")
    })
}

/// How to reach a server.
#[derive(Clone)]
pub enum Wire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/1.1 over TLS.
    Http1Tls(Arc<ClientConfig>),
    /// HTTP/2 over TLS.
    Http2(Arc<ClientConfig>),
}

/// A request in the making.
#[derive(Clone)]
pub struct Call {
    method: String,
    target: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Body,
    patience: Duration,
}

/// What is sent.
#[derive(Clone)]
enum Body {
    Whole(Bytes),
    /// Of a length that the head does not tell.
    Chunks(Vec<Bytes>),
    /// The same, and it never ends.
    Stalled(Bytes),
}

/// GET.
pub fn get(path: &str) -> Call {
    call("GET", path)
}

/// POST.
pub fn post(path: &str) -> Call {
    call("POST", path)
}

/// Any method.
pub fn call(method: &str, path: &str) -> Call {
    Call {
        method: method.to_owned(),
        target: path.to_owned(),
        host: "localhost".to_owned(),
        headers: Vec::new(),
        body: Body::Whole(Bytes::new()),
        patience: PATIENCE,
    }
}

impl Call {
    /// Another `Host` than `localhost`.
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// A header line.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// `Authorization: Bearer`.
    pub fn bearer(self, token: &str) -> Self {
        let value = format!("Bearer {token}");
        self.header("authorization", value)
    }

    /// A body of this length.
    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Body::Whole(body.into());
        self.header("content-type", content_type)
    }

    /// A body whose length is not told beforehand: chunked in HTTP/1.1.
    pub fn chunked(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Body::Chunks(pieces(&body.into()));
        self.header("content-type", content_type)
    }

    /// A body sent byte by byte: each is a chunk of its own in HTTP/1.1, a frame of its own in HTTP/2.
    pub fn bytewise(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body: Bytes = body.into();
        let length = body.len();
        self.bytewise_behind(length, content_type, body)
    }

    /// The same for the last `tail` bytes of a body, and what is in front of them in larger pieces.
    pub fn bytewise_behind(mut self, tail: usize, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body: Bytes = body.into();
        let from = body.len() - tail;
        let mut chunks = pieces(&body.slice(..from));
        chunks.extend((from..body.len()).map(|at| body.slice(at..at + 1)));
        self.body = Body::Chunks(chunks);
        self.header("content-type", content_type)
    }

    /// A body that begins like this and then neither goes on nor ends.
    pub fn stalled(mut self, content_type: &str, start: impl Into<Bytes>) -> Self {
        self.body = Body::Stalled(start.into());
        self.header("content-type", content_type)
    }

    /// A JSON body.
    pub fn json(self, value: &Value) -> Self {
        self.body("application/json", value.to_string())
    }

    /// How long the whole exchange may take.
    pub fn patience(mut self, limit: Duration) -> Self {
        self.patience = limit;
        self
    }

    /// Sends it on a new plain HTTP/1.1 connection.
    ///
    /// # Panics
    /// Without an answer.
    pub fn send(&self, to: SocketAddr) -> Answer {
        self.send_over(&Wire::Http1, to)
    }

    /// Sends it on a new connection.
    ///
    /// # Panics
    /// Without an answer.
    pub fn send_over(&self, wire: &Wire, to: SocketAddr) -> Answer {
        self.try_over(wire, to).unwrap_or_else(|error| panic!("{} {}: {error}", self.method, self.target))
    }

    /// Sends it on a new plain HTTP/1.1 connection; what went wrong when no answer came.
    pub fn try_send(&self, to: SocketAddr) -> Result<Answer, String> {
        self.try_over(&Wire::Http1, to)
    }

    /// Sends it on a new connection; what went wrong when no answer came.
    pub fn try_over(&self, wire: &Wire, to: SocketAddr) -> Result<Answer, String> {
        runtime().block_on(async {
            tokio::time::timeout(self.patience, async {
                let mut connection = Connection::open(wire, to).await?;
                connection.send(self).await
            })
            .await
            .map_err(|_| format!("no answer in {:?}", self.patience))?
        })
    }

    fn request(&self, http2: bool, scheme: &str) -> Result<Request<Payload>, String> {
        let target =
            if http2 { format!("{scheme}://{}{}", self.host, self.target) } else { self.target.clone() };
        let mut request = Request::builder().method(self.method.as_str()).uri(target);
        if http2 {
            request = request.version(Version::HTTP_2);
        } else if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", &self.host);
        }
        let headers = request.headers_mut().ok_or("no valid request line")?;
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            headers
                .append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|error| error.to_string())?);
        }
        let body = match &self.body {
            Body::Whole(bytes) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed(),
            Body::Chunks(chunks) => {
                let frames = chunks.clone().into_iter().map(|chunk| Ok(Frame::data(chunk)));
                StreamBody::new(stream::iter(frames)).boxed()
            }
            Body::Stalled(start) => {
                let start = stream::iter([Ok(Frame::data(start.clone()))]);
                StreamBody::new(stream::StreamExt::chain(start, stream::pending())).boxed()
            }
        };
        request.body(body).map_err(|error| error.to_string())
    }
}

/// A body in pieces of 64 KiB.
fn pieces(body: &Bytes) -> Vec<Bytes> {
    let step = 64 * 1024;
    (0..body.len()).step_by(step).map(|at| body.slice(at..body.len().min(at + step))).collect()
}

/// A connection to be used more than once.
pub struct Connection {
    sender: Sender,
    secure: bool,
}

enum Sender {
    Http1(http1::SendRequest<Payload>),
    Http2(http2::SendRequest<Payload>),
}

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When it cannot.
    pub fn to(wire: &Wire, to: SocketAddr) -> Self {
        runtime()
            .block_on(async { tokio::time::timeout(PATIENCE, Self::open(wire, to)).await })
            .expect("a connection takes no minute")
            .expect("the server accepts connections")
    }

    /// Sends a call and waits for its answer.
    pub fn exchange(&mut self, call: &Call) -> Result<Answer, String> {
        runtime().block_on(async {
            tokio::time::timeout(call.patience, self.send(call))
                .await
                .map_err(|_| "no answer in time".to_owned())?
        })
    }

    async fn open(wire: &Wire, to: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(to).await.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (sender, secure) = match wire {
            Wire::Http1 => (plain_sender(stream).await?, false),
            Wire::Http1Tls(settings) => (plain_sender(secured(settings, stream).await?).await?, true),
            Wire::Http2(settings) => {
                let stream = secured(settings, stream).await?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err("the server does not choose HTTP/2".to_owned());
                }
                let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .map_err(|error| format!("HTTP/2: {error}"))?;
                tokio::spawn(connection);
                (Sender::Http2(sender), true)
            }
        };
        Ok(Self { sender, secure })
    }

    async fn send(&mut self, call: &Call) -> Result<Answer, String> {
        let scheme = if self.secure { "https" } else { "http" };
        let response = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.map_err(|error| format!("not ready: {error:?}"))?;
                sender.send_request(call.request(false, scheme)?).await
            }
            Sender::Http2(sender) => {
                sender.ready().await.map_err(|error| format!("not ready: {error:?}"))?;
                sender.send_request(call.request(true, scheme)?).await
            }
        };
        let (head, body) = response.map_err(|error| format!("no response: {error:?}"))?.into_parts();
        let body =
            body.collect().await.map_err(|error| format!("cut body after {}: {error:?}", head.status))?;
        Ok(Answer {
            status: head.status.as_u16(),
            version: head.version,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}

async fn plain_sender<S>(stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("HTTP/1.1: {error}"))?;
    tokio::spawn(connection);
    Ok(Sender::Http1(sender))
}

/// Speaks TLS for `localhost`.
pub async fn secured(
    settings: &Arc<ClientConfig>,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let name = "localhost".try_into().expect("it is a valid name");
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(settings));
    connector.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
}

/// A response, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its protocol.
    pub version: Version,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header field, when it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("the value is text"))
    }

    /// A header field that must be there.
    ///
    /// # Panics
    /// When it is not.
    pub fn must(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {} {}", self.status, self.text()))
    }

    /// The status, and the code of a refusal in the shape `problem`; empty when it is none.
    pub fn verdict(&self) -> (u16, String) {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        (self.status, body["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Checks that this is a refusal with this status and code.
    ///
    /// # Panics
    /// When it is not, with all of it.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.verdict(), (status, code.to_owned()), "{:?}\n{}", self.headers, self.text());
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{self:?}");
        self
    }

    /// Checks the status.
    ///
    /// # Panics
    /// When it is another, with the whole answer.
    #[track_caller]
    pub fn is(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }
}
