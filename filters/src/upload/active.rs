//! Content that acts: scripts, markup, archives and programs hidden in what should only be looked at.
//!
//! Markers are long enough not to occur by chance in compressed data (below 2⁻¹⁵ for 100 MB, all together).
//! What this does not protect from: markers inside compressed metadata, text in UTF-16.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::family::Family;
use super::pdf::Pdf;
use super::svg::Svg;

/// Lower case, found in any case; the first byte is `<` or `$`. PHP asks for white space behind `<?php`; JSP and ASP directives are those of real pages.
const SERVER: &[&[u8]] = &[
    b"<?php ",
    b"<?php\t",
    b"<?php\r",
    b"<?php\n",
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
    b"<jsp:scriptlet",
    b"<jsp:root",
    b"<jsp:directive",
    b"<script runat",
];
/// What a browser that guesses types would run; found as above.
const MARKUP: &[&[u8]] = &[
    b"<script>",
    b"<script ",
    b"<script\t",
    b"<script\n",
    b"<script\r",
    b"<script/",
    b"</script",
    b"<html>",
    b"<html ",
    b"<html\r",
    b"<html\n",
    b"<body>",
    b"<body ",
    b"<iframe>",
    b"<iframe ",
    b"<!doctype html",
    b"<foreignobject",
];
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
];
/// What makes an XML document a page, a drawing or a program to whoever opens it.
const PAGES: &[Signature] = &[
    (b"http://www.w3.org/1999/xhtml", &[]),
    (b"http://www.w3.org/2000/svg", &[]),
    (b"<?xml-stylesheet", &[]),
    (b"<!ENTITY", &[]),
];
/// Control words of an RTF that embed a program's object, fetch a template or run a command (RTF 1.9.1).
const OBJECTS: &[Signature] = &[
    (b"\\obj", &[b"data", b"emb", b"link", b"autlink", b"ocx", b"html", b"update"]),
    (b"\\*\\template", &[]),
    (b"DDEAUTO", &[]),
    (b"DDE ", &[]),
];
static MEDIA_MARKERS: LazyLock<Set> = LazyLock::new(|| Set::new(&[SERVER, MARKUP], APPENDED));
static TEXT_MARKERS: LazyLock<Set> = LazyLock::new(|| Set::new(&[SERVER, MARKUP], &[]));
static SERVER_MARKERS: LazyLock<Set> = LazyLock::new(|| Set::new(&[SERVER], &[]));
static XML_MARKERS: LazyLock<Set> = LazyLock::new(|| Set::new(&[SERVER, MARKUP], PAGES));
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
            Jpeg | Png | Gif | Webp | Bmp | Avif | Heic | Tiff | Icon | Photoshop | JpegXl | Jpeg2000
            | Mp4 | Mov | Webm | Mkv | Avi | Mpeg | MpegTs | Ogg | Asf | Flv | Mp3 | Wav | Flac | Aac
            | Aiff | Amr | Midi | Woff | Woff2 | TrueType | OpenType => Some(&*MEDIA_MARKERS),
            Text | Csv | Json | Calendar | Card => Some(&*TEXT_MARKERS),
            Xml => Some(&*XML_MARKERS),
            Rtf => Some(&*RTF_MARKERS),
            Pdf => Some(&*PDF_MARKERS),
            Svg => Some(&*SVG_MARKERS),
            // A mail may have a page for its text.
            Mail | Other => Some(&*SERVER_MARKERS),
            Docx | Xlsx | Pptx | OpenDocument | Epub | Ole | Zip | Gzip | SevenZip | Rar | Bzip2 | Xz
            | Zstd | Tar => None,
        };
        Self {
            markers: markers.map(Markers::new),
            svg: (family == Svg).then(super::svg::Svg::default),
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
        if self.text && !self.binary {
            self.binary = bytes.iter().copied().any(super::sniff::is_control);
        }
    }

    /// What was found in the bytes so far.
    pub(super) fn fault(&self) -> Option<Fault> {
        if self.binary {
            return Some(Fault::Mismatch("control characters in a text"));
        }
        if self.markers.as_ref().is_some_and(|markers| markers.hit) {
            return Some(Fault::Active("the marker of a script, of markup, of an archive or of a program"));
        }
        let pdf = self.pdf.as_ref().and_then(|pdf| pdf.fault());
        self.svg.as_ref().and_then(|svg| svg.fault()).or(pdf).map(Fault::Active)
    }

    /// What was found in the whole file.
    pub(super) fn end(&self) -> Option<Fault> {
        let open = self.svg.as_ref().is_some_and(|svg| !svg.is_whole());
        let pdf = self.pdf.as_ref().and_then(|pdf| pdf.end()).map(Fault::Active);
        let tag = self.markers.as_ref().is_some_and(Markers::ends_in_php);
        let php = tag.then_some(Fault::Active("a script at the end"));
        self.fault().or(pdf).or(php).or(open.then_some(Fault::Mismatch("an SVG that ends in mid-tag")))
    }
}

