//! Which bytes begin an archive.

use super::tar;

/// Bytes of a file's start that are enough to tell.
pub(super) const HEAD: usize = 512;

/// What an archive is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// APPNOTE 6.3
    Zip,
    /// RFC 1952
    Gzip,
    /// POSIX ustar and pax, GNU tar, and the older form
    Tar,
    /// One that is not opened here, by name.
    Closed(&'static str),
}

/// Formats that are told of and not opened, by their first bytes.
const CLOSED: [(&str, &[u8]); 18] = [
    ("7z", b"7z\xbc\xaf\x27\x1c"),
    ("rar", b"Rar!\x1a\x07"),
    ("xz", b"\xfd7zXZ\0"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("cab", b"MSCF\0\0\0\0"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("lzip", b"LZIP\x01"),
    ("ar", b"!<arch>\n"),
    ("wim", b"MSWIM\0\0\0"),
    ("xar", b"xar!\0\x1c"),
    ("rpm", b"\xed\xab\xee\xdb"),
    ("chm", b"ITSF\x03\0\0\0"),
    ("vhd", b"conectix\0\0\0"),
    ("vhdx", b"vhdxfile"),
    ("qcow", b"QFI\xfb\0\0\0"),
    ("lzop", b"\x89LZO\0\r\n\x1a\n"),
    // A part of a zip, in front of which stands what says so.
    ("split zip", b"PK00PK\x03\x04"),
    ("split zip", b"PK\x07\x08PK\x03\x04"),
];

impl Format {
    /// Judges the first bytes of a file; 512 are enough, and fewer when it has no more.
    pub fn of(head: &[u8]) -> Option<Self> {
        let closed = || CLOSED.iter().find(|(_, magic)| head.starts_with(magic)).map(|(name, _)| *name);
        match head {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => {
                Some(Self::Closed("bzip2"))
            }
            [0x1f, 0x9d, 0x80..=0x90, ..] => Some(Self::Closed("compress")),
            [_, _, b'-', b'l', b'h', b'0'..=b'7', b'-', ..] => Some(Self::Closed("lha")),
            // The length of the header, and of the first part of it.
            [0x60, 0xea, _, 0..=0x0a, 0x1e..=0x30, ..] => Some(Self::Closed("arj")),
            [0x5d, 0, 0, _, _, size @ ..] if is_lzma_size(size) => Some(Self::Closed("lzma")),
            [b'0', b'7', b'0', b'7', b'0', ..] if is_cpio(head) => Some(Self::Closed("cpio")),
            _ if head.get(7..14) == Some(b"**ACE**") => Some(Self::Closed("ace")),
            _ if head.get(20..24) == Some(b"\xdc\xa7\xc4\xfd") => Some(Self::Closed("zoo")),
            _ if tar::begins(head) => Some(Self::Tar),
            _ => closed().map(Self::Closed),
        }
    }
}

/// Bytes of what was packed: unknown, or fewer than a terabyte.
fn is_lzma_size(size: &[u8]) -> bool {
    size.get(..8).is_some_and(|size| size == [0xff; 8] || size[5..] == [0; 3])
}

/// A header in ASCII is all digits, which a text that begins with such a number is not.
fn is_cpio(head: &[u8]) -> bool {
    let has =
        |length: usize, is: fn(&u8) -> bool| head.get(6..length).is_some_and(|rest| rest.iter().all(is));
    match head.get(5) {
        Some(b'1' | b'2') => has(110, u8::is_ascii_hexdigit),
        Some(b'7') => has(76, u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_of_archives_that_are_not_opened() {
        let digits = |start: &str, length: usize| start.to_owned() + &"0".repeat(length);
        for (head, name) in [
            (b"\x60\xea\x2b\0\x22zzz".to_vec(), "arj"),
            (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "lzma"),
            (b"\x5d\0\0\x80\0\x10\x20\0\0\0\0\0\0".to_vec(), "lzma"),
            (digits("070701", 104).into_bytes(), "cpio"),
            (digits("070707", 70).into_bytes(), "cpio"),
            (b"xxxxxxx**ACE**".to_vec(), "ace"),
            (b"ZOO 2.10 Archive.\x1a\0\0\xdc\xa7\xc4\xfd".to_vec(), "zoo"),
            (b"\xed\xab\xee\xdb".to_vec(), "rpm"),
            (b"PK00PK\x03\x04".to_vec(), "split zip"),
        ] {
            assert_eq!(Format::of(&head), Some(Format::Closed(name)));
        }
        for text in ["070701,name\n", "ZOO 2.10 Archive of animals and what they eat", "PK00", "`\u{ea} la"] {
            assert_eq!(Format::of(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn knows_archives_and_nothing_else() {
        for (head, format) in [
            (b"PK\x03\x04".as_slice(), Some(Format::Zip)),
            (b"PK\x05\x06", Some(Format::Zip)),
            (b"\x1f\x8b\x08\0", Some(Format::Gzip)),
            (b"BZh91AY&SY", Some(Format::Closed("bzip2"))),
            (b"BZh is a word", None),
            (b"Rar!\x1a\x07\x01\0", Some(Format::Closed("rar"))),
            (b"7z\xbc\xaf\x27\x1c\0\x04", Some(Format::Closed("7z"))),
            (b"PK is a word", None),
            (b"%PDF-1.7", None),
            (b"", None),
            (&[0; 512], None),
        ] {
            assert_eq!(Format::of(head), format, "{head:?}");
        }
    }
}
