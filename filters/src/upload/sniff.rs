//! What a file is, by its first bytes, compared with what its name says.
//!
//! Our own table decides for the kinds it knows: it asks for more of a header than a magic number. `infer` and
//! `file-format` are second opinions: on text, which has no magic, and on extensions outside the table.

/// Bytes of a file's start that are looked at.
pub(super) const HEAD: usize = 8 * 1024;

/// A kind of content, as far as the first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the formats' own")]
pub enum Family {
    Jpeg,
    Png,
    Gif,
    Webp,
    Bmp,
    Avif,
    Heic,
    Svg,
    Mp4,
    Mov,
    Webm,
    Mkv,
    Mp3,
    Wav,
    Pdf,
    Docx,
    Xlsx,
    Pptx,
    Ole,
    Zip,
    Gzip,
    SevenZip,
    Rar,
    Text,
    Csv,
    Json,
    /// An extension that the table does not know; `infer` or `file-format` must.
    Other,
}

/// The families a file with this extension may be of.
pub(super) fn expected(extension: &str) -> &'static [Family] {
    use Family::*;
    match extension {
        "jpg" | "jpeg" | "jpe" | "jfif" => &[Jpeg],
        "png" | "apng" => &[Png],
        "gif" => &[Gif],
        "webp" => &[Webp],
        "bmp" | "dib" => &[Bmp],
        "avif" => &[Avif],
        "heic" | "heif" => &[Heic],
        "svg" => &[Svg],
        // One container under two names; phones and editors write either brand.
        "mp4" | "m4v" => &[Mp4, Mov],
        "mov" | "qt" => &[Mov, Mp4],
        "m4a" => &[Mp4],
        "webm" => &[Webm],
        "mkv" => &[Mkv, Webm],
        "mp3" => &[Mp3],
        "wav" => &[Wav],
        "pdf" => &[Pdf],
        "docx" => &[Docx],
        "xlsx" => &[Xlsx],
        "pptx" => &[Pptx],
        "doc" | "xls" | "ppt" => &[Ole],
        "zip" => &[Zip],
        "gz" | "tgz" => &[Gzip],
        "7z" => &[SevenZip],
        "rar" => &[Rar],
        "txt" | "md" | "log" => &[Text],
        "csv" | "tsv" => &[Csv],
        "json" => &[Json],
        _ => &[Other],
    }
}

/// Decides, by the first [`HEAD`] bytes (or the whole of a shorter file), which of its extension's families a file is.
/// The error says what it looks like instead, for the operator.
///
/// OOXML is told from other zips by its members, which stand at the file's end: here a zip is enough.
pub(super) fn agree(head: &[u8], extension: &str) -> Result<Family, String> {
    let candidates = expected(extension);
    let found = candidates.iter().copied().find(|&family| is(head, family, extension));
    match found {
        Some(family) if !infer::is_app(head) || family == Family::Other => Ok(family),
        _ => Err(format!(
            "content looks like {}",
            infer::get(head).map_or_else(
                || file_format::FileFormat::from_bytes(head).media_type().to_owned(),
                |kind| kind.mime_type().to_owned()
            )
        )),
    }
}

impl Family {
    /// The MIME type of content that agreed with this extension.
    pub(super) fn media_type(self, extension: &str, head: &[u8]) -> String {
        let known = match self {
            Family::Jpeg => "image/jpeg",
            Family::Png => "image/png",
            Family::Gif => "image/gif",
            Family::Webp => "image/webp",
            Family::Bmp => "image/bmp",
            Family::Avif => "image/avif",
            Family::Heic => "image/heic",
            Family::Svg => "image/svg+xml",
            Family::Mp4 if extension == "m4a" => "audio/mp4",
            Family::Mp4 => "video/mp4",
            Family::Mov => "video/quicktime",
            Family::Webm => "video/webm",
            Family::Mkv => "video/x-matroska",
            Family::Mp3 => "audio/mpeg",
            Family::Wav => "audio/wav",
            Family::Pdf => "application/pdf",
            Family::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Family::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Family::Pptx => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            Family::Ole => match extension {
                "doc" => "application/msword",
                "xls" => "application/vnd.ms-excel",
                _ => "application/vnd.ms-powerpoint",
            },
            Family::Zip => "application/zip",
            Family::Gzip => "application/gzip",
            Family::SevenZip => "application/x-7z-compressed",
            Family::Rar => "application/vnd.rar",
            Family::Text => "text/plain",
            Family::Csv => "text/csv",
            Family::Json => "application/json",
            Family::Other => return file_format::FileFormat::from_bytes(head).media_type().to_owned(),
        };
        known.to_owned()
    }
}

