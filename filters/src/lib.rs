//! The decisions of Menshen: what a request may do. No sockets, files or clocks; time, randomness and stores come
//! in as arguments.

pub mod authorise;
pub mod body;
mod bounded;
pub mod chain;
pub mod claims;
pub mod client;
pub mod credential;
pub mod denial;
pub mod exchange;
pub mod explain;
pub mod facts;
pub mod fields;
pub mod filter;
pub mod forwarded;
pub mod framing;
pub mod headers;
pub mod host;
pub mod identity;
pub mod ip;
pub mod jwks;
pub mod jws;
pub mod jwt;
pub mod language;
pub mod lockout;
pub mod outgoing;
pub mod path;
pub mod pending;
pub mod pipeline;
pub mod proxy_protocol;
pub mod rate;
pub mod redirect;
pub mod refusal;
pub mod router;
pub mod scrub;
pub mod state;
pub mod tenant;
pub mod upload;
pub mod websocket;

pub use denial::{Denial, Extra, FieldProblem, Reason};
pub use facts::{Caller, Facts, Token};
pub use filter::{BodyInspector, FileReport, Filter, Findings, Judgement, Note, Verdict, WholeBody};
pub use pending::Pending;
