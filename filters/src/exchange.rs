//! What is known about one request so far: filled from top to bottom while it travels.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use config::RuleName;
use http::{HeaderName, HeaderValue, Method};

use crate::denial::Reason;
use crate::facts::{Caller, Facts};
use crate::forwarded::{Incoming, Trace};
use crate::websocket::offer::PairAnswer;

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// When its head had been read.
    pub now: SystemTime,
    /// Who connected.
    pub peer: IpAddr,
    /// Whether TLS ended here.
    pub https: bool,
    /// The port it came in on.
    pub port: u16,
    /// The bytes of an HTTP/1 head; `None` over HTTP/2.
    pub raw_head: Option<&'a [u8]>,
    /// 128 random bits: the request's own id, and its span in a trace.
    pub random: u128,
}

/// One request's state. What a step could not establish is empty.
#[derive(Debug)]
pub struct Exchange {
    /// When its head had been read.
    pub now: SystemTime,
    /// The client's address.
    pub client: IpAddr,
    /// Its name: made here, or by a trusted proxy.
    pub request_id: String,
    /// The trace it belongs to: 32 hexadecimal digits.
    pub trace_id: String,
    /// What the client asked for: host, and port if it sent one.
    pub authority: HeaderValue,
    /// Lower case, without port.
    pub host: String,
    /// The canonical path.
    pub path: String,
    /// The query without credentials that were cut out.
    pub query: String,
    /// The route, as an index into the pipeline's.
    pub route: Option<usize>,
    /// Decoded values of the pattern's names.
    pub params: Vec<(Arc<str>, String)>,
    /// Who asks.
    pub caller: Option<Arc<Caller>>,
    /// Whose data is asked for.
    pub tenant: Option<Arc<config::Tenant>>,
    /// What a trusted peer said of where the request came from.
    pub incoming: Incoming,
    /// The trace it is part of.
    pub trace: Option<Trace>,
    /// Header lines for the upstream, from rules that looked at the body.
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    /// Header lines for the answer.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// What rules that only observe would have refused.
    pub observed: Vec<(RuleName, Reason)>,
    /// The rule that refused.
    pub denied_by: Option<&'static str>,
    /// How the 101 of an admitted WebSocket handshake has to answer.
    pub socket: Option<PairAnswer>,
}

/// 32 hexadecimal digits.
pub fn hex_id(id: u128) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = vec![0; 32];
    for (at, digit) in text.iter_mut().rev().enumerate() {
        *digit = DIGITS[(id >> (at * 4)) as usize & 15];
    }
    String::from_utf8(text).expect("hexadecimal digits are ASCII")
}

impl Exchange {
    /// Nothing is known yet but when and from where.
    pub fn begin(arrival: &Arrival<'_>) -> Self {
        Self {
            now: arrival.now,
            client: arrival.peer.to_canonical(),
            request_id: hex_id(arrival.random),
            trace_id: String::new(),
            authority: HeaderValue::from_static(""),
            host: String::new(),
            path: String::new(),
            query: String::new(),
            route: None,
            params: Vec::new(),
            caller: None,
            tenant: None,
            incoming: Incoming::default(),
            trace: None,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            observed: Vec::new(),
            denied_by: None,
            socket: None,
        }
    }

    /// What rules may look at.
    pub fn facts<'a>(&'a self, method: &'a Method, route: &'a str) -> Facts<'a> {
        Facts {
            request_id: &self.request_id,
            now: self.now,
            client: self.client,
            method,
            host: &self.host,
            path: &self.path,
            route,
            params: &self.params,
            caller: self.caller.as_deref(),
            tenant: self.tenant.as_deref(),
        }
    }
}

/// Bytes of a head as text; what is not UTF-8 becomes U+FFFD. Ten times quicker for ASCII than asking for the
/// replacement at once, which goes byte by byte.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}
