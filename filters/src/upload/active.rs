//! Content that acts: scripts, markup, archives and programs hidden in what should only be looked at.
//!
//! Markers are long enough not to occur by chance in compressed data (below 2⁻¹⁵ for 100 MB, all together).
//! They are also found as UTF-16, and in the packed texts of a PNG. What stands behind a picture's end is looked at
//! besides. What this does not protect from: markers in what else is packed, and in other charsets.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::family::Family;
use super::pdf::Pdf;
use super::picture::Picture;
use super::svg::Svg;

/// Lower case, found in any case; the first byte is `<` or `$`. PHP asks for white space behind `<?php`; JSP and ASP directives are those of real pages.
const SERVER: &[&[u8]] = &[
    b"<?php ",
    b"<?php\t",
    b"<?php\r",
    b"<?php\n",
    b"<?php/",
    b"<?=$_",
    b"<?=eval",
    b"<?=system",
    b"<?=exec",
    b"<?=passthru",
    b"<?=shell_exec",
    b"<?=include",
    b"<?=require",
    b"<?=assert",
    b"$_get[",
    b"$_post[",
    b"$_request[",
    b"$_cookie[",
    b"$_files[",
    b"$_server[",
    b"<%@ page",
    b"<%@page",
    b"<%@ import",
    b"<%@import",
    b"<%@ include",
    b"<%@ language",
    b"<%@language",
    b"<%eval",
    b"<% eval",
    b"<%execute",
    b"<%response",
    b"<%set ",
    b"<%dim ",
    b"<cfexecute",
    b"<jsp:scriptlet",
    b"<jsp:root",
    b"<jsp:directive",
    b"<script runat",
    b"<!--#exec",
    b"<!--#include",
    b"<!--#echo",
    b"<!--# exec",
    b"<!--# include",
];
/// What a browser that guesses types would run; found as above.
const MARKUP: &[&[u8]] = &[
    b"<script>",
    b"<script ",
    b"<script\t",
    b"<script\n",
    b"<script\r",
    b"<script/",
    b"<script\x0c",
    b"</script",
    b"<html>",
    b"<html ",
    b"<html\r",
    b"<html\n",
    b"<body>",
    b"<body ",
    b"<body/",
    b"<iframe>",
    b"<iframe ",
    b"<iframe/",
    b"<object data",
    b"<embed src",
    b"<meta http-equiv",
    b"<!doctype html",
    b"<foreignobject",
];
/// Bytes of the longest of both.
const LONGEST_TAG: usize = 16;
/// What is found as it stands: a beginning that is looked for, and what must follow it; anything, when nothing is given.
type Signature = (&'static [u8], &'static [&'static [u8]]);
/// What an unpacker or a loader finds behind a picture's end, by six bytes and more: local headers of a zip of the
/// versions that are written, its end record, RAR 4 and 5, 7z, ELF, and the stub of a Windows program.
const APPENDED: &[Signature] = &[
    (b"PK\x03\x04", &[b"\x0a\0", b"\x14\0", b"\x2d\0", b"\x33\0", b"\x3f\0"]),
    (b"PK\x05\x06\0\0\0\0", &[]),
    (b"Rar!\x1a\x07", &[b"\0", b"\x01\0"]),
    (b"7z\xbc\xaf\x27\x1c", &[]),
    (b"\x7fELF", &[b"\x02\x01\x01\0", b"\x01\x01\x01\0"]),
    (b"This program ", &[b"cannot be run in DOS mode", b"must be run under Win32"]),
    (b"__HALT_COMPILER();", &[]),
];
/// Control words of an RTF that embed a program's object, fetch a template or run a command (RTF 1.9.1).
const OBJECTS: &[Signature] = &[
    (b"\\obj", &[b"data", b"emb", b"link", b"autlink", b"ocx", b"html", b"update"]),
    (b"\\*\\template", &[]),
    (b"DDEAUTO", &[]),
    (b"\\fldinst", &[b" DDE", b"{DDE", b" {DDE"]),
];
/// What a reader of documents finds within the first kilobyte of anything.
const DOCUMENT: &[Signature] = &[(b"%PDF-", &[b"1.", b"2."])];

static MEDIA_MARKERS: LazyLock<Set> =
    LazyLock::new(|| Set::new(&[SERVER, MARKUP], &[APPENDED, DOCUMENT].concat()));
static LAYERED_MARKERS: LazyLock<Set> = LazyLock::new(|| Set::new(&[SERVER, MARKUP], APPENDED));
static TEXT_MARKERS: LazyLock<Set> = LazyLock::new(|| Set::new(&[SERVER, MARKUP], &[]));
static SERVER_MARKERS: LazyLock<Set> = LazyLock::new(|| Set::new(&[SERVER], &[]));
static RTF_MARKERS: LazyLock<Set> = LazyLock::new(|| Set::new(&[SERVER, MARKUP], OBJECTS));
static PDF_MARKERS: LazyLock<Set> = LazyLock::new(|| Set { ascii85: true, ..Set::new(&[SERVER], APPENDED) });
static ACTIVE_PDF_MARKERS: LazyLock<Set> =
    LazyLock::new(|| Set { ascii85: true, ..Set::new(&[SERVER], &[]) });
static SVG_MARKERS: LazyLock<Set> = LazyLock::new(|| Set::new(&[SERVER], APPENDED));

/// What one file's content was found to be, so far. Its answer depends on the bytes alone, not on their division.
pub(super) struct Content {
    markers: Option<Markers>,
    svg: Option<Svg>,
    pdf: Option<Box<Pdf>>,
    picture: Option<Picture>,
    /// What is looked for in the packed texts of a picture, once there are any.
    text_markers: Option<Markers>,
    /// A picture's texts unpack to too much.
    overdone: Option<&'static str>,
    text: bool,
    binary: bool,
}

/// What is wrong with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not what the extension says: 415.
    Mismatch(&'static str),
    /// Something that acts: 422.
    Active(&'static str),
}

impl Content {
    /// For a file whose extension stands for this family.
    pub(super) fn of(family: Family) -> Self {
        use Family::*;
        let markers = match family {
            // Layers may be documents.
            Photoshop => Some(&*LAYERED_MARKERS),
            Jpeg | Png | Gif | Webp | Bmp | Avif | Heic | Tiff | Icon | JpegXl | Jpeg2000 | Mp4 | Mov
            | Webm | Mkv | Avi | Mpeg | MpegTs | Ogg | Asf | Flv | Mp3 | Wav | Flac | Aac | Aiff | Amr
            | Midi | Woff | Woff2 | TrueType | OpenType => Some(&*MEDIA_MARKERS),
            Text | Csv | Json | Calendar | Card => Some(&*TEXT_MARKERS),
            Rtf => Some(&*RTF_MARKERS),
            Pdf => Some(&*PDF_MARKERS),
            Svg => Some(&*SVG_MARKERS),
            // A mail may have a page for its text, a feed for its items.
            Mail | Xml | Other => Some(&*SERVER_MARKERS),
            Docx | Xlsx | Pptx | OpenDocument | Epub | Ole | Zip | Gzip | SevenZip | Rar | Bzip2 | Xz
            | Zstd | Tar => None,
        };
        Self {
            markers: markers.map(Markers::new),
            svg: match family {
                Svg => Some(super::svg::Svg::default()),
                Xml => Some(super::svg::Svg::data()),
                _ => None,
            },
            picture: Picture::of(family),
            text_markers: None,
            overdone: None,
            pdf: (family == Pdf).then(Default::default),
            text: family.is_text(),
            binary: false,
        }
    }

    /// A PDF may act, and carry what it likes.
    pub(super) fn with_active_pdf(mut self) -> Self {
        if self.pdf.take().is_some() {
            self.markers = Some(Markers::new(&ACTIVE_PDF_MARKERS));
        }
        self
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Some(markers) = &mut self.markers {
            markers.push(bytes);
        }
        if let Some(svg) = &mut self.svg {
            svg.push(bytes);
        }
        if let Some(pdf) = &mut self.pdf {
            pdf.push(bytes);
        }
        if let Some(picture) = &mut self.picture
            && self.overdone.is_none()
        {
            let texts = &mut self.text_markers;
            let mut look = |text: &[u8]| texts.get_or_insert_with(|| Markers::new(&MEDIA_MARKERS)).push(text);
            self.overdone = picture.push(bytes, &mut look).err();
        }
        if self.text && !self.binary {
            self.binary = bytes.iter().copied().any(super::sniff::is_control);
        }
    }

    /// What was found in the bytes so far.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault_at(false)
    }

    fn fault_at(&self, at_end: bool) -> Option<Fault> {
        if self.binary {
            return Some(Fault::Mismatch("control characters in a text"));
        }
        if [&self.markers, &self.text_markers].into_iter().flatten().any(|markers| markers.hit) {
            return Some(Fault::Active("the marker of a script, of markup, of an archive or of a program"));
        }
        let behind = self.picture.as_ref().and_then(|picture| picture.fault(at_end));
        if let Some(fault) = self.overdone.or(behind) {
            return Some(Fault::Active(fault));
        }
        let pdf = self.pdf.as_ref().and_then(|pdf| pdf.fault());
        self.svg.as_ref().and_then(|svg| svg.fault()).or(pdf).map(Fault::Active)
    }

    /// What was found in the whole file.
    pub(super) fn end(&self) -> Option<Fault> {
        let open = self.svg.as_ref().is_some_and(|svg| !svg.is_whole());
        let pdf = self.pdf.as_ref().and_then(|pdf| pdf.end()).map(Fault::Active);
        let tag = self.markers.as_ref().is_some_and(Markers::ends_in_tag);
        let script = tag.then_some(Fault::Active("a script at the end"));
        self.fault_at(true)
            .or(pdf)
            .or(script)
            .or(open.then_some(Fault::Mismatch("an SVG that ends in mid-tag")))
    }
}

/// Markers that are looked for together, in two passes at several gigabytes a second: for `<`, which most of them start
/// with, and for the first three bytes of every other. An automaton for all of them whole reads byte by byte.
struct Set {
    /// By their second byte, in either case: few are alike in it.
    tags: Vec<Vec<&'static [u8]>>,
    /// Whether something that is looked for may follow a `<`.
    follows: [bool; 256],
    starts: AhoCorasick,
    /// What may begin with each of them.
    marks: Vec<Vec<Mark>>,
    /// Whether there may be data in ASCII85, which is text, and in which every three characters come by chance.
    ascii85: bool,
    /// Whether attributes that act on events are looked for, and the start of a document.
    handlers: bool,
    documents: bool,
    longest: usize,
}

/// What the first bytes of something stand for.
#[derive(Clone, Copy)]
enum Mark {
    /// A tag that does not begin with `<`.
    Tag,
    Signature(Signature),
    /// The header of a zip's member, also where its numbers are not those of the signature.
    ZipHeader,
}

/// Bytes by which everything but tags is found. No start of this length begins within another at the same place.
const STARTS: usize = 3;

impl Set {
    fn new(tags: &[&[&'static [u8]]], signatures: &[Signature]) -> Self {
        let all = tags.concat();
        let second =
            |byte: u8| all.iter().copied().filter(|tag| tag[1] == byte.to_ascii_lowercase()).collect();
        let by_second: Vec<Vec<_>> = (0..=u8::MAX).map(second).collect();
        let whole =
            |(start, rest): &Signature| start.len() + rest.iter().map(|rest| rest.len()).max().unwrap_or(0);
        let longest = signatures.iter().map(whole).max().unwrap_or(1).max(2 * LONGEST_TAG);
        let longest = longest.max(3 + SHORT_RUN).max(HANDLER).max(ZIP_HEADER);
        let handlers = tags.contains(&MARKUP);
        let documents = signatures.contains(&DOCUMENT[0]);
        let follows = std::array::from_fn(|byte| match byte as u8 {
            0 | b'?' | b'%' => true,
            byte => !by_second[usize::from(byte)].is_empty() || (handlers && byte.is_ascii_alphabetic()),
        });
        let mut marks = BTreeMap::<[u8; STARTS], Vec<Mark>>::new();
        let mut begins = |start: &[u8], mark| {
            let start = *start.first_chunk().expect("a start is as long as what is looked for");
            marks.entry(start).or_default().push(mark);
        };
        for tag in all.iter().filter(|tag| tag[0] != b'<') {
            begins(&tag[..STARTS], Mark::Tag);
            begins(&tag[..STARTS].to_ascii_uppercase(), Mark::Tag);
            begins(&[tag[0], 0, tag[1]], Mark::Tag);
        }
        for &signature in signatures {
            begins(signature.0, Mark::Signature(signature));
        }
        if signatures.contains(&APPENDED[0]) {
            begins(b"PK\x01", Mark::ZipHeader);
            begins(b"PK\x03", Mark::ZipHeader);
        }
        // Only with this kind of match it searches by vectors of bytes (Teddy).
        let starts = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(marks.keys());
        let starts = starts.expect("a few short patterns are an automaton");
        let marks = marks.into_values().collect();
        Self { tags: by_second, follows, starts, marks, ascii85: false, handlers, documents, longest }
    }

    fn is_match(&self, bytes: &[u8]) -> bool {
        let tag = |at: usize| {
            let bytes = &bytes[at..];
            self.is_tag(bytes) || self.is_short_tag(bytes, false) || (self.handlers && is_handler(bytes))
        };
        let follows = |&at: &usize| bytes.get(at + 1).is_some_and(|&byte| self.follows[usize::from(byte)]);
        memchr::memchr_iter(b'<', bytes).filter(follows).any(tag) || self.is_marked(bytes)
    }

    /// Whether there is something that does not begin with `<`. One start may lie in another, so that each is looked
    /// for from behind the first byte of the one before.
    fn is_marked(&self, bytes: &[u8]) -> bool {
        let mut from = 0;
        while let Some(found) = self.starts.find(Input::new(bytes).span(from..bytes.len())) {
            let here = &bytes[found.start()..];
            let is_there = |mark: &Mark| match mark {
                Mark::Tag => self.is_tag(here),
                Mark::ZipHeader => is_zip_header(here),
                Mark::Signature((start, rest)) => here.strip_prefix(*start).is_some_and(|behind| {
                    rest.is_empty() || rest.iter().any(|rest| behind.starts_with(rest))
                }),
            };
            if self.marks[found.pattern()].iter().any(is_there) {
                return true;
            }
            from = found.start() + 1;
        }
        false
    }

    fn is_tag(&self, bytes: &[u8]) -> bool {
        let Some(&second) = bytes.get(1) else { return false };
        if second == 0 {
            // UTF-16 of either order: from the first character's byte on, every other byte is zero.
            if bytes.get(2).is_none_or(|&second| self.tags[usize::from(second)].is_empty()) {
                return false;
            }
            let mut narrow = [0; LONGEST_TAG];
            let pairs = bytes.chunks(2).take_while(|pair| pair.get(1).is_none_or(|&high| high == 0));
            let length = narrow.iter_mut().zip(pairs).map(|(to, pair)| *to = pair[0]).count();
            return length > 1 && self.starts_with_tag(&narrow[..length]);
        }
        self.starts_with_tag(bytes)
    }

    fn starts_with_tag(&self, bytes: &[u8]) -> bool {
        let starts =
            |tag: &&[u8]| bytes.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
        bytes.get(1).is_some_and(|&second| self.tags[usize::from(second)].iter().any(starts))
    }

    /// The short tags of PHP, JSP and ASP: `<?=`, `<%=`, `<%!`, `<%@`, or `<?` or `<%` and white space. Three bytes are
    /// too few to go by in compressed data: text must follow, until there is enough of it, or the closing tag, or the
    /// file ends. Where there may be ASCII85, there must be a character that it does not use (ISO 32000-2 section 7.4.3);
    /// code without a space or one of those letters passes there.
    fn is_short_tag(&self, bytes: &[u8], at_end: bool) -> bool {
        let (mark, code) = match bytes {
            [b'<', mark @ b'?', b'=', code @ ..] | [b'<', mark @ b'%', b'=' | b'!' | b'@', code @ ..] => {
                (*mark, code)
            }
            [b'<', mark @ (b'?' | b'%'), b' ' | b'\t' | b'\r' | b'\n', code @ ..] => (*mark, code),
            [b'<', mark @ (b'?' | b'%'), code @ ..] if !self.ascii85 && is_call(code) => {
                let run = code.iter().take(CALL_RUN).take_while(|byte| is_text(byte)).count();
                let closed = code[..run].windows(2).any(|end| end == [*mark, b'>']);
                return run == CALL_RUN || (run >= CALL_RUN / 2 && closed) || (at_end && run == code.len());
            }
            _ => return false,
        };
        let run = code.iter().take(SHORT_RUN).take_while(|byte| is_text(byte)).count();
        let foreign = |&byte: &u8| matches!(byte, b' ' | b'\t' | b'v'..=b'y' | b'{'..=b'~');
        if self.ascii85 && !bytes[2..3 + run].iter().any(foreign) {
            return false;
        }
        run == SHORT_RUN
            || code[..run].windows(2).any(|end| end == [mark, b'>'])
            || (at_end && run > 0 && run == code.len())
    }
}

/// Bytes of text behind a short tag that do not come by chance,
const SHORT_RUN: usize = 12;
/// and behind one without a space.
const CALL_RUN: usize = 16;
/// Bytes of a tag in which an attribute is looked for.
const HANDLER: usize = 64;
/// Bytes of a zip's header up to the length of the name.
const ZIP_HEADER: usize = 30;
/// Bytes of a file's start in which readers of documents look for theirs.
const START: usize = 4096;

fn is_text(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')
}

/// Whether code begins with a comment, a variable, a parenthesis or the name of what is called, unlike the name of a
/// processing instruction.
fn is_call(code: &[u8]) -> bool {
    let in_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_.\\".contains(byte);
    let name = code.iter().take(24).take_while(in_name).count();
    code.get(name) == Some(&b'(') || code.starts_with(b"/*") || code.starts_with(b"$")
}

/// Whether a tag has an attribute such as `onerror`.
fn is_handler(bytes: &[u8]) -> bool {
    let tag = &bytes[..bytes.len().min(HANDLER)];
    if !tag.get(1).is_some_and(u8::is_ascii_alphabetic) || tag[0] != b'<' {
        return false;
    }
    let inside = |byte: &&u8| !matches!(byte, b'<' | b'>') && (is_text(byte) || **byte == b'\x0c');
    let tag = &tag[1..1 + tag[1..].iter().take_while(inside).count()];
    tag.windows(3).enumerate().any(|(at, window)| {
        let between = window[0].is_ascii_whitespace() || b"/\"'".contains(&window[0]);
        let name = &tag[at + 3..];
        let length = name.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let is_set = name[length..].trim_ascii_start().first() == Some(&b'=');
        between && window[1..].eq_ignore_ascii_case(b"on") && length >= 4 && is_set
    })
}

/// Whether the header of a zip's member stands here, in front of its data or in the list of members, as readers take
/// it that pass over versions and numbers of disks. Only the methods of packing that there are count.
fn is_zip_header(bytes: &[u8]) -> bool {
    let number = |at: usize| bytes.get(at..at + 2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let is_method = |at: usize| matches!(number(at), Some(0..=20 | 93..=99));
    match bytes {
        [b'P', b'K', 1, 2, _, _, version, ..] => *version < 64 && is_method(10),
        [b'P', b'K', 3, 4, ..] => is_method(8) && matches!(number(26), Some(1..=4096)),
        _ => false,
    }
}

/// Looks for markers across pieces: what a marker could begin in is kept and searched again with the next bytes.
struct Markers {
    set: &'static Set,
    tail: Vec<u8>,
    start: Vec<u8>,
    hit: bool,
}

impl Markers {
    fn new(set: &'static Set) -> Self {
        Self { set, tail: Vec::new(), start: Vec::new(), hit: false }
    }

    fn ends_in_tag(&self) -> bool {
        memchr::memchr_iter(b'<', &self.tail).any(|at| self.set.is_short_tag(&self.tail[at..], true))
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.hit {
            return;
        }
        if self.set.documents && self.start.len() < START {
            let from = self.start.len().saturating_sub(b"%PDF-".len() - 1);
            self.start.extend_from_slice(&bytes[..bytes.len().min(START - self.start.len())]);
            self.hit = memchr::memmem::find(&self.start[from..], b"%PDF-").is_some();
        }
        let overlap = self.set.longest - 1;
        self.tail.extend_from_slice(&bytes[..bytes.len().min(overlap)]);
        self.hit |= self.set.is_match(&self.tail) || self.set.is_match(bytes);
        if bytes.len() >= overlap {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - overlap..]);
        } else {
            self.tail.drain(..self.tail.len().saturating_sub(overlap));
        }
    }
}

#[cfg(test)]
mod tests;
