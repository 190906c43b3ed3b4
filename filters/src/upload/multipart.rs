//! A strict push parser for `multipart/form-data` (RFC 7578, RFC 2046 section 5.1).
//!
//! The body is one dialect and no other: `--boundary` first, with nothing in front; heads and delimiters end in CRLF;
//! no padding after a boundary; the closing `--boundary--` is followed by one CRLF or nothing. The text `--boundary`
//! may stand nowhere else in the body, because some readers take it for a delimiter after a bare LF, or in mid-line.
//!
//! Memory is one head (8 KiB) and one delimiter (74 bytes), whatever is sent.

use memchr::memmem::Finder;

use super::malformed;
use super::part::PartHead;
use crate::denial::Denial;

/// Bytes of one part's head.
const MAX_HEAD: usize = 8 * 1024;
/// Parts of one form.
const MAX_PARTS: usize = 1_000;

/// What the parser sees, in order: for each part its start, its data in any number of pieces, its end.
#[derive(Debug)]
pub enum Event<'a> {
    /// A part's head was read. Its data starts at `offset`.
    PartStart {
        /// What it says.
        head: PartHead,
        /// Bytes of body before the part's data.
        offset: u64,
    },
    /// Some of a part's data, never empty.
    PartData(&'a [u8]),
    /// The part's data ended before `offset`.
    PartEnd {
        /// Bytes of body up to the end of the part's data.
        offset: u64,
    },
}

/// The parser. Divisions between calls of [`feed`](Self::feed) do not matter: events are the same, but for the pieces
/// that data comes in, and so is the first error and everything before it.
#[derive(Debug)]
pub struct Parser {
    /// Finds `--boundary`.
    delimiter: Finder<'static>,
    state: State,
    /// What cannot be told yet: a head, two bytes behind a delimiter, or data that may begin a delimiter.
    held: Vec<u8>,
    /// Bytes taken so far.
    offset: u64,
    parts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Delimited,
    Head,
    Data,
    Epilogue,
}

impl Parser {
    /// A parser for the boundary of a [`FormType::Form`](super::FormType::Form).
    pub fn new(boundary: &str) -> Self {
        let delimiter = Finder::new(&format!("--{boundary}")).into_owned();
        Self { delimiter, state: State::Opening, held: Vec::new(), offset: 0, parts: 0 }
    }

