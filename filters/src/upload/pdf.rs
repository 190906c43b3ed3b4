//! PDF (ISO 32000-2) that is only looked at: a streaming look at its names, in plain sight and in object streams.
//!
//! Refused: JavaScript, programs and files that are launched, files that are carried along, forms that are sent or
//! filled from elsewhere (also XFA), documents that are opened by the document, actions on events, players; and what
//! cannot be looked into: an encrypted file, and an object stream that is packed in another way than by Flate, or that
//! readers could read differently. Links, bookmarks, plain forms, and an opening that only goes to a page are fine.
//!
//! No table of the file's objects is believed: readers rebuild it when it is wrong, and it may lead anywhere. An object
//! may therefore begin wherever `0 obj` stands, be it inside a string or a stream. Memory: 64 KiB, the list of an object
//! stream's objects (1 MiB at most) and of actions that open addresses (512 KiB); what is unpacked is bounded by what came.
//!
//! What this does not protect from: what a viewer's own faults let a file do.

mod lexer;
mod object_stream;
mod opening;

use lexer::{Lexer, is_delimiter, is_space};
use object_stream::{ObjectStream, Unpacked};
use opening::Openings;

/// A PDF while it arrives. Its answer depends on the bytes alone, not on their division.
pub(super) struct Pdf {
    lexer: Lexer,
    place: Place,
    /// The last 16 bytes.
    last: u128,
    /// The number of the object that is being read; `None` when it cannot be told.
    number: Option<u64>,
    object_stream: Option<ObjectStream>,
    /// What all object streams unpacked to.
    unpacked: Unpacked,
    openings: Openings,
    fault: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Objects,
    /// Behind `stream` and a CR.
    StreamLine,
    Stream,
}

impl Default for Pdf {
    fn default() -> Self {
        Self {
            lexer: Lexer::default(),
            place: Place::Objects,
            last: 0,
            number: None,
            object_stream: None,
            unpacked: Unpacked::default(),
            openings: Openings::default(),
            fault: None,
        }
    }
}

impl Pdf {
    /// Takes the next bytes. Stops looking at the first fault.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (mut at, mut one_by_one) = (0, LOOK_BACK);
        while at < bytes.len() && self.fault.is_none() {
            if one_by_one == 0 && self.place == Place::Stream && self.object_stream.is_none() {
                at += dull(&bytes[at - LOOK_BACK..]);
                let before = bytes[at - LOOK_BACK..at].try_into().expect("the slice has as many bytes");
                self.last = u128::from_be_bytes(before);
                // The byte behind a word matters, too.
                one_by_one = LOOK_BACK + 1;
                continue;
            }
            if let Err(fault) = self.take(bytes[at]) {
                self.fault = Some(fault);
            }
            (at, one_by_one) = (at + 1, one_by_one.saturating_sub(1));
        }
    }

    /// The first thing that is wrong.
    pub(super) fn fault(&self) -> Option<&'static str> {
        self.fault
    }

    /// The first thing that is wrong with the whole file.
    pub(super) fn end(&self) -> Option<&'static str> {
        let mut openings = self.openings.clone();
        openings.note(self.number, self.lexer.opening());
        let cut = self.object_stream.is_some().then_some(CUT);
        self.fault.or(cut).or_else(|| self.lexer.end().err()).or_else(|| openings.fault())
    }

    fn take(&mut self, byte: u8) -> Result<(), &'static str> {
        self.last = self.last << 8 | u128::from(byte);
        if self.begins_object(byte) {
            self.leave_stream()?;
            self.end_object();
            self.number = self.number();
        }
        match self.place {
            Place::Objects => {
                if self.lexer.step(byte)? {
                    self.enter_stream(byte)?;
                }
                return Ok(());
            }
            Place::StreamLine => {
                self.place = Place::Stream;
                if byte == b'\n' {
                    return Ok(());
                }
                if self.object_stream.is_some() {
                    return Err("an object stream behind a lone CR");
                }
            }
            Place::Stream => {}
        }
        if let Some(stream) = &mut self.object_stream {
            stream.push(byte, &mut self.unpacked, &mut self.openings)?;
        }
        if byte == b'm' && self.ends_with(b"endstream") {
            self.leave_stream()?;
            self.end_object();
        }
        Ok(())
    }

    fn end_object(&mut self) {
        let lexer = std::mem::take(&mut self.lexer);
        self.openings.note(self.number, lexer.opening());
    }

    /// The first number of `12 0 obj`, which was just read, and a byte behind it.
    fn number(&self) -> Option<u64> {
        let bytes = self.last.to_be_bytes();
        let mut words = bytes[..12].rsplit(|&byte| is_space(byte)).filter(|word| !word.is_empty());
        let (_generation, number) = (words.next()?, words.next()?);
        // A number that reaches the edge may have begun before it.
        let whole = number.as_ptr() != bytes.as_ptr() && number.iter().all(u8::is_ascii_digit);
        whole.then(|| std::str::from_utf8(number).ok()?.parse().ok()).flatten()
    }

    /// Whether an object, or the trailer, begins at `byte`, the one just taken: behind `0 obj` in any spelling.
    fn begins_object(&self, byte: u8) -> bool {
        if !is_space(byte) && !is_delimiter(byte) {
            return false;
        }
        let [.., far, near, o, b, j, _] = self.last.to_be_bytes();
        if [o, b, j] == *b"obj" {
            let behind_number = near.is_ascii_digit()
                || b"\r\n".contains(&near)
                || (is_space(near) && (far.is_ascii_digit() || is_space(far)));
            return behind_number;
        }
        j == b'r'
            && (self.last >> 8) & 0xff_ffff_ffff_ffff == u128::from_be_bytes(*b"\0\0\0\0\0\0\0\0\0trailer")
    }

    fn ends_with(&self, word: &[u8]) -> bool {
        self.last.to_be_bytes().ends_with(word)
    }

    /// `stream` was read, and `byte` behind it.
    fn enter_stream(&mut self, byte: u8) -> Result<(), &'static str> {
        self.object_stream = self.lexer.stream().map(ObjectStream::of).transpose()?;
        self.place = match byte {
            b'\r' => Place::StreamLine,
            b'\n' => Place::Stream,
            _ if self.object_stream.is_some() => return Err("an object stream that starts in mid-line"),
            _ => Place::Stream,
        };
        Ok(())
    }

    /// An object stream must have come to its end before.
    fn leave_stream(&mut self) -> Result<(), &'static str> {
        self.place = Place::Objects;
        match self.object_stream.take() {
            Some(stream) => stream.end(&mut self.unpacked, &mut self.openings),
            None => Ok(()),
        }
    }
}

/// Bytes in front of one that say what it ends.
const LOOK_BACK: usize = 16;

/// How many bytes of a stream, behind those to look back to, can be passed over: no word that matters ends in them, or
/// right in front of them.
fn dull(bytes: &[u8]) -> usize {
    let ends = |&at: &usize| {
        let read = &bytes[..=at];
        at + 1 >= LOOK_BACK
            && (read.ends_with(b"obj") || read.ends_with(b"endstream") || read.ends_with(b"trailer"))
    };
    let end = memchr::memchr3_iter(b'j', b'm', b'r', bytes).find(ends);
    end.map_or(bytes.len(), |at| (at + 1).saturating_sub(LOOK_BACK).max(LOOK_BACK)) - LOOK_BACK
}

/// An object stream without its end.
const CUT: &str = "an object stream that is cut";

#[cfg(test)]
mod tests;
