//! Where a picture ends, what stands behind it, and what its packed texts say.
//!
//! Viewers stop at a picture's end; unpackers, shells and loaders look at what follows. Phones append further pictures,
//! films and notes of their own there, so that not every byte behind the end is evil: what starts like an archive, a
//! program or a document, and text that may be code, is. A picture whose structure is broken has no end; in it only markers are found.
//!
//! Memory: less than 16 KiB. What texts unpack to is bounded.

use flate2::{Decompress, FlushDecompress, Status};

use super::family::Family;

/// Bytes behind the end that are looked at.
const BEHIND: usize = 512;
/// Bytes of text that are no accident.
const TEXT: usize = 8;
/// Bytes that are unpacked together.
const BLOCK: usize = 4 * 1024;
/// Bytes that the texts of one picture may unpack to, whatever they are packed to,
const FREE: u64 = 1 << 20;
/// how many for each packed byte,
const RATIO: u64 = 64;
/// and how many in all: what a large picture saves up must not be spent at once.
const MOST: u64 = 4 << 20;

/// A picture while it arrives.
pub(super) struct Picture {
    state: State,
    /// The bytes of the head that is being read.
    held: Vec<u8>,
    /// Bytes that are passed over before the next head.
    skip: u64,
    /// Data that is passed over may be a packed text.
    text: Option<PackedText>,
    packed: u64,
    unpacked: u64,
    behind: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    PngStart,
    PngChunk,
    /// An end chunk's checksum is passed over.
    PngEnd,
    JpegStart,
    JpegMarker,
    JpegSegment,
    JpegScan,
    GifStart,
    GifBlock,
    GifLabel,
    GifImage,
    GifCodeSize,
    GifData,
    RiffStart,
    RiffEnd,
    Ended,
    Broken,
}

/// A text of a picture: where its packed bytes begin, and what they hold.
struct PackedText {
    /// What comes before the packed bytes.
    head: Vec<u8>,
    international: bool,
    inflate: Option<Decompress>,
    block: Vec<u8>,
}

impl Picture {
    /// For the families whose end can be found.
    pub(super) fn of(family: Family) -> Option<Self> {
        let state = match family {
            Family::Png => State::PngStart,
            Family::Jpeg => State::JpegStart,
            Family::Gif => State::GifStart,
            Family::Webp | Family::Wav | Family::Avi => State::RiffStart,
            _ => return None,
        };
        let (held, behind) = (Vec::new(), Vec::new());
        Some(Self { state, held, skip: 0, text: None, packed: 0, unpacked: 0, behind })
    }

    /// Takes the next bytes; `on` is given what packed texts unpack to. Fails when that is too much.
    pub(super) fn push(&mut self, mut bytes: &[u8], on: &mut impl FnMut(&[u8])) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Broken => return Ok(()),
                _ if self.skip > 0 => {
                    let used = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                    self.skip -= used as u64;
                    self.read_text(&bytes[..used], on)?;
                    used
                }
                State::PngEnd | State::RiffEnd => {
                    self.state = State::Ended;
                    continue;
                }
                State::Ended => {
                    let room = BEHIND - self.behind.len();
                    self.behind.extend_from_slice(&bytes[..bytes.len().min(room)]);
                    return Ok(());
                }
                State::JpegScan => self.scan(bytes),
                _ => self.head(bytes),
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// What is wrong with the bytes behind the end, once there are enough of them, or the file ended.
    pub(super) fn fault(&self, at_end: bool) -> Option<&'static str> {
        if !at_end && self.behind.len() < BEHIND {
            return None;
        }
        let blank = |byte: &u8| *byte == 0 || byte.is_ascii_whitespace();
        let start = self.behind.iter().position(|byte| !blank(byte))?;
        let behind = &self.behind[start..];
        let kind = infer::get(behind).map(|kind| kind.matcher_type());
        let starts = |magic: &&[u8]| behind.starts_with(magic);
        if matches!(
            kind,
            Some(infer::MatcherType::App | infer::MatcherType::Archive | infer::MatcherType::Doc)
        ) || MAGIC.iter().any(starts)
        {
            return Some("an archive, a program or a document behind a picture");
        }
        let text =
            behind.iter().take(64).take_while(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n'));
        let text = text.count();
        // A maker of phones appends its notes as JSON; and the file that scanners are tested with is theirs to name.
        let is_known = behind.starts_with(b"vivo{") || behind.starts_with(b"X5O!P%@AP[4");
        let is_code = behind.iter().any(|byte| CODE.contains(byte));
        let is_text = text >= TEXT && text == behind.len().min(64);
        (is_text && is_code && !is_known).then_some("code behind a picture")
    }