    /// Takes the next bytes. After an error the parser must not be fed again.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        on: &mut impl FnMut(Event<'_>) -> Result<(), Denial>,
    ) -> Result<(), Denial> {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Opening => self.opening(bytes)?,
                State::Delimited => self.delimited(bytes[0])?,
                State::Head => self.head(bytes, on)?,
                State::Data => self.data(bytes, on)?,
                State::Epilogue => self.epilogue(bytes[0])?,
            };
            bytes = &bytes[used..];
            self.offset += used as u64;
        }
        Ok(())
    }

    /// Says whether the body was whole.
    pub fn finish(&self) -> Result<(), Denial> {
        match (self.state, self.held.as_slice()) {
            (State::Epilogue, b"" | b"\r\n") => Ok(()),
            _ => Err(malformed("the form ends before its closing boundary")),
        }
    }

    /// Bytes taken so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn opening(&mut self, bytes: &[u8]) -> Result<usize, Denial> {
        let expected = &self.delimiter.needle()[self.held.len()..];
        let used = expected.len().min(bytes.len());
        if expected[..used] != bytes[..used] {
            return Err(malformed("the form does not start with its boundary"));
        }
        self.held.extend_from_slice(&bytes[..used]);
        if used == expected.len() {
            self.enter(State::Delimited);
        }
        Ok(used)
    }

    fn delimited(&mut self, byte: u8) -> Result<usize, Denial> {
        self.held.push(byte);
        match self.held.as_slice() {
            b"\r" | b"-" => {}
            b"\r\n" if self.parts == MAX_PARTS => return Err(malformed("too many parts")),
            b"\r\n" => {
                self.parts += 1;
                self.enter(State::Head);
            }
            b"--" => self.enter(State::Epilogue),
            _ => return Err(malformed("a boundary is followed by neither CRLF nor two hyphens")),
        }
        Ok(1)
    }

    fn head(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(Event<'_>) -> Result<(), Denial>,
    ) -> Result<usize, Denial> {
        for (at, &byte) in bytes.iter().enumerate() {
            self.held.push(byte);
            if byte == b'\n' && (self.held == b"\r\n" || self.held.ends_with(b"\r\n\r\n")) {
                let lines = self.held.len().saturating_sub(4);
                let head = PartHead::parse(&self.held[..lines])?;
                self.enter(State::Data);
                let used = at + 1;
                on(Event::PartStart { head, offset: self.offset + used as u64 })?;
                return Ok(used);
            }
            if self.held.len() >= MAX_HEAD {
                return Err(malformed("a part's head is too large"));
            }
        }
        Ok(bytes.len())
    }

    /// Gives data on as soon as it cannot be part of a delimiter: all but the last `delimiter + CRLF - 1` bytes.
    fn data(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(Event<'_>) -> Result<(), Denial>,
    ) -> Result<usize, Denial> {
        let delimiter = self.delimiter.needle().len();
        let window = delimiter + 2;
        if !self.held.is_empty() {
            let mut joint = std::mem::take(&mut self.held);
            let (own, borrowed) = (joint.len(), bytes.len().min(window));
            joint.extend_from_slice(&bytes[..borrowed]);
            let start = self.offset - own as u64;
            if let Some(at) = self.delimiter.find(&joint) {
                self.end_part(&joint[..at], start, on)?;
                return Ok(at + delimiter - own);
            }
            if borrowed == bytes.len() {
                let given = joint.len().saturating_sub(window - 1);
                give(&joint[..given], on)?;
                joint.drain(..given);
                self.held = joint;
                return Ok(borrowed);
            }
            // A delimiter that begins in the held bytes would have been found.
            give(&joint[..own], on)?;
            joint.clear();
            self.held = joint;
        }
        if let Some(at) = self.delimiter.find(bytes) {
            self.end_part(&bytes[..at], self.offset, on)?;
            return Ok(at + delimiter);
        }
        let given = bytes.len().saturating_sub(window - 1);
        give(&bytes[..given], on)?;
        self.held.extend_from_slice(&bytes[given..]);
        Ok(bytes.len())
    }

    /// `--boundary` follows `before`, the last bytes of a part.
    fn end_part(
        &mut self,
        before: &[u8],
        start: u64,
        on: &mut impl FnMut(Event<'_>) -> Result<(), Denial>,
    ) -> Result<(), Denial> {
        let end = before.len().saturating_sub(2);
        give(&before[..end], on)?;
        if &before[end..] != b"\r\n" {
            return Err(malformed("the boundary stands where no line starts"));
        }
        self.enter(State::Delimited);
        on(Event::PartEnd { offset: start + end as u64 })
    }

    fn epilogue(&mut self, byte: u8) -> Result<usize, Denial> {
        self.held.push(byte);
        match b"\r\n".starts_with(&self.held) {
            true => Ok(1),
            false => Err(malformed("bytes after the closing boundary")),
        }
    }

    fn enter(&mut self, state: State) {
        self.held.clear();
        self.state = state;
    }
}

fn give(bytes: &[u8], on: &mut impl FnMut(Event<'_>) -> Result<(), Denial>) -> Result<(), Denial> {
    match bytes.is_empty() {
        true => Ok(()),
        false => on(Event::PartData(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Name, file name, start, data and end of a part.
    type Part = (String, Option<String>, u64, Vec<u8>, Option<u64>);

    /// The parts that were read, and the detail of the refusal that ended it.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        parts: Vec<Part>,
        refused: Option<String>,
    }

    fn read<'a>(boundary: &str, chunks: impl IntoIterator<Item = &'a [u8]>) -> Seen {
        let mut parser = Parser::new(boundary);
        let mut seen = Seen::default();
        let mut held = 0;
        let result = chunks
            .into_iter()
            .try_for_each(|chunk| {
                parser.feed(chunk, &mut |event| {
                    match event {
                        Event::PartStart { head, offset } => {
                            seen.parts.push((head.name, head.filename, offset, Vec::new(), None));
                        }
                        Event::PartData(bytes) => seen.parts.last_mut().unwrap().3.extend_from_slice(bytes),
                        Event::PartEnd { offset } => seen.parts.last_mut().unwrap().4 = Some(offset),
                    }
                    Ok(())
                })?;
                held = held.max(parser.held.capacity());
                Ok(())
            })
            .and_then(|()| parser.finish());
        assert!(held <= 2 * MAX_HEAD);
        seen.refused = result.err().map(|denial| denial.detail.into_owned());
        seen
    }

    const BROWSER: &[u8] =
        b"------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nhello\r\n\
        ------WebKitFormBoundaryX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
        Content-Type: image/png\r\n\r\n\x89PNG\r\n--\r\n---\r\n\x1a\r\n\r\n------WebKitFormBoundaryX--\r\n";
    const BOUNDARY: &str = "----WebKitFormBoundaryX";

    #[test]
    fn reads_the_form_of_a_browser() {
        let seen = read(BOUNDARY, [BROWSER]);
        assert_eq!(seen.refused, None);
        assert_eq!(seen.parts.len(), 2);
        assert_eq!(seen.parts[0].3, b"hello");
        assert_eq!(seen.parts[1].1.as_deref(), Some("a.png"));
        assert_eq!(seen.parts[1].3, b"\x89PNG\r\n--\r\n---\r\n\x1a\r\n");
        for (_, _, start, data, end) in &seen.parts {
            let (start, end) = (*start as usize, end.unwrap() as usize);
            assert_eq!(&BROWSER[start..end], data);
        }
    }

    #[test]
    fn reads_an_empty_form_and_empty_parts_and_no_last_line_break() {
        assert_eq!(read("b", [b"--b--".as_slice()]), Seen::default());
        assert_eq!(read("b", [b"--b--\r\n".as_slice()]), Seen::default());
        let body = b"--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--b--";
        let seen = read("b", [body.as_slice()]);
        assert_eq!((seen.refused, seen.parts[0].3.as_slice()), (None, b"".as_slice()));
    }

    #[test]
    fn refuses_every_other_dialect() {
        let head = "Content-Disposition: form-data; name=\"a\"\r\n\r\n";
        for (body, why) in [
            (String::new(), "nothing"),
            ("\r\n--b--".into(), "line break in front"),
            ("preamble\r\n--b--".into(), "preamble"),
            (format!("--b \r\n{head}x\r\n--b--"), "padding"),
            (format!("--b\t\r\n{head}x\r\n--b--"), "padding with a tab"),
            (format!("--b\n{head}x\r\n--b--"), "LF after the boundary"),
            (format!("--b\r\n{head}x\n--b--"), "LF before the boundary"),
            (format!("--b\r\n{head}x\r--b--"), "CR before the boundary"),
            (format!("--b\r\n{head}x--b--"), "boundary in mid-line"),
            (format!("--b\r\n{head}x--b--\r\ny\r\n--b--"), "boundary in mid-line, then a good one"),
            (format!("--b\r\n{head}--b--"), "no line of its own for an empty body"),
            (format!("--b\r\n{head}x\r\n--bc\r\n"), "longer boundary"),
            (format!("--b\r\n{head}x\r\n--b-"), "half a closing boundary"),
            (format!("--b\r\n{head}x\r\n--b\r\n"), "no closing boundary"),
            (format!("--b\r\n{head}x"), "cut"),
            (format!("--b\r\n{head}x\r\n--b--\r"), "half a line break"),
            (format!("--b\r\n{head}x\r\n--b--\r\n\r\n"), "two line breaks"),
            (format!("--b\r\n{head}x\r\n--b--epilogue"), "epilogue"),
            (format!("--b\r\n{head}x\r\n--b--\r\n--b\r\n{head}y\r\n--b--"), "a part in the epilogue"),
            ("--b\r\n\r\nx\r\n--b--".into(), "no head"),
            ("--b\r\nContent-Disposition: form-data; name=\"a\"\n\nx\r\n--b--".into(), "LF in a head"),
            (format!("--b\r\nX: {}\r\n{head}x\r\n--b--", "y".repeat(9000)), "large head"),
            (format!("{}--b--", format!("--b\r\n{head}x\r\n").repeat(1001)), "parts"),
        ] {
            let whole = read("b", [body.as_bytes()]);
            assert!(whole.refused.is_some(), "{why}");
            assert_eq!(whole, read("b", body.as_bytes().chunks(1)), "{why}");
        }
        let parts = format!("{}--b--", format!("--b\r\n{head}x\r\n").repeat(1000));
        assert_eq!(read("b", [parts.as_bytes()]).refused, None);
    }

    /// Cuts `body` at arbitrary places.
    fn cut<'a>(body: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
        places.extend([0, body.len()]);
        places.sort_unstable();
        places.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect()
    }

    /// Bodies made of the pieces that parsers trip over.
    fn scraps() -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop::sample::select(vec![
            "--b",
            "\r\n",
            "--",
            "\r",
            "\n",
            "-",
            "b",
            "x",
            "\0",
            " ",
            "--b\r\n",
            "\r\n--b",
            "\r\n--b--",
            "Content-Disposition: form-data; name=\"a\"",
            "; filename=\"a.png\"",
            "\r\n\r\n",
            "Content-Type: a/b",
        ]);
        prop::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_division_of_any_bytes_reads_the_same(body in scraps(), cuts in prop::collection::vec(0..4096usize, 0..8)) {
            let whole = read("b", [body.as_slice()]);
            prop_assert_eq!(&whole, &read("b", cut(&body, &cuts)));
            prop_assert_eq!(&whole, &read("b", body.chunks(1)));
        }

        #[test]
        fn a_mutated_form_never_panics_and_reads_the_same(
            changes in prop::collection::vec((0..400usize, any::<u8>()), 0..4),
            cuts in prop::collection::vec(0..4096usize, 0..8),
        ) {
            let mut body = BROWSER.to_vec();
            for (at, byte) in changes {
                let at = at % body.len();
                body[at] = byte;
            }
            prop_assert_eq!(read(BOUNDARY, [body.as_slice()]), read(BOUNDARY, cut(&body, &cuts)));
        }
    }
}