/// Whether `head` starts a file of this family.
fn is(head: &[u8], family: Family, extension: &str) -> bool {
    let at = |offset: usize, bytes: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
    match family {
        Family::Jpeg => at(0, b"\xff\xd8\xff") && head.get(3).is_some_and(|&marker| marker >= 0xc0),
        Family::Png => at(0, b"\x89PNG\r\n\x1a\n") && (at(12, b"IHDR") || at(12, b"CgBI")),
        Family::Gif => at(0, b"GIF87a") || at(0, b"GIF89a"),
        Family::Webp => at(0, b"RIFF") && at(8, b"WEBPVP8"),
        Family::Wav => at(0, b"RIFF") && at(8, b"WAVE"),
        Family::Bmp => {
            let header = head.get(14).copied().unwrap_or_default();
            at(0, b"BM")
                && at(6, b"\0\0\0\0")
                && at(15, b"\0\0\0")
                && [12, 40, 52, 56, 64, 108, 124].contains(&header)
        }
        Family::Avif => brands(head).any(|brand| [b"avif", b"avis"].contains(&brand)),
        Family::Heic => {
            brands(head).any(|brand| [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"].contains(&brand))
                && !is(head, Family::Avif, extension)
        }
        Family::Mov => {
            brands(head).next() == Some(b"qt  ")
                || [b"moov", b"mdat", b"wide"].iter().any(|name| at(4, *name))
        }
        Family::Mp4 => {
            brands(head).next().is_some_and(|brand| brand != b"qt  ")
                && !is(head, Family::Avif, extension)
                && !is(head, Family::Heic, extension)
                && brands(head).any(|brand| MP4_BRANDS.contains(&brand))
        }
        Family::Webm => ebml(head, b"webm"),
        Family::Mkv => ebml(head, b"matroska"),
        Family::Mp3 => {
            let frame = |head: &[u8]| matches!(head, [0xff, b, c, ..] if b & 0xe6 == 0xe2 && c & 0xf0 != 0xf0 && c & 0x0c != 0x0c);
            (at(0, b"ID3") && head.get(3).is_some_and(|&version| (2..=4).contains(&version))) || frame(head)
        }
        Family::Pdf => at(0, b"%PDF-1.") || at(0, b"%PDF-2."),
        Family::Docx | Family::Xlsx | Family::Pptx | Family::Zip => {
            at(0, b"PK\x03\x04") || (family == Family::Zip && at(0, b"PK\x05\x06\0\0\0\0"))
        }
        Family::Ole => at(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        Family::Gzip => at(0, b"\x1f\x8b\x08"),
        Family::SevenZip => at(0, b"7z\xbc\xaf\x27\x1c"),
        Family::Rar => at(0, b"Rar!\x1a\x07\x00") || at(0, b"Rar!\x1a\x07\x01\x00"),
        Family::Svg => super::svg::starts(head),
        Family::Text | Family::Csv => is_plain(head),
        Family::Json => {
            let first = trimmed(head).first().copied();
            is_plain(head) && first.is_some_and(|b| b"{[\"-0123456789tfn".contains(&b))
        }
        Family::Other => {
            let by_infer = infer::get(head).is_some_and(|kind| kind.extension() == extension);
            by_infer || file_format::FileFormat::from_bytes(head).extension() == extension
        }
    }
}

const MP4_BRANDS: [&[u8; 4]; 22] = [
    b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"mp41", b"mp42",
    b"mp71", b"avc1", b"hvc1", b"M4V ", b"M4A ", b"dash", b"MSNV", b"3gp4", b"3gp5", b"3gp6", b"XAVC",
];

/// The major and compatible brands of an ISO base media file (ISO/IEC 14496-12 section 4.3); none when it is not one.
fn brands(head: &[u8]) -> impl Iterator<Item = &[u8; 4]> {
    let size = match head {
        [a, b, c, d, b'f', b't', b'y', b'p', ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    };
    let ftyp = head.get(8..size.clamp(8, 1024).min(head.len())).unwrap_or_default();
    // The minor version stands between the major brand and the others.
    ftyp.chunks_exact(4).enumerate().filter(|(at, _)| *at != 1).filter_map(|(_, brand)| brand.try_into().ok())
}

/// An EBML header whose DocType is this (RFC 8794 section 11.2.6).
fn ebml(head: &[u8], doc_type: &[u8]) -> bool {
    let header = &head[..head.len().min(128)];
    let mut element = vec![0x42, 0x82, 0x80 | doc_type.len() as u8];
    element.extend_from_slice(doc_type);
    header.starts_with(b"\x1a\x45\xdf\xa3") && memchr::memmem::find(header, &element).is_some()
}

/// Text that starts neither a script, nor markup, nor a format made of text. Of the second opinions only those on
/// formats made of text count: the others go by two letters that a sentence may start with, and a binary file has
/// control characters.
fn is_plain(head: &[u8]) -> bool {
    let start = trimmed(head);
    let markup = start.starts_with(b"<")
        && start.get(1).is_some_and(|&b| b.is_ascii_alphabetic() || b"!?%/".contains(&b));
    let infer_says = infer::get(head).map_or("", |kind| kind.mime_type());
    let format_says = file_format::FileFormat::from_bytes(head);
    !markup
        && !start.starts_with(b"#!")
        && !head.iter().copied().any(is_control)
        && !OTHER_TEXTS.contains(&infer_says)
        && !OTHER_TEXTS.contains(&format_says.media_type())
}

/// Formats made of text that are neither plain text, tables nor JSON.
const OTHER_TEXTS: [&str; 10] = [
    "text/html",
    "text/xml",
    "application/xml",
    "image/svg+xml",
    "text/x-shellscript",
    "application/pdf",
    "application/postscript",
    "application/rtf",
    "text/rtf",
    "application/x-bat",
];

/// Characters that no text has.
pub(super) fn is_control(byte: u8) -> bool {
    (byte < 0x20 && !b"\t\n\r\x0c".contains(&byte)) || byte == 0x7f
}

/// Without byte order mark and white space in front.
pub(super) fn trimmed(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(extension, first bytes)` of good files.
    pub(in super::super) const GOOD: &[(&str, &[u8])] = &[
        ("jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\0"),
        ("jpeg", b"\xff\xd8\xff\xe1\x00\x10Exif\0"),
        ("png", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01"),
        ("gif", b"GIF89a\x01\0\x01\0"),
        ("webp", b"RIFF\x24\0\0\0WEBPVP8 "),
        ("bmp", b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"),
        ("avif", b"\0\0\0\x1cftypavif\0\0\0\0mif1miafMA1B"),
        ("heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("heif", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"),
        ("mp4", b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41"),
        ("mov", b"\0\0\0\x14ftypqt  \0\0\x02\0qt  "),
        ("webm", b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm"),
        ("mkv", b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska"),
        ("mp3", b"ID3\x03\0\0\0\0\0\x0f"),
        ("wav", b"RIFF\x24\0\0\0WAVEfmt "),
        ("pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
        ("doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0\0\0"),
        ("zip", b"PK\x03\x04\x14\0\0\0\x08\0"),
        ("gz", b"\x1f\x8b\x08\0\0\0\0\0"),
        ("7z", b"7z\xbc\xaf\x27\x1c\0\x04"),
        ("rar", b"Rar!\x1a\x07\x01\0"),
        ("svg", b"<?xml version=\"1.0\"?>\n<!-- a --><svg xmlns=\"http://www.w3.org/2000/svg\">"),
        ("txt", b"BM is a word, and MZ one too"),
        ("csv", b"name,age\r\n\xd5\xc5\xc8\xfd,3\r\n"),
        ("json", b"\xef\xbb\xbf {\"a\": 1}"),
        ("flac", b"fLaC\0\0\0\x22\x10\0\x10\0"),
    ];

    #[test]
    fn agrees_with_good_files() {
        for (extension, head) in GOOD {
            assert!(agree(head, extension).is_ok(), "{extension}: {:?}", agree(head, extension));
        }
        assert!(agree(b"", "txt").is_ok());
        assert_eq!(agree(GOOD[9].1, "mov"), Ok(Family::Mp4));
    }

    #[test]
    fn takes_no_kind_for_another() {
        let alike = [["jpg", "jpeg"], ["mp4", "mov"], ["webm", "mkv"], ["heic", "heif"], ["txt", "csv"]];
        for (own, head) in GOOD {
            for (other, _) in GOOD {
                let known =
                    own == other || alike.iter().any(|pair| pair.contains(own) && pair.contains(other));
                let both_text = [own, other].iter().all(|one| ["txt", "csv", "json"].contains(*one));
                if !known && !both_text {
                    assert!(agree(head, other).is_err(), "{own} as {other}");
                }
            }
        }
    }

    #[test]
    fn refuses_programs_and_scripts_under_any_name() {
        let mut pe = b"MZ\x90\0".to_vec();
        pe.resize(60, 0);
        pe.extend_from_slice(b"\x80\0\0\0");
        pe.resize(128, 0);
        pe.extend_from_slice(b"PE\0\0");
        let mut elf = b"\x7fELF\x02\x01\x01\0".to_vec();
        elf.resize(64, 0);
        let scripts: [&[u8]; 8] = [
            b"<?php system($_GET[0]);",
            b"\n\n<!DOCTYPE html><html>",
            b"<html><body>",
            b"#!/bin/sh\nid\n",
            b"<%@ page language=\"java\" %>",
            b"<script>alert(1)</script>",
            &pe,
            &elf,
        ];
        for script in scripts {
            for (extension, _) in GOOD {
                assert!(agree(script, extension).is_err(), "{:?} as {extension}", &script[..4]);
            }
        }
    }
}
