//! The framing of a chunked body (RFC 9112 section 7.1), to the letter.
//!
//! Of a request nothing is forgiven: an empty size line, bare line feeds in extensions, trailers that are no fields. Whoever
//! stands in front may read such bytes differently.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a size line with its extensions.
const MAX_LINE: usize = 4096;

/// Bytes of all trailer fields.
const MAX_TRAILERS: usize = 8192;

/// Follows one chunked body in any division of its bytes.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    /// Bytes of the current line, or of all trailers.
    length: usize,
    /// Whether blanks may stand behind a size, as some servers pad it.
    padded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Hexadecimal digits so far, and what they say.
    Size(u8, u64),
    /// Behind a semicolon; the size that stood before it.
    Extension(u64),
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Done,
}

impl Chunks {
    /// For the body of a request.
    pub fn of_request() -> Self {
        Self { state: State::Size(0, 0), length: 0, padded: false }
    }

    /// For the body of an app's answer.
    pub fn of_answer() -> Self {
        Self { state: State::Size(0, 0), length: 0, padded: true }
    }

    /// Takes the next piece of data out of what was read, and the framing around it; an empty piece when more must be
    /// read, or the body has ended. `None` when this is no chunked body. Trailers are dropped.
    pub fn decode(&mut self, inbox: &mut BytesMut) -> Option<Bytes> {
        while let Some(&byte) = inbox.first() {
            match self.state {
                State::Done => break,
                State::Data(left) => {
                    let n = usize::try_from(left).map_or(inbox.len(), |left| left.min(inbox.len()));
                    let left = left - n as u64;
                    self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                    return Some(inbox.split_to(n).freeze());
                }
                state => {
                    self.state = self.step(state, byte)?;
                    inbox.advance(1);
                }
            }
        }
        Some(Bytes::new())
    }

    /// Whether the last chunk and its trailers have been seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Where one byte leads; `None` where it must not stand.
    fn step(&mut self, state: State, byte: u8) -> Option<State> {
        self.length += 1;
        let limit =
            if matches!(state, State::Size(..) | State::Extension(_)) { MAX_LINE } else { MAX_TRAILERS };
        if self.length > limit {
            return None;
        }
        Some(match (state, byte) {
            (State::Size(digits, size), _) if byte.is_ascii_hexdigit() && digits < 16 => {
                let digit = char::from(byte).to_digit(16)?;
                State::Size(digits + 1, size << 4 | u64::from(digit))
            }
            (State::Size(1.., size), b';') => State::Extension(size),
            (State::Size(1.., size), b' ' | b'\t') if self.padded => State::Extension(size),
            (State::Size(1.., size) | State::Extension(size), b'\r') => State::SizeEnd(size),
            (State::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => State::Extension(size),
            (State::SizeEnd(size), b'\n') => {
                self.length = 0;
                if size == 0 { State::TrailerStart } else { State::Data(size) }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.length = 0;
                State::Size(0, 0)
            }
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => State::TrailerName,
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            _ => return None,
        })
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether this is one body, the same in one piece and byte by byte.
    fn follows(body: &str) -> bool {
        let decoded = |size: usize| {
            let (mut chunks, mut inbox, mut data) = (Chunks::of_request(), BytesMut::new(), Vec::new());
            for piece in body.as_bytes().chunks(size) {
                inbox.extend_from_slice(piece);
                loop {
                    let bytes = chunks.decode(&mut inbox)?;
                    if bytes.is_empty() {
                        break;
                    }
                    data.extend_from_slice(&bytes);
                }
            }
            Some((data, inbox.to_vec(), chunks.is_done()))
        };
        let whole = decoded(body.len());
        assert_eq!(whole, decoded(1), "{body:?}");
        whole.is_some()
    }

    #[test]
    fn chunks_of_the_rfc_pass() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00A;name=value; quoted=\"x y\"\r\n0123456789\r\n0\r\n\r\n",
            "1\r\na\r\n0\r\nDigest: x\r\nX-Two:\r\n\r\n",
            "2\r\n\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nnot looked at",
        ] {
            assert!(follows(body), "{body:?}");
        }
    }

    #[test]
    fn whatever_two_readers_could_divide_differently_is_refused() {
        for body in [
            "\r\n\r\n",
            ";a\r\n",
            " \r\n",
            "g\r\n",
            "0x5\r\nhello\r\n",
            "-1\r\n",
            "5\nhello\r\n",
            "5\r\nhelloworld",
            "5 \r\nhello\r\n",
            "3;a=b\nX\r\nabc\r\n",
            "3;a=\0\r\nabc\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "11111111111111111\r\n",
            "0\r\nbad line no colon\r\n\r\n",
            "0\r\nA: b\r\n folded\r\n\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\n\n",
        ] {
            assert!(!follows(body), "{body:?}");
        }
        assert!(!follows(&format!("1;{}\r\n", "a".repeat(MAX_LINE))));
        assert!(!follows(&format!("0\r\n{}", "A: b\r\n".repeat(MAX_TRAILERS))));
    }

    #[test]
    fn an_answer_is_decoded_however_it_is_cut() {
        let wire = b"5 \r\nhello\r\n0B;x=y\r\n, the world\r\n0\r\nDigest: x\r\n\r\nHTTP/1.1";
        for size in [1, 3, wire.len()] {
            let (mut chunks, mut inbox, mut data) = (Chunks::of_answer(), BytesMut::new(), Vec::new());
            for piece in wire.chunks(size) {
                inbox.extend_from_slice(piece);
                loop {
                    let bytes = chunks.decode(&mut inbox).unwrap();
                    if bytes.is_empty() {
                        break;
                    }
                    data.extend_from_slice(&bytes);
                }
            }
            assert!(chunks.is_done());
            assert_eq!((data.as_slice(), &inbox[..]), (&b"hello, the world"[..], &b"HTTP/1.1"[..]));
        }
        assert_eq!(Chunks::of_answer().decode(&mut BytesMut::from(&b"5\nhello"[..])), None);
    }
}
