//! What a file is, by its first bytes, compared with what its name says.
//!
//! Our own look decides for the kinds of the table of families: it asks for more of a header than a magic number.
//! `infer` and `file-format` are second opinions: on a binary file, which neither may take for a kind of another group
//! (a file that starts like two kinds is read as either); on text, which has no magic; and on extensions outside the
//! table.

use super::family::{self, Family, expected};

/// Bytes of a file's start that are looked at.
pub(super) const HEAD: usize = 8 * 1024;

/// Decides, by the first [`HEAD`] bytes (or the whole of a shorter file), which of its extension's families a file is.
/// The error says what it looks like instead, for the operator.
///
/// OOXML is told from other zips by its members, which stand at the file's end: here a zip is enough.
pub(super) fn agree(head: &[u8], extension: &str) -> Result<Family, String> {
    let candidates = expected(extension);
    let found = candidates.iter().copied().find(|&family| is(head, family, extension));
    let infer_says = infer::get(head);
    let format_says = file_format::FileFormat::from_bytes(head);
    match found {
        Some(Family::Other) => Ok(Family::Other),
        Some(family)
            if family.is_text()
                || !infer::is_app(head)
                    && !infer_says.is_some_and(|kind| contradicts(kind.mime_type(), family))
                    && !contradicts(format_says.media_type(), family) =>
        {
            Ok(family)
        }
        _ => Err(format!(
            "content looks like {}",
            infer_says
                .map_or_else(|| format_says.media_type().to_owned(), |kind| kind.mime_type().to_owned())
        )),
    }
}

/// Whether a second opinion names a kind of another group. An opinion on a text goes by two letters that a sentence
/// may start with, and does not count; one that the table does not know says nothing.
fn contradicts(media_type: &str, family: Family) -> bool {
    let Some(families) = family::named(media_type) else { return false };
    !family.is_text()
        && !families.is_empty()
        && !families.iter().any(|&other| other == family || group(other) == group(family))
}

