//! Content that acts: scripts, markup, archives and programs hidden in what should only be looked at.
//!
//! Markers are long enough not to occur by chance in compressed data (below 2⁻¹⁵ for 100 MB, all together).
//! What this does not protect from: markers inside compressed streams (PDF object streams, packed metadata), PHP's
//! `<?=` in front of something not on the list, text in UTF-16.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::sniff::Family;
use super::svg::Svg;

/// PHP asks for white space behind `<?php`; JSP and ASP directives are those of real pages.
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
    b"getruntime().exec",
];
/// What a browser that guesses types would run.
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
/// What an unpacker or a loader finds behind a picture's end, by signatures of six bytes and more.
const APPENDED: &[&[u8]] = &[
    b"PK\x03\x04\x0a\0",
    b"PK\x03\x04\x14\0",
    b"PK\x03\x04\x2d\0",
    b"PK\x03\x04\x33\0",
    b"PK\x03\x04\x3f\0",
    b"PK\x05\x06\0\0\0\0",
    b"Rar!\x1a\x07\0",
    b"Rar!\x1a\x07\x01\0",
    b"7z\xbc\xaf\x27\x1c",
    b"\x7fELF\x02\x01\x01\0",
    b"\x7fELF\x01\x01\x01\0",
    b"This program cannot be run in DOS mode",
    b"This program must be run under Win32",
];
/// Names of a PDF's acting parts (ISO 32000-2 sections 12.6.4.6, 12.6.4.17, 7.11.4), where they are not compressed.
const PDF: &[&[u8]] = &[b"/JavaScript", b"/J#61vaScript", b"/Launch", b"/EmbeddedFile"];

static MEDIA_MARKERS: LazyLock<AhoCorasick> = LazyLock::new(|| automaton(&[SERVER, MARKUP, APPENDED]));
static TEXT_MARKERS: LazyLock<AhoCorasick> = LazyLock::new(|| automaton(&[SERVER, MARKUP]));
static PDF_MARKERS: LazyLock<AhoCorasick> = LazyLock::new(|| automaton(&[SERVER, PDF]));
static SVG_MARKERS: LazyLock<AhoCorasick> = LazyLock::new(|| automaton(&[SERVER, APPENDED]));

fn automaton(groups: &[&[&[u8]]]) -> AhoCorasick {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build(groups.concat())
        .expect("the markers are few and short")
}

/// What one file's content was found to be, so far. Its answer depends on the bytes alone, not on their division.
pub(super) struct Content {
    markers: Option<Markers>,
    svg: Option<Svg>,
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
            Jpeg | Png | Gif | Webp | Bmp | Avif | Heic | Mp4 | Mov | Webm | Mkv | Mp3 | Wav => {
                Some(&*MEDIA_MARKERS)
            }
            Text | Csv | Json => Some(&*TEXT_MARKERS),
            Pdf => Some(&*PDF_MARKERS),
            Svg => Some(&*SVG_MARKERS),
            Docx | Xlsx | Pptx | Ole | Zip | Gzip | SevenZip | Rar | Other => None,
        };
        Self {
            markers: markers.map(Markers::new),
            svg: (family == Svg).then(super::svg::Svg::default),
            text: matches!(family, Text | Csv | Json | Svg),
            binary: false,
        }
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Some(markers) = &mut self.markers {
            markers.push(bytes);
        }
        if let Some(svg) = &mut self.svg {
            svg.push(bytes);
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
        self.svg.as_ref().and_then(|svg| svg.fault()).map(Fault::Active)
    }

    /// What was found in the whole file.
    pub(super) fn end(&self) -> Option<Fault> {
        let open = self.svg.as_ref().is_some_and(|svg| !svg.is_whole());
        self.fault().or(open.then_some(Fault::Mismatch("an SVG that ends in mid-tag")))
    }
}

/// Looks for markers across pieces: what a marker could begin in is kept and searched again with the next bytes.
struct Markers {
    automaton: &'static AhoCorasick,
    tail: Vec<u8>,
    hit: bool,
}

impl Markers {
    fn new(automaton: &'static AhoCorasick) -> Self {
        Self { automaton, tail: Vec::new(), hit: false }
    }

    fn push(&mut self, bytes: &[u8]) {
        let overlap = self.automaton.max_pattern_len() - 1;
        if self.hit {
            return;
        }
        let borrowed = bytes.len().min(overlap);
        self.tail.extend_from_slice(&bytes[..borrowed]);
        self.hit = self.automaton.is_match(&self.tail) || self.automaton.is_match(bytes);
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
        for marker in [SERVER, MARKUP, APPENDED].concat() {
            let mut image = vec![0xd8; 300];
            image.extend_from_slice(&marker.to_ascii_uppercase());
            image.extend_from_slice(&[0xd8; 300]);
            // Binary markers have no case; those in capitals already must still be found.
            if !marker.iter().any(u8::is_ascii_lowercase) {
                image.splice(300..300 + marker.len(), marker.iter().copied());
            }
            for piece in [1, 2, 7, 64, 10_000] {
                assert!(
                    matches!(judged(Family::Jpeg, &image, piece), Some(Fault::Active(_))),
                    "{marker:?} {piece}"
                );
            }
        }
        assert!(judged(Family::Pdf, b"%PDF-1.4 << /S /Launch >>", 3).is_some());
        assert!(judged(Family::Text, b"see <script>alert(1)</script>", 3).is_some());
        assert!(judged(Family::Text, b"a\0b", 1).is_some());
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
