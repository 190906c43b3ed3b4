//! What a rule is.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::denial::Denial;
use crate::facts::Facts;
use crate::pending::Pending;

/// One rule a request must pass. It decides; it never responds, logs, counts or waits on its own.
pub trait Filter: Send + Sync {
    /// The name that `observe:` and the access log know it by.
    fn name(&self) -> config::RuleName;

    /// Judges the head. Local rules answer at once; a rule that needs the shared store returns the question to ask.
    fn judge(&self, _request: &mut RequestHeader, _facts: &Facts<'_>) -> Judgement {
        Judgement::PASS
    }

    /// The inspector, when this request's body must be seen before the upstream is.
    fn inspector(
        &self,
        _request: &RequestHeader,
        _facts: &Facts<'_>,
    ) -> Result<Option<Box<dyn BodyInspector>>, Denial> {
        Ok(None)
    }

    /// Edits the response head. Cannot refuse: the upstream has already acted.
    fn respond(&self, _response: &mut ResponseHeader, _facts: &Facts<'_>) {}
}

/// What a rule says of a head.
pub enum Judgement {
    /// Said at once.
    Now(Verdict),
    /// To be awaited: the only kind that costs an allocation.
    Ask(BoxFuture<'static, Verdict>),
}

impl Judgement {
    /// Nothing against it, nothing to add.
    pub const PASS: Judgement = Judgement::Now(Ok(Note::Nothing));

    /// Refuses.
    pub fn deny(denial: Denial) -> Self {
        Judgement::Now(Err(denial))
    }
}

/// A rule's answer.
pub type Verdict = Result<Note, Denial>;

/// What a rule that lets a request pass wants to be remembered.
#[derive(Debug)]
pub enum Note {
    /// Nothing.
    Nothing,
    /// Header lines for the answer to the client.
    ResponseHeaders(Vec<(HeaderName, HeaderValue)>),
}

/// Looks at a body while it arrives, before the upstream is asked.
pub trait BodyInspector: Send {
    /// The next bytes, in any division: the verdict must not depend on where the chunks end.
    fn chunk(&mut self, bytes: &[u8]) -> Result<(), Denial>;

    /// More of the body is in its file now, up to the last chunk at most: for whoever begins with what is there.
    fn kept(&mut self, _body: &dyn WholeBody) {}

    /// The body is whole and can be read again. Says what was found, or refuses.
    fn finish(self: Box<Self>, body: &dyn WholeBody) -> BoxFuture<'_, Result<Findings, Denial>>;
}

/// A body that can be read again. It is whole, or still arriving where that is said.
pub trait WholeBody: Send + Sync {
    /// Bytes in all.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file with the body's first bytes, and how many these are: for whoever passes them on without a look.
    fn file(&self) -> Option<(&Arc<File>, u64)> {
        None
    }

    /// Some of the bytes at the start of `range`: at least one, at most 64 KiB, never beyond its end.
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, std::io::Result<Bytes>>;
}

/// What an inspector found in a body it lets pass.
#[derive(Debug, Default)]
pub struct Findings {
    /// Header lines for the upstream.
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    /// The files of an upload.
    pub files: Vec<FileReport>,
    /// What is settled by the upstream's answer.
    pub pending: Pending,
}

impl Findings {
    /// Adds what another inspector found.
    pub fn add(&mut self, other: Findings) {
        self.request_headers.extend(other.request_headers);
        self.files.extend(other.files);
        self.pending.add(other.pending);
    }
}

/// One file of an upload that passed every check.
#[derive(Debug, Clone, serde::Serialize, PartialEq, Eq)]
pub struct FileReport {
    /// The form field; empty for a raw upload.
    pub field: String,
    /// The name the client gave.
    pub filename: String,
    /// Bytes.
    pub size: u64,
    /// MIME type, by content.
    #[serde(rename = "type")]
    pub media_type: String,
    /// The class of the policy.
    pub class: String,
    /// Lower-case hex.
    pub sha256: String,
    /// `clean`, `not_scanned` (let pass by policy), `failed` (let pass by policy) or `off`.
    pub scan: &'static str,
    /// `clamav`, `builtin` or `none`.
    pub engine: &'static str,
    /// The request by which the same file came first, where somebody asks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
}