    /// Collects a head, and goes on to what it says comes next.
    fn head(&mut self, bytes: &[u8]) -> usize {
        let wanted = match self.state {
            State::PngStart | State::PngChunk | State::RiffStart => 8,
            State::JpegStart | State::JpegMarker => 2,
            State::JpegSegment => 4,
            State::GifStart => 13,
            State::GifImage => 9,
            _ => 1,
        };
        let used = (wanted - self.held.len()).min(bytes.len());
        self.held.extend_from_slice(&bytes[..used]);
        if self.held.len() == wanted {
            let held = std::mem::take(&mut self.held);
            self.state = self.next(&held);
        }
        used
    }

    fn next(&mut self, head: &[u8]) -> State {
        let colours = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
        match (self.state, head) {
            (State::PngStart, b"\x89PNG\r\n\x1a\n") => State::PngChunk,
            (State::PngChunk, [a, b, c, d, kind @ ..]) => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]);
                if length > i32::MAX as u32 || !kind.iter().all(u8::is_ascii_alphabetic) {
                    return State::Broken;
                }
                self.text = PackedText::of(kind);
                // The checksum follows the data.
                self.skip = u64::from(length) + 4;
                if kind == b"IEND" { State::PngEnd } else { State::PngChunk }
            }
            (State::JpegStart, b"\xff\xd8") => State::JpegMarker,
            (State::JpegMarker, [0xff, 0xff]) => {
                self.held.push(0xff);
                State::JpegMarker
            }
            (State::JpegMarker, [0xff, 0xd9]) => State::Ended,
            (State::JpegMarker, [0xff, 0x01 | 0xd0..=0xd7]) => State::JpegMarker,
            (State::JpegMarker, [0xff, _]) => {
                self.held.extend_from_slice(head);
                State::JpegSegment
            }
            (State::JpegSegment, [_, kind, high, low]) => {
                let length = u64::from(u16::from_be_bytes([*high, *low]));
                if length < 2 {
                    return State::Broken;
                }
                self.skip = length - 2;
                if *kind == 0xda { State::JpegScan } else { State::JpegMarker }
            }
            (State::GifStart, [b'G', b'I', b'F', .., flags, _, _]) => {
                self.skip = colours(*flags);
                State::GifBlock
            }
            (State::GifBlock, [0x2c]) => State::GifImage,
            (State::GifBlock, [0x21]) => State::GifLabel,
            (State::GifBlock, [0x3b]) => State::Ended,
            (State::GifImage, [.., flags]) => {
                self.skip = colours(*flags);
                State::GifCodeSize
            }
            (State::GifLabel | State::GifCodeSize, _) => State::GifData,
            (State::GifData, [0]) => State::GifBlock,
            (State::GifData, [length]) => {
                self.skip = u64::from(*length);
                State::GifData
            }
            (State::RiffStart, [b'R', b'I', b'F', b'F', a, b, c, d]) => {
                let length = u32::from_le_bytes([*a, *b, *c, *d]);
                if length == 0 || length == u32::MAX {
                    return State::Broken;
                }
                self.skip = u64::from(length) + u64::from(length & 1);
                State::RiffEnd
            }
            _ => State::Broken,
        }
    }

    /// Passes over packed picture data, up to the next marker of a JPEG (ITU-T T.81 section B.1.1.2).
    fn scan(&mut self, bytes: &[u8]) -> usize {
        if self.held.is_empty() {
            let Some(at) = memchr::memchr(0xff, bytes) else { return bytes.len() };
            self.held.push(0xff);
            return at + 1;
        }
        match bytes[0] {
            0xff => {}
            0x00 | 0xd0..=0xd7 => self.held.clear(),
            _ => self.state = State::JpegMarker,
        }
        usize::from(self.state == State::JpegScan)
    }

    fn read_text(&mut self, bytes: &[u8], on: &mut impl FnMut(&[u8])) -> Result<(), &'static str> {
        let Some(text) = &mut self.text else { return Ok(()) };
        for &byte in bytes {
            if text.inflate.is_none() {
                match text.begin(byte) {
                    Some(true) => {}
                    Some(false) => continue,
                    None => {
                        self.text = None;
                        return Ok(());
                    }
                }
                continue;
            }
            text.block.push(byte);
            if text.block.len() == BLOCK {
                text.unpack(&mut self.packed, &mut self.unpacked, on)?;
            }
        }
        if self.skip == 0 {
            text.unpack(&mut self.packed, &mut self.unpacked, on)?;
            self.text = None;
        }
        Ok(())
    }
}