/// Markers that are looked for together. An automaton for all of them reads byte by byte; this looks for the two bytes
/// that markers of scripts start with, and for each of the few signatures, several times as fast.
struct Set {
    tags: Vec<&'static [u8]>,
    /// Whether a tag's second byte may be this.
    second: [bool; 256],
    signatures: Vec<(Finder<'static>, &'static [&'static [u8]])>,
    /// Whether there may be data in ASCII85, which is text, and in which every three characters come by chance.
    ascii85: bool,
    longest: usize,
}

impl Set {
    fn new(tags: &[&[&'static [u8]]], signatures: &[Signature]) -> Self {
        let tags = tags.concat();
        let mut second = [false; 256];
        for tag in &tags {
            second[usize::from(tag[1])] = true;
            second[usize::from(tag[1].to_ascii_uppercase())] = true;
        }
        let whole =
            |(start, rest): &Signature| start.len() + rest.iter().map(|rest| rest.len()).max().unwrap_or(0);
        let longest = tags.iter().map(|tag| tag.len()).chain(signatures.iter().map(whole)).max().unwrap_or(1);
        let longest = longest.max(3 + SHORT_RUN);
        let signatures = signatures.iter().map(|&(start, rest)| (Finder::new(start), rest)).collect();
        Self { tags, second, signatures, ascii85: false, longest }
    }

    fn is_match(&self, bytes: &[u8]) -> bool {
        memchr::memchr2_iter(b'<', b'$', bytes).any(|at| self.is_tag(&bytes[at..]))
            || memmem::find_iter(bytes, b"<?").any(|at| self.is_short_php(&bytes[at..], false))
            || self.signatures.iter().any(|(start, rest)| {
                let follows = |at: usize| {
                    let behind = &bytes[at + start.needle().len()..];
                    rest.is_empty() || rest.iter().any(|rest| behind.starts_with(rest))
                };
                start.find_iter(bytes).any(follows)
            })
    }

    fn is_tag(&self, bytes: &[u8]) -> bool {
        let possible = bytes.get(1).is_some_and(|&byte| self.second[usize::from(byte)]);
        let starts =
            |tag: &&[u8]| bytes.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
        possible && self.tags.iter().any(starts)
    }

    /// PHP's short tags, `<?=` or `<?` and white space. Three bytes are too few to go by in compressed data: text must
    /// follow, until there is enough of it, or `?>`, or the file ends; and where there may be ASCII85, a character that
    /// it does not use (ISO 32000-2 section 7.4.3), so that short code without a space in it passes there.
    fn is_short_php(&self, bytes: &[u8], at_end: bool) -> bool {
        let [b'<', b'?', third, code @ ..] = bytes else { return false };
        if !matches!(third, b'=' | b' ' | b'\t' | b'\r' | b'\n') {
            return false;
        }
        let is_text = |byte: &&u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        let run = code.iter().take(SHORT_RUN).take_while(is_text).count();
        let foreign = |&byte: &u8| matches!(byte, b' ' | b'\t' | b'v'..=b'y' | b'{'..=b'~');
        if self.ascii85 && !bytes[2..3 + run].iter().any(foreign) {
            return false;
        }
        run == SHORT_RUN
            || code[..run].windows(2).any(|end| end == b"?>")
            || (at_end && run > 0 && run == code.len())
    }
}

/// Bytes of text behind `<?` that do not come by chance.
const SHORT_RUN: usize = 12;

/// Looks for markers across pieces: what a marker could begin in is kept and searched again with the next bytes.
struct Markers {
    set: &'static Set,
    tail: Vec<u8>,
    hit: bool,
}

impl Markers {
    fn new(set: &'static Set) -> Self {
        Self { set, tail: Vec::new(), hit: false }
    }

    fn ends_in_php(&self) -> bool {
        memmem::find_iter(&self.tail, b"<?").any(|at| self.set.is_short_php(&self.tail[at..], true))
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.hit {
            return;
        }
        let overlap = self.set.longest - 1;
        self.tail.extend_from_slice(&bytes[..bytes.len().min(overlap)]);
        self.hit = self.set.is_match(&self.tail) || self.set.is_match(bytes);
        if bytes.len() >= overlap {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - overlap..]);
        } else {
            self.tail.drain(..self.tail.len().saturating_sub(overlap));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(family: Family, bytes: &[u8], piece: usize) -> Option<Fault> {
        let mut content = Content::of(family);
        bytes.chunks(piece).for_each(|piece| content.push(piece));
        content.end()
    }

    #[test]
    fn finds_every_marker_at_any_division() {
        let shouted = [SERVER, MARKUP].concat().into_iter().map(<[u8]>::to_ascii_uppercase);
        let exact = [SERVER, MARKUP].concat().into_iter().map(<[u8]>::to_vec);
        let signed = APPENDED.iter().flat_map(|(start, rest)| match rest {
            [] => vec![start.to_vec()],
            rest => rest.iter().map(|rest| [*start, rest].concat()).collect(),
        });
        for marker in shouted.chain(exact).chain(signed) {
            let image = [&[0xd8; 300][..], &marker, &[0xd8; 300]].concat();
            for piece in [1, 2, 7, 64, 10_000] {
                let fault = judged(Family::Jpeg, &image, piece);
                assert!(matches!(fault, Some(Fault::Active(_))), "{marker:?} {piece}");
            }
        }
        assert!(judged(Family::Pdf, b"%PDF-1.4\n<</S/Launch>>", 3).is_some());
        assert!(judged(Family::Text, b"see <script>alert(1)</script>", 3).is_some());
        assert!(judged(Family::Text, b"a\0b", 1).is_some());
    }

    #[test]
    fn finds_short_php_tags_by_the_text_behind_them() {
        for code in
            ["<?=`id`?>", "<?=/**/system(\"id\")?>", "<? system($x) ?>", "<?\nexec('id');\n\n\n", "<?=`id`"]
        {
            for piece in [1, 5, 8192] {
                let image = [b"GIF89a\x01\x00\x01\x00".as_slice(), code.as_bytes()].concat();
                assert!(
                    matches!(judged(Family::Gif, &image, piece), Some(Fault::Active(_))),
                    "{code} {piece}"
                );
                let more = [&image[..], &[0xd8; 100]].concat();
                let closed = code.ends_with("?>") || code.len() > 3 + SHORT_RUN;
                assert_eq!(judged(Family::Gif, &more, piece).is_some(), closed, "{code} {piece}");
            }
        }
        assert_eq!(judged(Family::Jpeg, b"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>", 7), None);
    }

    #[test]
    fn takes_no_ascii85_for_short_php_tags() {
        let armoured = b"%PDF-1.4\nstream\nGb\"0;<?=9ue;!;Sm[q#a\nl3<?\nK\"7Xa$Zk(8!]~>\nendstream";
        assert_eq!(judged(Family::Pdf, armoured, 5), None);
        for code in ["<? echo 1 ?>", "<?=$x . shell()?>", "<?\n  exec('id');"] {
            let pdf = format!("%PDF-1.4\nstream\n{code}    \nendstream");
            assert!(judged(Family::Pdf, pdf.as_bytes(), 5).is_some(), "{code}");
        }
    }

    #[test]
    fn finds_nothing_in_noise_and_in_ordinary_text() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(8 << 20)
        .collect();
        assert_eq!(judged(Family::Jpeg, &noise, 8192), None);
        assert_eq!(judged(Family::Mp4, &noise, 8192), None);
        assert_eq!(judged(Family::Pdf, &noise, 8192), None);
        assert_eq!(judged(Family::Text, "if a < b && c > d: 价格 $_5 <?xml 5% of <b>".as_bytes(), 5), None);
    }
}
