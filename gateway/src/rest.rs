//! What is still to come of a message's body, a request's or an answer's (RFC 9112 section 6.3).

use bytes::{Bytes, BytesMut};

use crate::chunks::Chunks;

/// How the rest of a body is framed.
pub enum Rest {
    /// By its length: bytes left, never none.
    Length(u64),
    /// In chunks.
    Chunked(Chunks),
    /// By the end of the connection.
    UntilClose,
    /// The body has ended.
    Nothing,
}

impl Rest {
    /// A body of this many bytes.
    pub fn of_length(bytes: u64) -> Self {
        if bytes == 0 { Self::Nothing } else { Self::Length(bytes) }
    }

    /// Whether the body has ended.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Takes what there is of the body out of what was read; no bytes when more must be read, or the body has ended.
    /// `None` when this is no chunked body.
    pub fn take(&mut self, inbox: &mut BytesMut) -> Option<Bytes> {
        if inbox.is_empty() {
            return Some(Bytes::new());
        }
        match self {
            Self::Length(left) => {
                let n = usize::try_from(*left).map_or(inbox.len(), |left| left.min(inbox.len()));
                *self = Self::of_length(*left - n as u64);
                Some(inbox.split_to(n).freeze())
            }
            Self::Chunked(chunks) => {
                let data = chunks.decode(inbox)?;
                if chunks.is_done() {
                    *self = Self::Nothing;
                }
                Some(data)
            }
            Self::UntilClose => Some(inbox.split().freeze()),
            Self::Nothing => Some(Bytes::new()),
        }
    }
}