/// Kinds that share a container, or that the opinions mix up.
fn group(family: Family) -> u8 {
    use Family::*;
    match family {
        Mp4 | Mov | Avif | Heic => 1,
        Webm | Mkv => 2,
        Docx | Xlsx | Pptx | OpenDocument | Epub | Zip => 3,
        Mpeg | MpegTs => 4,
        // Frames of one family of codecs, behind the same tags.
        Mp3 | Aac | Flac => 5,
        TrueType | OpenType => 6,
        Woff | Woff2 => 7,
        Jpeg2000 | JpegXl => 8,
        other => 16 + other as u8,
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
        Family::Tiff => at(0, b"II*\0") || at(0, b"MM\0*") || at(0, b"II+\0\x08\0") || at(0, b"MM\0+\0\x08"),
        Family::Icon => {
            // Each entry has a zero byte, and the first one's picture stands behind all entries.
            let count = usize::from(u16_at(head, 4));
            at(0, b"\0\0\x01\0") && (1..=256).contains(&count) && head.get(9) == Some(&0) && {
                let picture = usize::from(u16_at(head, 18)) | usize::from(u16_at(head, 20)) << 16;
                picture >= 6 + 16 * count
            }
        }
        Family::Photoshop => at(0, b"8BPS\0\x01\0\0\0\0\0\0") || at(0, b"8BPS\0\x02\0\0\0\0\0\0"),
        Family::JpegXl => at(0, b"\xff\x0a") || at(0, b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a"),
        Family::Jpeg2000 => at(0, b"\0\0\0\x0cjP  \x0d\x0a\x87\x0a") || at(0, b"\xff\x4f\xff\x51"),
        Family::Avi => at(0, b"RIFF") && at(8, b"AVI LIST"),
        Family::Mpeg => at(0, b"\0\0\x01\xba") || at(0, b"\0\0\x01\xb3"),
        // Packets of 188 bytes, or of 192 with a time in front.
        Family::MpegTs => [(0, 188), (4, 192)]
            .iter()
            .any(|&(first, packet)| (0..3).all(|count| head.get(first + count * packet) == Some(&0x47))),
        Family::Ogg => at(0, b"OggS\0\x02"),
        Family::Asf => at(0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c"),
        Family::Flv => at(0, b"FLV\x01") && at(5, b"\0\0\0\x09"),
        Family::Flac => at(0, b"fLaC\0\0\0\x22") || at(0, b"fLaC\x80\0\0\x22"),
        Family::Aac => is_adts(head),
        Family::Aiff => at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")),
        Family::Amr => at(0, b"#!AMR\n") || at(0, b"#!AMR-WB\n"),
        Family::Midi => at(0, b"MThd\0\0\0\x06\0"),
        Family::Rtf => at(0, b"{\\rtf") && !head.iter().copied().any(is_control),
        Family::OpenDocument => stored_type(head, family::open_document(extension)),
        Family::Epub => stored_type(head, "application/epub+zip"),
        Family::Bzip2 => {
            let level = head.get(3).is_some_and(|level| (b'1'..=b'9').contains(level));
            let block = at(4, b"\x31\x41\x59\x26\x53\x59") || at(4, b"\x17\x72\x45\x38\x50\x90");
            at(0, b"BZh") && level && block
        }
        Family::Xz => at(0, b"\xfd7zXZ\0\0"),
        Family::Zstd => at(0, b"\x28\xb5\x2f\xfd"),
        Family::Tar => at(257, b"ustar\0") || at(257, b"ustar  \0"),
        Family::Woff => at(0, b"wOFF"),
        Family::Woff2 => at(0, b"wOF2"),
        Family::TrueType => at(0, b"\0\x01\0\0\0") || at(0, b"true\0"),
        Family::OpenType => at(0, b"OTTO\0"),
        Family::SevenZip => at(0, b"7z\xbc\xaf\x27\x1c"),
        Family::Rar => at(0, b"Rar!\x1a\x07\x00") || at(0, b"Rar!\x1a\x07\x01\x00"),
        Family::Svg => super::svg::starts(head),
        Family::Text | Family::Csv => is_plain(head),
        Family::Xml => is_xml(head),
        Family::Mail => is_plain(head) && starts_with_header(head),
        Family::Calendar => is_plain(head) && trimmed(head).starts_with(b"BEGIN:VCALENDAR"),
        Family::Card => is_plain(head) && trimmed(head).starts_with(b"BEGIN:VCARD"),
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

const MP4_BRANDS: [&[u8; 4]; 29] = [
    b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"mp41", b"mp42",
    b"mp71", b"avc1", b"hvc1", b"hev1", b"M4V ", b"M4VH", b"M4A ", b"dash", b"MSNV", b"XAVC", b"3gp4",
    b"3gp5", b"3gp6", b"3gp7", b"3g2a", b"3g2b", b"3g2c", b"3gg6",
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

/// An ADTS frame, and another one right behind it when the head reaches so far (ISO/IEC 13818-7 section 6.2).
fn is_adts(head: &[u8]) -> bool {
    let length = |head: &[u8]| match *head {
        [0xff, b, _, d, e, f, ..] if b & 0xf6 == 0xf0 => {
            Some(usize::from(d & 3) << 11 | usize::from(e) << 3 | usize::from(f) >> 5)
        }
        _ => None,
    };
    length(head).is_some_and(|first| {
        first >= 7 && head.get(first..).is_none_or(|next| next.len() < 6 || length(next).is_some())
    })
}

/// A zip whose first member is `mimetype`, stored, and holds nothing but this type.
fn stored_type(head: &[u8], media_type: &str) -> bool {
    let content = head.get(38..38 + media_type.len());
    head.starts_with(b"PK\x03\x04")
        && u16_at(head, 8) == 0
        && u16_at(head, 26) == 8
        && u16_at(head, 28) == 0
        && head.get(30..38) == Some(b"mimetype")
        && content == Some(media_type.as_bytes())
        && head[38 + media_type.len()..].starts_with(b"PK")
}

/// XML that is neither a page nor a drawing: a declaration, comments, then an element.
fn is_xml(head: &[u8]) -> bool {
    let start = trimmed(head);
    let opens = start.first() == Some(&b'<')
        && (start.get(1).is_some_and(|&b| b.is_ascii_alphabetic() || b == b'_')
            || [b"<?xml ".as_slice(), b"<!--", b"<!DOCTYPE "].iter().any(|known| start.starts_with(known)));
    let page = infer::get(head).is_some_and(|kind| kind.mime_type() == "text/html");
    opens && !page && !super::svg::starts(head) && !head.iter().copied().any(is_control)
}

/// A line `Name: value` first, as a mail has it (RFC 5322 section 2.2).
fn starts_with_header(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    name.len() < line.len()
        && !name.is_empty()
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
}

/// Little-endian; 0 beyond the end.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |pair| u16::from_le_bytes([pair[0], pair[1]]))
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
        ("tif", b"II*\0\x08\0\0\0"),
        ("ico", b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x68\x04\0\0\x16\0\0\0"),
        ("psd", b"8BPS\0\x01\0\0\0\0\0\0\0\x03"),
        ("jxl", b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a\0\0\0\x14ftypjxl "),
        ("jp2", b"\0\0\0\x0cjP  \x0d\x0a\x87\x0a\0\0\0\x14ftypjp2 "),
        ("avi", b"RIFF\x24\0\0\0AVI LIST"),
        ("mpg", b"\0\0\x01\xba\x44\0\x04\0\x04\x01"),
        ("ogg", b"OggS\0\x02\0\0\0\0\0\0\0\0"),
        ("wmv", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c"),
        ("flv", b"FLV\x01\x05\0\0\0\x09"),
        ("aac", b"\xff\xf1\x50\x80\x02\x1f\xfc"),
        ("aiff", b"FORM\0\0\x24\0AIFFCOMM"),
        ("amr", b"#!AMR\n\x3c\x91"),
        ("mid", b"MThd\0\0\0\x06\0\x01\0\x02"),
        (
            "odt",
            b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\x27\0\0\0\x27\0\0\0\x08\0\0\0\
            mimetypeapplication/vnd.oasis.opendocument.textPK\x03\x04",
        ),
        (
            "epub",
            b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\x14\0\0\0\x14\0\0\0\x08\0\0\0\
            mimetypeapplication/epub+zipPK\x03\x04",
        ),
        ("rtf", b"{\\rtf1\\ansi hello}"),
        ("bz2", b"BZh91AY&SY\0\x01"),
        ("xz", b"\xfd7zXZ\0\0\x04"),
        ("zst", b"\x28\xb5\x2f\xfd\x04"),
        ("xml", b"<?xml version=\"1.0\"?><order id=\"1\"/>"),
        ("eml", b"From: a@example.com\r\nSubject: b\r\n\r\nc"),
        ("ics", b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\n"),
        ("vcf", b"BEGIN:VCARD\r\nVERSION:3.0\r\n"),
        ("woff2", b"wOF2\0\x01\0\0"),
        ("ttf", b"\0\x01\0\0\0\x0a\0\x80"),
        ("otf", b"OTTO\0\x0a\0\x80"),
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
        let alike = [
            ["jpg", "jpeg"],
            ["mp4", "mov"],
            ["webm", "mkv"],
            ["heic", "heif"],
            ["odt", "zip"],
            ["epub", "zip"],
            ["ttf", "otf"],
        ];
        let texts = ["txt", "csv", "json", "eml", "ics", "vcf"];
        for (own, head) in GOOD {
            for (other, _) in GOOD {
                let known =
                    own == other || alike.iter().any(|pair| pair.contains(own) && pair.contains(other));
                let both_text = [own, other].iter().all(|one| texts.contains(*one));
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