/// Characters that few lines of a program do without.
const CODE: &[u8] = b"(;`$|";
/// What `infer` does not tell, or not by the first bytes.
const MAGIC: &[&[u8]] = &[
    b"#!",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"Rar!",
    b"\x1f\x8b\x08",
    b"BZh",
    b"MZ",
    b"%PDF",
    b"\x7fELF",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"\xfe\xed\xfa",
    b"\xca\xfe\xba\xbe",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"!<arch>",
    b"{\\rtf",
    b"dex\n",
    b"\0asm",
];

impl PackedText {
    /// For a chunk that may hold one (PNG sections 11.3.2.3 and 11.3.3).
    fn of(kind: &[u8]) -> Option<Self> {
        let international = kind == b"iTXt";
        let is_text = international || kind == b"zTXt" || kind == b"iCCP";
        is_text.then(|| Self { head: Vec::new(), international, inflate: None, block: Vec::new() })
    }

    /// Takes a byte in front of the packed ones. Says whether these begin behind it; `None` when there are none.
    fn begin(&mut self, byte: u8) -> Option<bool> {
        self.head.push(byte);
        let keyword = self.head.iter().position(|&byte| byte == 0);
        let begins = match (keyword, self.international) {
            (None, _) => self.head.len() <= 80,
            // A flag, the method; then a language and a translated keyword, each with a zero behind.
            (Some(at), true) => match &self.head[at + 1..] {
                [] | [1] | [1, 0] => true,
                [1, 0, rest @ ..] => {
                    if rest.iter().filter(|&&byte| byte == 0).count() == 2 {
                        self.inflate = Some(Decompress::new(true));
                    }
                    rest.len() <= 1024
                }
                _ => false,
            },
            (Some(at), false) => {
                if self.head.len() == at + 2 {
                    self.inflate = Some(Decompress::new(true));
                }
                byte == 0
            }
        };
        begins.then_some(self.inflate.is_some())
    }

    /// What cannot be unpacked ends the text: readers do without it.
    fn unpack(
        &mut self,
        packed: &mut u64,
        unpacked: &mut u64,
        on: &mut impl FnMut(&[u8]),
    ) -> Result<(), &'static str> {
        let Some(inflate) = &mut self.inflate else { return Ok(()) };
        *packed += self.block.len() as u64;
        let mut rest = self.block.as_slice();
        let mut plain = [0; BLOCK];
        loop {
            let (before_in, before_out) = (inflate.total_in(), inflate.total_out());
            let status = inflate.decompress(rest, &mut plain, FlushDecompress::None);
            let used = usize::try_from(inflate.total_in() - before_in).unwrap_or(rest.len());
            let got = usize::try_from(inflate.total_out() - before_out).unwrap_or(plain.len());
            rest = &rest[used..];
            *unpacked += got as u64;
            if *unpacked > MOST.min(FREE + RATIO * *packed) {
                return Err("a picture whose texts unpack to too much");
            }
            on(&plain[..got]);
            let stuck = (used == 0 && got == 0) || (rest.is_empty() && got < plain.len());
            if stuck || !matches!(status, Ok(Status::Ok)) {
                break;
            }
        }
        self.block.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
