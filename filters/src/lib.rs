//! The decisions of Menshen: what a request may do. No sockets, files or clocks; time, randomness and stores come
//! in as arguments.

pub mod client;
mod bounded;
pub mod denial;
pub mod facts;
pub mod fields;
pub mod filter;
pub mod forwarded;
pub mod framing;
pub mod headers;
pub mod host;
pub mod path;
pub mod proxy_protocol;
pub mod redirect;
pub mod router;
pub mod websocket;
pub mod authorise;
pub mod claims;
pub mod credential;
pub mod denial;
pub mod facts;
pub mod filter;
pub mod identity;
pub mod ip;
pub mod jwks;
pub mod jws;
pub mod jwt;
pub mod tenant;
pub mod lockout;
pub mod rate;
pub mod state;
pub mod language;
pub mod refusal;
pub mod scrub;
pub mod upload;
pub mod websocket;
pub mod upload;

pub use denial::{Denial, Extra, FieldProblem, Reason};
pub use facts::{Caller, Facts, Token};
pub use filter::{BodyInspector, FileReport, Filter, Findings, Judgement, Note, Verdict, WholeBody};
